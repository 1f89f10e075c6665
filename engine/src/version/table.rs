//! One table's runs at one moment.
//!
//! In: open runs. Out: an immutable [`TableVersion`], checked.
//! Invariants: runs are ordered newest first; any two of them are disjoint in sequence numbers or in keys. So the
//! first run in order that knows a key has its newest change.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::id::{RunId, SeqNo};
use crate::version::manifest::CURRENT_MANIFEST;
use crate::version::run::Run;

/// The runs of a table.
#[derive(Clone, Debug, Default)]
pub struct TableVersion {
    runs: Vec<Arc<Run>>,
    flushed_through: SeqNo,
}

impl TableVersion {
    /// Checks and orders the runs of a table; every change up to `flushed_through` is in them.
    ///
    /// # Errors
    /// Two runs overlap in keys and in sequence numbers, or a run is newer than `flushed_through`.
    pub fn new(mut runs: Vec<Arc<Run>>, flushed_through: SeqNo) -> Result<Self, Damage> {
        runs.sort_by(|a, b| order(a).cmp(&order(b)));
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
        Ok(Self { runs, flushed_through })
    }

    /// The runs, newest first.
    pub fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Every change up to here is in the runs.
    pub fn flushed_through(&self) -> SeqNo {
        self.flushed_through
    }

    /// A run by its id.
    pub fn run(&self, id: RunId) -> Option<&Arc<Run>> {
        self.runs.iter().find(|run| run.id() == id)
    }

    /// The runs without some and with others added.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what [`TableVersion::new`] refuses.
    pub fn replace(&self, removed: &[RunId], added: Vec<Arc<Run>>, flushed_through: SeqNo) -> Result<Self> {
        let kept = self.runs.iter().filter(|run| !removed.contains(&run.id())).cloned();
        Self::new(kept.chain(added).collect(), flushed_through.max(self.flushed_through))
            .map_err(|damage| Error::corrupt(CURRENT_MANIFEST, damage))
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
