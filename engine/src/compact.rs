//! Rewrites the runs of a table into runs that do not overlap.
//!
//! In: the runs of a version. Out: runs with each live key once, no deleted keys; published in place of the inputs.
//! Invariants: what is rewritten together are neighbours in age, so the result has a place in the order of runs; deleted
//! keys go only with the oldest runs, where nothing is left that they would have to hide; runs that are flushed
//! meanwhile are newer and stay on top. If merging all runs at once takes too much memory, neighbours are rewritten
//! first, the fewest rows at a time, each published by itself. An aborted compaction removes what it wrote. Every block
//! of the inputs is compared with its checksum again, though readers did so before: what rotted since must not get fresh
//! checksums.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::flush::flush_table;
use crate::id::{RunId, SeqNo, TableId};
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

/// Rewrites all runs of a table, as they are when it starts, if any of them overlap or hold deleted keys.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's; [`crate::error::Error::Dropped`].
pub fn compact_runs(state: &State, id: TableId) -> Result<()> {
    let _compacting = locked(&state.compacting);
    let newest = |table: &Arc<TableView>| table.version.runs().first().map(|run| run.meta().max_seq);
    let Some(through) = state.current().view.table(id).and_then(newest) else { return Ok(()) };
    loop {
        state.check_open()?;
        let view = state.current().view;
        let Some(table) = view.table(id) else { return Ok(()) };
        let runs = table.version.runs();
        // Those flushed since the start are the newest.
        let flushed = runs.iter().take_while(|run| run.meta().max_seq > through).count();
        let runs = &runs[flushed..];
        if untidy_runs(runs) == 0 {
            return Ok(());
        }
        let span = next_span(runs, state.options.merge_bytes())?;
        let is_last = span.len() == runs.len();
        rewrite(state, table, span.start + flushed..span.end + flushed)?;
        if is_last {
            return Ok(());
        }
        sweep(state);
    }
}

/// Runs that are neighbours in age and disjoint in keys, or that cannot be told apart by age.
struct AgeGroup {
    runs: Range<usize>,
    rows: u64,
    /// Bytes that a merge holds of them at one time.
    merged_bytes: usize,
}

/// Which of the runs of a table, newest first, to rewrite together: all of them if their merge holds no more than
/// `bytes_max`; else of the neighbours for which that is so the ones with the fewest rows, or of all pairs.
fn next_span(runs: &[Arc<Run>], bytes_max: usize) -> Result<Range<usize>> {
    let groups = age_groups(runs)?;
    let within = |groups: &[AgeGroup]| groups.iter().map(|group| group.merged_bytes).sum::<usize>() <= bytes_max;
    let rows = |groups: &[AgeGroup]| groups.iter().map(|group| group.rows).sum::<u64>();
    if groups.len() <= 2 || within(&groups) {
        return Ok(0..runs.len());
    }
    let spans = (0..groups.len() - 1).map(|first| {
        let longest = (first + 2..=groups.len()).take_while(|end| within(&groups[first..*end])).last();
        &groups[first..longest.unwrap_or(first + 2)]
    });
    // The most groups per row that is rewritten.
    let best = spans.min_by_key(|span| rows(span) / (span.len() as u64 - 1));
    Ok(best.and_then(|span| Some(span.first()?.runs.start..span.last()?.runs.end)).unwrap_or(0..runs.len()))
}

/// The runs of a table, newest first, in groups of which each is older than the one before.
fn age_groups(runs: &[Arc<Run>]) -> Result<Vec<AgeGroup>> {
    let mut groups: Vec<AgeGroup> = Vec::new();
    let mut oldest = SeqNo::MAX;
    for (index, run) in runs.iter().enumerate() {
        let (rows, bytes) = (run.rows(), run.sst().merged_bytes()?);
        match groups.last_mut().filter(|_| run.meta().max_seq >= oldest) {
            Some(group) => {
                let disjoint = runs[group.runs.clone()].iter().all(|other| !overlap(run, other));
                group.merged_bytes =
                    if disjoint { group.merged_bytes.max(bytes) } else { group.merged_bytes.saturating_add(bytes) };
                group.rows += rows;
                group.runs.end = index + 1;
            }
            None => groups.push(AgeGroup { runs: index..index + 1, rows, merged_bytes: bytes }),
        }
        oldest = oldest.min(run.meta().min_seq);
    }
    Ok(groups)
}

/// Rewrites some runs of a table that are neighbours in age.
fn rewrite(state: &State, table: &Arc<TableView>, span: Range<usize>) -> Result<()> {
    let runs = &table.version.runs()[span.clone()];
    let seqs = runs.iter().map(|run| run.meta().min_seq).min().zip(runs.iter().map(|run| run.meta().max_seq).max());
    let Some((first, last)) = seqs else { return Ok(()) };
    let has_older = span.end < table.version.runs().len();
    let mut writer = RunWriter::new(state, table.clone());
    let mut merge = merge_runs(state, table, runs)?;
    while let Some(block) = merge.next_block()? {
        if has_older { writer.append_with_deletes(&block)? } else { writer.append(&block.keys, &block.batch)? }
    }
    let closed = writer.close()?;
    let added = closed.open(SeqRange { first, last })?;
    let removed: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    let (runs_in, runs_out, rows) = (removed.len(), added.len(), closed.rows());
    if makes(SeededFault::RunsSweptBeforePublish) {
        removed.iter().for_each(|run| remove_run(&*state.disk, table.id, *run));
    }
    closed.publish(VersionEdit::Compacted { table: table.id, removed, added })?;
    state.counters.compactions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(table = %table.name, runs_in, runs_out, rows, "compacted a table");
    Ok(())
}

/// Merges some runs of a table from their files as they are now.
fn merge_runs(state: &State, table: &TableView, runs: &[Arc<Run>]) -> Result<Merge> {
    let projection: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
    let mut sources = Vec::new();
    for run in runs {
        let run = Arc::new(Run::open(&state.store, table.id, &table.schema, run.meta().clone())?);
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
