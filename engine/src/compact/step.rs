//! When a table is compacted, and by which steps.
//!
//! In: the state, how much effort is due. Out: one rewrite after the other, each published by itself.
//! Invariants: one compaction runs at a time, and keeps no memtable. What is flushed while a table is compacted as a
//! whole is left to the next one, so that it ends; but kept within its limits meanwhile, as other tables are, so that
//! writers do not wait for the end.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use crate::compact::memory::fitting;
use crate::compact::policy::{Effort, Limits, Pick, pick};
use crate::compact::pressure::pressure;
use crate::compact::rewrite::rewrite;
use crate::compact::shape::{RunShape, Shape};
use crate::config::Options;
use crate::deletion::vector::DeletionVector;
use crate::error::Result;
use crate::flush::flush_table;
use crate::id::{RunId, SeqNo, TableId};
use crate::pace::FULL;
use crate::run_writer::SeqRange;
use crate::sst::checksum::in_memory;
use crate::sst::meta::KeyRange;
use crate::state::{State, locked};
use crate::sweep::sweep;
use crate::version::run::{Run, key_bounds};
use crate::version::table::TableVersion;
use crate::version::view::TableView;

/// Bytes that a deleted key takes in a compaction beside itself: its place in the order of all, and whether it is there.
const DELETED_KEY_BYTES: usize = 32;
/// Bytes of a key where keys have no one length.
const KEY_BYTES_GUESSED: usize = 32;

/// The bounds that a table is kept within.
pub fn limits(options: &Options) -> Limits {
    Limits {
        runs: options.compact_runs,
        dead_percent: options.dead_percent,
        dead_bytes: (options.memtable_bytes / 4) as u64,
        sst_bytes: options.sst_bytes,
        sst_rows: options.sst_rows,
    }
}

/// The shape of a table's runs.
pub fn shape(version: &TableVersion) -> Shape {
    let runs = version.runs().iter().zip(version.dead());
    Shape::new(runs.map(|(run, dead)| run_shape(run, dead)).collect())
}

fn run_shape(run: &Run, dead: &DeletionVector) -> RunShape {
    let files = &run.meta().files;
    let keys = key_bounds(files).map(|(min, max)| KeyRange { min: min.to_vec(), max: max.to_vec() });
    RunShape {
        rows: files.rows,
        dead: dead.len(),
        deletes: files.deletes.as_ref().map_or(0, |deletes| deletes.count),
        bytes: files.total_bytes(),
        seqs: SeqRange { first: run.meta().min_seq, last: run.meta().max_seq },
        keys,
    }
}

/// Flushes a table and rewrites it, so that it consists of runs that do not overlap and hold live rows only; then
/// removes what is not needed any more.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's; [`crate::error::Error::Poisoned`].
pub fn compact_table(state: &State, id: TableId) -> Result<()> {
    flush_table(state, id)?;
    let _compacting = locked(&state.compacting);
    let (through, before) = {
        let view = state.current().view;
        let runs = view.table(id).map_or(&[][..], |table| table.version.runs());
        let Some(newest) = runs.first() else { return Ok(()) };
        (newest.meta().max_seq, runs.iter().map(|run| run.id()).collect::<HashSet<RunId>>())
    };
    loop {
        state.check_open()?;
        if state.options.background {
            keep_within_limits(state, id, through)?;
        }
        let Some(table) = state.runs_of(id)? else { return Ok(()) };
        let flushed = flushed_since(&table, through);
        let runs = table.version.runs().iter().zip(table.version.dead()).skip(flushed);
        let shapes = runs.map(|(run, dead)| match run_shape(run, dead) {
            shape if before.contains(&run.id()) => shape,
            // What died of a result died of what was flushed since.
            shape => RunShape { dead: 0, ..shape },
        });
        if !compact_once(state, &table, flushed, &Shape::new(shapes.collect()), Effort::Whole)? {
            return Ok(());
        }
        drop(table);
        sweep(state);
    }
}

/// How many runs of a table were flushed, or loaded, since: they are the newest.
fn flushed_since(table: &TableView, through: SeqNo) -> usize {
    table.version.runs().iter().take_while(|run| run.meta().max_seq > through).count()
}

/// Does a step of what is due while a table is compacted as a whole: of each other table, and of what was flushed of this
/// one since.
fn keep_within_limits(state: &State, id: TableId, through: SeqNo) -> Result<()> {
    if let Some(table) = state.runs_of(id)? {
        let newest = table.version.runs().iter().zip(table.version.dead()).take(flushed_since(&table, through));
        let newest = Shape::new(newest.map(|(run, dead)| run_shape(run, dead)).collect());
        compact_once(state, &table, 0, &newest, Effort::Steady)?;
    }
    for other in by_urgency(state).into_iter().filter(|other| *other != id) {
        match compact_due_of(state, other, Effort::Steady) {
            Err(error) if error.ends_writing() => return Err(error),
            outcome => drop(state.compaction_failures.note(other, outcome.map(drop))),
        }
    }
    sweep(state);
    Ok(())
}

/// Does the most urgent step of any table; `false` if none was done. A table that fails keeps no other from its step: the
/// next one in urgency does its own. Tells `outcome` how it went with each table that was looked at.
///
/// # Errors
/// [`crate::error::Error::Closed`], [`crate::error::Error::Poisoned`]: no step may be done any more.
pub fn compact_step(state: &State, effort: Effort, outcome: &mut dyn FnMut(TableId, Result<()>)) -> Result<bool> {
    let _compacting = locked(&state.compacting);
    state.check_open()?;
    for id in by_urgency(state) {
        match compact_due_of(state, id, effort) {
            Ok(was_done) => {
                outcome(id, Ok(()));
                if was_done {
                    sweep(state);
                    return Ok(true);
                }
            }
            Err(error) if error.ends_writing() => return Err(error),
            Err(error) => outcome(id, Err(error)),
        }
    }
    Ok(false)
}

/// All tables but those whose compaction failed a moment ago, the most urgent one first.
fn by_urgency(state: &State) -> Vec<TableId> {
    let limits = limits(&state.options);
    let urgency = |table: &Arc<TableView>| (urgency(&shape(&table.version), &limits), table.id);
    let view = state.current().view;
    let tables = view.tables().filter(|table| !state.compaction_failures.waits(table.id));
    let mut tables: Vec<(u64, TableId)> = tables.map(urgency).collect();
    tables.sort_by_key(|(urgency, _)| Reverse(*urgency));
    tables.into_iter().map(|(_, id)| id).collect()
}

/// Does the most urgent step of a table; `false` if there is none.
fn compact_due_of(state: &State, id: TableId, effort: Effort) -> Result<bool> {
    let Some(table) = state.runs_of(id)? else { return Ok(false) };
    compact_once(state, &table, 0, &shape(&table.version), effort)
}

/// How far a table is from its bounds, in hundredths.
fn urgency(shape: &Shape, limits: &Limits) -> u64 {
    let runs = (shape.depth() * 100 / limits.runs.max(1)) as u64;
    let dead = shape.dead().saturating_mul(10_000) / (shape.rows() * limits.dead_percent).max(1);
    runs.max(dead)
}

/// The pressure that a table puts on writers once its frozen memtables are flushed: see [`pressure`].
pub fn table_pressure(table: &TableView, options: &Options) -> u64 {
    let frozen = table.memtables.iter().skip(1).map(|memtable| memtable.changes()).sum();
    pressure(&shape(&table.version), &limits(options), frozen)
}

/// Whether the next flush of a table waits for a compaction, which there is to do then.
pub fn is_held(table: &TableView, options: &Options) -> bool {
    let next = table.oldest_frozen().map_or(0, |memtable| memtable.changes());
    pressure(&shape(&table.version), &limits(options), next) >= FULL
}

/// Rewrites what the policy picks of a table, or as much of it as the memory allows; `false` if it picks nothing. The
/// shape is that of neighbours in age, from the run at `first` on.
fn compact_once(state: &State, table: &Arc<TableView>, first: usize, shape: &Shape, effort: Effort) -> Result<bool> {
    let Some(picked) = pick(shape, &limits(&state.options), effort) else { return Ok(false) };
    let picked = within_memory(state, table, first, picked, shape)?;
    let places: Vec<usize> = picked.runs.iter().map(|run| run + first).collect();
    rewrite(state, table, &places, &picked)?;
    Ok(true)
}

fn within_memory(state: &State, table: &TableView, first: usize, pick: Pick, shape: &Shape) -> Result<Pick> {
    let mut bytes = vec![0; shape.runs().len()];
    if pick.runs.len() > 2 {
        for run in &pick.runs {
            let input = &table.version.runs()[run + first];
            let deletes = input.meta().files.deletes.as_ref().map_or(0, |deletes| in_memory(deletes.count));
            let key_bytes = table.codec.width().unwrap_or(KEY_BYTES_GUESSED) + DELETED_KEY_BYTES;
            bytes[*run] = deletes.saturating_mul(key_bytes).saturating_add(input.sst().merged_bytes()?);
        }
    }
    Ok(fitting(pick, shape, &limits(&state.options), &bytes, state.options.merge_bytes()))
}
