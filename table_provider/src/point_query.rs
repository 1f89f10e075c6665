//! A query for one row by its key, planned once.
//!
//! In: an optimised plan with parameters, then values of these, any number of times. Out: what the query gives.
//! Invariants: it gives what the plan gives; for values of which that is not certain it gives nothing at all, and the plan
//! has to be run. Each time it shows the newest rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, FetchType, LogicalPlan, Operator, Projection, SkipType, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use rustling_engine::sst::counts::ReadCounts;

use crate::error::external;
use crate::key_literal::{exact, fits_key};
use crate::pin::rustling_table;
use crate::table::RustlingTable;
use crate::wanted::Wanted;

/// Expressions over a row, one plan node's.
#[derive(Clone, Debug)]
struct Step {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// The value of a key column.
#[derive(Clone, Debug, PartialEq)]
enum KeyValue {
    /// That of a parameter, by index.
    Parameter(usize),
    /// Always the same.
    Fixed(ScalarValue),
}

/// A query for one row by its key.
#[derive(Clone, Debug)]
pub struct PointQuery {
    table: RustlingTable,
    key: Vec<KeyValue>,
    key_schema: SchemaRef,
    wanted: Wanted,
    /// The columns to read, ascending, each once, and where in them the wanted ones are.
    stored: (Vec<usize>, Vec<usize>),
    steps: Vec<Step>,
}

impl PointQuery {
    /// A plan as a query for one row by its key, if it is one: columns, or expressions over them, of a table, where every
    /// key column equals a parameter or a literal, and nothing else is asked.
    ///
    /// # Errors
    /// DataFusion's, for expressions that cannot be planned.
    pub fn of(plan: &LogicalPlan, session: &SessionState) -> Result<Option<Self>> {
        let mut projections: Vec<&Projection> = Vec::new();
        let mut node = plan;
        let filter = loop {
            node = match node {
                LogicalPlan::Projection(projection) => {
                    projections.push(projection);
                    &projection.input
                }
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Limit(limit) => match (limit.get_skip_type()?, limit.get_fetch_type()?) {
                    (SkipType::Literal(0), FetchType::Literal(fetch)) if fetch != Some(0) => &limit.input,
                    _ => return Ok(None),
                },
                LogicalPlan::Filter(filter) => break filter,
                _ => return Ok(None),
            };
        };
        let LogicalPlan::TableScan(scan) = &*filter.input else { return Ok(None) };
        let Some((table, key)) = key_of(scan, &filter.predicate) else { return Ok(None) };
        let all = || (0..scan.source.schema().fields().len()).collect();
        let projection = scan.projection.clone().unwrap_or_else(all);
        let wanted = Wanted::new(table.columns(), projection, None)?;
        let (mut steps, mut schema): (Vec<Step>, SchemaRef) = (Vec::new(), wanted.schema.clone());
        for projection in projections.into_iter().rev() {
            let step = Step::new(projection, &schema, session)?;
            schema = step.schema.clone();
            steps.push(step);
        }
        let key_schema = table.key_schema();
        Ok(Some(Self { table, key, key_schema, stored: wanted.stored(), wanted, steps }))
    }

    /// The rows for some values of the parameters; nothing if the plan has to be run for these. Blocking.
    ///
    /// # Errors
    /// The table was dropped; damaged files; an expression that fails on the row.
    pub fn rows(&self, parameters: &[ScalarValue]) -> Result<Option<Vec<RecordBatch>>> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.key.len());
        for (value, field) in self.key.iter().zip(self.key_schema.fields()) {
            let column = match value {
                KeyValue::Fixed(value) => value.to_array()?,
                KeyValue::Parameter(index) => match parameters.get(*index) {
                    // No key is NULL.
                    Some(value) if value.is_null() => return self.table.snapshot().map(|_| Some(Vec::new())),
                    Some(value) => match equal(value, field.data_type(), self.key.len()) {
                        Some(value) => value.to_array()?,
                        None => return Ok(None),
                    },
                    None => return Ok(None),
                },
            };
            columns.push(column);
        }
        let key = RecordBatch::try_new(self.key_schema.clone(), columns)?;
        let (stored, places) = &self.stored;
        let snapshot = self.table.snapshot()?;
        let found = snapshot.get_columns(&key, stored, &mut ReadCounts::default()).map_err(external)?;
        let Some(row) = found else { return Ok(Some(Vec::new())) };
        let row = self.wanted.retype(&row.project(places)?)?;
        self.steps.iter().try_fold(row, |row, step| step.apply(&row)).map(|row| Some(vec![row]))
    }
}

impl Step {
    fn new(projection: &Projection, input: &SchemaRef, session: &SessionState) -> Result<Self> {
        let known = projection.input.schema();
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
            exprs.push(ProjectionExpr::new(planned(expr, known, session)?, field.name()));
        }
        // Which names, types and NULLs come out, the operator knows that the plan would have.
        let operator = ProjectionExec::try_new(exprs.clone(), Arc::new(EmptyExec::new(input.clone())))?;
        Ok(Self { exprs: exprs.into_iter().map(|expr| expr.expr).collect(), schema: operator.schema() })
    }

    fn apply(&self, row: &RecordBatch) -> Result<RecordBatch> {
        let evaluated = self.exprs.iter().map(|expr| expr.evaluate(row)?.into_array(row.num_rows()));
        let options = RecordBatchOptions::new().with_row_count(Some(row.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), evaluated.collect::<Result<_>>()?, &options)?)
    }
}

fn planned(expr: &Expr, known: &DFSchema, session: &SessionState) -> Result<Arc<dyn PhysicalExpr>> {
    session.create_physical_expr(expr.clone(), known)
}

/// The table that is scanned, and what each column of its key equals, if the condition says just that.
fn key_of(scan: &TableScan, condition: &Expr) -> Option<(RustlingTable, Vec<KeyValue>)> {
    let table = rustling_table(&scan.source).filter(|table| table.has_key() && table.pinned().is_none())?;
    if scan.fetch == Some(0) || scan.source.table_type() != TableType::Base {
        return None;
    }
    let names = table.key_schema();
    let mut key: Vec<Option<KeyValue>> = vec![None; names.fields().len()];
    for part in split_conjunction(condition) {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { return None };
        let ((Expr::Column(column), value) | (value, Expr::Column(column))) = (&**left, &**right) else { return None };
        let (place, field) = names.column_with_name(column.name())?;
        let value = match value {
            Expr::Placeholder(placeholder) => KeyValue::Parameter(index(placeholder)?),
            Expr::Literal(value, _) => KeyValue::Fixed(equal(value, field.data_type(), key.len())?),
            _ => return None,
        };
        if key[place].replace(value).is_some() {
            return None;
        }
    }
    Some((table, key.into_iter().collect::<Option<_>>()?))
}

/// Index of a parameter, from 0.
pub fn index(placeholder: &Placeholder) -> Option<usize> {
    placeholder.id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// The key's value that a value equals, in SQL, too: there a zero or a NaN of another form than keys have equals none.
fn equal(value: &ScalarValue, key: &DataType, columns: usize) -> Option<ScalarValue> {
    if let ScalarValue::Dictionary(_, value) | ScalarValue::RunEndEncoded(_, _, value) = value {
        return equal(value, key, columns);
    }
    let found = exact(value, key).filter(|_| fits_key(value, columns))?;
    let from = value.data_type();
    let is_same = if from == *key { found == *value } else { found.cast_to(&from).ok()? == *value };
    is_same.then_some(found)
}
