//! Rewrites the runs of a table into runs that do not overlap.
//!
//! In: the runs of a version. Out: runs with the live rows, no deleted keys; published in place of the inputs.
//! Invariants: which rows are live follows from keys alone, and must be what the deletion vectors say. Rows that die
//! while it runs are found by the keys of the runs that came, before the result takes the place of its inputs. Besides, what is rewritten together are neighbours in age, so the result has a place in the order of runs; deleted
//! keys go only with the oldest runs, where nothing is left that they would have to hide; runs that are flushed
//! meanwhile are newer and stay on top. If merging all runs at once takes too much memory, neighbours are rewritten
//! first, the fewest rows at a time, each published by itself. An aborted compaction removes what it wrote. Every block
//! of the inputs is compared with its checksum again, though readers did so before: what rotted since must not get fresh
//! checksums.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::deletion::file::DeadRows;
use crate::deletion::vector::DeletionVector;
use crate::disk::path;
use crate::error::{Damage, Error, Result};
use crate::flush::flush_table;
use crate::id::{RunId, SeqNo, TableId};
use crate::publish::VersionEdit;
use crate::read::cursor::Cursor;
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::probe::Probe;
use crate::read::resolve::{check_dead, each_keys, resolve, rows_with_keys};
use crate::read::snapshot::merged_batch_rows;
use crate::rows::keys::Keys;
use crate::run_writer::{RunWriter, SeqRange};
use crate::seeded::{SeededFault, makes};
use crate::state::{State, locked};
use crate::sweep::{remove_run, sweep};
use crate::sync::atomic::Ordering;
use crate::version::run::Run;
use crate::version::table::{RunsEdit, TableVersion, overlap};
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

/// Number of a table's runs, without the newest ones, that overlap another one, hold deleted keys or have dead rows.
pub fn untidy_runs(version: &TableVersion, newest: usize) -> usize {
    let runs = &version.runs()[newest..];
    let untidy = |(run, dead): &(&Arc<Run>, &Arc<DeletionVector>)| {
        let overlaps = || runs.iter().any(|other| other.id() != run.id() && overlap(run, other));
        run.meta().files.deletes.is_some() || !dead.is_empty() || overlaps()
    };
    runs.iter().zip(&version.dead()[newest..]).filter(untidy).count()
}

/// Rewrites all runs of a table, as they are when it starts, if any of them overlap, hold deleted keys or have dead rows.
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
        if untidy_runs(&table.version, flushed) == 0 {
            return Ok(());
        }
        let runs = &runs[flushed..];
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

/// Rewrites the live rows of some runs of a table that are neighbours in age.
fn rewrite(state: &State, table: &Arc<TableView>, span: Range<usize>) -> Result<()> {
    let opened = opened_again(state, table, &span)?;
    let runs = &opened[span.clone()];
    let seqs = runs.iter().map(|run| run.meta().min_seq).min().zip(runs.iter().map(|run| run.meta().max_seq).max());
    let Some((first, last)) = seqs else { return Ok(()) };
    check_span(table, &opened, &span)?;
    let mut writer = RunWriter::new(state, table.clone());
    let deleted = deleted_keys(table, &opened, &span)?;
    if !makes(SeededFault::CompactionForgetsDeletes) {
        writer.append_deletes(&deleted)?;
    }
    let mut merge = merge_live(table, runs, &span)?;
    let mut before: Option<Vec<u8>> = None;
    while let Some(block) = merge.next_block()? {
        // Keys of the inputs may be damaged where their checksums match.
        let follows = before.as_deref().zip(block.keys.first()).is_none_or(|(before, first)| before < first);
        if !follows || block.keys.first_disorder().is_some() {
            return Err(Error::corrupt(path::table(table.id), Damage::KeyOrder { row: 0 }));
        }
        before = block.keys.last().map(<[u8]>::to_vec).or(before);
        writer.append(&block.keys, &block.batch)?;
    }
    let closed = writer.close()?;
    let added = closed.open(SeqRange { first, last })?;
    let removed: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    let (runs_in, runs_out, rows) = (removed.len(), added.len(), closed.rows());
    if makes(SeededFault::RunsSweptBeforePublish) {
        removed.iter().for_each(|run| remove_run(&*state.disk, table.id, *run));
    }
    let mut catch_up = CatchUp::new(table, &added);
    catch_up.resolve(state)?;
    // Nothing else changes the table's runs until this is published.
    let _flushing = locked(&state.flushing);
    catch_up.resolve(state)?;
    let dead = catch_up.finish(state, runs)?;
    closed.publish(VersionEdit::Compacted(RunsEdit { table: table.id, removed, added, dead, through: SeqNo::NONE }))?;
    state.counters.compactions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(table = %table.name, runs_in, runs_out, rows, "compacted a table");
    Ok(())
}

/// Compares the deletion vectors of some runs with what their keys, and those of all newer runs, say.
fn check_span(table: &TableView, runs: &[Arc<Run>], span: &Range<usize>) -> Result<()> {
    let mut dead: BTreeMap<RunId, DeletionVector> = BTreeMap::new();
    for newer in 0..span.end {
        let older = &runs[span.start.max(newer + 1)..span.end];
        for (run, rows) in resolve(std::slice::from_ref(&runs[newer]), older, &table.codec)? {
            dead.entry(run).or_default().extend(&rows);
        }
    }
    let inputs = &runs[span.clone()];
    let by_keys: Vec<DeletionVector> = inputs.iter().map(|run| dead.remove(&run.id()).unwrap_or_default()).collect();
    let known = table.version.dead()[span.clone()].iter().map(AsRef::as_ref);
    check_dead(table.id, inputs, known, &by_keys)
}

/// The deleted keys of some runs that still have something to hide: a row of a run that is older than all of them.
fn deleted_keys(table: &TableView, runs: &[Arc<Run>], span: &Range<usize>) -> Result<Keys> {
    let mut all = Keys::new(table.codec.width());
    if span.end == runs.len() {
        return Ok(all);
    }
    for run in &runs[span.clone()] {
        let deleted = run.deleted(&table.codec)?;
        all.extend(&deleted, 0..deleted.len());
    }
    let mut order = all.sort_order();
    order.dedup_by_key(|index| all.get(*index as usize));
    let all = all.take(&order);
    let mut hides = vec![false; all.len()];
    let mut probe = Probe::new(&all, (0..all.len()).collect());
    for older in &runs[span.end..] {
        probe.ask(older, &table.codec, |index, row| hides[index] = row.is_some())?;
    }
    let kept = hides.iter().enumerate().filter(|(_, hides)| **hides);
    let kept: Vec<u32> = kept.filter_map(|(index, _)| u32::try_from(index).ok()).collect();
    Ok(all.take(&kept))
}

/// The runs of a table, those to be rewritten opened anew: their files are read as they are now.
fn opened_again(state: &State, table: &TableView, span: &Range<usize>) -> Result<Vec<Arc<Run>>> {
    let mut runs = table.version.runs().to_vec();
    for run in &mut runs[span.clone()] {
        *run = Arc::new(Run::open(&state.store, table.id, &table.schema, run.meta().clone())?);
    }
    Ok(runs)
}

/// Merges the live rows of the runs that are rewritten.
fn merge_live(table: &TableView, runs: &[Arc<Run>], span: &Range<usize>) -> Result<Merge> {
    let projection: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
    let batch_rows = merged_batch_rows(span.len());
    let mut cursors = Vec::with_capacity(span.len());
    let runs = runs.iter().zip(&table.version.dead()[span.clone()]);
    for (run, dead) in runs.filter(|(run, dead)| run.rows() > dead.len()) {
        let dead = if makes(SeededFault::CompactionKeepsDead) { Arc::default() } else { dead.clone() };
        cursors.push(Cursor::live_rows(run.clone(), dead, &projection, batch_rows)?);
    }
    // No two of them have a live row with one key: what writes the runs sees to that.
    let options = MergeOptions::keyed(table.schema.stored().clone(), table.codec.width(), Equal::All);
    Ok(Merge::new(cursors, options))
}

/// Finds the rows of a compaction's result that died since it began: those whose keys are in runs that came meanwhile.
struct CatchUp<'a> {
    table: &'a TableView,
    added: &'a [Arc<Run>],
    dead: Vec<DeletionVector>,
    /// Runs whose keys were looked up.
    resolved: HashSet<RunId>,
}

impl<'a> CatchUp<'a> {
    fn new(table: &'a TableView, added: &'a [Arc<Run>]) -> Self {
        let dead = added.iter().map(|_| DeletionVector::default()).collect();
        let resolved = table.version.runs().iter().map(|run| run.id()).collect();
        Self { table, added, dead, resolved }
    }

    /// The table's runs and dead rows as they are now.
    fn version(&self, state: &State) -> Result<Arc<TableVersion>> {
        let view = state.current().view;
        let table = view.table(self.table.id).ok_or_else(|| Error::Dropped { table: self.table.name.to_string() })?;
        Ok(table.version.clone())
    }

    /// Looks up the keys of the runs that are there now and were not.
    fn resolve(&mut self, state: &State) -> Result<()> {
        for newer in self.version(state)?.runs() {
            if !self.resolved.insert(newer.id()) || makes(SeededFault::CatchUpSkipped) {
                continue;
            }
            each_keys(newer, &self.table.codec, |keys| {
                for (added, dead) in self.added.iter().zip(&mut self.dead) {
                    dead.extend(&rows_with_keys(keys, added)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The rows that died: as many as died in the inputs.
    fn finish(self, state: &State, inputs: &[Arc<Run>]) -> Result<DeadRows> {
        let now = self.version(state)?;
        let count = |version: &TableVersion| -> u64 {
            inputs.iter().filter_map(|run| version.dead_of(run.id())).map(|dead| dead.len()).sum()
        };
        let expected = count(&now).saturating_sub(count(&self.table.version));
        let found = self.dead.iter().map(DeletionVector::len).sum();
        if expected != found && !makes(SeededFault::CatchUpSkipped) {
            let damage = Damage::Disagreement { fact: "rows that died during a compaction", expected, found };
            return Err(Error::corrupt(path::table(self.table.id), damage));
        }
        let dead = self.added.iter().map(|run| run.id()).zip(self.dead);
        Ok(dead.filter(|(_, dead)| !dead.is_empty()).collect())
    }
}
