//! A statement that is planned once and run with values for its parameters.
//!
//! In: a parsed statement with parameters `$1`, `$2`, ... Out: its rows for values of these.
//! Invariants: it gives what the same text with literals gives; each run shows one snapshot of its time. Its text is
//! planned when it is prepared, a query for one row by its key altogether; others are optimised for each run, with the
//! session's settings of that time. Only queries and inserts are prepared.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, Values, Volatility};
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::gate::{Kind, first_words};
use crate::pin::pin;
use crate::point_query::{PointQuery, index};
use crate::statement::Statement;

/// A statement that is planned once.
#[derive(Clone, Debug)]
pub struct PreparedStatement {
    plan: LogicalPlan,
    /// How many parameters it has.
    parameters: usize,
    /// It as a query for one row by its key, if it is one.
    point: Option<PointQuery>,
}

impl PreparedStatement {
    /// Plans a statement.
    ///
    /// # Errors
    /// As [`Statement::plan`]; [`Error::Refused`] for what is neither a query nor an insert; [`Error::NamedParameter`].
    pub async fn new(statement: &Statement, session: &SessionState) -> Result<Self> {
        if !matches!(statement.kind(), Kind::Query | Kind::Insert) {
            let name = format!("preparing {}", first_words(statement.text()));
            let advice = "prepare queries and inserts, and run other statements with `sql`";
            return Err(Error::Refused { statement: name, line: statement.line(), advice });
        }
        let plan = with_casts(statement.unpinned_plan(session).await?)?;
        let (parameters, is_fixed) = parameters(&plan)?;
        // What the session's clock or chance decides is planned anew for every run.
        let point = match session.optimize(&plan) {
            Ok(optimised) if is_fixed => PointQuery::of(&optimised, session).ok().flatten(),
            _ => None,
        };
        Ok(Self { plan, parameters, point })
    }

    /// Whether it is a query for one row by its key, which runs without planning.
    pub fn is_point_query(&self) -> bool {
        self.point.is_some()
    }

    /// Refuses too few or too many values.
    ///
    /// # Errors
    /// [`Error::Parameters`].
    pub fn check(&self, parameters: &[ScalarValue]) -> Result<()> {
        if parameters.len() == self.parameters {
            return Ok(());
        }
        Err(Error::Parameters { expected: self.parameters, found: parameters.len() })
    }

    /// As a query for one row by its key, if it is one and these values are of such types. Blocking.
    ///
    /// # Errors
    /// As [`PointQuery::rows`].
    pub fn point_rows(&self, parameters: &[ScalarValue]) -> Result<Option<Vec<arrow::array::RecordBatch>>> {
        match &self.point {
            Some(point) => Ok(point.rows(parameters)?),
            None => Ok(None),
        }
    }

    /// Runs it in a session, with values for its parameters, as [`Statement::execute`] does.
    ///
    /// # Errors
    /// As [`Statement::execute`]; [`Error::Parameters`]; values that an insert cannot take.
    pub async fn execute(&self, context: &SessionContext, parameters: &[ScalarValue]) -> Result<DataFrame> {
        self.check(parameters)?;
        let plan = self.plan.clone().with_param_values(ParamValues::from(parameters.to_vec()))?;
        Ok(context.execute_logical_plan(pin(plan)?).await?)
    }
}

/// An insert whose parameters are cast where they are values of rows, as a literal in their place is. DataFusion takes a
/// parameter to have its column's type, so that its plan has no cast; and only one type, wherever else it is used.
fn with_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !matches!(plan, LogicalPlan::Dml(_)) {
        return Ok(plan);
    }
    let cast = |expr| match expr {
        Expr::Placeholder(Placeholder { id, field: Some(field) }) => {
            let value = Expr::Placeholder(Placeholder { id, field: None });
            Expr::Cast(Cast::new(Box::new(value), field.data_type().clone()))
        }
        other => other,
    };
    let with_casts = plan.transform_down(|node| {
        let LogicalPlan::Values(Values { schema, values }) = node else { return Ok(Transformed::no(node)) };
        let values = values.into_iter().map(|row| row.into_iter().map(cast).collect()).collect();
        Ok(Transformed::yes(LogicalPlan::Values(Values { schema, values })))
    })?;
    Ok(with_casts.data)
}

/// How many parameters a plan has, and whether it means the same whenever it is planned.
fn parameters(plan: &LogicalPlan) -> Result<(usize, bool)> {
    let (mut count, mut is_fixed, mut named) = (0, true, None);
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(placeholder) => match index(placeholder) {
                        Some(index) => count = count.max(index + 1),
                        None => named = Some(placeholder.id.clone()),
                    },
                    Expr::ScalarFunction(call) => {
                        is_fixed &= call.func.signature().volatility == Volatility::Immutable;
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match named {
        Some(name) => Err(Error::NamedParameter { name }),
        None => Ok((count, is_fixed)),
    }
}
