//! One table's runs at one moment.
//!
//! In: open runs, their dead rows. Out: an immutable [`TableVersion`], checked.
//! Invariants: runs are ordered newest first; any two of them are disjoint in sequence numbers or in keys. So the
//! first run in order that knows a key has its newest change. A row is dead exactly if a newer run of the version knows
//! its key. Dead rows only become more: an edit names rows that were live.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::deletion::file::{DeadCount, DeadRows, DeletionFile, DeletionsManifest};
use crate::deletion::vector::DeletionVector;
use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::id::{RunId, SeqNo, TableId};
use crate::version::history::History;
use crate::version::manifest::CURRENT_MANIFEST;
use crate::version::run::Run;

/// The runs of a table, and which of their rows are dead.
#[derive(Clone, Debug, Default)]
pub struct TableVersion {
    runs: Vec<Arc<Run>>,
    /// Dead rows of each run.
    dead: Vec<Arc<DeletionVector>>,
    /// The files that the dead rows are in.
    deletion_files: Vec<DeletionFile>,
    /// Dead rows that are in no file yet.
    unrecorded: DeadRows,
    flushed_through: SeqNo,
    history: Arc<History>,
}

/// A change of a table's runs.
#[derive(Debug)]
pub struct RunsEdit {
    /// The table.
    pub table: TableId,
    /// Runs that go.
    pub removed: Vec<RunId>,
    /// Runs that come, all of their rows live but for `dead`.
    pub added: Vec<Arc<Run>>,
    /// Rows that die with it: of runs that stay, and of those that come.
    pub dead: DeadRows,
    /// Every change up to here is in the runs.
    pub through: SeqNo,
}

impl TableVersion {
    /// Checks and orders the runs of a table, each with its dead rows; every change up to `flushed_through` is in them.
    ///
    /// # Errors
    /// Two runs overlap in keys and in sequence numbers, a run is newer than `flushed_through`, or has more dead rows
    /// than rows.
    pub fn new(mut runs: Vec<(Arc<Run>, Arc<DeletionVector>)>, flushed_through: SeqNo) -> Result<Self, Damage> {
        runs.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
        let (runs, dead): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        for (index, newer) in runs.iter().enumerate() {
            if newer.meta().max_seq > flushed_through {
                return Err(disagree("the newest change in a run", flushed_through.0, newer.meta().max_seq.0));
            }
            for older in &runs[index + 1..] {
                if older.meta().max_seq >= newer.meta().min_seq && overlap(newer, older) {
                    return Err(disagree("the run that overlaps another", newer.id().0, older.id().0));
                }
            }
        }
        for (run, dead) in runs.iter().zip(&dead) {
            let within = dead.count_in(&(0..run.rows()));
            if within != dead.len() {
                return Err(disagree("the number of dead rows among those of a run", dead.len(), within));
            }
        }
        let (deletion_files, unrecorded, history) = (Vec::new(), DeadRows::new(), Arc::default());
        Ok(Self { runs, dead, deletion_files, unrecorded, flushed_through, history })
    }

    /// The runs, newest first.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// The dead rows of the runs, in their order.
    pub fn dead(&self) -> &[Arc<DeletionVector>] {
        &self.dead
    }

    /// The dead rows of a run; `None` if it has no such run.
    pub fn dead_of(&self, run: RunId) -> Option<&Arc<DeletionVector>> {
        self.runs.iter().zip(&self.dead).find(|(other, _)| other.id() == run).map(|(_, dead)| dead)
    }

    /// The files that the dead rows are in.
    pub fn deletion_files(&self) -> &[DeletionFile] {
        &self.deletion_files
    }

    /// Dead rows that are in no file yet.
    pub fn unrecorded(&self) -> &DeadRows {
        &self.unrecorded
    }

    /// What a manifest says of the dead rows.
    pub fn deletions(&self) -> DeletionsManifest {
        let counts = self.runs.iter().zip(&self.dead).map(|(run, dead)| DeadCount::new(run.id(), dead));
        DeletionsManifest { files: self.deletion_files.clone(), runs: counts.collect() }
    }

    /// The version whose dead rows are in these files, all of them.
    #[must_use]
    pub fn recorded(self, deletion_files: Vec<DeletionFile>) -> Self {
        Self { deletion_files, unrecorded: DeadRows::new(), ..self }
    }

    /// The version whose dead rows are in no file.
    #[must_use]
    pub fn unrecorded_all(self) -> Self {
        Self { unrecorded: self.dead_rows(), deletion_files: Vec::new(), ..self }
    }

    /// What was written for the table.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The version with another history.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history: Arc::new(history), ..self }
    }

    /// The dead rows of all runs that have any.
    pub fn dead_rows(&self) -> DeadRows {
        let some = self.runs.iter().zip(&self.dead).filter(|(_, dead)| !dead.is_empty());
        some.map(|(run, dead)| (run.id(), (**dead).clone())).collect()
    }

    /// Every change up to here is in the runs.
    pub fn flushed_through(&self) -> SeqNo {
        self.flushed_through
    }

    /// A run by its id.
    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.runs.iter().find(|run| run.id() == id)
    }

    /// The version after an edit.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what [`TableVersion::new`] refuses; if a row dies that is dead already, or one of a run
    /// that is not there: then keys and dead rows do not agree.
    pub fn edited(&self, edit: &RunsEdit) -> Result<Self> {
        let corrupt = |damage| Error::corrupt(CURRENT_MANIFEST, damage);
        let kept = self.runs.iter().cloned().zip(self.dead.iter().cloned());
        let kept = kept.filter(|(run, _)| !edit.removed.contains(&run.id()));
        let added = edit.added.iter().map(|run| (run.clone(), Arc::default()));
        let through = edit.through.max(self.flushed_through);
        let mut version = Self::new(kept.chain(added).collect(), through).map_err(corrupt)?;
        for (run, rows) in &edit.dead {
            let index = version.runs.iter().position(|other| other.id() == *run);
            let corrupt = |damage| Error::corrupt(path::run(edit.table, *run, RunFile::Deletions), damage);
            let index = index.ok_or_else(|| corrupt(disagree("the run that rows die in", run.0, 0)))?;
            let before = version.dead[index].len();
            let all = Arc::make_mut(&mut version.dead[index]);
            all.extend(rows);
            let grown = all.len() - before;
            if grown != rows.len() || all.count_in(&(0..version.runs[index].rows())) != all.len() {
                return Err(corrupt(disagree("the number of rows that die", rows.len(), grown)));
            }
        }
        version.unrecorded =
            self.unrecorded.iter().chain(&edit.dead).filter(|(_, rows)| !rows.is_empty()).cloned().collect();
        version.deletion_files.clone_from(&self.deletion_files);
        version.history = self.history.clone();
        Ok(version)
    }
}

fn order(run: &Run) -> (Reverse<SeqNo>, Option<&[u8]>) {
    (Reverse(run.meta().max_seq), run.key_bounds().map(|(min, _)| min))
}

/// Whether two runs may know the same key.
pub fn overlap(a: &Run, b: &Run) -> bool {
    match (a.key_bounds(), b.key_bounds()) {
        (Some((a_min, a_max)), Some((b_min, b_max))) => a_min <= b_max && b_min <= a_max,
        _ => false,
    }
}

fn disagree(fact: &'static str, expected: u64, found: u64) -> Damage {
    Damage::Disagreement { fact, expected, found }
}
