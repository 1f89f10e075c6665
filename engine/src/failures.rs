//! What fails in the background, table by table.
//!
//! In: how steps end. Out: why the last step of a table failed, for writers that wait for it.
//! Invariants: the next step of the table that does not fail ends its failure; one table's failure is never taken for
//! another's.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};
use crate::id::TableId;
use crate::sync::{Mutex, MutexGuard};

/// The tables whose last step of one kind failed; it is tried again.
#[derive(Debug, Default)]
pub struct Failures {
    tables: Mutex<BTreeMap<TableId, Arc<Error>>>,
}

impl Failures {
    /// Notes how the step of a table ended; `true` if it failed.
    pub fn note(&self, table: TableId, outcome: Result<()>) -> bool {
        match outcome {
            // One that was dropped while it was worked on has nothing left to do.
            Ok(()) | Err(Error::Dropped { .. }) => {
                self.locked().remove(&table);
                false
            }
            Err(error) => {
                tracing::warn!(%table, %error, "background work failed, trying again");
                self.locked().insert(table, Arc::new(error));
                true
            }
        }
    }

    /// Why the last step of a table failed, if it did.
    pub fn of(&self, table: TableId) -> Option<Arc<Error>> {
        self.locked().get(&table).cloned()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TableId, Arc<Error>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
