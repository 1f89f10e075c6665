//! The one place where a new state of the database is committed: durable first, then visible.
//!
//! In: a [`VersionEdit`], whose runs are durable. Out: files of the rows that die with it, manifest `N + 1`, the view that
//! readers get.
//! Invariants: the WAL is durable through every sequence number that is published, because changes reach a memtable
//! only behind their sync. The manifest is created if absent; after any doubt it is read back and compared. Readers see
//! the new view only when the manifest is durable and the log was told.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::disk::api::{Disk, at};
use crate::disk::path;
use crate::error::{Error, Result};
use crate::id::{Digest, ManifestId, RunId, SeqNo, TableId};
use crate::memtable::table::Memtable;
use crate::record::Recorded;
use crate::seeded::{SeededFault, makes};
use crate::state::{Current, Obsolete, Publisher, State, locked};
use crate::sync::atomic::Ordering;
use crate::version::history::{Amount, Compaction, Writing};
use crate::version::manifest::{FORMAT, Manifest, SchemaManifest, TableManifest};
use crate::version::table::RunsEdit;
use crate::version::view::{TableView, View};
use crate::wal::body::manifest_body;
use crate::wal::log::CommitFailure;
use crate::wal::record::RecordKind;

/// A change of the committed state.
#[derive(Debug)]
pub enum VersionEdit {
    /// Nothing changes; the manifest records where the log ends.
    Checkpoint,
    /// Nothing changes, but everything is written in the newest format.
    Upgrade,
    /// A new table; it gets its id here.
    Create(Box<TableView>),
    /// A table goes, with its rows.
    Drop(TableId),
    /// A frozen memtable is in runs now.
    Flushed(RunsEdit, Arc<Memtable>),
    /// Rows were loaded in bulk, or deleted by a predicate, as one change; all changes before it are flushed.
    Loaded(RunsEdit),
    /// Some runs were rewritten.
    Compacted(RunsEdit, Compaction),
}

/// Commits an edit and makes it visible.
///
/// # Errors
/// [`Error::Dropped`] if the table is gone; the disk's, after which nothing was published, unless the handle is
/// poisoned: then reopening shows which it was.
pub fn publish(state: &State, mut edit: VersionEdit) -> Result<()> {
    let mut publisher = locked(&state.publisher);
    // Behind the lock: who held it may have failed halfway.
    state.check_open()?;
    let _step = state.whole_step("publishing");
    if let VersionEdit::Create(table) = &mut edit {
        table.id = publisher.manifest.next_table;
    }
    let view = state.current().view;
    let tables = edited_tables(&view, &edit)?;
    // Before a file gets a name in the folder; and again before the manifest does.
    state.check_in_place().map_err(|failure| state.fail(failure))?;
    let deletions = Recorded::write(state, tables)?;
    let manifest = next_manifest(state, &publisher, deletions.tables());
    let bytes = manifest.encode()?;
    let digest = Digest::of(&bytes);
    if makes(SeededFault::SegmentsSweptBeforePublish) {
        let segments = locked(&state.writer).wal.forget_before(manifest.wal_floor);
        segments.into_iter().for_each(|segment| drop(state.disk.remove(&path::wal(segment))));
    }
    let in_place = state.check_in_place();
    let written = in_place.and_then(|()| write_manifest(&*state.disk, &manifest, &bytes));
    written.map_err(|failure| state.fail(failure))?;
    let closing = matches!(edit, VersionEdit::Checkpoint);
    if !closing && !makes(SeededFault::ManifestNotAnnounced) {
        announce(state, manifest.id, digest)?;
    }
    let before = std::mem::replace(&mut *publisher, Publisher { manifest, digest });
    let tables = deletions.keep();
    state.change_current(|current| apply(current, &edit, &tables));
    state.share_memory();
    forget_files(state, &view, &tables);
    drop(publisher);
    remove_manifest(state, before.manifest.id);
    state.progress.raise();
    state.work.raise();
    Ok(())
}

/// The tables that an edit changes, as they are after it (but for their memtables).
fn edited_tables(view: &View, edit: &VersionEdit) -> Result<Vec<TableView>> {
    let mut tables: Vec<TableView> = view.tables().map(|table| (**table).clone()).collect();
    let (edit, writing) = match edit {
        VersionEdit::Checkpoint | VersionEdit::Upgrade => return Ok(tables),
        VersionEdit::Create(table) => {
            if view.tables().any(|other| other.name == table.name) {
                return Err(Error::TableExists { name: table.name.to_string() });
            }
            tables.push((**table).clone());
            return Ok(tables);
        }
        VersionEdit::Drop(id) => {
            if view.table(*id).is_none() {
                return Err(Error::Dropped { table: id.to_string() });
            }
            tables.retain(|table| table.id != *id);
            return Ok(tables);
        }
        VersionEdit::Flushed(edit, _) => (edit, Writing::Flush(written(edit))),
        VersionEdit::Loaded(edit) => (edit, Writing::Load(written(edit))),
        VersionEdit::Compacted(edit, compaction) => (edit, Writing::Compaction(compaction.clone())),
    };
    let Some(table) = tables.iter_mut().find(|table| table.id == edit.table) else {
        return Err(Error::Dropped { table: edit.table.to_string() });
    };
    let history = (**table.version.history()).clone().with(writing);
    table.version = Arc::new(table.version.edited(edit)?.with_history(history));
    Ok(tables)
}

fn written(edit: &RunsEdit) -> Amount {
    Amount::of(edit.added.iter().map(AsRef::as_ref))
}

/// The manifest of some tables. What the log holds now is durable, so its end can be recorded.
fn next_manifest(state: &State, publisher: &Publisher, tables: &[TableView]) -> Manifest {
    let writer = locked(&state.writer);
    let last_seq = SeqNo(writer.next_seq.0 - 1);
    // A table without unflushed changes does not need the log; for any other its oldest one decides.
    let current = state.current().view;
    let flushed = (current.tables())
        .filter(|_| !makes(SeededFault::FloorIgnoresOtherTables))
        .filter_map(|table| {
            let through = tables.iter().find(|edited| edited.id == table.id)?.version.flushed_through();
            let unflushed = table.memtables.iter().filter_map(|memtable| memtable.seq_range());
            unflushed.filter(|(_, last)| *last > through).map(|(first, _)| SeqNo(first.0 - 1)).min()
        })
        .min()
        .unwrap_or(last_seq);
    let next_table = tables.iter().map(|table| table.id.next()).max().unwrap_or(publisher.manifest.next_table);
    Manifest {
        format: FORMAT,
        id: publisher.manifest.id.next(),
        commit: Digest(state.disk.random()),
        previous: publisher.digest,
        next_table: publisher.manifest.next_table.max(next_table),
        next_run: RunId(state.next_run.load(Ordering::Relaxed)),
        last_seq,
        wal_floor: writer.wal.floor(flushed),
        wal_end: writer.wal.end(),
        tables: tables.iter().map(describe).collect(),
        ..publisher.manifest.clone()
    }
}

fn describe(table: &TableView) -> TableManifest {
    TableManifest {
        id: table.id,
        name: table.name.to_string(),
        schema: SchemaManifest::new(&table.schema),
        flushed_through: table.version.flushed_through(),
        next_row_id: table.next_row_id.load(Ordering::Relaxed),
        runs: table.version.runs().iter().map(|run| run.meta().clone()).collect(),
        deletions: Some(table.version.deletions()),
        history: (**table.version.history()).clone(),
    }
}

/// Creates a manifest file if absent, durably.
///
/// # Errors
/// The disk's. After a failed sync the outcome is unknown, and so is poisoned.
pub fn write_manifest(disk: &dyn Disk, manifest: &Manifest, bytes: &[u8]) -> Result<(), CommitFailure> {
    let (staged, path) = (path::staging(&format!("manifest-{}", manifest.id.0)), path::manifest(manifest.id));
    let written = stage(disk, &staged, bytes);
    let linked = written.and_then(|()| match disk.link(&staged, &path) {
        Ok(()) => Ok(()),
        Err(error) => match is_written(disk, &path, bytes) {
            Ok(true) if !makes(SeededFault::ManifestNotReadBack) => Ok(()),
            Ok(_) => Err(failed(at("link", &path)(error), false)),
            // It may be there, and so nothing may be removed that it names.
            Err(_) => Err(failed(at("link", &path)(error), true)),
        },
    });
    // Best effort: what is left in the staging folder is swept when the database opens.
    let _ = disk.remove(&staged);
    linked?;
    disk.sync_dir(path::MANIFESTS).map_err(|error| failed(at("sync", path::MANIFESTS)(error), true))
}

fn failed(error: Error, poisoned: bool) -> CommitFailure {
    CommitFailure { error: Box::new(error), poisoned }
}

fn stage(disk: &dyn Disk, staged: &str, bytes: &[u8]) -> Result<(), CommitFailure> {
    let _ = disk.remove(staged);
    let mut file = disk.create(staged).map_err(|error| failed(at("create", staged)(error), false))?;
    file.append(bytes).map_err(|error| failed(at("write", staged)(error), false))?;
    file.sync().map_err(|error| failed(at("sync", staged)(error), true))
}

/// Whether the manifest at `path` is the one with these bytes, which hold a random commit number.
fn is_written(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<bool> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    if file.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut found = vec![0; bytes.len()];
    file.read_at(0, &mut found)?;
    Ok(found == bytes)
}

/// Tells the log that a manifest was committed. If the log has no room now, the next commit tells it: nothing that
/// the manifest before needs is removed until then.
fn announce(state: &State, id: ManifestId, digest: Digest) -> Result<()> {
    let mut writer = locked(&state.writer);
    // Nobody may get the log as a panic left it.
    let _step = state.whole_step("publishing");
    // A log that failed while this waited for it must not be touched: what is behind a hole in it is damage.
    state.check_open()?;
    writer.unannounced = Some((id, digest));
    let seq = SeqNo(writer.next_seq.0 - 1);
    writer.wal.push(RecordKind::Manifest, seq, &manifest_body(id, digest));
    match writer.wal.commit() {
        Ok(()) => {
            writer.unannounced = None;
            Ok(())
        }
        Err(failure) if failure.poisoned => Err(state.fail(failure)),
        Err(CommitFailure { error, .. }) => {
            tracing::warn!(%error, manifest = id.0, "the log was not told of a manifest yet");
            Ok(())
        }
    }
}

/// Makes an edit visible. Tables may have got new memtables since it was prepared, but no new version.
fn apply(current: &mut Current, edit: &VersionEdit, tables: &[TableView]) {
    let mut view = (*current.view).clone();
    match edit {
        VersionEdit::Create(table) => view = view.with((**table).clone()),
        VersionEdit::Drop(id) => view = view.without(*id),
        _ => {}
    }
    for table in tables {
        let Some(now) = view.table(table.id) else { continue };
        let mut now = (**now).clone();
        now.version = table.version.clone();
        if let VersionEdit::Flushed(edit, memtable) = edit
            && edit.table == table.id
        {
            now.memtables.retain(|other| !Arc::ptr_eq(other, memtable));
        }
        view = view.with(now);
    }
    if let VersionEdit::Loaded(edit) = edit {
        current.visible = current.visible.max(edit.through);
    }
    current.view = Arc::new(view);
}

/// Notes the runs and the deletion vectors that are in the state no more, so that the sweep removes them once nobody
/// reads them.
fn forget_files(state: &State, before: &View, tables: &[TableView]) {
    let mut obsolete = locked(&state.obsolete);
    let mut forget = |table, run, readers| obsolete.push_back(Obsolete { table, run, readers, since: Instant::now() });
    for old in before.tables() {
        let version = tables.iter().find(|table| table.id == old.id).map(|table| &table.version);
        for run in old.version.runs() {
            if version.is_none_or(|version| version.run(run.id()).is_none()) {
                forget(old.id, run.id(), Arc::downgrade(run));
            }
        }
        for file in old.version.deletion_files() {
            if version.is_none_or(|version| !version.deletion_files().contains(file)) {
                // They are read when a database opens, and never again.
                forget(old.id, file.id, Weak::new());
            }
        }
    }
}

/// Removes the manifest before, unless the log does not know of the new one yet; best effort.
fn remove_manifest(state: &State, before: ManifestId) {
    if locked(&state.writer).unannounced.is_none() {
        let _ = state.disk.remove(&path::manifest(before));
    }
}
