//! Rows that newer ones supersede are seen by no query, and the plans that leave them out do no more than they must.

use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_engine::config::Options;
use rustling_table_provider::table::RustlingTable;
use std::sync::Arc;

use crate::fixture::{Fixture, analyze, explain, number, options, rows, run};

/// A large run with every third row superseded by a newer one, some rows deleted, and some superseded from memory.
fn masked() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.upsert(0..200_000, 0);
    fixture.flush();
    fixture.upsert((0..200_000).step_by(3), 1);
    fixture.delete((0..200_000).step_by(100));
    fixture.flush();
    fixture.upsert([1, 5, 70_000, 199_999], 2);
    fixture.delete([2, 10, 100_001]);
    fixture
}

#[tokio::test]
async fn superseded_rows_are_dropped_above_parquet() {
    let fixture = masked();
    let plan = explain(&fixture.context, "SELECT n FROM t WHERE n > 1000").await;
    assert!(
        plan.contains("LiveFilterExec: files_masked=1") && plan.contains("rows_dead=68006, predicate=n@"),
        "{plan}"
    );
    // Seven keys in memory, each looked up in two runs.
    assert!(plan.contains("rustling=masked runs, files_skipped=0, keys_resolved=14"), "{plan}");
    for sql in [
        "SELECT count(*), sum(n), count(v), min(k), max(k), min(f), max(f) FROM t",
        "SELECT * FROM t WHERE n > 1095 AND v IS NOT NULL",
        "SELECT k, n FROM t WHERE k IN (1, 2, 3, 100, 70000, 100001, 199999)",
        "SELECT v, count(*), sum(n) FROM t GROUP BY v",
        "SELECT k, v FROM t ORDER BY k DESC LIMIT 11",
        "SELECT k FROM t ORDER BY n DESC, k LIMIT 11",
        "SELECT a.k, b.n FROM t a JOIN t b ON a.k = b.k WHERE a.n = 1050 AND b.k < 5000",
        "SELECT count(*) FROM t WHERE n % 7 = 3",
        "SELECT 1 FROM t WHERE k > 199990",
    ] {
        fixture.check(sql).await;
    }
}

#[tokio::test]
async fn live_rows_are_counted_without_a_scan() {
    let mut fixture = masked();
    let plan = explain(&fixture.context, "SELECT count(*) FROM t").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    fixture.check("SELECT count(*) FROM t").await;
    // The largest key is of a dead row: bounds of files with dead rows answer nothing.
    fixture.delete([199_999]);
    fixture.flush();
    fixture.check("SELECT max(k), min(n), count(f), count(*) FROM t").await;
    let plan = explain(&fixture.context, "SELECT max(k) FROM t").await;
    assert!(plan.contains("LiveFilterExec"), "{plan}");
}

#[tokio::test]
async fn a_limit_counts_live_rows() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..20_000, 0);
    fixture.flush();
    // The first rows of the file are all dead.
    fixture.upsert(0..15_000, 1);
    fixture.flush();
    fixture.delete(100..14_990);
    for limit in [1, 10, 100, 5000, 6000] {
        let found = rows(&fixture.context, &format!("SELECT k FROM t LIMIT {limit}")).await;
        assert_eq!(found.len(), limit.min(fixture.model.len()), "limit {limit}");
        assert!(found.iter().all(|key| fixture.model.contains_key(&key.parse().unwrap())), "limit {limit}");
        fixture.check(&format!("SELECT count(*) FROM (SELECT k FROM t WHERE n >= 0 LIMIT {limit})")).await;
    }
}

#[tokio::test]
async fn a_file_without_live_rows_is_not_read() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    fixture.upsert(0..1000, 1);
    fixture.flush();
    let plan = explain(&fixture.context, "SELECT n FROM t").await;
    assert!(plan.contains("rustling=clean runs, files_skipped=1") && !plan.contains("LiveFilterExec"), "{plan}");
    fixture.check("SELECT sum(n), count(*) FROM t").await;
    fixture.delete(0..1000);
    assert_eq!(rows(&fixture.context, "SELECT * FROM t").await, Vec::<String>::new());
    assert!(!explain(&fixture.context, "SELECT n FROM t").await.contains("DataSourceExec"));
}

/// `1000 / n` fails where n is 0, and the only such row is dead.
#[tokio::test]
async fn a_filter_is_not_tried_on_dead_rows() {
    let mut fixture = Fixture::new();
    // n is the key modulo 101.
    fixture.upsert(0..5000, 0);
    fixture.flush();
    fixture.upsert((0..5000).step_by(101), 1);
    fixture.flush();
    for pushdown in [false, true] {
        let mut config = SessionConfig::new().with_target_partitions(2);
        config.options_mut().execution.parquet.pushdown_filters = pushdown;
        let context = SessionContext::new_with_config(config);
        let table = RustlingTable::new(fixture.database.clone(), "t").unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let sql = "SELECT k FROM t WHERE 1000 / n > 100";
        assert_eq!(rows(&context, sql).await, rows(&fixture.model_session(), sql).await, "pushdown {pushdown}");
    }
    // A live one fails the query.
    fixture.upsert([101], 0);
    fixture.flush();
    run(&fixture.context, "SELECT k FROM t WHERE 1000 / n > 100").await.unwrap_err();
}

#[tokio::test]
async fn the_operator_measures_what_it_drops() {
    let fixture = masked();
    let plan = analyze(&fixture.context, "SELECT sum(n) FROM t").await;
    let line = plan.lines().find(|line| line.contains("LiveFilterExec")).unwrap();
    assert!(line.contains("rows_dead=") && line.contains("output_rows=") && !line.contains("rows_dead=0,"), "{line}");
    assert!(plan.contains("bytes_scanned="), "{plan}");
}

/// What a query learns while it runs prunes runs with dead rows as it does clean ones.
#[tokio::test]
async fn the_best_rows_found_so_far_spare_the_rest_of_masked_runs() {
    let mut fixture = Fixture::with(Options { compact_runs: 100, ..options() });
    for part in 0..10 {
        fixture.upsert(part * 20_000..(part + 1) * 20_000, 0);
        fixture.flush();
    }
    fixture.upsert((0..200_000).step_by(50), 1);
    fixture.flush();
    // For all that is known the condition leaves few rows, so the order is made, and not read.
    let sql = "SELECT k, n FROM t WHERE n >= 0 ORDER BY k DESC LIMIT 5";
    // Of two partitions one may be far ahead before the other has anything to tell.
    let one = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    one.register_table("t", Arc::new(RustlingTable::new(fixture.database.clone(), "t").unwrap())).unwrap();
    let plan = analyze(&one, sql).await;
    let scan = plan.lines().find(|line| line.contains("rustling=masked runs")).unwrap();
    // The first file is opened, and perhaps the next one meanwhile.
    let opened = scan.split_once("files_ranges_pruned_statistics=10 total → ").unwrap().1;
    let opened: u64 = opened.split_once(' ').unwrap().0.parse().unwrap();
    assert!(opened <= 3, "{plan}");
    fixture.check(sql).await;
}

#[tokio::test]
async fn a_snapshot_keeps_the_rows_that_were_live_then() {
    let mut fixture = masked();
    let then = fixture.database.snapshot();
    let expected = rows(&fixture.model_session(), "SELECT * FROM t WHERE k < 1000").await;
    let context = crate::fixture::session();
    let table = RustlingTable::new(fixture.database.clone(), "t").unwrap().at(then);
    context.register_table("t", Arc::new(table)).unwrap();
    fixture.upsert(0..500, 3);
    fixture.flush();
    fixture.compact();
    fixture.delete(200..700);
    fixture.flush();
    assert_eq!(rows(&context, "SELECT * FROM t WHERE k < 1000").await, expected);
    fixture.check("SELECT * FROM t WHERE k < 1000").await;
}

#[tokio::test]
async fn many_runs_and_chunks_over_each_other_give_the_newest() {
    let mut fixture = Fixture::with(Options { compact_runs: 100, ..options() });
    for version in 1..12 {
        let step = usize::try_from(version).unwrap();
        fixture.upsert((0..30_000).step_by(step), version);
        if version % 3 != 0 {
            fixture.flush();
        }
    }
    let plan = explain(&fixture.context, "SELECT sum(n) FROM t").await;
    assert!(plan.contains("LiveFilterExec: files_masked=7"), "{plan}");
    for sql in ["SELECT sum(n), count(*), sum(k) FROM t", "SELECT n, count(*) FROM t GROUP BY n ORDER BY n LIMIT 50"] {
        fixture.check(sql).await;
    }
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM t").await, 30_000);
}
