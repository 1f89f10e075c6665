//! What a process does to a database between two crashes, and what may be found of it.
//!
//! In: a disk, steps, and what it may hold at first. Out: for each number of marks the states that may be found. The
//! first mark says that the database was opened, each further one that a step was acknowledged.

use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::SimDisk;

use crate::fixture::{Step, Tables, contents, run, run_model};

/// States that may be found, by the number of marks.
pub(crate) type States = Vec<Vec<Tables>>;

/// Whether a step makes sense for these tables.
pub(crate) fn applies(step: &Step, tables: &Tables) -> bool {
    match step {
        Step::Write(changes) | Step::Group(changes) => changes.iter().all(|(table, ..)| tables.contains_key(*table)),
        Step::Upsert(table, _)
        | Step::Load(table, _)
        | Step::DeleteMultiples(table, _)
        | Step::Flush(table)
        | Step::Compact(table)
        | Step::Drop(table) => tables.contains_key(*table),
        Step::Create(table) => !tables.contains_key(*table),
        Step::FlushFrozen | Step::CompactDue(_) | Step::Reopen | Step::Kill => true,
    }
}

/// The states that a step may leave if it is cut off but not without effect: a group may be in the log as a prefix of
/// its batches.
pub(crate) fn allowed_after(step: &Step, tables: &Tables) -> Vec<Tables> {
    let parts = match step {
        Step::Group(changes) => (1..=changes.len()).map(|length| Step::Group(changes[..length].to_vec())).collect(),
        step => vec![step.clone()],
    };
    let after = |step: &Step| {
        let mut tables = tables.clone();
        run_model(&mut tables, step);
        tables
    };
    parts.iter().map(after).collect()
}

/// Opens a database that holds one of the states of `start`, and does the steps that apply to it.
///
/// Marks go to `sim`, which `disk` leads to.
pub(crate) fn live(
    sim: &SimDisk,
    disk: &Arc<dyn Disk>,
    options: &Options,
    steps: &[Step],
    start: &[Tables],
) -> Result<States, String> {
    let mut db = Database::open(disk.clone(), options.clone()).map_err(|error| format!("does not open: {error}"))?;
    let mut tables = contents(&db).map_err(|error| format!("does not read: {error}"))?;
    if !start.contains(&tables) {
        return Err(format!("holds {tables:?}, allowed is {start:?}"));
    }
    let mut states = vec![start.to_vec(), vec![tables.clone()]];
    sim.mark(0);
    for step in steps {
        if !applies(step, &tables) {
            continue;
        }
        let last = states.len() - 1;
        states[last].extend(allowed_after(step, &tables));
        run(&mut db, disk, options, step).map_err(|error| format!("{step:?} fails: {error}"))?;
        run_model(&mut tables, step);
        states.push(vec![tables.clone()]);
        sim.mark(1);
    }
    let found = contents(&db).map_err(|error| format!("does not read again: {error}"))?;
    if found == tables { Ok(states) } else { Err(format!("without a crash it holds {found:?}, expected {tables:?}")) }
}
