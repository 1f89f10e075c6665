//! A plan shows the rows of the moment it was made, a statement one moment.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::TryStreamExt;
use rustling_engine::rows::change::WriteBatch;
use rustling_table_provider::statement::parse;
use rustling_table_provider::table::RustlingTable;
use std::sync::Arc;

use crate::fixture::{Fixture, batch, number, plan, schema, text};

#[tokio::test]
async fn a_plan_reads_its_snapshot_whatever_happens_meanwhile() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    fixture.upsert((0..1000).step_by(2), 1);
    fixture.flush();
    fixture.upsert(2000..2100, 0);
    let sql = "SELECT * FROM t ORDER BY k";
    let expected = crate::fixture::rows(&fixture.model_session(), sql).await;
    let before = plan(&fixture.context, sql).await;
    fixture.upsert(0..500, 2);
    fixture.delete(500..2100);
    fixture.flush();
    fixture.compact();
    fixture.database.flush_frozen().unwrap();
    let found = collect(before, fixture.context.task_ctx()).await.unwrap();
    assert_eq!(text(&found), expected);
    fixture.check(sql).await;
}

#[tokio::test]
async fn a_plan_outlives_its_table() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    let before = plan(&fixture.context, "SELECT k FROM t").await;
    fixture.database.drop_table("t").unwrap();
    let found = collect(before, fixture.context.task_ctx()).await.unwrap();
    assert_eq!(found.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1000);
    let error = crate::fixture::run(&fixture.context, "SELECT k FROM t").await.unwrap_err();
    assert!(error.to_string().contains("`t` was dropped"), "{error}");
}

#[tokio::test]
async fn a_pinned_table_stays_and_takes_no_rows() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    let table = RustlingTable::new(fixture.database.clone(), "t").unwrap();
    let pinned = table.at(fixture.database.snapshot());
    fixture.context.register_table("before", Arc::new(pinned)).unwrap();
    fixture.upsert(10..20, 0);
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM before").await, 10);
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM t").await, 20);
    let error = crate::fixture::run(&fixture.context, "INSERT INTO before VALUES ('a', 1, 1, 1.0)").await.unwrap_err();
    assert!(error.to_string().contains("INSERT INTO a snapshot"), "{error}");
}

#[tokio::test]
async fn a_statement_sees_a_table_it_names_twice_at_one_moment() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    let statements = parse("SELECT (SELECT count(*) FROM t) = count(*), count(*) FROM t").unwrap();
    let plan = statements[0].plan(&fixture.context.state()).await.unwrap();
    fixture.upsert(10..20, 0);
    let frame = fixture.context.execute_logical_plan(plan).await.unwrap();
    assert_eq!(text(&frame.collect().await.unwrap()), ["true|10"]);
}

#[tokio::test]
async fn a_prepared_statement_shows_the_rows_of_its_execution() {
    let mut fixture = Fixture::new();
    let run = async |context: &datafusion::prelude::SessionContext, sql: &str| {
        let statements = parse(sql).unwrap();
        let rows = statements[0].execute(context).await.unwrap().rows;
        text(&rows.try_collect::<Vec<_>>().await.unwrap())
    };
    run(&fixture.context, "PREPARE p AS SELECT count(*) FROM t WHERE k < $1").await;
    fixture.upsert(0..10, 0);
    assert_eq!(run(&fixture.context, "EXECUTE p(5)").await, ["5"]);
    fixture.delete(0..3);
    assert_eq!(run(&fixture.context, "EXECUTE p(5)").await, ["2"]);
}

/// A table of no rows that upserts a row into `t` whenever a scan of it is planned.
#[derive(Debug)]
struct Meanwhile(Arc<rustling_engine::database::Database>, EmptyTable);

#[async_trait]
impl TableProvider for Meanwhile {
    fn schema(&self) -> SchemaRef {
        self.1.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut change = WriteBatch::new();
        let key = 1000 + i64::try_from(self.0.snapshot().seq().0).unwrap();
        change.upsert("t", batch([(&key, &(None, 0))]));
        self.0.write(&change).unwrap();
        self.1.scan(state, projection, filters, limit).await
    }
}

#[tokio::test]
async fn an_execution_shows_one_snapshot_whatever_is_written_while_it_is_planned() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    let meanwhile = Meanwhile(fixture.database.clone(), EmptyTable::new(schema()));
    fixture.context.register_table("meanwhile", Arc::new(meanwhile)).unwrap();
    let part = "SELECT count(*) AS n FROM (SELECT n FROM t WHERE n >= 0) UNION ALL SELECT count(*) FROM meanwhile";
    let query = format!("SELECT count(DISTINCT n) FROM ({part} UNION ALL {part} UNION ALL {part}) WHERE n > 0");
    let run = async |sql: &str| {
        let rows = parse(sql).unwrap()[0].execute(&fixture.context).await.unwrap().rows;
        text(&rows.try_collect::<Vec<_>>().await.unwrap())
    };
    assert_eq!(run(&query).await, ["1"]);
    run(&format!("PREPARE q AS {query}")).await;
    assert_eq!(run("EXECUTE q").await, ["1"]);
    assert_eq!(run("SELECT count(*) > 10 FROM t").await, ["true"], "it was written");
}
