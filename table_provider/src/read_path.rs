//! How a table is read: by key, or as a scan.
//!
//! In: a table at one sequence number, what of it is wanted, conditions. Out: a plan.
//! Invariants: conditions only choose the way; whoever made them asks them again.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::snapshot::TableSnapshot;

use crate::binding::Binding;
use crate::key_lookup::KeyLookupExec;
use crate::key_range::KeyRangeExec;
use crate::key_read::KeyRead;
use crate::key_set::KeySet;
use crate::keyed_table::{KeyAccess, KeyedTable};
use crate::scan::{self, ScanRequest};
use crate::scan_shape::ScanShape;
use crate::table_scan::{Reads, TableScanExec};

/// Conditions over the columns of a table that name one of its key columns; those that cannot be planned are left out.
pub fn conditions(
    session: &dyn Session,
    columns: &Schema,
    key: &[usize],
    filters: &[Expr],
) -> Vec<Arc<dyn PhysicalExpr>> {
    let names_key = |filter: &Expr| {
        let named = filter.column_refs();
        key.iter().any(|index| named.iter().any(|column| column.name() == columns.field(*index).name()))
    };
    let Ok(known) = DFSchema::try_from(columns.clone()) else { return Vec::new() };
    let planned = |filter: &Expr| session.create_physical_expr(filter.clone(), &known).ok();
    filters.iter().filter(|filter| names_key(filter)).filter_map(planned).collect()
}

/// Plans the reading of a table. Cost: that of [`scan::plan`], unless few keys are wanted; blocking.
///
/// # Errors
/// The engine's, crossing as external errors.
pub fn plan(
    binding: &Binding,
    snapshot: &TableSnapshot,
    request: &ScanRequest,
    conditions: &[Arc<dyn PhysicalExpr>],
) -> Result<Arc<dyn ExecutionPlan>> {
    if !snapshot.schema().has_key() {
        return scan::plan(binding, snapshot, request);
    }
    let table = KeyedTable::new(snapshot.clone(), request.columns.clone())?;
    let columns = table.all_key_columns();
    let keys = conditions.iter().fold(KeySet::All, |keys, condition| keys.and(columns.keys_where(condition)));
    let (table, metrics) = (Arc::new(table), ExecutionPlanMetricsSet::new());
    let access = table.access(&keys)?;
    let read = || KeyRead::new(table.clone(), request.projection.clone(), Vec::new(), request.limit);
    let (input, reads): (Arc<dyn ExecutionPlan>, Reads) = match access {
        KeyAccess::Nothing => return Ok(Arc::new(EmptyExec::new(read()?.schema))),
        KeyAccess::Scan => (scan::plan(binding, snapshot, request)?, Reads::Everything),
        KeyAccess::Lookup(keys) => (Arc::new(KeyLookupExec::new(keys, read()?, metrics)?), Reads::Keys),
        KeyAccess::Ranges(ranges) => {
            let plan = KeyRangeExec::new(ranges.clone(), KeyOrder::Ascending, read()?, metrics)?;
            (Arc::new(plan), Reads::Ranges(ranges))
        }
    };
    if input.is::<EmptyExec>() {
        return Ok(input);
    }
    let shape = ScanShape::new(table, &request.projection, request.batch_rows);
    Ok(Arc::new(TableScanExec::new(input, reads, shape)))
}
