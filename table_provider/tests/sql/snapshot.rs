//! A plan shows the rows of the moment it was made, a statement one moment.

use datafusion::physical_plan::collect;
use futures::TryStreamExt;
use rustling_table_provider::statement::parse;
use rustling_table_provider::table::RustlingTable;
use std::sync::Arc;

use crate::fixture::{Fixture, number, plan, text};

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
