//! Removes files that nobody needs any more.
//!
//! In: runs that no version names; WAL segments below the floor; at opening, the folder as it is. Out: removed files.
//! Invariants: nothing is removed that the committed state names, that a reader of this process holds, that the
//! retention keeps for readers elsewhere, or that is in a folder which took the place of the database's. A removal that a
//! crash undoes is done again at the next opening.

use std::collections::{BTreeMap, HashSet};
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::disk::api::{Disk, names};
use crate::disk::path::{self, RunFile};
use crate::error::Result;
use crate::id::{RunId, TableId};
use crate::seeded::{SeededFault, makes};
use crate::state::{Obsolete, State, locked};
use crate::version::manifest::Manifest;

/// Removes what became obsolete since the last sweep, unless the database may write no more, or its folder is another
/// one. Failures are logged; the next opening tries again.
pub fn sweep(state: &State) {
    if state.poison.get().is_some() || state.check_in_place().is_err() {
        return;
    }
    let (retention, floor) = {
        let publisher = locked(&state.publisher);
        (Duration::from_secs(publisher.manifest.retention_seconds), publisher.manifest.wal_floor)
    };
    let segments = {
        let mut writer = locked(&state.writer);
        if writer.unannounced.is_some() {
            return;
        }
        writer.wal.forget_before(floor)
    };
    for segment in segments {
        remove(&*state.disk, &path::wal(segment));
    }
    let due = |obsolete: &Obsolete| obsolete.readers.strong_count() == 0 && obsolete.since.elapsed() >= retention;
    let (removed, kept) = std::mem::take(&mut *locked(&state.obsolete)).into_iter().partition(due);
    let removed: Vec<Obsolete> = removed;
    locked(&state.obsolete).extend::<Vec<Obsolete>>(kept);
    for obsolete in removed {
        remove_run(&*state.disk, obsolete.table, obsolete.run);
    }
}

/// Removes the files of a run, or the deletion vectors, of this number; failures are logged.
pub fn remove_run(disk: &dyn Disk, table: TableId, run: RunId) {
    for file in RunFile::ALL {
        remove(disk, &path::run(table, run, file));
    }
}

fn remove(disk: &dyn Disk, path: &str) {
    match disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, path, "cannot remove a file that nobody needs"),
    }
}

/// What a sweep at opening did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Files removed.
    pub files: Vec<String>,
    /// Runs that the retention keeps.
    pub kept: Vec<Obsolete>,
}

/// Removes everything from a folder that its newest manifest does not name. The caller has checked that it is the
/// newest and that the log is whole.
///
/// # Errors
/// The disk's, where a folder cannot be listed.
pub fn sweep_folder(disk: &dyn Disk, manifest: &Manifest) -> Result<Swept> {
    let mut swept = Swept::default();
    // A backup is complete with its manifest, whatever else was left to do.
    if disk.remove(path::INCOMPLETE).is_ok() {
        swept.files.push(path::INCOMPLETE.to_owned());
    }
    for name in names(disk, path::STAGING)? {
        swept.remove(disk, path::staging(&name));
    }
    for id in names(disk, path::MANIFESTS)?.iter().filter_map(|name| path::parse_manifest(name)) {
        if id < manifest.id {
            swept.remove(disk, path::manifest(id));
        }
    }
    for id in names(disk, path::WAL)?.iter().filter_map(|name| path::parse_wal(name)) {
        if id < manifest.wal_floor {
            swept.remove(disk, path::wal(id));
        }
    }
    for table in names(disk, path::TABLES)?.iter().filter_map(|name| path::parse_table(name)) {
        swept.sweep_table(disk, manifest, table)?;
    }
    Ok(swept)
}

impl Swept {
    fn remove(&mut self, disk: &dyn Disk, path: String) {
        remove(disk, &path);
        self.files.push(path);
    }

    fn sweep_table(&mut self, disk: &dyn Disk, manifest: &Manifest, table: TableId) -> Result<()> {
        let named: HashSet<RunId> = (manifest.tables.iter())
            .filter(|other| other.id == table)
            .flat_map(|table| table.runs.iter().map(|run| run.files.run).chain(table.deletion_files()))
            .collect();
        let folder = path::table(table);
        let mut orphans: BTreeMap<RunId, Vec<RunFile>> = BTreeMap::new();
        for (run, file) in names(disk, &folder)?.iter().filter_map(|name| path::parse_run(name)) {
            if !named.contains(&run) && !makes(SeededFault::OrphansNotSwept) {
                orphans.entry(run).or_default().push(file);
            }
        }
        for (run, files) in orphans {
            if manifest.retention_seconds > 0 && run < manifest.next_run {
                let (readers, since) = (Weak::new(), Instant::now());
                self.kept.push(Obsolete { table, run, readers, since });
                continue;
            }
            files.into_iter().for_each(|file| self.remove(disk, path::run(table, run, file)));
        }
        if manifest.tables.iter().all(|other| other.id != table) {
            // Refused where something is left in it.
            let _ = disk.remove_dir(&folder);
        }
        Ok(())
    }
}
