//! Finds out whether a closed database is whole.
//!
//! In: a folder that nobody has open. Out: what is wrong, each with its file, and whether it can be rebuilt.
//! Invariants: nothing is changed. Every byte of every file of a run is read; keys are compared with the rows they stand
//! for, dead rows with what keys say, the number of rows of a scan with that of merge-on-read. What cannot be checked
//! because something else is wrong is left out; so the log, which is replayed over whole runs, comes last.

use std::sync::Arc;

use crate::config::Options;
use crate::deletion::file::read_all;
use crate::deletion::vector::DeletionVector;
use crate::disk::api::{Disk, DiskLock, at, names};
use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::id::{RunId, SeqNo};
use crate::read::plan::ScanPlan;
use crate::read::resolve::{check_dead, resolve_all};
use crate::read::snapshot::TableSnapshot;
use crate::read::source::KeyInterval;
use crate::recover::{check_folder, newest_manifest, read_back, read_manifest};
use crate::rows::key::KeyCodec;
use crate::rows::keys::Ascent;
use crate::rows::schema::TableSchema;
use crate::sst::meta::{FileMeta, KeyRange};
use crate::sst::store::Store;
use crate::sst::verified_file::read_whole;
use crate::version::manifest::{Manifest, TableManifest};
use crate::version::run::{Run, RunMeta};

/// Rows whose keys are compared at once.
const ROWS_AT_ONCE: usize = 8192;

/// Something that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// What, and in which file.
    pub error: Error,
    /// Whether `repair` can rebuild the file from others.
    pub is_derived: bool,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Tables checked.
    pub tables: usize,
    /// Runs checked.
    pub runs: usize,
    /// Their rows.
    pub rows: u64,
    /// Those of them that are dead.
    pub dead_rows: u64,
    /// Bytes of the files that were read.
    pub bytes: u64,
    /// Files in the folders of tables that no state names. Those whose names are a run's are removed when the database
    /// opens, unless they are kept for other readers for a while.
    pub orphans: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A table whose schema can be read.
pub(super) struct CheckedTable {
    pub(super) manifest: TableManifest,
    pub(super) schema: Arc<TableSchema>,
    pub(super) codec: KeyCodec,
}

/// Locks a closed database and reads its newest manifest.
///
/// # Errors
/// [`Error::Locked`], [`Error::NoDatabase`]; what is wrong with the manifest; the disk's.
pub(super) fn closed(disk: &Arc<dyn Disk>) -> Result<(Manifest, Box<dyn DiskLock>)> {
    let no_database = || Error::NoDatabase { path: disk.describe() };
    check_folder(&**disk)?;
    newest_manifest(&**disk)?.ok_or_else(no_database)?;
    let lock = disk.lock(path::LOCK).map_err(at("lock", path::LOCK))?;
    let lock = lock.ok_or_else(|| Error::Locked { path: disk.describe() })?;
    let id = newest_manifest(&**disk)?.ok_or_else(no_database)?;
    Ok((read_manifest(&**disk, id)?.0, lock))
}

/// The tables of a manifest, or the one that is asked for.
///
/// # Errors
/// [`Error::NoSuchTable`]; a schema that cannot be.
pub(super) fn tables(manifest: &Manifest, name: Option<&str>) -> Result<Vec<CheckedTable>> {
    if let Some(name) = name.filter(|name| manifest.tables.iter().all(|table| table.name != *name)) {
        let known = manifest.tables.iter().map(|table| table.name.clone()).collect();
        return Err(Error::NoSuchTable { name: name.to_owned(), known });
    }
    let chosen = manifest.tables.iter().filter(|table| name.is_none_or(|name| table.name == name));
    let checked = chosen.map(|table| {
        let schema = table.schema.schema(&path::manifest(manifest.id), &table.name)?;
        let codec = KeyCodec::new(&table.name, &schema)?;
        Ok(CheckedTable { manifest: table.clone(), schema, codec })
    });
    checked.collect()
}

/// Checks a closed database, or one table of it. Cost: everything is read, keys are looked up in every run.
///
/// # Errors
/// [`Error::Locked`], [`Error::NoDatabase`], [`Error::NoSuchTable`]; a manifest that cannot be read; the disk's. What is
/// wrong with other files is in the report.
pub fn verify(disk: &Arc<dyn Disk>, options: &Options, table: Option<&str>) -> Result<VerifyReport> {
    let (manifest, _lock) = closed(disk)?;
    let mut check = Check { store: Store::new(disk.clone(), options.kept_bytes()), report: VerifyReport::default() };
    for table in tables(&manifest, table)? {
        check.table(&table)?;
    }
    if check.report.findings.is_empty() {
        check.scans(&manifest, options, table)?;
    }
    Ok(check.report)
}

struct Check {
    store: Arc<Store>,
    report: VerifyReport,
}

impl Check {
    /// Notes what is wrong; other failures, as of the disk, end the check.
    fn found<T>(&mut self, result: Result<T>, is_derived: bool) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Corrupt { .. }) => {
                self.report.findings.push(Finding { error, is_derived });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn table(&mut self, table: &CheckedTable) -> Result<()> {
        self.report.tables += 1;
        let mut runs = Vec::new();
        for meta in &table.manifest.runs {
            self.report.runs += 1;
            self.report.rows = self.report.rows.saturating_add(meta.files.rows);
            runs.extend(self.run(table, meta)?);
        }
        self.orphans(table)?;
        let Some(deletions) = &table.manifest.deletions else { return Ok(()) };
        for file in &deletions.files {
            self.report.bytes = self.report.bytes.saturating_add(file.bytes);
        }
        let dead = read_all(&**self.store.disk(), table.manifest.id, deletions);
        let Some(dead) = self.found(dead, true)? else { return Ok(()) };
        self.report.dead_rows += dead.iter().map(DeletionVector::len).sum::<u64>();
        if runs.len() == table.manifest.runs.len() {
            let compared = resolve_all(&runs, &table.codec)
                .and_then(|by_keys| check_dead(table.manifest.id, &runs, &dead, &by_keys));
            self.found(compared, true)?;
        }
        Ok(())
    }

    /// Checks the files of a run; gives the run if all of them are whole.
    fn run(&mut self, table: &CheckedTable, meta: &RunMeta) -> Result<Option<Arc<Run>>> {
        let (id, files) = (table.manifest.id, &meta.files);
        let deletes = files.deletes.as_ref().map(|deletes| (RunFile::Deletes, deletes.file));
        let mut is_whole = true;
        for (file, meta) in
            [Some((RunFile::Sst, files.sst)), deletes, Some((RunFile::Keys, files.keys))].into_iter().flatten()
        {
            let FileMeta { bytes, digest } = meta;
            self.report.bytes = self.report.bytes.saturating_add(bytes);
            let read = read_whole(&**self.store.disk(), &path::run(id, files.run, file), bytes, digest);
            is_whole &= self.found(read, file == RunFile::Keys)?.is_some();
        }
        if !is_whole {
            return Ok(None);
        }
        let opened = Run::open(&self.store, id, &table.schema, meta.clone()).and_then(|run| {
            compare_keys(table, &run)?;
            compare_deletes(table, &run)?;
            Ok(Arc::new(run))
        });
        self.found(opened, false)
    }

    fn orphans(&mut self, table: &CheckedTable) -> Result<()> {
        let folder = path::table(table.manifest.id);
        let names = names(&**self.store.disk(), &folder)?;
        let named = |number: RunId| {
            let runs = table.manifest.runs.iter().map(|run| run.files.run);
            runs.chain(table.manifest.deletion_files()).any(|other| other == number)
        };
        let orphans = names.into_iter().filter(|name| path::parse_run(name).is_none_or(|(number, _)| !named(number)));
        self.report.orphans.extend(orphans.map(|name| format!("{folder}/{name}")));
        Ok(())
    }

    /// Replays the log, and counts what a scan of each table gives against merge-on-read.
    fn scans(&mut self, manifest: &Manifest, options: &Options, only: Option<&str>) -> Result<()> {
        let read = read_back(&self.store, options, manifest.id);
        let Some(read) = self.found(read, false)? else { return Ok(()) };
        for table in read.tables.into_values().filter(|table| only.is_none_or(|only| &*table.name == only)) {
            let snapshot = TableSnapshot::new(Arc::new(table), SeqNo::MAX);
            let compared = compare_scans(&snapshot);
            self.found(compared, true)?;
        }
        Ok(())
    }
}

/// Compares every key of the key index with the row it stands for, and their bounds with those that the manifest has.
fn compare_keys(table: &CheckedTable, run: &Run) -> Result<()> {
    let all: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
    let damaged = |damage| Error::corrupt(run.sst().sst().path(), damage);
    let (mut at, mut first, mut ascent) = (0, None, Ascent::default());
    for batch in run.sst().rows(0..run.rows(), &all, ROWS_AT_ONCE)? {
        let keys = table.codec.encode_batch(&batch?)?;
        let end = at + keys.len() as u64;
        let indexed = run.sst().key_index().read(at..end)?;
        let differs = keys.iter().zip(indexed.iter()).position(|(row, index)| row != index);
        if let Some(row) = differs {
            return Err(damaged(Damage::KeyDiffers { row: at + row as u64 }));
        }
        ascent.take(&keys).map_err(damaged)?;
        first = first.or(keys.first().map(<[u8]>::to_vec));
        at = end;
    }
    let range = run.meta().files.key_range.as_ref();
    check_bounds(range, (first.as_deref(), ascent.last()), "rows' keys").map_err(damaged)
}

/// Reads the deleted keys of a run, and compares their bounds with those that the manifest has.
fn compare_deletes(table: &CheckedTable, run: &Run) -> Result<()> {
    let keys = run.deleted(&table.codec)?;
    let range = run.meta().files.deletes.as_ref().map(|deletes| &deletes.key_range);
    check_bounds(range, (keys.first(), keys.last()), "deleted keys")
        .map_err(|damage| Error::corrupt(run.sst().deletes_path(), damage))
}

fn check_bounds(
    range: Option<&KeyRange>,
    found: (Option<&[u8]>, Option<&[u8]>),
    keys: &'static str,
) -> Result<(), Damage> {
    if found == (range.map(|range| &*range.min), range.map(|range| &*range.max)) {
        return Ok(());
    }
    Err(Damage::KeyBounds { keys })
}

/// Compares the number of rows of a scan with that of merge-on-read.
fn compare_scans(snapshot: &TableSnapshot) -> Result<()> {
    let mut expected = 0;
    for batch in snapshot.scan(&KeyInterval::ALL, &[])? {
        expected += batch?.num_rows() as u64;
    }
    let mut found = 0;
    for batch in ScanPlan::new(snapshot, 1)?.open(&[])? {
        found += batch?.num_rows() as u64;
    }
    if expected == found {
        return Ok(());
    }
    let damage = Damage::Disagreement { fact: "the number of rows of a scan", expected, found };
    Err(Error::corrupt(path::table(snapshot.table().id), damage))
}
