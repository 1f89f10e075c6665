//! Statements that are planned once and run many times.
//!
//! In: SQL text with parameters, then values for these. Out: rows.
//! Invariants: a run gives what the same text with literals gives, on one snapshot of its time.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use rustling_engine::error::Error as EngineError;
use rustling_table_provider::error::Error as SqlError;
use rustling_table_provider::prepared::PreparedStatement;
use rustling_table_provider::statement::{Statement, parse};
use tokio::runtime::Handle;

use crate::db::Db;
use crate::error::{Error, Result};
use crate::rows::refuse_inside_runtime;

/// A prepared statement; see [`Db::prepare`]. Cheap to clone, and of use from any thread.
#[derive(Clone)]
pub struct Prepared {
    statement: Arc<PreparedStatement>,
    context: SessionContext,
    runtime: Handle,
}

impl Db {
    /// Prepares a query or an insert with parameters `$1`, `$2`, ...: it is parsed and planned once.
    ///
    /// A query for one row by its key, where every key column equals a parameter or a literal and nothing else is asked,
    /// then runs without any planning: it is a lookup, as [`Db::get`] is, with expressions. Other statements are planned
    /// with the values at each run.
    ///
    /// ```
    /// use rustling_db::Db;
    /// use rustling_db::arrow::datatypes::{DataType, Field, Schema};
    /// use rustling_db::datafusion::scalar::ScalarValue;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let db = Db::in_memory()?;
    /// let fields = vec![Field::new("id", DataType::Int64, false), Field::new("price", DataType::Float64, true)];
    /// db.create_table("trades", &Schema::new(fields), &["id"])?;
    /// db.sql("INSERT INTO trades VALUES (1, 180.0), (2, 410.5)")?;
    /// let price = db.prepare("SELECT price FROM trades WHERE id = $1")?;
    /// for id in [1, 2] {
    ///     assert_eq!(price.query(&[ScalarValue::from(id)])?[0].num_rows(), 1);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// SQL that does not parse or plan, or is not one statement; statements that are neither queries nor inserts.
    pub fn prepare(&self, sql: &str) -> Result<Prepared> {
        refuse_inside_runtime()?;
        self.handle()?.block_on(self.prepare_async(sql))
    }

    /// As [`Db::prepare`], on the caller's runtime.
    ///
    /// # Errors
    /// As [`Db::prepare`].
    pub async fn prepare_async(&self, sql: &str) -> Result<Prepared> {
        let statements: Vec<Statement> = parse(sql)?;
        let [statement] = &*statements else {
            return Err(SqlError::NotOneStatement { found: statements.len() }.into());
        };
        let prepared = PreparedStatement::new(statement, &self.context().state()).await?;
        Ok(Prepared { statement: Arc::new(prepared), context: self.context().clone(), runtime: self.handle()? })
    }
}

impl Prepared {
    /// Runs it with values for its parameters, in their order.
    ///
    /// # Errors
    /// Too few or too many values; values of types that do not fit; a table that was dropped; what running it meets.
    pub fn query(&self, parameters: &[ScalarValue]) -> Result<Vec<RecordBatch>> {
        refuse_inside_runtime()?;
        self.statement.check(parameters)?;
        if let Some(rows) = self.statement.point_rows(parameters)? {
            return Ok(rows);
        }
        self.runtime.block_on(self.run(parameters))
    }

    /// As [`Prepared::query`], on the caller's runtime. Cost: a lookup by key is done on another thread, since it may wait
    /// for the disk, and going there takes longer than most lookups.
    ///
    /// # Errors
    /// As [`Prepared::query`].
    pub async fn query_async(&self, parameters: &[ScalarValue]) -> Result<Vec<RecordBatch>> {
        self.statement.check(parameters)?;
        if self.statement.is_point_query() {
            let (statement, values) = (self.statement.clone(), parameters.to_vec());
            let found = tokio::task::spawn_blocking(move || statement.point_rows(&values)).await;
            let found = found.map_err(|_| EngineError::ThreadPanicked { thread: "lookup" })?;
            if let Some(rows) = found? {
                return Ok(rows);
            }
        }
        self.run(parameters).await
    }

    /// Whether it is a query for one row by its key, which runs without planning.
    pub fn is_point_query(&self) -> bool {
        self.statement.is_point_query()
    }

    async fn run(&self, parameters: &[ScalarValue]) -> Result<Vec<RecordBatch>> {
        let frame = self.statement.execute(&self.context, parameters).await?;
        // Not `collect`, which keeps the plan, and with it the snapshot, until the last row is there.
        frame.execute_stream().await?.try_collect().await.map_err(Error::from)
    }
}
