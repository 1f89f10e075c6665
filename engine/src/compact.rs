//! Rewrites the runs of a table into runs that do not overlap.
//!
//! In: the runs of a version. Out: runs with each live key once, no deleted keys; published in place of the inputs.
//! Invariants: the inputs are all runs there are when it starts, so nothing older exists that a deleted key would
//! still have to hide; runs that are flushed meanwhile are newer and stay on top. An aborted compaction removes what
//! it wrote. Every block of the inputs is compared with its checksum again, though readers did so before: what rotted
//! since must not get fresh checksums.

use std::sync::Arc;

use crate::error::Result;
use crate::flush::flush_table;
use crate::id::{RunId, TableId};
use crate::publish::VersionEdit;
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::snapshot::merged_batch_rows;
use crate::read::source::Source;
use crate::run_writer::{RunWriter, SeqRange};
use crate::seeded::{SeededFault, makes};
use crate::state::{State, locked};
use crate::sweep::{remove_run, sweep};
use crate::sync::atomic::Ordering;
use crate::version::run::Run;
use crate::version::table::overlap;
use crate::version::view::TableView;

/// Flushes a table and rewrites it, so that it consists of runs that do not overlap and hold live rows only; then
/// removes what is not needed any more.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's; [`crate::error::Error::Poisoned`].
pub fn compact_table(state: &State, id: TableId) -> Result<()> {
    flush_table(state, id)?;
    compact_runs(state, id)?;
    sweep(state);
    Ok(())
}

/// Number of a table's runs that overlap another one or hold deleted keys.
pub fn untidy_runs(runs: &[Arc<Run>]) -> usize {
    let untidy = |run: &Arc<Run>| {
        run.meta().files.deletes.is_some() || runs.iter().any(|other| other.id() != run.id() && overlap(run, other))
    };
    runs.iter().filter(|run| untidy(run)).count()
}

/// Rewrites all runs of a table if any of them overlap or hold deleted keys.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's; [`crate::error::Error::Dropped`].
pub fn compact_runs(state: &State, id: TableId) -> Result<()> {
    let _compacting = locked(&state.compacting);
    state.check_open()?;
    let view = state.current().view;
    let Some(table) = view.table(id) else { return Ok(()) };
    let runs = table.version.runs();
    if untidy_runs(runs) == 0 {
        return Ok(());
    }
    let seqs = runs.iter().map(|run| run.meta().min_seq).min().zip(runs.iter().map(|run| run.meta().max_seq).max());
    let Some((first, last)) = seqs else { return Ok(()) };
    let mut writer = RunWriter::new(state, table.clone());
    let mut merge = merge_runs(state, table)?;
    while let Some(block) = merge.next_block()? {
        writer.append(&block.keys, &block.batch)?;
    }
    let closed = writer.close()?;
    let added = closed.open(SeqRange { first, last })?;
    let removed: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    let (runs_in, runs_out, rows) = (removed.len(), added.len(), closed.rows());
    if makes(SeededFault::RunsSweptBeforePublish) {
        removed.iter().for_each(|run| remove_run(&*state.disk, id, *run));
    }
    closed.publish(VersionEdit::Compacted { table: id, removed, added })?;
    state.counters.compactions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(table = %table.name, runs_in, runs_out, rows, "compacted a table");
    Ok(())
}

/// Merges the runs of a table from their files as they are now.
fn merge_runs(state: &State, table: &TableView) -> Result<Merge> {
    let projection: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
    let mut sources = Vec::new();
    for run in table.version.runs() {
        let run = Arc::new(Run::open(&state.disk, table.id, &table.schema, run.meta().clone())?);
        for source in Source::of_run(&run, &table.codec)? {
            if matches!(source, Source::Deleted(..)) && makes(SeededFault::CompactionForgetsDeletes) {
                continue;
            }
            sources.push(source);
        }
    }
    let batch_rows = merged_batch_rows(sources.len());
    let cursors = sources.into_iter().map(|source| source.open(&projection, batch_rows)).collect::<Result<_>>()?;
    let options = MergeOptions::keyed(table.schema.stored().clone(), table.codec.width(), Equal::First);
    Ok(Merge::new(cursors, options))
}
