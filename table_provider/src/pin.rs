//! One snapshot for a whole statement.
//!
//! In: a logical plan over tables that show the newest rows. Out: the same plan over tables pinned to one snapshot.
//! Invariants: a query that reads two tables, or one table twice, sees both at one sequence number. What a `PREPARE`
//! stores is not pinned: each `EXECUTE` shows the rows of its time.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, TableSource};
use rustling_engine::database::{Database, Snapshot};

use crate::table::RustlingTable;

/// The table behind a table source, if it is one of ours.
pub fn rustling_table(source: &Arc<dyn TableSource>) -> Option<RustlingTable> {
    source_as_provider(source).ok()?.downcast_ref::<RustlingTable>().cloned()
}

/// Pins all tables of a plan to one snapshot of their database.
///
/// # Errors
/// DataFusion's, for a plan that is not consistent.
pub fn pin(plan: LogicalPlan) -> Result<LogicalPlan> {
    if matches!(plan, LogicalPlan::Statement(_)) {
        return Ok(plan);
    }
    let mut taken: Vec<(Arc<Database>, Snapshot)> = Vec::new();
    let pinned = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        match rustling_table(&scan.source) {
            Some(table) if table.pinned().is_none() => {
                let snapshot = snapshot_of(&mut taken, table.database());
                scan.source = provider_as_source(Arc::new(table.at(snapshot)));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            _ => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        }
    })?;
    Ok(pinned.data)
}

fn snapshot_of(taken: &mut Vec<(Arc<Database>, Snapshot)>, database: &Arc<Database>) -> Snapshot {
    if let Some((_, snapshot)) = taken.iter().find(|(of, _)| Arc::ptr_eq(of, database)) {
        return snapshot.clone();
    }
    let snapshot = database.snapshot();
    taken.push((database.clone(), snapshot.clone()));
    snapshot
}
