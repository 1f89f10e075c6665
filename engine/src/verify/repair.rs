//! Rebuilds what follows from the rest of a closed database.
//!
//! In: a folder that nobody has open. Out: key indexes and deletion vectors as they must be, and what cannot be rebuilt.
//! Invariants: a key index is rebuilt only from files whose digests the manifest confirms, for else rot would get fresh
//! checksums; it comes out with the digest that the manifest has of it, or it is not put in place. Deletion vectors are
//! found again from the keys of all runs and committed as a new manifest.

use std::slice::from_ref;
use std::sync::Arc;

use crate::config::Options;
use crate::disk::api::{Disk, at};
use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::recover::{create_folders, open_resolving};
use crate::rows::keys::Ascent;
use crate::sst::checksum::HashedFile;
use crate::sst::key_index::writer::KeyIndexWriter;
use crate::sst::meta::FileMeta;
use crate::sst::rows::{SstRows, load_metadata};
use crate::sst::verified_file::{VerifiedFile, read_whole};
use crate::verify::check::{CheckedTable, Finding, closed, tables, verify};
use crate::version::run::RunMeta;

/// Rows whose keys are written at once.
const ROWS_AT_ONCE: usize = 8192;

/// What a repair did.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// Files that were rebuilt.
    pub rebuilt: Vec<String>,
    /// What is wrong still.
    pub left: Vec<Finding>,
}

/// Rebuilds what can be rebuilt of a closed database, or of one table of it; then checks it again. A database that is
/// whole is not changed.
///
/// # Errors
/// As [`verify`]; the disk's.
pub fn repair(disk: &Arc<dyn Disk>, options: &Options, table: Option<&str>) -> Result<RepairReport> {
    let mut report = RepairReport::default();
    let found = verify(disk, options, table)?.findings;
    if found.iter().all(|finding| !finding.is_derived) {
        report.left = found;
        return Ok(report);
    }
    {
        let (manifest, _lock) = closed(disk)?;
        // A copy of a database may lack the folders that were empty.
        create_folders(&**disk)?;
        for table in tables(&manifest, table)? {
            for run in &table.manifest.runs {
                report.rebuilt.extend(repair_keys(disk, &table, run)?);
            }
        }
    }
    let left = verify(disk, options, table)?.findings;
    if left.iter().any(|finding| finding.is_derived) && left.iter().all(|finding| is_of_deletions(&finding.error)) {
        // Opening it so finds the dead rows of all tables by their keys, and commits them.
        let state = open_resolving(disk.clone(), Options { background: false, create: false, ..options.clone() })?;
        drop(state);
        report.rebuilt.extend(left.iter().filter_map(|finding| match &finding.error {
            Error::Corrupt { path, .. } => Some(path.clone()),
            _ => None,
        }));
    }
    report.left = verify(disk, options, table)?.findings;
    Ok(report)
}

fn is_of_deletions(error: &Error) -> bool {
    matches!(error, Error::Corrupt { path, .. } if path.ends_with(".dv"))
}

/// Rebuilds the key index of a run unless it is whole; gives its name if it was rebuilt.
fn repair_keys(disk: &Arc<dyn Disk>, table: &CheckedTable, meta: &RunMeta) -> Result<Option<String>> {
    let (id, files) = (table.manifest.id, &meta.files);
    let name = path::run(id, files.run, RunFile::Keys);
    let whole = |file, meta: FileMeta| read_whole(&**disk, &path::run(id, files.run, file), meta.bytes, meta.digest);
    match whole(RunFile::Keys, files.keys) {
        Err(Error::Corrupt { .. }) => {}
        other => return other.map(|_| None),
    }
    let deletes = files.deletes.as_ref().map(|deletes| whole(RunFile::Deletes, deletes.file)).transpose();
    let (sst, deletes) = match (whole(RunFile::Sst, files.sst), deletes) {
        (Ok(sst), Ok(deletes)) => (HashedFile::of(&sst), deletes.map(|bytes| HashedFile::of(&bytes))),
        // Nothing to rebuild it from: the check tells.
        (Err(Error::Corrupt { .. }), _) | (_, Err(Error::Corrupt { .. })) => return Ok(None),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let staged = path::staging(name.rsplit('/').next().unwrap_or(&name));
    let _ = disk.remove(&staged);
    let written = write_keys(disk, table, meta, &staged, (&sst, deletes.as_ref()));
    let put = written.and_then(|found| {
        if found.digest != files.keys.digest {
            return Err(Error::corrupt(&*name, Damage::Digest { expected: files.keys.digest, found: found.digest }));
        }
        disk.rename(&staged, &name).map_err(at("rename", &staged))?;
        let folder = path::table(id);
        disk.sync_dir(&folder).map_err(at("sync", &folder))
    });
    if put.is_err() {
        // What cannot be removed now is swept when the database opens.
        let _ = disk.remove(&staged);
    }
    match put {
        Ok(()) => Ok(Some(name)),
        // The check tells.
        Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a key index from the rows of an SST.
fn write_keys(
    disk: &Arc<dyn Disk>,
    table: &CheckedTable,
    meta: &RunMeta,
    staged: &str,
    (sst, deletes): (&HashedFile, Option<&HashedFile>),
) -> Result<HashedFile> {
    let (files, stored) = (&meta.files, table.schema.stored());
    let path = path::run(table.manifest.id, files.run, RunFile::Sst);
    let file = Arc::new(VerifiedFile::open(&**disk, path, sst.bytes, sst.checksums.clone().into())?);
    let metadata = load_metadata(&file, stored, files.rows)?;
    let all: Vec<usize> = (0..stored.fields().len()).collect();
    let (mut writer, mut ascent) = (KeyIndexWriter::create(&**disk, staged)?, Ascent::default());
    for batch in SstRows::start(&file, &metadata, stored, from_ref(&(0..files.rows)), &all, ROWS_AT_ONCE)? {
        let keys = table.codec.encode_batch(&batch?)?;
        ascent.take(&keys).map_err(|damage| Error::corrupt(file.path(), damage))?;
        writer.append(&keys)?;
    }
    Ok(writer.finish(files.run, sst, deletes)?.0)
}
