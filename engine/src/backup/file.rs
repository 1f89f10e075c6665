//! Gives one file of a run to another database folder: as a second name of the same bytes, or as a copy.
//!
//! In: a file that never changes, its length and digest. Out: a durable file; its name is the caller's to sync.
//! Invariants: no copy has other bytes than the manifest says; a linked file is compared with it if that is asked for.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::disk::api::{Disk, ReadFile, at};
use crate::error::{Damage, Error, Result};
use crate::id::Digest;
use crate::sst::checksum::{HashingFile, in_memory};
use crate::sst::meta::FileMeta;
use crate::sst::verified_file::open_exact;

/// Bytes that are read at once.
const PART_BYTES: u64 = 1 << 20;

/// How files get into a copy of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// Link files where both folders are on one file system, which costs neither time nor space. The copy then shares
    /// their bytes with the original: it outlives mistakes, not the disk. Else, and elsewhere, files are copied.
    pub link: bool,
    /// Read every linked file and compare it with its digest. Copied files always are.
    pub verify: bool,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self { link: true, verify: true }
    }
}

/// One of the two folders, and how errors in it name it.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) disk: Arc<dyn Disk>,
    /// Errors that name a file in it name the folder, too.
    pub(super) is_named: bool,
}

impl Side {
    /// Says in which folder something failed.
    pub(super) fn failed(&self, error: Error) -> Error {
        match error {
            Error::Io { .. } | Error::Corrupt { .. } | Error::FormatTooNew { .. } | Error::UnknownFeature { .. }
                if self.is_named =>
            {
                Error::In { folder: self.disk.describe(), source: Box::new(error) }
            }
            other => other,
        }
    }
}

/// Gives the folder `to` a file of `from`; whether it was linked.
pub(super) fn transfer(from: &Side, to: &Side, path: &str, meta: FileMeta, options: BackupOptions) -> Result<bool> {
    let file = open_exact(&*from.disk, path, meta.bytes).map_err(|error| from.failed(error))?;
    if options.link && to.disk.link_from(&*from.disk, path, path).map_err(|error| to.failed(at("link", path)(error)))? {
        if options.verify {
            verify(&*file, path, meta).map_err(|error| from.failed(error))?;
        }
        return Ok(true);
    }
    let mut copy = HashingFile::create(&*to.disk, path).map_err(|error| to.failed(error))?;
    let mut offset = 0;
    while let Some(part) = read_part(&*file, path, offset).map_err(|error| from.failed(error))? {
        offset += part.len() as u64;
        copy.append(&part).map_err(|error| to.failed(error))?;
    }
    let found = copy.finish().map_err(|error| to.failed(error))?.digest;
    check(path, meta, found).map_err(|error| from.failed(error))?;
    Ok(false)
}

fn verify(file: &dyn ReadFile, path: &str, meta: FileMeta) -> Result<()> {
    let mut digest = Xxh3::new();
    let mut offset = 0;
    while let Some(part) = read_part(file, path, offset)? {
        offset += part.len() as u64;
        digest.update(&part);
    }
    check(path, meta, Digest(digest.digest128()))
}

/// The bytes from an offset on, not too many; `None` at the end.
fn read_part(file: &dyn ReadFile, path: &str, offset: u64) -> Result<Option<Vec<u8>>> {
    let length = (file.len() - offset).min(PART_BYTES);
    if length == 0 {
        return Ok(None);
    }
    let mut part = vec![0; in_memory(length)];
    file.read_at(offset, &mut part).map_err(at("read", path))?;
    Ok(Some(part))
}

fn check(path: &str, meta: FileMeta, found: Digest) -> Result<()> {
    if found == meta.digest {
        return Ok(());
    }
    Err(Error::corrupt(path, Damage::Digest { expected: meta.digest, found }))
}
