//! A file whose bytes are compared with their checksums before anyone sees them.
//!
//! In: ranges of bytes. Out: those bytes, or what is wrong with them.
//! Invariants: no byte leaves that was not part of a block that matched its checksum, though not at this read: a
//! block is checked when it is first touched. At most one system read per range.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::disk::api::{Disk, ReadFile, at};
use crate::error::{Damage, Error, Result};
use crate::id::Digest;
use crate::sst::checksum::{BlockChecks, in_memory};

/// A file with known length and block checksums.
#[derive(Debug)]
pub struct VerifiedFile {
    file: Arc<dyn ReadFile>,
    path: String,
    checks: BlockChecks,
    map: OnceLock<Bytes>,
}

/// Opens a file and checks its length.
///
/// # Errors
/// It is missing or has another length; the disk refuses.
pub fn open_exact(disk: &dyn Disk, path: &str, file_bytes: u64) -> Result<Arc<dyn ReadFile>> {
    let file = disk.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::corrupt(path, Damage::Missing),
        _ => at("open", path)(source),
    })?;
    if file.len() != file_bytes {
        return Err(Error::corrupt(path, Damage::Length { expected: file_bytes, found: file.len() }));
    }
    Ok(file)
}

/// The bytes of a file that must have this length and digest.
///
/// # Errors
/// It is missing, or not what is recorded; the disk refuses.
pub fn read_whole(disk: &dyn Disk, path: &str, file_bytes: u64, digest: Digest) -> Result<Bytes> {
    let bytes = open_exact(disk, path, file_bytes)?.map().map_err(at("read", path))?;
    let found = Digest::of(&bytes);
    if found == digest { Ok(bytes) } else { Err(Error::corrupt(path, Damage::Digest { expected: digest, found })) }
}

impl VerifiedFile {
    /// Opens a file that must have this length and these block checksums.
    ///
    /// # Errors
    /// It is missing or has another length; the checksums are not as many as its blocks; the disk refuses.
    pub fn open(disk: &dyn Disk, path: String, file_bytes: u64, checksums: Arc<[u32]>) -> Result<Self> {
        let file = open_exact(disk, &path, file_bytes)?;
        let checks = BlockChecks::new(file_bytes, checksums).map_err(|damage| Error::corrupt(&*path, damage))?;
        Ok(Self { file, path, checks, map: OnceLock::new() })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.checks.file_bytes()
    }

    /// Bytes on the heap, about: the checksums of its blocks.
    pub fn heap_bytes(&self) -> usize {
        self.checks.heap_bytes()
    }

    /// The file, relative to the database folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The bytes of a range.
    ///
    /// Cost: one system read of the range, widened to whole blocks where its ends are in blocks never touched before;
    /// the result may keep those wider bytes alive.
    ///
    /// # Errors
    /// The range does not lie in the file, a block does not match its checksum, the disk refuses.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.file_bytes() {
            let (needed, available) = (range.end, self.file_bytes());
            return Err(Error::corrupt(&*self.path, Damage::Truncated { field: "range", needed, available }));
        }
        let mut unverified = self.checks.covering(&range).filter(|block| !self.checks.is_verified(*block));
        let Some(first) = unverified.next() else {
            return self.read_at(range);
        };
        let last = unverified.next_back().unwrap_or(first);
        let start = range.start.min(self.checks.span(first).start);
        let wide = self.read_at(start..range.end.max(self.checks.span(last).end))?;
        for block in first..=last {
            let span = self.checks.span(block);
            if !self.checks.is_verified(block) {
                (self.checks.verify(block, &wide[place(start, &span)]))
                    .map_err(|damage| Error::corrupt_at(&*self.path, span.start, damage))?;
            }
        }
        Ok(wide.slice(place(start, &range)))
    }

    /// The bytes of a range, out of the mapped file once all their blocks have matched their checksums.
    ///
    /// Cost: as [`VerifiedFile::read`] the first time; then nothing is copied, and the result keeps nothing alive but the
    /// mapping. That the first touch is a read lets a disk that cannot read say so; what it cannot read later ends the
    /// process, as for all mapped files.
    ///
    /// # Errors
    /// As [`VerifiedFile::read`].
    pub fn view(&self, range: Range<u64>) -> Result<Bytes> {
        let is_inside = range.start <= range.end && range.end <= self.file_bytes();
        if !is_inside || !self.checks.covering(&range).all(|block| self.checks.is_verified(block)) {
            return self.read(range);
        }
        let map = match self.map.get() {
            Some(map) => map,
            None => {
                let map = self.file.map().map_err(at("map", &self.path))?;
                self.map.get_or_init(|| map)
            }
        };
        Ok(map.slice(place(0, &range)))
    }

    fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let mut buffer = vec![0; in_memory(range.end - range.start)];
        match self.file.read_at(range.start, &mut buffer) {
            Ok(()) => Ok(buffer.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let damage = Damage::Truncated { field: "file", needed: range.end, available: self.file.len() };
                Err(Error::corrupt(&*self.path, damage))
            }
            Err(error) => Err(at("read", &self.path)(error)),
        }
    }
}

/// Where a range of the file lies in bytes that begin at `start`.
fn place(start: u64, range: &Range<u64>) -> Range<usize> {
    in_memory(range.start - start)..in_memory(range.end - start)
}
