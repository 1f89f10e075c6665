//! What dies in a compaction's result while it is written.
//!
//! In: the runs that came since the compaction began. Out: rows of its result that they supersede.
//! Invariants: keys alone decide; as many rows of the result die as died in the inputs.

use std::collections::HashSet;
use std::sync::Arc;

use crate::deletion::file::DeadRows;
use crate::deletion::vector::DeletionVector;
use crate::disk::path;
use crate::error::{Damage, Error, Result};
use crate::id::RunId;
use crate::read::resolve::{each_keys, interval_of, rows_with_keys};
use crate::seeded::{SeededFault, makes};
use crate::state::State;
use crate::version::run::Run;
use crate::version::table::TableVersion;
use crate::version::view::TableView;

/// Finds the rows of a compaction's result that died since it began: those whose keys are in runs that came meanwhile.
pub(super) struct CatchUp<'a> {
    table: &'a TableView,
    added: &'a [Arc<Run>],
    dead: Vec<DeletionVector>,
    /// Runs whose keys were looked up.
    resolved: HashSet<RunId>,
}

impl<'a> CatchUp<'a> {
    /// Begins with the runs that `table` has.
    pub(super) fn new(table: &'a TableView, added: &'a [Arc<Run>]) -> Self {
        let dead = added.iter().map(|_| DeletionVector::default()).collect();
        let resolved = table.version.runs().iter().map(|run| run.id()).collect();
        Self { table, added, dead, resolved }
    }

    /// The table's runs and dead rows as they are now.
    fn version(&self, state: &State) -> Result<Arc<TableVersion>> {
        let view = state.current().view;
        let table = view.table(self.table.id).ok_or_else(|| Error::Dropped { table: self.table.name.to_string() })?;
        Ok(table.version.clone())
    }

    /// Looks up the keys of the runs that are there now and were not.
    ///
    /// # Errors
    /// [`Error::Dropped`]; [`Error::Corrupt`]; the disk's.
    pub(super) fn resolve(&mut self, state: &State) -> Result<()> {
        let within = interval_of(self.added);
        for newer in self.version(state)?.runs() {
            if !self.resolved.insert(newer.id()) || makes(SeededFault::CatchUpSkipped) {
                continue;
            }
            each_keys(newer, &within, &self.table.codec, |keys| {
                for (added, dead) in self.added.iter().zip(&mut self.dead) {
                    dead.extend(&rows_with_keys(keys, added)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The rows that died.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if not as many died in the inputs.
    pub(super) fn finish(self, state: &State, inputs: &[Arc<Run>]) -> Result<DeadRows> {
        let now = self.version(state)?;
        let count = |version: &TableVersion| -> u64 {
            inputs.iter().filter_map(|run| version.dead_of(run.id())).map(|dead| dead.len()).sum()
        };
        let expected = count(&now).saturating_sub(count(&self.table.version));
        let found = self.dead.iter().map(DeletionVector::len).sum();
        if expected != found && !makes(SeededFault::CatchUpSkipped) {
            let damage = Damage::Disagreement { fact: "rows that died during a compaction", expected, found };
            return Err(Error::corrupt(path::table(self.table.id), damage));
        }
        let dead = self.added.iter().map(|run| run.id()).zip(self.dead);
        Ok(dead.filter(|(_, dead)| !dead.is_empty()).collect())
    }
}
