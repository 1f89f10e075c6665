//! A bulk load from its first batch to its commit.
//!
//! In: a [`BatchSource`]. Out: its rows in runs, published as one change at one sequence number.
//! Invariants: nothing is visible and nothing is kept before the commit. The load takes its place in the sequence
//! while no write can commit, with all older changes of the table flushed; what was written while it ran is checked
//! against it then.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{Int64Array, RecordBatch};

use crate::commit::rotate;
use crate::error::{Error, Result};
use crate::flush::{flush_oldest, flush_table};
use crate::id::{SeqNo, TableId};
use crate::load::origin::Origins;
use crate::load::sink::{OnConflict, Written};
use crate::load::sort::Sorter;
use crate::publish::VersionEdit;
use crate::read::resolve::resolve;
use crate::read::snapshot::{SCAN_BATCH_ROWS, TableSnapshot};
use crate::rows::canonical::{canonicalize_keys, compact};
use crate::rows::change::user_columns;
use crate::run_writer::SeqRange;
use crate::seeded::{SeededFault, makes};
use crate::source::{BatchSource, SourceBatch};
use crate::state::{State, locked};
use crate::version::run::Run;
use crate::version::table::{RunsEdit, overlap};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What to do with keys that are there already.
    pub on_conflict: OnConflict,
    /// The table that is meant; none for the one that has the name.
    pub table: Option<TableId>,
    /// Set by the caller to stop the load.
    pub cancel: Arc<AtomicBool>,
    /// Counts rows as they are taken.
    pub rows_taken: Arc<AtomicU64>,
}

/// What a load did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Rows in the input.
    pub rows_read: u64,
    /// Rows that are in the table because of the load.
    pub rows_loaded: u64,
    /// Rows of the input that were left out because of their keys.
    pub rows_skipped: u64,
    /// Sorted parts that were spilled because the input was larger than the memory for sorting.
    pub spills: usize,
    /// The load's sequence number.
    pub seq: SeqNo,
}

/// Loads a source into a table.
///
/// # Errors
/// Those of the source; rows that do not fit the table; keys that the policy refuses; [`Error::ConcurrentWrite`];
/// [`Error::Cancelled`]; the disk's. Nothing is loaded then.
pub fn load(state: &State, table: &str, source: &mut dyn BatchSource, options: &LoadOptions) -> Result<LoadReport> {
    state.check_open()?;
    let snapshot = flushed(state, table, options.table)?;
    let mut origins = Origins::default();
    let budget = state.options.memory_bytes / 3;
    let mut sorter = Sorter::new(state, snapshot.clone(), options.on_conflict, budget);
    let mut rows_read = 0;
    while let Some(batch) = source.next_batch()? {
        if options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let stored = stored_rows(&snapshot, &batch)?;
        let keys = snapshot.table().codec.encode_batch(&stored)?;
        rows_read += stored.num_rows() as u64;
        options.rows_taken.store(rows_read, Ordering::Relaxed);
        let lines = origins.pack(&batch);
        sorter.push(keys, &stored, lines, &origins)?;
    }
    let (written, spills) = sorter.finish(&origins)?;
    if options.cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let (rows_loaded, rows_skipped) = (written.runs.rows(), written.skipped);
    let seq = commit(state, &snapshot, written, options.on_conflict)?;
    tracing::info!(table, rows_loaded, rows_skipped, spills, seq = seq.0, "loaded");
    Ok(LoadReport { rows_read, rows_loaded, rows_skipped, spills, seq })
}

/// The table as the load begins, all of it in runs: a memtable would stay in memory as long as the load goes on, or be
/// given up before it is over.
fn flushed(state: &State, name: &str, expected: Option<TableId>) -> Result<TableSnapshot> {
    let id = state.current().view.expected(name, expected)?.id;
    if !makes(SeededFault::LoadWithoutRotation) {
        flush_table(state, id)?;
    }
    let table = state.runs_of(id)?.ok_or_else(|| Error::Dropped { table: name.to_owned() })?;
    let seq = table.version.flushed_through();
    Ok(TableSnapshot::new(table, seq))
}

/// The stored columns of a batch of the user's columns, checked.
fn stored_rows(snapshot: &TableSnapshot, batch: &SourceBatch) -> Result<RecordBatch> {
    let table = snapshot.table();
    let mut columns = user_columns(table.reference(), &batch.batch)?;
    if !table.schema.has_key() {
        let count = batch.batch.num_rows();
        let first = table.next_row_id.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
        columns.push(Arc::new(Int64Array::from_iter_values((first..).take(count))));
    }
    let rows = RecordBatch::try_new(table.schema.stored().clone(), columns)?;
    compact(canonicalize_keys(&table.schema, rows)?)
}

/// Takes the load's place in the sequence and publishes it.
fn commit(state: &State, snapshot: &TableSnapshot, written: Written<'_>, on_conflict: OnConflict) -> Result<SeqNo> {
    let id = snapshot.table().id;
    // Most of what is in memory is flushed before writers are kept out.
    let rotates = !makes(SeededFault::LoadWithoutRotation);
    if rotates {
        flush_table(state, id)?;
    }
    let _gate = state.gate.write().unwrap_or_else(PoisonError::into_inner);
    if rotates {
        rotate(state, id);
        while flush_oldest(state, id)? {}
    }
    let seq = {
        let mut writer = locked(&state.writer);
        if makes(SeededFault::LoadSharesItsSequence) { writer.next_seq } else { writer.take_seq() }
    };
    let runs = written.runs.open(|_| SeqRange { first: seq, last: seq })?;
    if on_conflict != OnConflict::Update {
        refuse_concurrent(state, snapshot, &runs)?;
    }
    // Nothing else changes the table's runs until this is published.
    let _resolving = locked(&state.resolving);
    let view = state.current().view;
    let older = view.table(id).map_or(&[][..], |table| table.version.runs());
    let older = if makes(SeededFault::LoadNotResolved) { &[][..] } else { older };
    let dead = resolve(&runs, older, &snapshot.table().codec)?;
    let edit = RunsEdit { table: id, removed: Vec::new(), added: runs, dead, through: seq };
    written.runs.publish(VersionEdit::Loaded(edit))?;
    state.counters.loads.fetch_add(1, Ordering::Relaxed);
    Ok(seq)
}

/// Refuses a load that has a key in common with rows written while it ran.
fn refuse_concurrent(state: &State, snapshot: &TableSnapshot, loaded: &[Arc<Run>]) -> Result<()> {
    let view = state.current().view;
    let table = snapshot.table();
    let Some(now) = view.table(table.id) else { return Err(Error::Dropped { table: table.name.to_string() }) };
    let newer = now.version.runs().iter().filter(|run| run.meta().max_seq > snapshot.seq());
    for (newer, loaded) in newer.flat_map(|newer| loaded.iter().map(move |loaded| (newer, loaded))) {
        if let Some(key) = common_key(newer, loaded)? {
            return Err(Error::ConcurrentWrite { table: table.name.to_string(), key: table.codec.text(&key) });
        }
    }
    Ok(())
}

fn common_key(newer: &Run, loaded: &Run) -> Result<Option<Vec<u8>>> {
    let mut from = 0;
    while overlap(newer, loaded) && from < newer.rows() {
        let to = newer.rows().min(from + SCAN_BATCH_ROWS as u64);
        let keys = newer.sst().key_index().read(from..to)?;
        let mut common = None;
        loaded.sst().key_index().find_sorted(&keys, |index, _| common = common.or(Some(index)))?;
        if let Some(index) = common {
            return Ok(Some(keys.get(index).to_vec()));
        }
        from = to;
    }
    Ok(None)
}
