//! The threads of an open database: one commits, one flushes, one compacts.
//!
//! In: signals and queued batches. Out: calls of the same steps that tests call by hand.
//! Invariants: a thread that panics poisons the database and lets nobody wait for it; a step that fails is tried
//! again, and its failure is told to writers who wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::commit::{Pending, commit_group};
use crate::compact::{compact_runs, untidy_runs};
use crate::error::{Error, ErrorKind, Result};
use crate::flush::flush_oldest;
use crate::state::{State, locked};
use crate::sweep::sweep;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{Receiver, Sender, bounded};

/// Batches that wait for the commit thread, at most.
const QUEUE_BATCHES_MAX: usize = 4096;
/// Batches that are committed with one sync, at most.
const GROUP_BATCHES_MAX: usize = 1024;
/// Bytes that a group has before it takes no further batch; less where there is little memory.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How long a failed step waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

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
        threads.spawn("commit", state, move |state| commit_queued(state, &pending))?;
        let stop = stopping.clone();
        threads.spawn("flush", state, move |state| repeat(state, &stop, flush_all))?;
        threads.spawn("compact", state, move |state| repeat(state, &stopping, compact_one))?;
        Ok(threads)
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
        if catch_unwind(AssertUnwindSafe(|| commit_group(state, group))).is_err() {
            state.poison(Error::ThreadPanicked { thread: "commit" });
        }
    }
}

/// Calls a step whenever there may be work, until it is told to stop.
fn repeat(state: &State, stopping: &AtomicBool, step: fn(&State) -> Result<()>) {
    while !stopping.load(Ordering::Acquire) {
        let seen = state.work.now();
        match step(state) {
            Ok(()) => {
                *locked(&state.background_failure) = None;
                if !stopping.load(Ordering::Acquire) {
                    state.work.wait(seen);
                }
            }
            Err(error) if error.kind() == ErrorKind::Poisoned => return,
            // The table went while it was worked on: there is nothing left to do for it.
            Err(Error::Dropped { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "background work failed, trying again");
                *locked(&state.background_failure) = Some(Arc::new(error));
                state.progress.raise();
                let seen = state.work.now();
                // Asked behind the count, which stopping raises: closing must not wait for the retry.
                if !stopping.load(Ordering::Acquire) {
                    state.work.wait_at_most(seen, RETRY);
                }
            }
        }
    }
}

fn flush_all(state: &State) -> Result<()> {
    let view = state.current().view;
    for table in view.tables() {
        while flush_oldest(state, table.id)? {}
    }
    drop(view);
    sweep(state);
    Ok(())
}

fn compact_one(state: &State) -> Result<()> {
    let view = state.current().view;
    let due = view.tables().find(|table| untidy_runs(&table.version, 0) >= state.options.compact_runs);
    let due = due.map(|table| table.id);
    drop(view);
    if let Some(id) = due {
        compact_runs(state, id)?;
        sweep(state);
    }
    Ok(())
}
