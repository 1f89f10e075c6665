//! What was written for a table, and why its runs were rewritten.
//!
//! In: edits of a table's runs, one after the other. Out: totals, and the last compactions, kept in the manifest.
//! Invariants: nothing depends on it: a table without a history is as good. Counts stay where they are rather than
//! overflow.

use serde::{Deserialize, Serialize};

use crate::version::run::Run;

/// Compactions that are kept.
const COMPACTIONS: usize = 16;

/// Why runs were rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing in a run was of use any more.
    NothingLives,
    /// Too many runs, or many of similar size, knew the same keys.
    ManyRuns,
    /// Too many rows were dead.
    DeadRows,
    /// Small runs lay side by side.
    SmallRuns,
    /// Somebody asked for it.
    Asked,
}

impl Reason {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NothingLives => "nothing lives",
            Self::ManyRuns => "many runs",
            Self::DeadRows => "dead rows",
            Self::SmallRuns => "small runs",
            Self::Asked => "asked for",
        }
    }
}

/// Rows, and bytes of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Runs.
    pub runs: u64,
    /// Rows, the dead ones included.
    pub rows: u64,
    /// Bytes of all their files.
    pub bytes: u64,
}

impl Amount {
    /// What some runs come to.
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let each =
            runs.into_iter().map(|run| Self { runs: 1, rows: run.rows(), bytes: run.meta().files.total_bytes() });
        each.fold(Self::default(), Self::plus)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs.saturating_add(other.runs),
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// One compaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Why.
    pub reason: Reason,
    /// What it read.
    pub read: Amount,
    /// How many of the rows it read were dead when it began.
    pub dead_rows: u64,
    /// What it wrote.
    pub written: Amount,
    /// Milliseconds that it took.
    pub millis: u64,
}

/// What was written for a table since it was created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// By flushes.
    pub flushed: Amount,
    /// By loads.
    pub loaded: Amount,
    /// By compactions.
    pub compacted: Amount,
    /// The last compactions, the newest one last.
    pub compactions: Vec<Compaction>,
}

/// What wrote some runs.
#[derive(Clone, Debug)]
pub enum Writing {
    /// A flush.
    Flush(Amount),
    /// A load.
    Load(Amount),
    /// A compaction.
    Compaction(Compaction),
}

impl History {
    /// Whether nothing was written, as far as one knows.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The history with something more.
    #[must_use]
    pub fn with(mut self, writing: Writing) -> Self {
        match writing {
            Writing::Flush(amount) => self.flushed = self.flushed.plus(amount),
            Writing::Load(amount) => self.loaded = self.loaded.plus(amount),
            Writing::Compaction(compaction) => {
                self.compacted = self.compacted.plus(compaction.written);
                self.compactions.push(compaction);
                let surplus = self.compactions.len().saturating_sub(COMPACTIONS);
                self.compactions.drain(..surplus);
            }
        }
        self
    }
}
