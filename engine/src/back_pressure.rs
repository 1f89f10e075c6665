//! What holds writers back: memory, and compactions that are behind.
//!
//! In: the bytes that somebody is about to write. Out: memory for them, when there is some.
//! Invariants: what is waited for is under way; where nothing is that could give memory back, who waits is told why.
//! Who waits is in a line, which nobody passes: a large batch has its turn beside any number of small ones. Every wait is
//! counted, with its reason.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::commit::rotate;
use crate::compact::step::is_held;
use crate::error::{Error, Result};
use crate::flush::flush_frozen;
use crate::state::{PendingBytes, State, locked};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::view::TableView;

/// How long a writer that waits looks again at least.
const STALL_LOOK: Duration = Duration::from_millis(200);

/// A writer that waits for memory.
struct Stall<'a> {
    state: &'a State,
    began: Duration,
    is_for_compaction: bool,
    place: u64,
}

impl<'a> Stall<'a> {
    fn begin(state: &'a State, bytes: usize) -> Self {
        state.counters.stalls.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(bytes, "a writer waits for memory");
        Self { state, began: state.disk.clock(), is_for_compaction: false, place: locked(&state.line).join() }
    }

    /// Looks what is waited for.
    fn look(&mut self) {
        let view = self.state.current().view;
        if !self.is_for_compaction
            && let Some(table) = view.tables().find(|table| is_held(table, &self.state.options))
        {
            self.is_for_compaction = true;
            self.state.counters.stalls_for_compaction.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(table = %table.name, "a writer waits for a compaction");
        }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        locked(&self.state.line).leave(self.place);
        // It may be the next one's turn.
        self.state.progress.raise();
        count_since(self.state, self.began, &self.state.counters.stalled_micros);
    }
}

fn count_since(state: &State, began: Duration, micros: &AtomicU64) {
    let took = state.disk.clock().saturating_sub(began).as_micros();
    micros.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Waits until write batches with so many bytes of rows may come: for a while if compactions are behind, and until there
/// is memory for them. They are charged twice, for their rows and for their records in the log.
///
/// # Errors
/// [`Error::BatchTooLarge`]; [`Error::Poisoned`]; [`Error::Closed`]; [`Error::Stuck`], [`Error::LogPinned`], or why
/// memtables cannot be flushed.
pub fn admit(state: &State, bytes: usize) -> Result<Arc<PendingBytes>> {
    let limit = state.options.batch_bytes_max();
    if bytes > limit {
        return Err(Error::BatchTooLarge { bytes, limit });
    }
    check_log(state)?;
    rest(state, bytes)?;
    let mut stall: Option<Stall<'_>> = None;
    loop {
        let seen = state.progress.now();
        state.check_open()?;
        let is_next = locked(&state.line).is_next(stall.as_ref().map(|stall| stall.place));
        if is_next && let Some(memory) = state.reserve(2 * bytes) {
            return Ok(Arc::new(memory));
        }
        // Closing waits for this call, and compactions, which it may wait for, have ended.
        if state.calls.are_ending() {
            return Err(Error::Closed);
        }
        stall.get_or_insert_with(|| Stall::begin(state, bytes)).look();
        freeze_largest(state);
        if let Some(error) = stuck(state) {
            // What was on its way may have arrived since.
            return state.reserve(2 * bytes).map(Arc::new).ok_or(error);
        }
        if !state.options.background {
            flush_frozen(state)?;
        }
        state.progress.wait_at_most(seen, STALL_LOOK);
    }
}

/// Waits until a table whose compactions are behind may get more runs, as flushes do; not where they fail, or nobody
/// compacts in the background, nor if `is_cancelled`.
///
/// # Errors
/// [`Error::Poisoned`]; [`Error::Closed`].
pub fn await_compactions(state: &State, name: &str, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    let began = state.disk.clock();
    let mut has_waited = false;
    loop {
        let seen = state.progress.now();
        state.check_open()?;
        let view = state.current().view;
        // Who is called next says best that it is not there.
        let Ok(table) = view.named(name) else { break };
        let waits = state.options.background && is_held(table, &state.options);
        if !waits || state.compaction_failures.of(table.id).is_some() || state.calls.are_ending() || is_cancelled() {
            break;
        }
        drop(view);
        if !std::mem::replace(&mut has_waited, true) {
            state.counters.stalls.fetch_add(1, Ordering::Relaxed);
            state.counters.stalls_for_compaction.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(table = name, "a load or a delete waits for a compaction");
        }
        state.progress.wait_at_most(seen, STALL_LOOK);
    }
    if has_waited {
        count_since(state, began, &state.counters.stalled_micros);
    }
    Ok(())
}

/// Refuses writes where the log has twice its bytes because the table that needs its start cannot be flushed: else it
/// would take all space there is.
fn check_log(state: &State) -> Result<()> {
    let bytes = state.counters.wal_bytes.load(Ordering::Relaxed);
    if bytes <= state.options.wal_bytes.saturating_mul(2) {
        return Ok(());
    }
    let view = state.current().view;
    match view.with_oldest_change().and_then(|table| Some((table, failure(state, table)?))) {
        Some((table, source)) => Err(Error::LogPinned { bytes, table: table.name.to_string(), source }),
        None => Ok(()),
    }
}

/// Rests as long as the pace asks for, if nobody closes the database meanwhile.
fn rest(state: &State, bytes: usize) -> Result<()> {
    let Some(rest) = state.pace.rest(bytes) else { return Ok(()) };
    let began = state.disk.clock();
    let mut left = rest;
    while !left.is_zero() && !state.calls.are_ending() {
        state.check_open()?;
        let (seen, from) = (state.progress.now(), state.disk.clock());
        state.progress.wait_at_most(seen, left.min(STALL_LOOK));
        let passed = state.disk.clock().saturating_sub(from);
        // Where no time passes, each look counts for some.
        left = left.saturating_sub(if passed.is_zero() { Duration::from_millis(1) } else { passed });
    }
    count_since(state, began, &state.counters.rested_micros);
    Ok(())
}

/// Why the changes of a table stay in memory, if they do: its flushes fail, or those of compactions that they wait for.
fn failure(state: &State, table: &TableView) -> Option<Arc<Error>> {
    let waits_for = if is_held(table, &state.options) { &state.compaction_failures } else { &state.flush_failures };
    waits_for.of(table.id)
}

/// The failure that is to be told where nobody will give memory back: no table whose changes flow into runs has any, and
/// no batch is on its way.
fn stuck(state: &State) -> Option<Error> {
    if *locked(&state.pending_bytes) > 0 {
        return None;
    }
    let view = state.current().view;
    let mut told = None;
    for table in view.tables().filter(|table| table.memtable_bytes() > 0) {
        let source = failure(state, table)?;
        told.get_or_insert_with(|| Error::Stuck { table: table.name.to_string(), source });
    }
    told
}

/// Freezes the largest active memtable if none is on its way into runs, so that there is something to flush; but not
/// where memtables are small, and it is other batches that are waited for.
fn freeze_largest(state: &State) {
    let view = state.current().view;
    let flows = |table: &TableView| !is_held(table, &state.options) && failure(state, table).is_none();
    let are_small = view.memtable_bytes() <= state.options.memory_bytes / 4;
    if are_small || view.tables().any(|table| table.oldest_frozen().is_some() && flows(table)) {
        return;
    }
    // What stays in memory is left as it is, for it would only become many small runs.
    let largest = (view.tables())
        .filter(|table| table.active().size_bytes() > 0 && (table.oldest_frozen().is_none() || flows(table)))
        .max_by_key(|table| (flows(table), table.active().size_bytes()));
    if let Some(table) = largest {
        let _gate = state.gate.write().unwrap_or_else(PoisonError::into_inner);
        rotate(state, table.id);
    }
}
