//! Deleting the rows that a condition holds for.
//!
//! In: a table's name, an expression. Out: how many rows went.
//! Invariants: all of them go at one place in the order of writes, or none.

use datafusion::logical_expr::Expr;
use rustling_engine::database::Database;
use rustling_engine::delete_where::DeleteReport;
use rustling_engine::error::Error as EngineError;
use rustling_table_provider::predicate::ExprPredicate;

use crate::db::Db;
use crate::error::Result;

impl Db {
    /// Removes the rows that a condition holds for; where it is NULL, the row stays. Durable and visible when it returns.
    ///
    /// Writers go on while it looks for rows, and each row is looked at as it is in the end. Cost: a scan of the
    /// condition's columns; compactions wait meanwhile.
    ///
    /// ```
    /// use rustling_db::Db;
    /// use rustling_db::datafusion::prelude::{col, lit};
    /// # use rustling_db::arrow::datatypes::{DataType, Field, Schema};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let db = Db::in_memory()?;
    /// # let fields = vec![Field::new("id", DataType::Int64, false), Field::new("price", DataType::Float64, true)];
    /// # db.create_table("trades", &Schema::new(fields), &["id"])?;
    /// db.sql("INSERT INTO trades VALUES (1, 180.0), (2, 0.0), (3, NULL)")?;
    /// let report = db.delete_where("trades", col("price").lt(lit(1)))?;
    /// assert_eq!(report.rows, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No such table; an expression that is no condition over the table's columns, or has a subquery; one that fails on a
    /// row; the system's. Nothing is deleted then.
    pub fn delete_where(&self, table: &str, condition: Expr) -> Result<DeleteReport> {
        let mut predicate = self.predicate(table, condition)?;
        run(self.engine(), table, &mut predicate)
    }

    /// As [`Db::delete_where`], without blocking a thread of the caller's runtime.
    ///
    /// # Errors
    /// As [`Db::delete_where`].
    pub async fn delete_where_async(&self, table: &str, condition: Expr) -> Result<DeleteReport> {
        let mut predicate = self.predicate(table, condition)?;
        let (engine, table) = (self.engine().clone(), table.to_owned());
        let deleted = tokio::task::spawn_blocking(move || run(&engine, &table, &mut predicate)).await;
        deleted.map_err(|_| EngineError::ThreadPanicked { thread: "delete" })?
    }

    fn predicate(&self, table: &str, condition: Expr) -> Result<ExprPredicate> {
        let snapshot = self.snapshot();
        let table_now = snapshot.table(table)?;
        Ok(ExprPredicate::new(&self.context().state(), table, table_now.schema().user(), condition)?)
    }
}

fn run(engine: &Database, table: &str, predicate: &mut ExprPredicate) -> Result<DeleteReport> {
    Ok(engine.delete_where(table, predicate)?)
}
