//! The folder that a copy of a database is made in.
//!
//! In: a folder that is missing, empty, or holds an unfinished copy. Out: a complete database, or what there was.
//! Invariants: until the manifest is there, a durable file says that the folder is no database; with the manifest, that
//! file means nothing any more. Whoever makes a copy holds the folder's lock. A copy that is given up is removed, its
//! manifest first: what cannot be removed is either complete or still marked.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::disk::api::{Disk, DiskLock, at, names};
use crate::disk::path;
use crate::error::{Error, Result};
use crate::recover::{create_folders, newest_manifest};

/// A folder with an unfinished copy in it; dropping it removes what is there.
#[derive(Debug)]
pub(super) struct TargetFolder {
    disk: Arc<dyn Disk>,
    /// The folder was not there before.
    made: bool,
    complete: bool,
    _lock: Box<dyn DiskLock>,
}

/// What a folder holds that a copy may be made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Empty,
    Unfinished,
}

impl TargetFolder {
    /// Makes the folder ready: locked, marked as unfinished, nothing else in it.
    ///
    /// # Errors
    /// [`Error::NotEmpty`]; [`Error::Locked`]; the disk's.
    pub(super) fn begin(disk: Arc<dyn Disk>) -> Result<Self> {
        let made = look(&*disk)? == Found::Nothing;
        disk.create_dir("").map_err(at("create", "the folder"))?;
        let lock = disk.lock(path::LOCK).map_err(at("lock", path::LOCK))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: disk.describe() })?;
        // Another copy may have been completed here before the lock was taken.
        let found = look(&*disk)?;
        let target = Self { disk, made, complete: false, _lock: lock };
        let disk = &*target.disk;
        if found != Found::Unfinished {
            let mut marker = disk.create(path::INCOMPLETE).map_err(at("create", path::INCOMPLETE))?;
            marker.sync().map_err(at("sync", path::INCOMPLETE))?;
        }
        // The mark of an earlier attempt may not have become durable either.
        disk.sync_dir("").map_err(at("sync", "the folder"))?;
        clear(disk)?;
        create_folders(disk)?;
        disk.sync_dir("").map_err(at("sync", "the folder"))?;
        Ok(target)
    }

    /// Refuses a folder that a copy cannot be made in.
    ///
    /// # Errors
    /// [`Error::NotEmpty`]; the disk's.
    pub(super) fn check(disk: &dyn Disk) -> Result<()> {
        look(disk).map(drop)
    }

    /// The folder has its manifest: it is a database now.
    pub(super) fn complete(mut self) {
        self.complete = true;
        // Should this fail or be undone by a crash, opening the database does it.
        let _ = self.disk.remove(path::INCOMPLETE);
        let _ = self.disk.sync_dir("");
    }

    /// Leaves nothing, or as much as the disk insists on.
    fn remove(&self) -> Result<()> {
        clear(&*self.disk)?;
        self.disk.sync_dir("").map_err(at("sync", "the folder"))?;
        self.disk.remove(path::INCOMPLETE).map_err(at("remove", path::INCOMPLETE))?;
        if self.made {
            self.disk.remove(path::LOCK).map_err(at("remove", path::LOCK))?;
            self.disk.remove_dir("").map_err(at("remove", "the folder"))?;
        }
        Ok(())
    }
}

impl Drop for TargetFolder {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(%error, folder = self.disk.describe(), "cannot remove an unfinished copy of a database");
        }
    }
}

/// Refuses a folder that holds anything but an unfinished copy.
fn look(disk: &dyn Disk) -> Result<Found> {
    let names = match disk.list("") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        names => names.map_err(at("list", "the folder"))?,
    };
    if names.iter().any(|name| name == path::INCOMPLETE) && newest_manifest(disk)?.is_none() {
        return Ok(Found::Unfinished);
    }
    match names.into_iter().find(|name| name != path::LOCK) {
        Some(found) => Err(Error::NotEmpty { path: disk.describe(), found }),
        None => Ok(Found::Empty),
    }
}

/// Removes the files of a copy and the folders they were in, the mark excepted.
fn clear(disk: &dyn Disk) -> Result<()> {
    empty(disk, path::MANIFESTS, |name| path::parse_manifest(name).is_some())?;
    empty(disk, path::WAL, |name| path::parse_wal(name).is_some())?;
    empty(disk, path::STAGING, |_| true)?;
    for table in names(disk, path::TABLES)?.iter().filter_map(|name| path::parse_table(name)) {
        empty(disk, &path::table(table), |name| path::parse_run(name).is_some())?;
    }
    empty(disk, path::TABLES, |_| false)
}

/// Removes those files of a folder that are of a copy, durably, and the folder if it is empty then.
fn empty(disk: &dyn Disk, folder: &str, is_ours: impl Fn(&str) -> bool) -> Result<()> {
    let mut removed = false;
    for name in names(disk, folder)?.iter().filter(|name| is_ours(name)) {
        let path = format!("{folder}/{name}");
        disk.remove(&path).map_err(at("remove", &path))?;
        removed = true;
    }
    if removed {
        disk.sync_dir(folder).map_err(at("sync", folder))?;
    }
    // An empty folder does no harm.
    let _ = disk.remove_dir(folder);
    Ok(())
}
