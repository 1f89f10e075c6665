//! What a process does to a database between two crashes, and what may be found of it.
//!
//! In: a disk, steps, and what it may hold at first. Out: for each number of marks the states that may be found. The
//! first mark says that the database was opened, each further one that a step was acknowledged.

use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::SimDisk;
use rustling_engine::error as engine;

use crate::crash::interrupt::Interrupt;
use crate::fixture::{Step, Tables, contents, run, run_model, run_open};

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
        Step::CompactWhile(table, _, steps) => {
            tables.contains_key(*table) && steps.iter().all(|step| applies(step, tables))
        }
        Step::Create(table) => !tables.contains_key(*table),
        Step::FlushFrozen | Step::CompactDue(_) | Step::Reopen | Step::Kill => true,
    }
}

/// The states that a step may leave if it is cut off but not without effect: a group may be in the log as a prefix of
/// its batches.
pub(crate) fn allowed_after(step: &Step, tables: &Tables) -> Vec<Tables> {
    let parts = match step {
        Step::Group(changes) => (1..=changes.len()).map(|length| Step::Group(changes[..length].to_vec())).collect(),
        Step::CompactWhile(_, _, steps) => {
            let mut tables = tables.clone();
            let after = steps.iter().flat_map(|step| {
                let allowed = allowed_after(step, &tables);
                run_model(&mut tables, step);
                allowed
            });
            return after.collect();
        }
        step => vec![step.clone()],
    };
    let after = |step: &Step| {
        let mut tables = tables.clone();
        run_model(&mut tables, step);
        tables
    };
    parts.iter().map(after).collect()
}

/// The steps that are left when so many were acknowledged; one that was interrupted comes again.
pub(crate) fn left(steps: &[Step], mut acknowledged: usize) -> &[Step] {
    let marks = |step: &Step| if let Step::CompactWhile(_, _, steps) = step { steps.len() } else { 1 };
    let is_left = |step: &Step| {
        let left = acknowledged.checked_sub(marks(step));
        acknowledged = left.unwrap_or(0);
        left.is_none()
    };
    &steps[steps.iter().position(is_left).unwrap_or(steps.len())..]
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
    let interrupt = Arc::new(Interrupt::default());
    let disk = interrupt.disk(disk.clone());
    let mut db = Database::open(disk.clone(), options.clone()).map_err(|error| format!("does not open: {error}"))?;
    let tables = contents(&db).map_err(|error| format!("does not read: {error}"))?;
    if !start.contains(&tables) {
        return Err(format!("holds {tables:?}, allowed is {start:?}"));
    }
    let states = vec![start.to_vec(), vec![tables.clone()]];
    sim.mark(0);
    let mut life = Life { sim, tables, states };
    for step in steps {
        if !applies(step, &life.tables) {
            continue;
        }
        if let Step::CompactWhile(table, call, during) = step {
            let during = || during.iter().try_for_each(|step| life.step(step, || run_open(&db, step)));
            interrupt.compact(&db, table, *call, during).map_err(|error| format!("{step:?} fails: {error}"))??;
        } else {
            life.step(step, || run(&mut db, &disk, options, step))?;
        }
    }
    let found = contents(&db).map_err(|error| format!("does not read again: {error}"))?;
    let Life { tables, states, .. } = life;
    if found == tables { Ok(states) } else { Err(format!("without a crash it holds {found:?}, expected {tables:?}")) }
}

/// What was done so far.
struct Life<'a> {
    sim: &'a SimDisk,
    tables: Tables,
    states: States,
}

impl Life<'_> {
    /// Does a step, and notes what may be found before it is acknowledged, and afterwards.
    fn step(&mut self, step: &Step, run: impl FnOnce() -> engine::Result<()>) -> Result<(), String> {
        let last = self.states.len() - 1;
        self.states[last].extend(allowed_after(step, &self.tables));
        run().map_err(|error| format!("{step:?} fails: {error}"))?;
        run_model(&mut self.tables, step);
        self.states.push(vec![self.tables.clone()]);
        self.sim.mark(1);
        Ok(())
    }
}
