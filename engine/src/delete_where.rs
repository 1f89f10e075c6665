//! Deletes every row that a predicate wants, as one change.
//!
//! In: a table, a [`RowPredicate`]. Out: deleted keys in runs without rows, and the rows that die, published at one
//! sequence number.
//! Invariants: each row that is live where the change takes its place in the sequence is asked about, once it is in a
//! run; rows are found by position, and leave their keys behind, so that the keys alone say the same. No compaction
//! moves rows meanwhile. Nothing is kept of one that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;

use crate::commit::rotate;
use crate::deletion::vector::DeletionVector;
use crate::disk::path;
use crate::error::{Error, Result};
use crate::flush::{flush_oldest, flush_table};
use crate::id::{RunId, SeqNo, TableId};
use crate::publish::VersionEdit;
use crate::read::cursor::{Cursor, KeyedBatch, KeyedBatches};
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::snapshot::SCAN_BATCH_ROWS;
use crate::rows::keys::Ascent;
use crate::run_writer::{ClosedRuns, RunWriter, SeqRange};
use crate::seeded::{SeededFault, makes};
use crate::state::{State, locked};
use crate::sync::atomic::Ordering;
use crate::version::run::Run;
use crate::version::table::{RunsEdit, TableVersion};
use crate::version::view::TableView;

/// Bytes of the keys of a run that holds deleted keys only: they are in memory until it is written.
const KEY_BYTES_OF_A_RUN: usize = 16 << 20;
/// How often rows that came meanwhile are asked about before writers are kept out.
const ROUNDS: usize = 3;

/// Says which rows are to go.
pub trait RowPredicate: Send {
    /// The columns that it looks at, as indexes of the user's columns, in the order in which it wants them.
    fn columns(&self) -> &[usize];

    /// Whether each row of a batch of these columns is to go; NULL is no.
    ///
    /// # Errors
    /// Whatever it meets, as [`Error::Source`]; then nothing is deleted.
    fn wants(&mut self, rows: &RecordBatch) -> Result<BooleanArray>;
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteReport {
    /// Rows that were deleted.
    pub rows: u64,
    /// Its sequence number; `None` if there was nothing to delete, and so no change.
    pub seq: Option<SeqNo>,
}

/// Deletes the rows of a table that a predicate wants. Cost: the predicate's columns of the table are read, without
/// keeping writers out but for what they wrote in the meantime; then the deleted keys are written.
///
/// # Errors
/// Those of the predicate; [`Error::NoSuchTable`], [`Error::NoSuchColumn`], [`Error::Dropped`], [`Error::Corrupt`]; the disk's.
pub fn delete_where(state: &State, table: &str, predicate: &mut dyn RowPredicate) -> Result<DeleteReport> {
    let id = {
        let view = state.current().view;
        let table = view.named(table)?;
        check_columns(table, predicate.columns())?;
        table.id
    };
    // Positions hold as long as nobody rewrites runs.
    let _compacting = locked(&state.compacting);
    state.check_open()?;
    let dropped = || Error::Dropped { table: table.to_owned() };
    let mut search = Search::new(predicate);
    for _ in 0..ROUNDS {
        flush_table(state, id)?;
        let table = state.runs_of(id)?.ok_or_else(dropped)?;
        if !search.ask(&table)? {
            break;
        }
    }
    let report = commit(state, id, table, search)?;
    tracing::info!(table, rows = report.rows, seq = ?report.seq, "deleted rows by a predicate");
    Ok(report)
}

/// Takes the delete's place in the sequence and publishes it.
fn commit(state: &State, id: TableId, name: &str, mut search: Search<'_>) -> Result<DeleteReport> {
    let _gate = state.gate.write().unwrap_or_else(PoisonError::into_inner);
    if !makes(SeededFault::DeleteWithoutRotation) {
        rotate(state, id);
        while flush_oldest(state, id)? {}
    }
    let _resolving = locked(&state.resolving);
    let view = state.current().view;
    let now = view.table(id).ok_or_else(|| Error::Dropped { table: name.to_owned() })?;
    search.ask(now)?;
    let dying = search.still_live(&now.version);
    let rows = dying.iter().map(|(_, dying)| dying.len()).sum();
    if rows == 0 {
        return Ok(DeleteReport { rows, seq: None });
    }
    let closed = write_keys(state, now, &dying)?;
    let seq = locked(&state.writer).take_seq();
    let added = closed.open(|_| SeqRange { first: seq, last: seq })?;
    let dead = dying.into_iter().map(|(run, dying)| (run.id(), dying)).collect();
    closed.publish(VersionEdit::Loaded(RunsEdit { table: id, removed: Vec::new(), added, dead, through: seq }))?;
    state.counters.deletes.fetch_add(1, Ordering::Relaxed);
    Ok(DeleteReport { rows, seq: Some(seq) })
}

/// Refuses columns that the table does not have.
fn check_columns(table: &TableView, columns: &[usize]) -> Result<()> {
    let user = table.schema.user();
    let Some(column) = columns.iter().find(|column| **column >= user.fields().len()) else { return Ok(()) };
    Err(Error::NoSuchColumn {
        table: table.name.to_string(),
        column: format!("number {column}"),
        known: user.fields().iter().map(|field| field.name().clone()).collect(),
    })
}

/// The rows that a predicate wants, as far as runs were asked about.
struct Search<'a> {
    predicate: &'a mut dyn RowPredicate,
    /// Its columns, ascending: what is read.
    columns: Vec<usize>,
    /// For each column as the predicate wants it, its place among those.
    order: Vec<usize>,
    found: BTreeMap<RunId, DeletionVector>,
}

impl<'a> Search<'a> {
    fn new(predicate: &'a mut dyn RowPredicate) -> Self {
        let columns: BTreeSet<usize> = predicate.columns().iter().copied().collect();
        let columns: Vec<usize> = columns.into_iter().collect();
        let order = predicate.columns().iter().map(|column| columns.partition_point(|other| other < column)).collect();
        Self { predicate, columns, order, found: BTreeMap::new() }
    }

    /// Asks about the live rows of the runs that were not asked about; `false` if there are none.
    fn ask(&mut self, table: &TableView) -> Result<bool> {
        let mut is_new = false;
        for (run, dead) in table.version.runs().iter().zip(table.version.dead()) {
            if !self.found.contains_key(&run.id()) {
                let found = self.ask_run(run, dead)?;
                self.found.insert(run.id(), found);
                is_new = true;
            }
        }
        Ok(is_new)
    }

    fn ask_run(&mut self, run: &Arc<Run>, dead: &DeletionVector) -> Result<DeletionVector> {
        let mut found = DeletionVector::default();
        if dead.len() == run.rows() {
            return Ok(found);
        }
        let mut at = 0;
        for batch in run.sst().rows(0..run.rows(), &self.columns, SCAN_BATCH_ROWS)? {
            let batch = batch?;
            let first = at;
            at += batch.num_rows() as u64;
            let live = dead.live(first..at);
            let expected = live.count_set_bits();
            if expected == 0 {
                continue;
            }
            let batch = batch.project(&self.order)?;
            // On dead rows, on which it may fail, it is not tried.
            let is_all = expected == batch.num_rows();
            let mask = BooleanArray::new(live, None);
            let wanted = self.predicate.wants(&if is_all { batch } else { filter_record_batch(&batch, &mask)? })?;
            if wanted.len() != expected {
                return Err(Error::PredicateLength { expected, found: wanted.len() });
            }
            for (index, wanted) in mask.values().set_indices().zip(wanted.iter()) {
                if wanted == Some(true) {
                    found.insert(first + index as u64);
                }
            }
        }
        Ok(found)
    }

    /// The rows found that did not die since, of the runs that have some.
    fn still_live(&self, version: &TableVersion) -> Vec<(Arc<Run>, DeletionVector)> {
        let mut dying = Vec::new();
        for (run, dead) in version.runs().iter().zip(version.dead()) {
            let Some(found) = self.found.get(&run.id()) else { continue };
            let survives = |row: &u64| !dead.contains(*row) || makes(SeededFault::DeleteForgetsMeanwhile);
            let live: DeletionVector = found.rows().filter(survives).collect();
            if !live.is_empty() {
                dying.push((run.clone(), live));
            }
        }
        dying
    }
}

/// Writes the keys of some rows, which are live, into runs without rows.
fn write_keys<'a>(
    state: &'a State,
    table: &Arc<TableView>,
    dying: &[(Arc<Run>, DeletionVector)],
) -> Result<ClosedRuns<'a>> {
    let mut cursors = Vec::with_capacity(dying.len());
    for (run, dying) in dying {
        cursors.push(Cursor::batches(Box::new(ChosenKeys { run: run.clone(), chosen: dying.clone(), at: 0 }))?);
    }
    let mut merge =
        Merge::new(cursors, MergeOptions::keyed(Arc::new(Schema::empty()), table.codec.width(), Equal::All));
    let mut writer = RunWriter::new(state, table.clone());
    let (mut bytes, mut ascent) = (0, Ascent::default());
    while let Some(block) = merge.next_block()? {
        // Where keys or deletion vectors are wrong behind matching checksums, a key may come twice.
        ascent.take(&block.keys).map_err(|damage| Error::corrupt(path::table(table.id), damage))?;
        if bytes > KEY_BYTES_OF_A_RUN {
            writer.end_run()?;
            bytes = 0;
        }
        bytes += block.keys.size_bytes();
        if !makes(SeededFault::DeleteLeavesNoKeys) {
            writer.append_deletes(&block.keys);
        }
    }
    writer.close()
}

/// The keys of some rows of a run, without the rows.
struct ChosenKeys {
    run: Arc<Run>,
    chosen: DeletionVector,
    at: u64,
}

impl KeyedBatches for ChosenKeys {
    fn next_keyed(&mut self) -> Result<Option<KeyedBatch>> {
        while self.at < self.run.rows() {
            let rows = self.at..self.run.rows().min(self.at + SCAN_BATCH_ROWS as u64);
            self.at = rows.end;
            if self.chosen.count_in(&rows) == 0 {
                continue;
            }
            let others = self.chosen.live(rows.clone());
            let chosen = (0u32..).zip(others.iter()).filter(|(_, other)| !other).map(|(place, _)| place);
            let keys = self.run.sst().key_index().read(rows)?.take(&chosen.collect::<Vec<_>>());
            let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
            let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
            return Ok(Some(KeyedBatch::all(keys, nothing)));
        }
        Ok(None)
    }
}
