//! An expression of DataFusion as the predicate of a delete.
//!
//! In: a logical expression over a table's columns. Out: for each row whether it is to go.
//! Invariants: what is not a plain expression of one row (a subquery, an aggregate) is refused before anything is read;
//! the expression sees the columns as SQL shows them. An expression that is NULL wants nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::ExprSimplifyResult;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use rustling_engine::delete_where::RowPredicate;
use rustling_engine::error::{Error as EngineError, Result as EngineResult};

use crate::error::{Error, Result};
use crate::shown::{shown, with_types};

/// See the file's header.
#[derive(Debug)]
pub struct ExprPredicate {
    table: String,
    columns: Vec<usize>,
    /// The columns as they are stored.
    stored: Schema,
    /// The columns as the expression sees them.
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
}

impl ExprPredicate {
    /// Plans an expression over the declared columns of a table.
    ///
    /// # Errors
    /// An expression that is not one of rows of this table, or not a condition.
    pub fn new(session: &SessionState, table: &str, declared: &Schema, expr: Expr) -> Result<Self> {
        let all = shown(declared);
        let known: DFSchemaRef = Arc::new(DFSchema::try_from_qualified_schema(table, &all)?);
        let text = expr.human_display().to_string();
        if let Some(part) = not_of_a_row(&expr)? {
            return Err(Error::NotOfARow { expr: text, part });
        }
        let mut expr = session.create_physical_expr(with_functions(session, &known, expr)?, &known)?;
        match expr.data_type(&all)? {
            DataType::Boolean => {}
            DataType::Null => expr = lit(false),
            found => return Err(Error::NotACondition { expr: text, found }),
        }
        let columns: BTreeSet<usize> = collect_columns(&expr).iter().map(|column| column.index()).collect();
        let columns: Vec<usize> = columns.into_iter().collect();
        let schema = Arc::new(all.project(&columns).map_err(DataFusionError::from)?);
        let stored = declared.project(&columns).map_err(DataFusionError::from)?;
        let expr = reassign_expr_columns(expr, &schema)?;
        Ok(Self { table: table.to_owned(), columns, stored, schema, expr })
    }

    fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
        let rows = with_types(rows, &self.schema)?;
        Ok(self.expr.evaluate(&rows)?.into_array(rows.num_rows())?.as_boolean().clone())
    }
}

/// The expression with each function in the form that it likes best: `now()` and its like have a value in no other.
///
/// Not what DataFusion's simplifier makes of the whole: 55.2 takes `x NOT IN (1) OR x NOT IN (2)` for true where `x` is
/// NULL, too (mended by its pull request 24258), and rows would go that nobody wants gone.
fn with_functions(session: &SessionState, known: &DFSchemaRef, expr: Expr) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder()
        .with_schema(known.clone())
        .with_config_options(session.config_options().clone())
        .with_current_time()
        .build();
    let coerced = ExprSimplifier::new(context.clone()).coerce(expr, known)?;
    let simplified = coerced.transform_up(|expr| match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => match func.simplify(args, &context)? {
            ExprSimplifyResult::Simplified(expr) => Ok(Transformed::yes(expr)),
            ExprSimplifyResult::Original(args) => {
                Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })))
            }
        },
        other => Ok(Transformed::no(other)),
    });
    Ok(simplified?.data)
}

/// What in an expression cannot be told of one row of a table, if there is something.
fn not_of_a_row(expr: &Expr) -> Result<Option<&'static str>> {
    let mut found = None;
    expr.apply(|expr| {
        found = match expr {
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => {
                Some("a subquery")
            }
            Expr::AggregateFunction(_) | Expr::GroupingSet(_) => Some("an aggregate"),
            Expr::WindowFunction(_) => Some("a window"),
            Expr::Placeholder(_) => Some("a parameter without a value"),
            Expr::OuterReferenceColumn(..) => Some("a column of another query"),
            Expr::Unnest(_) => Some("several rows made of one"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(found)
}

impl RowPredicate for ExprPredicate {
    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn wants(&mut self, rows: &RecordBatch) -> EngineResult<BooleanArray> {
        // A table of this name may have taken the place of the one that the expression was planned for.
        let mut fields = rows.schema_ref().fields().iter().zip(self.stored.fields());
        let same = |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
        if rows.num_columns() != self.columns.len() || !fields.all(same) {
            return Err(EngineError::Dropped { table: self.table.clone() });
        }
        self.evaluate(rows).map_err(|error| EngineError::Source(Box::new(Error::from(error))))
    }
}
