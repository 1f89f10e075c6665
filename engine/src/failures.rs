//! What fails in the background, table by table.
//!
//! In: how steps end. Out: why the last step of a table failed, for writers that wait for it.
//! Invariants: the next step of the table that does not fail ends its failure; one table's failure is never taken for
//! another's.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::error::Error;
use crate::id::TableId;
use crate::sync::{Mutex, MutexGuard};

/// The tables whose last step of one kind failed; it is tried again.
#[derive(Debug, Default)]
pub struct Failures {
    tables: Mutex<BTreeMap<TableId, Arc<Error>>>,
}

impl Failures {
    /// Notes that a step of a table failed.
    pub fn begin(&self, table: TableId, error: Error) {
        tracing::warn!(%table, %error, "background work failed, trying again");
        self.locked().insert(table, Arc::new(error));
    }

    /// Notes that a table has no step any more that failed.
    pub fn end(&self, table: TableId) {
        self.locked().remove(&table);
    }

    /// Why the last step of a table failed, if it did.
    pub fn of(&self, table: TableId) -> Option<Arc<Error>> {
        self.locked().get(&table).cloned()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TableId, Arc<Error>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
