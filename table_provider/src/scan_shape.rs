//! What a scan gives, apart from how it reads.
//!
//! In: expressions over the columns of a table, conditions on its rows. Out: the same rows on top of another plan that
//! reads them; what an order by these expressions means for the key.
//! Invariants: columns of the table are told by their names, which are unique.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::projection::ProjectionExec;
use rustling_engine::read::key_range::KeyOrder;

use crate::key_predicate::KeyColumns;
use crate::key_read::KeyRead;
use crate::key_set::KeySet;
use crate::keyed_table::KeyedTable;

/// What a scan gives.
#[derive(Clone, Debug)]
pub struct ScanShape {
    /// The table.
    pub table: Arc<KeyedTable>,
    /// What it gives, over the user's columns.
    pub exprs: ProjectionExprs,
    /// The rows that it gives, over the user's columns.
    pub filters: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows of each batch, as the session likes it.
    pub batch_rows: usize,
}

impl ScanShape {
    /// Some columns of all rows.
    pub fn new(table: Arc<KeyedTable>, projection: &[usize], batch_rows: usize) -> Self {
        let exprs = ProjectionExprs::from_indices(projection, &table.columns);
        Self { table, exprs, filters: Vec::new(), batch_rows }
    }

    /// The same rows with expressions over what it gives now.
    ///
    /// # Errors
    /// DataFusion's, for expressions over something else.
    pub fn with_projection(&self, exprs: &ProjectionExprs) -> Result<Self> {
        Ok(Self { exprs: self.exprs.try_merge(exprs)?, ..self.clone() })
    }

    /// Those rows for which conditions over what it gives hold, too.
    ///
    /// # Errors
    /// DataFusion's, for conditions over something else.
    pub fn with_filters<'a>(&self, filters: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Result<Self> {
        let mut shape = self.clone();
        for filter in filters {
            shape.filters.push(self.exprs.unproject_expr(filter)?);
        }
        Ok(shape)
    }

    /// The user's column that each of its expressions is, if it is one.
    fn columns(&self) -> impl Iterator<Item = Option<usize>> {
        self.exprs.iter().map(|expr| expr.expr.downcast_ref::<Column>().map(Column::index))
    }

    /// The key columns for conditions over what it gives.
    pub fn key_columns(&self) -> KeyColumns {
        self.table.key_columns(self.columns())
    }

    /// Whether a condition over what it gives names the first column of the key.
    pub fn names_key(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let columns: Vec<Option<usize>> = self.columns().collect();
        let first = self.table.key().first().copied();
        collect_columns(filter).iter().any(|column| columns.get(column.index()).copied().flatten() == first)
    }

    /// The keys that rows may have for which its conditions hold.
    pub fn keys(&self) -> KeySet {
        let columns = self.table.all_key_columns();
        self.filters.iter().fold(KeySet::All, |keys, filter| keys.and(columns.keys_where(filter)))
    }

    /// The order of keys in which rows have to come to be in an order of what it gives, if there is one, and what that
    /// asks for behind the whole key, which no two rows share. Columns of the key that conditions fix need not be named.
    pub fn key_order<'a>(&self, order: &'a [PhysicalSortExpr]) -> Option<(KeyOrder, &'a [PhysicalSortExpr])> {
        let (columns, keys): (Vec<Option<usize>>, KeySet) = (self.columns().collect(), self.keys());
        let descending = order.first()?.options.descending;
        let (mut key, mut left_out) = (self.table.key().iter().enumerate(), false);
        for (place, sort) in order.iter().enumerate() {
            let column = sort.expr.downcast_ref::<Column>().and_then(|column| columns.get(column.index()).copied()?);
            loop {
                match key.next() {
                    // That the rest of the key is enough DataFusion would not see.
                    None if left_out => return None,
                    None => return Some((key_order(descending), &order[place..])),
                    Some((_, index)) if column == Some(*index) => break,
                    Some((place, _)) if keys.fixes(place) => left_out = true,
                    Some(_) => return None,
                }
            }
            if sort.options.descending != descending {
                return None;
            }
        }
        Some((key_order(descending), &[]))
    }

    /// An order of what it gives, over the user's columns.
    ///
    /// # Errors
    /// DataFusion's, for an order of something else.
    pub fn unprojected(&self, order: &[PhysicalSortExpr]) -> Result<Vec<PhysicalSortExpr>> {
        let unprojected = order.iter().map(|sort| {
            let expr = self.exprs.unproject_expr(&sort.expr)?;
            Ok(PhysicalSortExpr::new(expr, sort.options))
        });
        unprojected.collect()
    }

    /// It, on top of a plan that reads by key.
    ///
    /// # Errors
    /// DataFusion's, for a plan that does not give what it is asked for.
    pub fn over<P: ExecutionPlan>(&self, source: impl FnOnce(KeyRead) -> Result<P>) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = self.exprs.column_indices();
        let plan = source(KeyRead::new(self.table.clone(), columns, self.filters.clone(), None)?)?;
        let schema = plan.schema();
        let exprs = self.exprs.clone().try_map_exprs(|expr| reassign_expr_columns(expr, &schema))?;
        if exprs == ProjectionExprs::from_indices(&Vec::from_iter(0..schema.fields().len()), &schema) {
            return Ok(Arc::new(plan));
        }
        Ok(Arc::new(ProjectionExec::try_new(exprs.iter().cloned(), Arc::new(plan))?))
    }
}

fn key_order(descending: bool) -> KeyOrder {
    if descending { KeyOrder::Descending } else { KeyOrder::Ascending }
}

/// The rows of a plan for which all conditions hold.
///
/// # Errors
/// DataFusion's, for what is no condition.
pub fn filtered(
    plan: Arc<dyn ExecutionPlan>,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    batch_rows: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(FilterExecBuilder::new(conjunction(filters), plan).with_batch_size(batch_rows).build()?))
}
