//! The threads of an open database: one commits, one flushes, one compacts (and starts another to check what it reads).
//!
//! In: signals and queued batches. Out: calls of the same steps that tests call by hand.
//! Invariants: a thread that panics poisons the database and lets nobody wait for it; a step that fails is tried
//! again, and its failure is kept for writers who wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::commit::{Pending, commit_group};
use crate::compact::policy::Effort;
use crate::compact::step::{compact_step, is_held, table_pressure};
use crate::error::{Error, Result};
use crate::flush::flush_oldest;
use crate::id::TableId;
use crate::state::State;
use crate::sweep::sweep;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Receiver, Sender, bounded};
use crate::version::view::TableView;

/// Batches that wait for the commit thread, at most.
const QUEUE_BATCHES_MAX: usize = 4096;
/// Batches that are committed with one sync, at most.
const GROUP_BATCHES_MAX: usize = 1024;
/// Bytes that a group has before it takes no further batch; less where there is little memory.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How long a failed step waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long nothing must be flushed or published before a database is idle.
const IDLE: Duration = Duration::from_secs(1);

/// When a step is to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// At once.
    Now,
    /// When there may be work.
    Signalled,
    /// When there may be work, or when the database is idle, and is told which.
    SignalledOrIdle,
    /// When there may be work, or after a while: something failed.
    Retried,
}

/// The running threads; by default none.
#[derive(Debug, Default)]
pub struct Threads {
    queue: Option<Sender<Pending>>,
    stopping: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system's.
    pub fn start(state: &Arc<State>) -> Result<Self> {
        let (queue, pending) = bounded(QUEUE_BATCHES_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Self { queue: Some(queue), stopping: stopping.clone(), handles: Vec::new() };
        let stop = stopping.clone();
        let started = (threads.spawn("commit", state, move |state| commit_queued(state, &pending)))
            .and_then(|()| threads.spawn("flush", state, move |state| repeat(state, &stop, flush_due)))
            .and_then(|()| threads.spawn("compact", state, move |state| repeat(state, &stopping, compact_due)));
        if started.is_err() {
            // Those that run would hold the database open.
            threads.stop(state);
        }
        started.map(|()| threads)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        state: &Arc<State>,
        run: impl FnOnce(&State) + Send + 'static,
    ) -> Result<()> {
        let state = state.clone();
        let body = move || {
            if catch_unwind(AssertUnwindSafe(|| run(&state))).is_err() {
                state.poison(Error::ThreadPanicked { thread: name });
            }
        };
        let spawned = Builder::new().name(format!("rustling-{name}")).spawn(body);
        let failed = |source| Error::Io { operation: "start", path: format!("the {name} thread"), source };
        self.handles.push(spawned.map_err(failed)?);
        Ok(())
    }

    /// Where batches queue up.
    pub fn queue(&self) -> Option<&Sender<Pending>> {
        self.queue.as_ref()
    }

    /// Lets the threads end what they do and waits for them.
    pub fn stop(&mut self, state: &State) {
        self.queue = None;
        self.stopping.store(true, Ordering::Release);
        state.work.raise();
        for handle in self.handles.drain(..) {
            // A panic was caught and turned into poison already.
            let _ = handle.join();
        }
    }
}

fn commit_queued(state: &State, queue: &Receiver<Pending>) {
    while let Ok(first) = queue.recv() {
        let bytes_max = GROUP_BYTES_MAX.min(state.options.memory_bytes / 16);
        let mut bytes = first.batch.size_bytes();
        let mut group = vec![first];
        while group.len() < GROUP_BATCHES_MAX
            && bytes < bytes_max
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.batch.size_bytes();
            group.push(next);
        }
        // After a panic this goes on, and refuses: a queue that nobody empties would keep writers waiting.
        commit_or_poison(state, group);
    }
}

/// Commits a group. A panic, which is a defect, poisons the database, and nobody is answered.
pub fn commit_or_poison(state: &State, group: Vec<Pending>) {
    if catch_unwind(AssertUnwindSafe(|| commit_group(state, group))).is_err() {
        state.poison(Error::ThreadPanicked { thread: "commit" });
    }
}

/// Calls a step whenever there may be work, until it is told to stop, or that no step may be done any more.
fn repeat(state: &State, stopping: &AtomicBool, step: fn(&State, bool) -> Result<Next>) {
    let mut is_idle = false;
    while !stopping.load(Ordering::Acquire) {
        let mut seen = state.work.now();
        let Ok(next) = step(state, is_idle) else { return };
        if next == Next::Retried {
            state.progress.raise();
            // Not what the step itself raised.
            seen = state.work.now();
        }
        // Asked behind the count, which stopping raises: closing must not wait for a retry.
        is_idle = !stopping.load(Ordering::Acquire) && wait_for(state, seen, next);
    }
}

/// Waits; `true` if the database is idle.
fn wait_for(state: &State, seen: u64, next: Next) -> bool {
    match next {
        Next::Now => return false,
        Next::Signalled => state.work.wait(seen),
        Next::Retried => state.work.wait_at_most(seen, RETRY),
        Next::SignalledOrIdle => {
            state.work.wait_at_most(seen, IDLE);
            return state.work.now() == seen;
        }
    }
    false
}

/// Flushes what is frozen, but of tables that compactions are behind with. One that fails keeps no other from it.
fn flush_due(state: &State, _: bool) -> Result<Next> {
    let mut has_failed = false;
    for id in state.table_ids() {
        match flush_due_of(state, id) {
            Err(error) if error.ends_writing() => return Err(error),
            outcome => has_failed |= state.flush_failures.note(id, outcome),
        }
    }
    set_pace(state);
    sweep(state);
    Ok(if has_failed { Next::Retried } else { Next::Signalled })
}

fn flush_due_of(state: &State, id: TableId) -> Result<()> {
    // Back-pressure, which writers feel when memory is full. One that is frozen behind this look was not judged.
    let is_due = |table: &Arc<TableView>| table.oldest_frozen().is_some() && !is_held(table, &state.options);
    while state.current().view.table(id).is_some_and(is_due) && flush_oldest(state, id)? {
        set_pace(state);
    }
    Ok(())
}

/// Lets writers rest while compactions are behind with a table, but not where they fail, for then it is no use.
fn set_pace(state: &State) {
    let view = state.current().view;
    let compacted = view.tables().filter(|table| state.compaction_failures.of(table.id).is_none());
    state.pace.set(compacted.map(|table| table_pressure(table, &state.options)).max().unwrap_or(0));
}

/// Compacts what is beyond its bounds; what an idle database has collected, if it was written since it was opened.
fn compact_due(state: &State, is_idle: bool) -> Result<Next> {
    let (was_behind, has_failed) = compact(state, Effort::Steady)?;
    set_pace(state);
    if was_behind {
        return Ok(Next::Now);
    }
    if has_failed {
        return Ok(Next::Retried);
    }
    let written = [&state.counters.flushes, &state.counters.loads, &state.counters.deletes];
    let was_written = written.iter().any(|count| count.load(Ordering::Relaxed) > 0);
    if !is_idle {
        return Ok(if was_written { Next::SignalledOrIdle } else { Next::Signalled });
    }
    Ok(match compact(state, Effort::Idle)? {
        (true, _) => Next::SignalledOrIdle,
        (false, true) => Next::Retried,
        (false, false) => Next::Signalled,
    })
}

/// Does a step of a compaction; whether one was done, and whether one failed, now or a moment ago.
fn compact(state: &State, effort: Effort) -> Result<(bool, bool)> {
    let mut has_failed = state.compaction_failures.any_waits();
    let was_done = compact_step(state, effort, &mut |id, outcome| {
        has_failed |= state.compaction_failures.note(id, outcome);
    })?;
    Ok((was_done, has_failed))
}
