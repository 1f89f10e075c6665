//! What holds writers back: memory, and compactions that are behind.
//!
//! In: the bytes that somebody is about to write. Out: memory for them, when there is some.
//! Invariants: whoever waits is told of what failed meanwhile; what is waited for is under way. Every wait is counted,
//! with its reason.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::commit::rotate;
use crate::compact::step::is_held;
use crate::error::{Error, Result};
use crate::flush::flush_frozen;
use crate::state::{PendingBytes, State, locked};
use crate::sync::atomic::{AtomicU64, Ordering};

/// How long a writer that waits looks again at least.
const STALL_LOOK: Duration = Duration::from_millis(200);

/// A writer that waits for memory.
struct Stall<'a> {
    state: &'a State,
    began: Duration,
}

impl<'a> Stall<'a> {
    fn begin(state: &'a State, bytes: usize) -> Self {
        let held = state.current().view.tables().find(|table| is_held(table, &state.options)).cloned();
        state.counters.stalls.fetch_add(1, Ordering::Relaxed);
        if let Some(table) = held {
            state.counters.stalls_for_compaction.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(bytes, table = %table.name, "a writer waits for a compaction");
        } else {
            tracing::debug!(bytes, "a writer waits for memory");
        }
        Self { state, began: state.disk.clock() }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
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
/// [`Error::Poisoned`]; [`Error::Closed`]; why memtables cannot be flushed.
pub fn admit(state: &State, bytes: usize) -> Result<Arc<PendingBytes>> {
    rest(state, bytes)?;
    let mut stall = None;
    loop {
        let seen = state.progress.now();
        state.check_open()?;
        if let Some(memory) = state.reserve(2 * bytes) {
            return Ok(Arc::new(memory));
        }
        stall.get_or_insert_with(|| Stall::begin(state, bytes));
        if let Some(failure) = locked(&state.background_failure).take() {
            return Err(Arc::try_unwrap(failure).unwrap_or_else(|source| Error::Poisoned { source }));
        }
        freeze_largest(state);
        if !state.options.background {
            flush_frozen(state)?;
        }
        state.progress.wait_at_most(seen, STALL_LOOK);
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
        // Where no time passes, each look counts for one.
        left = left.saturating_sub(state.disk.clock().saturating_sub(from).max(Duration::from_millis(1)));
    }
    count_since(state, began, &state.counters.rested_micros);
    Ok(())
}

/// Freezes the largest active memtable if none is frozen yet, so that there is something to flush; but not where
/// memtables are small, and it is other batches that are waited for.
fn freeze_largest(state: &State) {
    let view = state.current().view;
    let are_small = view.memtable_bytes() <= state.options.memory_bytes / 4;
    if are_small || view.tables().any(|table| table.oldest_frozen().is_some()) {
        return;
    }
    if let Some(table) = view.tables().max_by_key(|table| table.active().size_bytes()) {
        let _gate = state.gate.write().unwrap_or_else(PoisonError::into_inner);
        rotate(state, table.id);
    }
}
