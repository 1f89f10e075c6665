//! What an open database is made of, and what guards each part.
//!
//! Locks, in the order they are taken: `compacting`, `gate`, `flushing`, `resolving`, `publisher`, `writer`, `current`.
//! Across a read of data are held `compacting`, `flushing`, `resolving` (while keys are looked up), `gate` (closed by the
//! end of a load, which looks its keys up meanwhile) and `writer` (where an insert asks the runs that came since it was
//! checked).
//! - `current`: the view that readers get and the highest sequence number they see; swapped whole.
//! - `writer`: the WAL and the next sequence number; held across append and sync.
//! - `publisher`: the manifest that was committed last.
//! - `compacting`: held by the one who compacts, or deletes rows by their positions.
//! - `flushing`: held by the one who flushes, so that memtables are published in order; by a backup that begins, so that
//!   no memtable is given up meanwhile.
//! - `resolving`: held by whoever changes the runs of a table, from looking up what dies to publishing it: the ends of
//!   flushes, loads and compactions, and deletes by a condition.
//! - `pending_bytes`: held for an addition, and while the rows that lookups keep get what is left.
//! - `line`: who waits for memory; a leaf.
//! - `gate`: shared by commits; closed while a load or a delete by a condition takes its place in the sequence, a table is
//!   dropped, or a memtable is frozen that is not full.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::config::Options;
use crate::disk::api::{Disk, DiskLock};
use crate::error::{Error, Result};
use crate::failures::Failures;
use crate::id::{Digest, ManifestId, RunId, SeqNo, TableId};
use crate::line::Line;
use crate::memtable::table::Memtable;
use crate::pace::Pace;
use crate::sst::store::Store;
use crate::sst::writer::Encoder;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, RwLock};
use crate::version::manifest::Manifest;
use crate::version::run::Run;
use crate::version::view::{TableView, View};
use crate::wal::log::{CommitFailure, Wal};

/// What readers see.
#[derive(Clone, Debug)]
pub struct Current {
    /// Tables, memtables, runs.
    pub view: Arc<View>,
    /// Highest sequence number that is visible.
    pub visible: SeqNo,
}

/// What the one who writes the log owns.
#[derive(Debug)]
pub struct Writer {
    /// The log.
    pub wal: Wal,
    /// The next sequence number.
    pub next_seq: SeqNo,
    /// A committed manifest that the log does not know of yet.
    pub unannounced: Option<(ManifestId, Digest)>,
}

impl Writer {
    /// Takes the next place in the sequence.
    pub fn take_seq(&mut self) -> SeqNo {
        let seq = self.next_seq;
        self.next_seq = seq.next();
        seq
    }
}

/// What the one who publishes owns.
#[derive(Debug)]
pub struct Publisher {
    /// The manifest committed last.
    pub manifest: Manifest,
    /// Its digest.
    pub digest: Digest,
}

/// A run that no version names any more.
#[derive(Debug)]
pub struct Obsolete {
    /// Its table.
    pub table: TableId,
    /// The run.
    pub run: RunId,
    /// Those who still read it.
    pub readers: Weak<Run>,
    /// Since when no version names it.
    pub since: Instant,
}

/// An open database.
#[derive(Debug)]
pub struct State {
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// Its runs' files.
    pub store: Arc<Store>,
    /// The choices it was opened with.
    pub options: Options,
    /// The pool that encodes, started when it is needed first; see [`State::pool`].
    pub pool: OnceLock<Arc<ThreadPool>>,
    /// See the file's header.
    pub current: RwLock<Current>,
    /// See the file's header.
    pub writer: Mutex<Writer>,
    /// See the file's header.
    pub publisher: Mutex<Publisher>,
    /// See the file's header.
    pub compacting: Mutex<()>,
    /// See the file's header.
    pub flushing: Mutex<()>,
    /// See the file's header.
    pub resolving: Mutex<()>,
    /// See the file's header.
    pub gate: RwLock<()>,
    /// Flushed memtables that snapshots may still need, oldest first.
    pub retired: Mutex<VecDeque<Weak<Memtable>>>,
    /// Runs to remove once nobody reads them.
    pub obsolete: Mutex<VecDeque<Obsolete>>,
    /// The next run id.
    pub next_run: AtomicU64,
    /// The first failure that stopped all writes.
    pub poison: OnceLock<Arc<Error>>,
    /// Flushes in the background that failed.
    pub flush_failures: Failures,
    /// Compactions in the background that failed.
    pub compaction_failures: Failures,
    /// Calls that may change files.
    pub calls: Calls,
    /// Set by closing.
    pub closed: AtomicBool,
    /// Bytes of write batches that are on their way into the memtables.
    pub pending_bytes: Arc<Mutex<usize>>,
    /// The writers that wait for memory.
    pub line: Mutex<Line>,
    /// Signalled when memory was given back, a version was published, background work failed, or the database was poisoned.
    pub progress: Arc<Signal>,
    /// Signalled when there may be something to flush or to compact.
    pub work: Signal,
    /// How long writers rest while compactions are behind.
    pub pace: Pace,
    /// What happened so far.
    pub counters: Counters,
    /// Held as long as the database is open.
    pub lock: Mutex<Option<Box<dyn DiskLock>>>,
}

/// Counts of what happened since the database was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Write batches committed.
    pub commits: AtomicU64,
    /// Times a writer waited for memtables to be flushed.
    pub stalls: AtomicU64,
    /// Of these, times that flushes, or what writes runs itself, waited for a compaction.
    pub stalls_for_compaction: AtomicU64,
    /// Microseconds that writers waited, all together.
    pub stalled_micros: AtomicU64,
    /// Microseconds that they rested while compactions were behind, all together.
    pub rested_micros: AtomicU64,
    /// Memtables flushed.
    pub flushes: AtomicU64,
    /// Bulk loads.
    pub loads: AtomicU64,
    /// Predicate deletes that deleted something.
    pub deletes: AtomicU64,
    /// Compactions.
    pub compactions: AtomicU64,
    /// Bytes of the log, as of the last commit.
    pub wal_bytes: AtomicU64,
    /// Sorted parts that loads spilled.
    pub spills: AtomicU64,
    /// Bytes that loads spilled.
    pub spilled_bytes: AtomicU64,
}

/// A counter that can be waited on.
#[derive(Debug, Default)]
pub struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// The count now; a wait for a later one cannot miss what happens from here on.
    pub fn now(&self) -> u64 {
        *locked(&self.count)
    }

    /// Counts on and wakes all who wait.
    pub fn raise(&self) {
        *locked(&self.count) += 1;
        self.changed.notify_all();
    }

    /// Waits until the count is another one than `seen`, or some time passed.
    pub fn wait_at_most(&self, seen: u64, limit: Duration) {
        let count = locked(&self.count);
        let waited = self.changed.wait_timeout_while(count, limit, |count| *count == seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the count is another one than `seen`.
    pub fn wait(&self, seen: u64) {
        let count = locked(&self.count);
        drop(self.changed.wait_while(count, |count| *count == seen).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Calls that are running. Closing waits until they are over, so that nobody changes files behind it.
#[derive(Debug, Default)]
pub struct Calls {
    count: Mutex<CallCount>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct CallCount {
    running: usize,
    /// No call begins any more.
    closing: bool,
}

impl Calls {
    /// Begins a call, which runs until what this returns is dropped.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn begin(&self) -> Result<Call<'_>> {
        let mut count = locked(&self.count);
        if count.closing {
            return Err(Error::Closed);
        }
        count.running += 1;
        Ok(Call { calls: self })
    }

    /// Whether calls are refused.
    pub fn are_ending(&self) -> bool {
        locked(&self.count).closing
    }

    /// Refuses calls from now on and waits until those that run are over.
    pub fn end(&self) {
        let mut count = locked(&self.count);
        count.closing = true;
        drop(self.ended.wait_while(count, |count| count.running > 0).unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call that is running.
#[derive(Debug)]
pub struct Call<'a> {
    calls: &'a Calls,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        locked(&self.calls.count).running -= 1;
        self.calls.ended.notify_all();
    }
}

/// A step that must be done as a whole. One that panics poisons the database before it lets go of its locks (which
/// are taken before this is made), so that nobody goes on from what it left.
#[derive(Debug)]
pub struct WholeStep<'a> {
    state: &'a State,
    thread: &'static str,
    /// It is run by a destructor of a thread that panicked elsewhere.
    unwinding: bool,
}

impl Drop for WholeStep<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.unwinding {
            self.state.poison(Error::ThreadPanicked { thread: self.thread });
        }
    }
}

/// Memory that a write batch takes on its way into the memtables; given back when it goes.
#[derive(Debug)]
pub struct PendingBytes {
    bytes: usize,
    total: Arc<Mutex<usize>>,
    progress: Arc<Signal>,
}

impl PendingBytes {
    /// Whether no other write batch is on its way.
    pub fn is_alone(&self) -> bool {
        *locked(&self.total) == self.bytes
    }
}

impl Drop for PendingBytes {
    fn drop(&mut self) {
        *locked(&self.total) -= self.bytes;
        self.progress.raise();
    }
}

/// Takes a mutex. What a thread that panicked left behind it is whole, or the database is poisoned: see [`WholeStep`].
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a pool that encodes.
///
/// # Errors
/// The system's.
pub fn thread_pool(threads: usize) -> Result<Arc<ThreadPool>> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("rustling-{index}")).build();
    pool.map(Arc::new).map_err(|error| Error::Io {
        operation: "start",
        path: "the thread pool".to_owned(),
        source: std::io::Error::other(error),
    })
}

impl State {
    /// What readers see now.
    pub fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what readers see, in one step.
    pub fn change_current(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The ids of all tables. Who goes on from these keeps no memtable in memory, as a view would.
    pub fn table_ids(&self) -> Vec<TableId> {
        self.current().view.tables().map(|table| table.id).collect()
    }

    /// A table as it is now, without the changes in memory; `None` if there is none of this id.
    ///
    /// # Errors
    /// None in practice.
    pub fn runs_of(&self, id: TableId) -> Result<Option<Arc<TableView>>> {
        self.current().view.table(id).map(|table| table.runs_only().map(Arc::new)).transpose()
    }

    /// Notes a memtable that is in runs now. If snapshots keep more than a quarter of the memory in such memtables, the
    /// oldest are given up, but not this one: who took a snapshot just before has the time of one flush at least.
    pub fn retire(&self, memtable: Weak<Memtable>) {
        let limit = self.options.memory_bytes / 4;
        let mut retired = locked(&self.retired);
        retired.push_back(memtable.clone());
        retired.retain(|memtable| memtable.strong_count() > 0);
        let mut kept: usize = retired.iter().filter_map(Weak::upgrade).map(|memtable| memtable.size_bytes()).sum();
        while kept > limit
            && retired.front().is_some_and(|oldest| !Weak::ptr_eq(oldest, &memtable))
            && let Some(oldest) = retired.pop_front()
        {
            if let Some(oldest) = oldest.upgrade() {
                kept -= oldest.size_bytes();
                oldest.expire(limit);
            }
        }
    }

    /// The pool that encodes. Most databases that are opened never write a run, so its threads wait until one does.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub fn pool(&self) -> Result<Arc<ThreadPool>> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool.clone());
        }
        let pool = thread_pool(self.options.threads)?;
        // Of two that come at once, one pool is dropped again.
        Ok(self.pool.get_or_init(|| pool).clone())
    }

    /// How runs are encoded.
    ///
    /// # Errors
    /// As [`State::pool`].
    pub fn encoder(&self) -> Result<Encoder> {
        Ok(Encoder { pool: self.pool()?, row_group_bytes: self.options.row_group_bytes() })
    }

    /// Takes memory for a write batch; `None` if it has to wait for memtables to be flushed or for other batches. One
    /// that is alone waits for memtables only, however large it is.
    pub fn reserve(&self, bytes: usize) -> Option<PendingBytes> {
        let memtables = self.current().view.memtable_bytes();
        let limit = self.options.memory_bytes / 2;
        let mut pending = locked(&self.pending_bytes);
        let fits = memtables + *pending + bytes <= limit;
        if !fits && (*pending > 0 || memtables > limit) {
            return None;
        }
        *pending += bytes;
        self.store.keep_rows(self.options.kept_row_bytes(memtables + *pending));
        Some(PendingBytes { bytes, total: self.pending_bytes.clone(), progress: self.progress.clone() })
    }

    /// Gives the rows that lookups keep what memtables, and write batches on their way into them, leave of their memory.
    pub fn share_memory(&self) {
        let pending = locked(&self.pending_bytes);
        let written = self.current().view.memtable_bytes() + *pending;
        self.store.keep_rows(self.options.kept_row_bytes(written));
    }

    /// A run id that this process has not given out, and that no manifest names.
    pub fn new_run_id(&self) -> RunId {
        RunId(self.next_run.fetch_add(1, Ordering::Relaxed))
    }

    /// Begins a step that must be done as a whole, on a thread that people know by this name.
    pub fn whole_step(&self, thread: &'static str) -> WholeStep<'_> {
        WholeStep { state: self, thread, unwinding: std::thread::panicking() }
    }

    /// Stops all writes of this handle, for good.
    pub fn poison(&self, error: Error) -> Error {
        let source = self.poison.get_or_init(|| {
            tracing::error!(%error, "the database is poisoned: reads go on, writes need it to be reopened");
            Arc::new(error)
        });
        let source = source.clone();
        self.progress.raise();
        self.work.raise();
        Error::Poisoned { source }
    }

    /// The error of a failed commit; stops all writes if its outcome is unknown.
    pub fn fail(&self, failure: CommitFailure) -> Error {
        if failure.poisoned { self.poison(*failure.error) } else { *failure.error }
    }

    /// Refuses to make anything durable in a folder that is not the one that was locked: what is written there is lost,
    /// or falls into somebody else's database.
    ///
    /// # Errors
    /// [`Error::Displaced`], which poisons.
    pub fn check_in_place(&self) -> Result<(), CommitFailure> {
        if locked(&self.lock).as_ref().is_none_or(|lock| lock.is_in_place()) {
            return Ok(());
        }
        let error = Box::new(Error::Displaced { path: self.disk.describe() });
        Err(CommitFailure { error, poisoned: true })
    }

    /// Refuses where writing is over.
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::Closed`].
    pub fn check_open(&self) -> Result<()> {
        if let Some(source) = self.poison.get() {
            return Err(Error::Poisoned { source: source.clone() });
        }
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }
}
