//! A statement that is planned once and run with values for its parameters.
//!
//! In: a parsed statement with parameters `$1`, `$2`, ... Out: its rows for values of these.
//! Invariants: it gives what the same text with literals gives, planned with the session's settings of the time it was
//! prepared; each run shows one snapshot of its time. Only queries and inserts are prepared.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
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
    /// The types of those that an insert takes as they are; by index.
    inserted: Vec<Option<DataType>>,
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
        let plan = statement.unpinned_plan(session).await?;
        let (parameters, is_fixed) = parameters(&plan)?;
        let inserted = inserted(&plan, parameters)?;
        // What the session's clock or chance decides is planned anew for every run.
        let point = match session.optimize(&plan) {
            Ok(optimised) if is_fixed => PointQuery::of(&optimised, session).ok().flatten(),
            _ => None,
        };
        Ok(Self { plan, parameters, inserted, point })
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
        let values = parameters.iter().zip(&self.inserted).map(|(value, wanted)| match wanted {
            Some(wanted) if *wanted != value.data_type() => value.cast_to(wanted),
            _ => Ok(value.clone()),
        });
        let values = values.collect::<Result<Vec<_>, DataFusionError>>()?;
        let plan = self.plan.clone().with_param_values(ParamValues::from(values))?;
        Ok(context.execute_logical_plan(pin(plan)?).await?)
    }
}

/// The types of the parameters that are values of rows to insert. A literal in their place is cast to its column's type,
/// but a parameter was taken to have that type already, so the plan does not cast it.
fn inserted(plan: &LogicalPlan, parameters: usize) -> Result<Vec<Option<DataType>>> {
    let mut types = vec![None; parameters];
    if !matches!(plan, LogicalPlan::Dml(_)) {
        return Ok(types);
    }
    plan.apply(|node| {
        let LogicalPlan::Values(values) = node else { return Ok(TreeNodeRecursion::Continue) };
        for expr in values.values.iter().flatten() {
            let Expr::Placeholder(placeholder) = expr else { continue };
            if let (Some(index), Some(field)) = (index(placeholder), &placeholder.field)
                && let Some(found) = types.get_mut(index)
            {
                *found = Some(field.data_type().clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(types)
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
