//! Changes of a memtable as a reader sees them, and which rows of runs they supersede.
//!
//! In: changes in key order; rows of runs that were found to have their keys. Out: the same, for all readers.
//! Invariants: neither these changes nor a run ever change, so what was found once stays right.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::deletion::vector::DeletionVector;
use crate::error::Result;
use crate::id::RunId;
use crate::rows::change::SortedChanges;
use crate::seeded::{SeededFault, makes};

/// Changes of one chunk that a reader can see, each key once.
pub type VisibleChunk = Arc<VisibleChanges>;

/// The newest change of a key: a row, or that there is none.
#[derive(Clone, Debug)]
pub enum Change {
    /// A row in row form.
    Row(Box<[u8]>),
    /// A row of the batch of some changes.
    RowOf(VisibleChunk, u32),
    /// The key is deleted.
    Deleted,
}

/// Changes in key order.
#[derive(Debug)]
pub struct VisibleChanges {
    changes: SortedChanges,
    superseded: Mutex<HashMap<RunId, Arc<DeletionVector>>>,
}

impl VisibleChanges {
    /// Changes that supersede nothing as far as is known.
    pub fn new(changes: SortedChanges) -> Arc<Self> {
        Arc::new(Self { changes, superseded: Mutex::default() })
    }

    /// The rows of a run that have their keys, found by `find` the first time; and whether it was.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn superseded_in(
        &self,
        run: RunId,
        find: impl FnOnce() -> Result<DeletionVector>,
    ) -> Result<(Arc<DeletionVector>, bool)> {
        let known = || self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        let run = if makes(SeededFault::SupersededOfOtherRun) { RunId(0) } else { run };
        if let Some(rows) = known().get(&run) {
            return Ok((rows.clone(), false));
        }
        // Without the lock: two readers that come at once find the same.
        let rows = Arc::new(find()?);
        known().insert(run, rows.clone());
        Ok((rows, true))
    }

    /// Bytes on the heap, about, of what is known to be superseded.
    pub fn superseded_bytes(&self) -> usize {
        let known = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|rows| rows.heap_bytes()).sum()
    }
}

impl Deref for VisibleChanges {
    type Target = SortedChanges;

    fn deref(&self) -> &SortedChanges {
        &self.changes
    }
}
