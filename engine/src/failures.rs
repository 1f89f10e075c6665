//! What fails in the background, table by table.
//!
//! In: how steps end. Out: why the last step of a table failed, for writers that wait for it; whether it is time to try
//! again.
//! Invariants: the next step of the table that does not fail ends its failure; one table's failure is never taken for
//! another's.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::id::TableId;
use crate::sync::{Mutex, MutexGuard};

/// How long a step that failed once waits; each time twice as long.
const WAIT: Duration = Duration::from_secs(1);
/// How often that doubles, at most.
const DOUBLINGS_MAX: u32 = 5;

/// The tables whose last step of one kind failed; it is tried again.
#[derive(Debug, Default)]
pub struct Failures {
    tables: Mutex<BTreeMap<TableId, Failure>>,
}

#[derive(Debug)]
struct Failure {
    error: Arc<Error>,
    /// How often in a row before this one.
    before: u32,
    since: Instant,
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
                let mut tables = self.locked();
                let before = tables.get(&table).map_or(0, |failure| failure.before.saturating_add(1));
                tables.insert(table, Failure { error: Arc::new(error), before, since: Instant::now() });
                true
            }
        }
    }

    /// Why the last step of a table failed, if it did.
    pub fn of(&self, table: TableId) -> Option<Arc<Error>> {
        self.locked().get(&table).map(|failure| failure.error.clone())
    }

    /// Whether the step of a table failed a moment ago, and would only fail again.
    pub fn waits(&self, table: TableId) -> bool {
        self.locked().get(&table).is_some_and(Failure::waits)
    }

    /// Whether that is so of any table.
    pub fn any_waits(&self) -> bool {
        self.locked().values().any(Failure::waits)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<TableId, Failure>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn waits(&self) -> bool {
        self.since.elapsed() < WAIT * 2_u32.pow(self.before.min(DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_waits_longer_each_time_until_it_succeeds() {
        let (failures, table) = (Failures::default(), TableId(1));
        assert!(!failures.waits(table));
        for before in 0..3 {
            assert!(failures.note(table, Err(Error::Cancelled)));
            assert_eq!(failures.locked()[&table].before, before);
            assert!(failures.waits(table) && failures.any_waits() && !failures.waits(TableId(2)));
        }
        let past = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        for (seconds, waits) in [(3, true), (5, false)] {
            failures.locked().get_mut(&table).unwrap().since = past(seconds);
            assert_eq!(failures.waits(table), waits, "{seconds} s after the third time");
        }
        assert!(!failures.note(table, Ok(())));
        assert!(failures.of(table).is_none() && !failures.any_waits());
    }
}
