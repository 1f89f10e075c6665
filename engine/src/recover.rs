//! Opens a database: what the last process left, checked, becomes the state that readers and writers see.
//!
//! In: a folder. Out: [`State`], and an [`OpenReport`] of what was found.
//! Invariants: nothing is removed, cut or written before manifest and log were read and found whole. The newest
//! manifest is the truth; if the log knows of a newer one, or that one is damaged, that is [`Error::Corrupt`], never
//! an older state. Recovery may be interrupted anywhere and started again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::config::Options;
use crate::deletion::file::read_all;
use crate::disk::api::{Disk, DiskLock, at, names};
use crate::disk::path;
use crate::error::{Damage, Error, Result};
use crate::failures::Failures;
use crate::id::{Digest, ManifestId, NUMBER_LIMIT, RunId, SeqNo, TableId, WalId};
use crate::pace::Pace;
use crate::publish::{VersionEdit, publish, write_manifest};
use crate::read::resolve::resolved_version;
use crate::rows::key::KeyCodec;
use crate::rows::keys::Keys;
use crate::rows::schema::ROW_ID;
use crate::seeded::{SeededFault, makes};
use crate::sst::store::Store;
use crate::state::{Calls, Counters, Current, Publisher, Signal, State, Writer};
use crate::sweep::sweep_folder;
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::version::manifest::{FORMAT, Manifest, TableManifest};
use crate::version::run::Run;
use crate::version::table::TableVersion;
use crate::version::view::{TableView, View};
use crate::wal::body::{RawChanges, manifest_body};
use crate::wal::log::Wal;
use crate::wal::record::{RecordKind, SEGMENT_HEADER_BYTES};
use crate::wal::replay::{RecordPlace, Replayed, TornTail, replay};
use crate::wal::settle::settle;

/// What opening a database found and did.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// The database was created.
    pub created: bool,
    /// Write batches that were read from the log again.
    pub replayed: u64,
    /// The end of the log that was cut off: part of a sync group that no caller was told was durable.
    pub torn: Option<TornTail>,
    /// Files that nobody named and that were removed: left by work that was never committed.
    pub swept: Vec<String>,
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "created the database");
        }
        write!(f, "{} write batches were read from the log again", self.replayed)?;
        if let Some(torn) = &self.torn {
            write!(f, "; {torn}")?;
        }
        if let Some(first) = self.swept.first() {
            let count = self.swept.len();
            write!(f, "; {count} files that no committed state names were removed, the first of them {first}")?;
        }
        Ok(())
    }
}

/// Opens the database in a folder, or creates it.
///
/// # Errors
/// [`Error::Locked`], [`Error::NoDatabase`], [`Error::NotADatabase`], [`Error::Corrupt`], [`Error::FormatTooNew`],
/// [`Error::UnknownFeature`], the disk's.
pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(State, OpenReport)> {
    options.check()?;
    let names = check_folder(&*disk)?;
    // Without its lock there never was a database here, and none is to be made: leave the folder as it is.
    if !options.create && !names.iter().any(|name| name == path::LOCK || name == path::MANIFESTS) {
        return Err(Error::NoDatabase { path: disk.describe() });
    }
    disk.create_dir("").map_err(at("create", "the database folder"))?;
    let locked = disk.lock(path::LOCK).map_err(at("lock", path::LOCK))?;
    let lock = locked.ok_or_else(|| Error::Locked { path: disk.describe() })?;
    match newest_manifest(&*disk)? {
        Some(id) => {
            let (manifest, digest) = read_manifest(&*disk, id)?;
            recover(disk, options, lock, (manifest, digest), DeadRows::Recorded)
        }
        None => {
            check_nothing_lost(&*disk)?;
            if options.create { create(disk, options, lock) } else { Err(Error::NoDatabase { path: disk.describe() }) }
        }
    }
}

/// Opens a database as [`open`] does, but finds the dead rows of all runs by their keys, whatever the deletion vectors
/// say, and commits what it found.
///
/// # Errors
/// As [`open`].
pub fn open_resolving(disk: Arc<dyn Disk>, options: Options) -> Result<State> {
    options.check()?;
    let no_database = || Error::NoDatabase { path: disk.describe() };
    let lock = disk.lock(path::LOCK).map_err(at("lock", path::LOCK))?;
    let lock = lock.ok_or_else(|| Error::Locked { path: disk.describe() })?;
    let id = newest_manifest(&*disk)?.ok_or_else(no_database)?;
    let found = read_manifest(&*disk, id)?;
    let (state, _) = recover(disk, options, lock, found, DeadRows::ByKeys)?;
    // What only the manifest before named.
    sweep_folder(&*state.disk, &crate::state::locked(&state.publisher).manifest)?;
    Ok(state)
}

/// How the dead rows of runs are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DeadRows {
    /// The manifest says where they are recorded, if they are.
    Recorded,
    /// By their keys, whatever the manifest says.
    ByKeys,
}

/// Refuses folders that hold something else, before anything is written into them; returns what is in this one.
///
/// # Errors
/// [`Error::NotADatabase`], [`Error::Unfinished`]; the disk's.
pub fn check_folder(disk: &dyn Disk) -> Result<Vec<String>> {
    let names = names(disk, "")?;
    if names.iter().any(|name| name == path::INCOMPLETE) && newest_manifest(disk)?.is_none() {
        return Err(Error::Unfinished { path: disk.describe() });
    }
    let ours = [path::LOCK, path::MANIFESTS, path::WAL, path::TABLES, path::STAGING];
    if !names.iter().any(|name| name == path::MANIFESTS)
        && let Some(found) = names.iter().find(|name| !ours.contains(&name.as_str()))
    {
        return Err(Error::NotADatabase { path: disk.describe(), found: found.clone() });
    }
    Ok(names)
}

/// The manifest with the highest number.
///
/// # Errors
/// The disk's.
pub fn newest_manifest(disk: &dyn Disk) -> Result<Option<ManifestId>> {
    Ok(names(disk, path::MANIFESTS)?.iter().filter_map(|name| path::parse_manifest(name)).max())
}

/// A folder without a manifest must not hold runs, nor a log with records: they would mean that it was lost.
fn check_nothing_lost(disk: &dyn Disk) -> Result<()> {
    let lost = || Error::corrupt(path::MANIFESTS, Damage::Missing);
    if !names(disk, path::TABLES)?.is_empty() {
        return Err(lost());
    }
    for name in names(disk, path::WAL)? {
        let path = format!("{}/{name}", path::WAL);
        let file = disk.open(&path).map_err(at("open", &path))?;
        if path != path::wal(WalId(1)) || file.len() > SEGMENT_HEADER_BYTES {
            return Err(lost());
        }
    }
    Ok(())
}

/// Creates a database in a folder that holds nothing yet, or what an attempt left that was interrupted.
fn create(disk: Arc<dyn Disk>, options: Options, lock: Box<dyn DiskLock>) -> Result<(State, OpenReport)> {
    create_folders(&*disk)?;
    let database = Digest(disk.random());
    let mut wal = Wal::create(disk.clone(), database.0, options.wal_segment_bytes)?;
    let manifest = Manifest {
        format: FORMAT,
        features: Vec::new(),
        id: ManifestId(1),
        commit: Digest(disk.random()),
        previous: Digest(0),
        database,
        retention_seconds: options.retention_seconds,
        next_table: TableId(1),
        next_run: RunId(1),
        last_seq: SeqNo::NONE,
        wal_floor: WalId(1),
        wal_end: wal.end(),
        tables: Vec::new(),
    };
    let digest = commit_first(&*disk, &manifest, &mut wal)?;
    let writer = Writer { wal, next_seq: SeqNo(1), unannounced: None };
    let store = Store::new(disk, options.kept_bytes());
    let state = assemble(store, options, lock, Publisher { manifest, digest }, writer, View::default())?;
    Ok((state, OpenReport { created: true, ..OpenReport::default() }))
}

/// Commits the first manifest of a database, and tells its log; returns the manifest's digest.
///
/// # Errors
/// The disk's. The manifest may be there all the same.
pub fn commit_first(disk: &dyn Disk, manifest: &Manifest, wal: &mut Wal) -> Result<Digest> {
    let bytes = manifest.encode()?;
    let digest = Digest::of(&bytes);
    write_manifest(disk, manifest, &bytes).map_err(|failure| *failure.error)?;
    wal.push(RecordKind::Manifest, manifest.last_seq, &manifest_body(manifest.id, digest));
    wal.commit().map_err(|failure| *failure.error)?;
    Ok(digest)
}

/// Makes the folders that are not there, durably.
///
/// # Errors
/// The disk's.
pub fn create_folders(disk: &dyn Disk) -> Result<()> {
    for folder in [path::MANIFESTS, path::WAL, path::TABLES, path::STAGING] {
        disk.create_dir(folder).map_err(at("create", folder))?;
    }
    disk.sync_dir("").map_err(at("sync", "the database folder"))
}

/// What a manifest and the log behind it say.
#[derive(Debug)]
pub struct ReadBack {
    /// The manifest.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: Digest,
    /// The tables, with what the log adds to the manifest.
    pub tables: BTreeMap<TableId, TableView>,
    /// What the log held.
    pub replayed: Replayed,
}

/// Reads back what a manifest and the log behind it say; changes nothing.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::FormatTooNew`], [`Error::UnknownFeature`], the disk's.
pub fn read_back(store: &Arc<Store>, options: &Options, id: ManifestId) -> Result<ReadBack> {
    let (manifest, digest) = read_manifest(&**store.disk(), id)?;
    read_back_of(store, options, manifest, digest)
}

fn read_back_of(store: &Arc<Store>, options: &Options, manifest: Manifest, digest: Digest) -> Result<ReadBack> {
    let disk = store.disk();
    check_previous(&**disk, &manifest)?;
    let mut tables = BTreeMap::new();
    for table in &manifest.tables {
        options.check_columns(&table.name, table.schema.column_ids.len())?;
        tables.insert(table.id, open_table(store, &manifest, table)?);
    }
    let known_end = Some(manifest.wal_end);
    let mut visit = |place: RecordPlace<'_>, seq: SeqNo, changes: &[RawChanges<'_>]| {
        changes.iter().try_for_each(|changes| apply(&mut tables, options, place, seq, changes))
    };
    let replayed = replay(disk, manifest.database.0, manifest.wal_floor, known_end, &mut visit)?;
    check_announced(&manifest, digest, &replayed)?;
    Ok(ReadBack { manifest, digest, tables, replayed })
}

/// Goes on where the last process left off.
fn recover(
    disk: Arc<dyn Disk>,
    options: Options,
    lock: Box<dyn DiskLock>,
    (found, digest): (Manifest, Digest),
    dead_rows: DeadRows,
) -> Result<(State, OpenReport)> {
    let store = Store::new(disk.clone(), options.kept_bytes());
    let mut manifest = found.clone();
    if dead_rows == DeadRows::ByKeys {
        // Format 1 had no record of them.
        manifest.format = 1;
        manifest.tables.iter_mut().for_each(|table| table.deletions = None);
    }
    let ReadBack { manifest, digest, tables, replayed } = read_back_of(&store, &options, manifest, digest)?;
    let format = manifest.format;
    // A copy of a database may lack the folders that were empty.
    create_folders(&*disk)?;
    // The process before may have died before it had synced the manifest's name, and what is swept may be what is found
    // without it.
    disk.sync_dir(path::MANIFESTS).map_err(at("sync", path::MANIFESTS))?;
    // Of what is there nothing goes that the manifest on the disk names, until another one is committed.
    let swept = sweep_folder(&*disk, &found)?;
    settle(&*disk, &replayed, manifest.wal_end)?;
    let last_seq = manifest.last_seq.max(replayed.last_seq);
    let (end, sealed) = (replayed.end, replayed.sealed);
    let segment_bytes = options.wal_segment_bytes;
    let wal = Wal::resume(disk.clone(), manifest.database.0, segment_bytes, end, last_seq, sealed)?;
    let report = OpenReport { created: false, replayed: replayed.writes, torn: replayed.torn, swept: swept.files };
    let writer = Writer { wal, next_seq: last_seq.next(), unannounced: None };
    let view = View::new(tables.into_values());
    let state = assemble(store, options, lock, Publisher { manifest, digest }, writer, view)?;
    crate::state::locked(&state.obsolete).extend(swept.kept);
    if format < FORMAT {
        publish(&state, VersionEdit::Upgrade)?;
    }
    tracing::info!(?report, "opened the database");
    Ok((state, report))
}

/// Reads a manifest, and gives its digest.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::FormatTooNew`], [`Error::UnknownFeature`], the disk's.
pub fn read_manifest(disk: &dyn Disk, id: ManifestId) -> Result<(Manifest, Digest)> {
    let path = path::manifest(id);
    let file = disk.open(&path).map_err(at("open", &path))?;
    let bytes = file.map().map_err(at("read", &path))?;
    Ok((Manifest::decode(&path, id, &bytes)?, Digest::of(&bytes)))
}

/// If the manifest before is still there, it must be the one that this one followed.
fn check_previous(disk: &dyn Disk, manifest: &Manifest) -> Result<()> {
    let path = path::manifest(ManifestId(manifest.id.0 - 1));
    let Ok(file) = disk.open(&path) else { return Ok(()) };
    let found = Digest::of(&file.map().map_err(at("read", &path))?);
    if found == manifest.previous {
        return Ok(());
    }
    Err(Error::corrupt(path, Damage::Digest { expected: manifest.previous, found }))
}

/// The log must not know of a manifest that is newer than the newest one found.
fn check_announced(manifest: &Manifest, digest: Digest, replayed: &Replayed) -> Result<()> {
    match replayed.manifest {
        Some((id, _)) if id > manifest.id => Err(Error::corrupt(path::manifest(id), Damage::Missing)),
        Some((id, expected)) if id == manifest.id && expected != digest => {
            Err(Error::corrupt(path::manifest(id), Damage::Digest { expected, found: digest }))
        }
        _ => Ok(()),
    }
}

fn open_table(store: &Arc<Store>, manifest: &Manifest, table: &TableManifest) -> Result<TableView> {
    let path = path::manifest(manifest.id);
    let schema = table.schema.schema(&path, &table.name)?;
    let codec = KeyCodec::new(&table.name, &schema)
        .map_err(|error| Error::corrupt(&*path, Damage::Refused(Box::new(error))))?;
    let mut runs = Vec::with_capacity(table.runs.len());
    for meta in &table.runs {
        runs.push(Arc::new(Run::open(store, table.id, &schema, meta.clone())?));
    }
    let version = open_version(store, table, runs, &codec, &path)?;
    let mut view = TableView {
        id: table.id,
        name: table.name.as_str().into(),
        schema,
        codec: Arc::new(codec),
        memtables: Vec::new(),
        version: Arc::new(version),
        next_row_id: Arc::new(AtomicI64::new(table.next_row_id)),
    };
    view.memtables.push(view.new_memtable()?);
    Ok(view)
}

/// The runs of a table with their dead rows. Manifests of format 1 do not say which those are; the keys do.
fn open_version(
    store: &Arc<Store>,
    table: &TableManifest,
    runs: Vec<Arc<Run>>,
    codec: &KeyCodec,
    path: &str,
) -> Result<TableVersion> {
    let Some(deletions) = &table.deletions else {
        let version = resolved_version(runs, table.flushed_through, codec, path)?;
        return Ok(version.with_history(table.history.clone()));
    };
    let dead = read_all(&**store.disk(), table.id, deletions)?.into_iter().map(Arc::new);
    let version = TableVersion::new(runs.into_iter().zip(dead).collect(), table.flushed_through);
    let version = version.map_err(|damage| Error::corrupt(path, damage))?.recorded(deletions.files.clone());
    Ok(version.with_history(table.history.clone()))
}

/// Applies one table's part of a write record, unless the runs have it already or the table is gone.
fn apply(
    tables: &mut BTreeMap<TableId, TableView>,
    options: &Options,
    place: RecordPlace<'_>,
    seq: SeqNo,
    raw: &RawChanges<'_>,
) -> Result<()> {
    let Some(table) = tables.get_mut(&raw.table) else { return Ok(()) };
    if seq <= table.version.flushed_through() && !makes(SeededFault::ReplayOfFlushed) {
        return Ok(());
    }
    if raw.schema != table.schema.id() {
        let value = u64::from(raw.schema.0);
        return Err(place.corrupt(Damage::Field { field: "schema", value }));
    }
    let decoded = raw.decode(&table.schema, &table.codec);
    let changes = decoded.map_err(|damage| place.corrupt(damage))?;
    if !table.schema.has_key() {
        let last = last_row_id(&changes.keys);
        if last >= NUMBER_LIMIT.cast_signed() {
            return Err(place.corrupt(Damage::Field { field: ROW_ID, value: last.cast_unsigned() }));
        }
        table.next_row_id.fetch_max(last + 1, Ordering::Relaxed);
    }
    table.active().apply(seq, changes)?;
    if table.active().size_bytes() >= options.memtable_bytes {
        table.active().freeze();
        let fresh = table.new_memtable()?;
        table.memtables.insert(0, fresh);
    }
    Ok(())
}

/// The highest of some row ids, whose encoding is their big-endian bytes with the sign bit flipped.
fn last_row_id(keys: &Keys) -> i64 {
    let last = keys.last().and_then(|key| key.try_into().ok()).map_or(1 << 63, u64::from_be_bytes);
    (last ^ (1 << 63)).cast_signed()
}

fn assemble(
    store: Arc<Store>,
    options: Options,
    lock: Box<dyn DiskLock>,
    publisher: Publisher,
    writer: Writer,
    view: View,
) -> Result<State> {
    let visible = SeqNo(writer.next_seq.0 - 1);
    let next_run = AtomicU64::new(publisher.manifest.next_run.0);
    Ok(State {
        disk: store.disk().clone(),
        store,
        options,
        pool: OnceLock::new(),
        current: RwLock::new(Current { view: Arc::new(view), visible }),
        writer: Mutex::new(writer),
        publisher: Mutex::new(publisher),
        compacting: Mutex::new(()),
        flushing: Mutex::new(()),
        resolving: Mutex::new(()),
        gate: RwLock::new(()),
        retired: Mutex::default(),
        obsolete: Mutex::default(),
        next_run,
        poison: OnceLock::new(),
        flush_failures: Failures::default(),
        compaction_failures: Failures::default(),
        calls: Calls::default(),
        closed: AtomicBool::new(false),
        pending_bytes: Arc::default(),
        line: Mutex::default(),
        progress: Arc::default(),
        work: Signal::default(),
        pace: Pace::default(),
        counters: Counters::default(),
        lock: Mutex::new(Some(lock)),
    })
}
