//! An open database: the engine's front door.
//!
//! In: calls from any thread. Out: durable writes, snapshots, loads, reports.
//! Invariants: a call that returned `Ok` from a write is durable and visible to every snapshot taken afterwards.
//! Dropping a database without [`Database::close`] loses nothing that was acknowledged; it only leaves more for the
//! next opening to do.

use std::sync::{Arc, PoisonError, Weak};

use arrow::datatypes::Schema;

use crate::back_pressure::{admit, await_compactions};
use crate::background::{Threads, commit_or_poison};
use crate::backup::file::BackupOptions;
use crate::backup::run::{Backup, BackupReport};
use crate::commit::{Done, Pending, commit_group, prepare_batch};
use crate::compact::policy::Effort;
use crate::compact::step::{compact_step, compact_table};
use crate::config::Options;
use crate::delete_where::{DeleteReport, RowPredicate, delete_where};
use crate::disk::api::Disk;
use crate::error::{Error, Result};
use crate::flush::{flush_frozen, flush_table};
use crate::id::{SeqNo, TableId};
use crate::load::run::{LoadOptions, LoadReport, load};
use crate::memtable::table::Memtable;
use crate::publish::{VersionEdit, publish};
use crate::read::snapshot::TableSnapshot;
use crate::recover::{OpenReport, open};
use crate::report::{DatabaseReport, report};
use crate::rows::change::WriteBatch;
use crate::rows::key::KeyCodec;
use crate::rows::schema::{TableSchema, check_table_name};
use crate::seeded::{SeededFault, makes};
use crate::source::BatchSource;
use crate::state::{Current, State, locked};
use crate::sweep::sweep;
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Mutex, bounded};
use crate::version::table::TableVersion;
use crate::version::view::TableView;

/// An open database. Share it by reference or in an [`Arc`].
#[derive(Debug)]
pub struct Database {
    state: Arc<State>,
    threads: Mutex<Option<Threads>>,
    closing: Mutex<()>,
    report: OpenReport,
}

/// All tables as they were at one sequence number. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    current: Current,
}

impl Snapshot {
    /// The sequence number it shows.
    pub fn seq(&self) -> SeqNo {
        self.current.visible
    }

    /// A table.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn table(&self, name: &str) -> Result<TableSnapshot> {
        Ok(TableSnapshot::new(self.current.view.named(name)?.clone(), self.current.visible))
    }

    /// A table by its id; `None` if it was dropped.
    pub fn table_by_id(&self, id: TableId) -> Option<TableSnapshot> {
        Some(TableSnapshot::new(self.current.view.table(id)?.clone(), self.current.visible))
    }

    /// Names of the tables.
    pub fn table_names(&self) -> Vec<String> {
        self.current.view.tables().map(|table| table.name.to_string()).collect()
    }
}

impl Database {
    /// Opens the database on a disk, or creates it.
    ///
    /// # Errors
    /// See [`crate::recover::open`].
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self> {
        let background = options.background;
        let (state, report) = open(disk, options)?;
        let state = Arc::new(state);
        state.share_memory();
        let threads = if background { Some(Threads::start(&state)?) } else { None };
        state.work.raise();
        Ok(Self { state, threads: Mutex::new(threads), closing: Mutex::new(()), report })
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// The choices it was opened with.
    pub fn options(&self) -> &Options {
        &self.state.options
    }

    /// Creates a table with a key of some of its columns, or without a key. Names of tables and columns may be any text
    /// of 1 to 255 bytes without control characters that does not begin with `__`; they are compared byte by byte.
    ///
    /// # Errors
    /// [`Error::TableExists`]; names, types and keys that cannot be; [`Error::Dropped`], if somebody was as quick; the
    /// disk's.
    pub fn create_table(&self, name: &str, schema: &Schema, key: &[&str]) -> Result<TableId> {
        let _call = self.state.calls.begin()?;
        check_table_name(name)?;
        let schema = Arc::new(TableSchema::new(name, schema, key)?);
        self.state.options.check_columns(name, schema.stored().fields().len())?;
        let codec = Arc::new(KeyCodec::new(name, &schema)?);
        let mut table = TableView {
            id: TableId(0),
            name: name.into(),
            schema: schema.clone(),
            codec,
            memtables: Vec::new(),
            version: Arc::new(TableVersion::default()),
            next_row_id: Arc::new(AtomicI64::new(1)),
        };
        table.memtables.push(table.new_memtable()?);
        publish(&self.state, VersionEdit::Create(Box::new(table)))?;
        // Not by its name: it may be another table's by now.
        let view = self.state.current().view;
        let made = view.tables().find(|table| Arc::ptr_eq(&table.schema, &schema)).map(|table| table.id);
        made.ok_or_else(|| Error::Dropped { table: name.to_owned() })
    }

    /// Drops a table with its rows. Snapshots taken before keep it.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; the disk's.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        let _call = self.state.calls.begin()?;
        {
            let _gate = self.state.gate.write().unwrap_or_else(PoisonError::into_inner);
            let table = self.state.current().view.named(name)?.clone();
            publish(&self.state, VersionEdit::Drop(table.id)).map_err(|error| error.of_table(name))?;
            let memtables: Vec<Weak<Memtable>> = table.memtables.iter().map(Arc::downgrade).collect();
            drop(table);
            // Snapshots may keep them, as those that were flushed.
            memtables.into_iter().for_each(|memtable| self.state.retire(memtable));
        }
        sweep(&self.state);
        Ok(())
    }

    /// Drops a table that holds nothing; leaves one that has a run, or a change in memory.
    ///
    /// # Errors
    /// [`Error::Dropped`]; the disk's.
    pub fn drop_empty_table(&self, id: TableId) -> Result<()> {
        let _call = self.state.calls.begin()?;
        let _gate = self.state.gate.write().unwrap_or_else(PoisonError::into_inner);
        let view = self.state.current().view;
        let table = view.table(id).ok_or_else(|| Error::Dropped { table: id.to_string() })?;
        let is_empty =
            table.version.runs().is_empty() && table.memtables.iter().all(|memtable| memtable.changes() == 0);
        if is_empty { publish(&self.state, VersionEdit::Drop(id)) } else { Ok(()) }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { current: self.state.current() }
    }

    /// Applies a write batch, all of it or nothing; durable when it returns. Cost: one sync of the log, shared with
    /// all writers that wait at the same time. Who writes alone commits in its own thread: handing a row to another
    /// one and being woken takes a sixth of the time.
    ///
    /// # Errors
    /// What is wrong with the batch; [`Error::DuplicateKey`]; the disk's; [`Error::Poisoned`].
    pub fn write(&self, batch: &WriteBatch) -> Result<SeqNo> {
        let (done, answer) = bounded(1);
        let _call = self.state.calls.begin()?;
        if let Some(pending) = self.prepare(batch, Box::new(move |result| drop(done.send(result))))? {
            if pending.batch.is_alone() {
                commit_or_poison(&self.state, vec![pending]);
            } else {
                self.enqueue(pending)?;
            }
        }
        answer.recv().unwrap_or(Err(Error::ThreadPanicked { thread: "commit" }))
    }

    /// As [`Database::write`], but returns when the batch is in the queue, and calls `done` when it is durable or
    /// refused. Preparing the batch, and waiting for memory, happen before it returns.
    ///
    /// # Errors
    /// What is wrong with the batch itself; then `done` is never called. It is dropped without a call if the commit
    /// panics, which is a defect and poisons the database.
    pub fn write_then(&self, batch: &WriteBatch, done: Done) -> Result<()> {
        let _call = self.state.calls.begin()?;
        match self.prepare(batch, done)? {
            Some(pending) => self.enqueue(pending),
            None => Ok(()),
        }
    }

    /// Makes a batch ready to be committed; answers one that changes nothing at once.
    fn prepare(&self, batch: &WriteBatch, done: Done) -> Result<Option<Pending>> {
        self.state.check_open()?;
        let memory = admit(&self.state, batch.size_bytes())?;
        let prepared = prepare_batch(&self.state, batch, &[], memory)?;
        if prepared.is_empty() {
            done(Ok(self.state.current().visible));
            return Ok(None);
        }
        Ok(Some(Pending { batch: prepared, done }))
    }

    /// Hands a batch to the commit thread; commits it where there is none.
    fn enqueue(&self, pending: Pending) -> Result<()> {
        let queue = locked(&self.threads).as_ref().map(|threads| threads.queue().cloned());
        match queue {
            Some(Some(queue)) => queue.send(pending).map_err(|_| Error::Closed),
            Some(None) => Err(Error::Closed),
            None => {
                commit_or_poison(&self.state, vec![pending]);
                Ok(())
            }
        }
    }

    /// Applies several write batches as one group with one sync, in their order; each is applied or refused on its own.
    /// Does not wait for batches that [`Database::write_then`] put into the queue: they may come behind it.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`], if together they are; [`Error::Poisoned`], [`Error::Closed`]; per batch, as
    /// [`Database::write`].
    pub fn write_group(&self, batches: &[WriteBatch]) -> Result<Vec<Result<SeqNo>>> {
        let _call = self.state.calls.begin()?;
        self.state.check_open()?;
        let memory = admit(&self.state, batches.iter().map(WriteBatch::size_bytes).sum())?;
        let (done, answers) = bounded(batches.len());
        let mut group = Vec::with_capacity(batches.len());
        let mut results: Vec<Option<Result<SeqNo>>> = batches.iter().map(|_| None).collect();
        for (index, batch) in batches.iter().enumerate() {
            match prepare_batch(&self.state, batch, &group, memory.clone()) {
                Ok(batch) if batch.is_empty() => results[index] = Some(Ok(self.state.current().visible)),
                Ok(batch) => {
                    let done = done.clone();
                    let done: Done = Box::new(move |answer| drop(done.send((index, answer))));
                    group.push(Pending { batch, done });
                }
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        drop(done);
        commit_group(&self.state, group);
        for (index, answer) in answers {
            results[index] = Some(answer);
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(Error::Closed))).collect())
    }

    /// Flushes all memtables that are frozen.
    ///
    /// # Errors
    /// The disk's; [`Error::Poisoned`].
    pub fn flush_frozen(&self) -> Result<()> {
        let _call = self.state.calls.begin()?;
        flush_frozen(&self.state)
    }

    /// Loads a source in bulk, as one change. Waits first if compactions of the table are behind.
    ///
    /// # Errors
    /// See [`load`].
    pub fn load(&self, table: &str, source: &mut dyn BatchSource, options: &LoadOptions) -> Result<LoadReport> {
        let _call = self.state.calls.begin()?;
        await_compactions(&self.state, table, &|| options.cancel.load(Ordering::Relaxed))?;
        let loaded = load(&self.state, table, source, options);
        sweep(&self.state);
        loaded
    }

    /// Deletes the rows of a table that a predicate wants, as one change. Waits first if compactions of the table are
    /// behind.
    ///
    /// # Errors
    /// See [`delete_where`].
    pub fn delete_where(&self, table: &str, predicate: &mut dyn RowPredicate) -> Result<DeleteReport> {
        let _call = self.state.calls.begin()?;
        await_compactions(&self.state, table, &|| false)?;
        let deleted = delete_where(&self.state, table, predicate);
        sweep(&self.state);
        deleted
    }

    /// Turns everything in a table's memtables into runs.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; the disk's.
    pub fn flush(&self, table: &str) -> Result<()> {
        let _call = self.state.calls.begin()?;
        let id = self.state.current().view.named(table)?.id;
        flush_table(&self.state, id)?;
        sweep(&self.state);
        Ok(())
    }

    /// Rewrites a table into runs that do not overlap and hold live rows only. Afterwards the Parquet files in its
    /// folder are the table.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; [`Error::Corrupt`]; the disk's.
    pub fn compact(&self, table: &str) -> Result<()> {
        let _call = self.state.calls.begin()?;
        let id = self.state.current().view.named(table)?.id;
        compact_table(&self.state, id)
    }

    /// Does one step of what the thread that compacts does: the most urgent one of any table. `false` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the disk's.
    pub fn compact_step(&self, effort: Effort) -> Result<bool> {
        let _call = self.state.calls.begin()?;
        let mut failed = Ok(());
        let was_done = compact_step(&self.state, effort, &mut |_, outcome| {
            failed = std::mem::replace(&mut failed, Ok(())).and(outcome);
        })?;
        if was_done { Ok(true) } else { failed.map(|()| false) }
    }

    /// Makes a database of its own from what readers see now, in a folder that is missing or empty. Writes, flushes and
    /// compactions go on meanwhile, and so does the backup if writes are over because of an earlier failure.
    ///
    /// # Errors
    /// See [`Backup`]. What was made is removed then.
    pub fn backup(&self, target: Arc<dyn Disk>, options: BackupOptions) -> Result<BackupReport> {
        self.begin_backup(target, options)?.finish()
    }

    /// Begins a [`Database::backup`] of which the caller does each step.
    ///
    /// # Errors
    /// See [`Backup::of_open`].
    pub fn begin_backup(&self, target: Arc<dyn Disk>, options: BackupOptions) -> Result<Backup<'_>> {
        Backup::of_open(&self.state, target, options)
    }

    /// What the database consists of now.
    pub fn report(&self) -> DatabaseReport {
        report(&self.state)
    }

    /// Waits for the calls that run, ends all background work, records where the log ends, gives back what is reserved
    /// behind it, and releases the database. Further calls say [`Error::Closed`]. Called by the source of a load, or by a
    /// `done`, it would wait for itself.
    ///
    /// # Errors
    /// The disk's; [`Error::Poisoned`]. The database is closed all the same.
    pub fn close(&self) -> Result<()> {
        // Held to the end, so that who closes a second time waits for the first.
        let _closing = locked(&self.closing);
        if locked(&self.state.lock).is_none() {
            return Ok(());
        }
        self.state.calls.end();
        self.stop_threads();
        sweep(&self.state);
        let recorded = if self.is_recorded() || makes(SeededFault::CloseWithoutLogEnd) {
            Ok(())
        } else {
            publish(&self.state, VersionEdit::Checkpoint)
        };
        // Not after a failed sync, and not in somebody else's log: the folder may be another one by now.
        if self.state.check_open().is_ok() && self.state.check_in_place().is_ok() {
            locked(&self.state.writer).wal.give_back();
        }
        self.state.closed.store(true, Ordering::Release);
        locked(&self.state.lock).take();
        recorded
    }

    /// Whether the newest manifest says where the log ends, so that closing has nothing to add.
    fn is_recorded(&self) -> bool {
        let publisher = locked(&self.state.publisher);
        let writer = locked(&self.state.writer);
        publisher.manifest.wal_end == writer.wal.end()
    }

    fn stop_threads(&self) {
        let threads = locked(&self.threads).as_mut().map(std::mem::take);
        if let Some(mut threads) = threads {
            threads.stop(&self.state);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody calls any more; background work is told so.
        self.state.calls.end();
        self.stop_threads();
        locked(&self.state.lock).take();
    }
}
