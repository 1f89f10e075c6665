//! Orders by the key.

use std::sync::Arc;

use datafusion::physical_plan::collect;
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{Fixture, analyze, explain, plan, rows, session, text};
use crate::keys::{Keyed, numbers, values};

const ORDERED: &[&str] = &["KeyRangeExec"];
const NO_SORT: &[&str] = &["SortExec", "DataSourceExec", "TableScanExec"];

/// A table of some row groups with rows in every state.
fn large() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.flush();
    fixture.upsert((0..300_000).step_by(7), 1);
    fixture.delete((0..300_000).step_by(100));
    fixture.flush();
    fixture.upsert([1, 5, 299_999], 2);
    fixture.delete([2, 299_998]);
    fixture
}

async fn check(fixture: &Fixture, sql: &str, wanted: &[&str], unwanted: &[&str]) {
    let plan = explain(&fixture.context, sql).await;
    assert!(wanted.iter().all(|name| plan.contains(name)), "{sql}: without one of {wanted:?}\n{plan}");
    assert!(!unwanted.iter().any(|name| plan.contains(name)), "{sql}: with one of {unwanted:?}\n{plan}");
    fixture.check(sql).await;
}

#[tokio::test]
async fn an_order_by_the_key_is_read_and_not_made() {
    let fixture = large();
    for sql in [
        "SELECT k, v FROM t ORDER BY k LIMIT 10",
        "SELECT k, v FROM t ORDER BY k DESC LIMIT 10",
        "SELECT v, k FROM t ORDER BY k DESC NULLS LAST LIMIT 10 OFFSET 5",
        "SELECT k FROM t ORDER BY k NULLS FIRST LIMIT 3",
        "SELECT v FROM t ORDER BY k LIMIT 10",
        "SELECT k AS key, n + 1 AS more FROM t ORDER BY key DESC LIMIT 4",
        "SELECT k, n FROM t ORDER BY k, n DESC LIMIT 7",
        "SELECT k + 0 AS same, n FROM (SELECT * FROM t ORDER BY k LIMIT 9)",
        "SELECT n, k FROM t WHERE k > 150000 ORDER BY k LIMIT 8",
        "SELECT n, k FROM t WHERE k < 150000 AND k >= 10 ORDER BY k DESC LIMIT 8",
        "SELECT n, k FROM t WHERE k BETWEEN 5 AND 20 AND n > 10 ORDER BY k DESC",
        "SELECT n, v FROM t WHERE k > 150000 ORDER BY k LIMIT 8",
    ] {
        check(&fixture, sql, ORDERED, NO_SORT).await;
    }
    check(&fixture, "SELECT n FROM t ORDER BY k DESC", ORDERED, NO_SORT).await;
    check(&fixture, "SELECT k, sum(n) OVER (ORDER BY k) FROM t ORDER BY k LIMIT 20", ORDERED, &["DataSourceExec"])
        .await;
    // Other orders are made.
    for sql in [
        "SELECT k, n FROM t ORDER BY n, k LIMIT 7",
        // That no two rows have one key DataFusion does not know.
        "SELECT n + 1 AS more, k AS key FROM t ORDER BY key, more DESC LIMIT 4",
        "SELECT k FROM t ORDER BY -k LIMIT 5",
        "SELECT k, n FROM t WHERE n = 5 ORDER BY k LIMIT 5",
        "SELECT k FROM t WHERE n % 7 = 3 ORDER BY k DESC LIMIT 5",
    ] {
        check(&fixture, sql, &["SortExec", "DataSourceExec"], ORDERED).await;
    }
}

#[tokio::test]
async fn only_the_head_is_read() {
    let fixture = large();
    for (sql, ahead) in [
        ("SELECT k, n, v FROM t ORDER BY k LIMIT 10", 10),
        ("SELECT k, n, v FROM t ORDER BY k DESC LIMIT 10", 10),
        ("SELECT k, n FROM t WHERE k > 150000 ORDER BY k LIMIT 10", 10),
        ("SELECT k, n FROM t WHERE k > 150000 AND k % 2 > -1 ORDER BY k LIMIT 10", 300_000),
    ] {
        let plan = analyze(&fixture.context, sql).await;
        let Some(line) = plan.lines().find(|line| line.contains("KeyRangeExec")) else {
            assert!(ahead > 10, "{sql}\n{plan}");
            continue;
        };
        let count = |name: &str| -> u64 {
            let text = line.split(&format!("{name}=")).nth(1).unwrap().split([',', ']']).next().unwrap();
            text.trim().parse().unwrap_or_else(|_| panic!("{name} in {line}"))
        };
        assert!(count("rows_found") <= 8192 && count("pages_read") < 150, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn a_limit_below_an_order_is_kept() {
    let fixture = large();
    // Which ten rows is open; that they are ten is not.
    for sql in [
        "SELECT k FROM (SELECT k FROM t LIMIT 10) ORDER BY k",
        "SELECT k FROM (SELECT k FROM t WHERE n > 3 LIMIT 10) ORDER BY k DESC",
        "SELECT k FROM (SELECT k FROM t WHERE k > 100 LIMIT 10) ORDER BY k DESC",
        "SELECT k FROM (SELECT k FROM t WHERE k IN (1, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15) LIMIT 10) ORDER BY k DESC",
        "SELECT k FROM (SELECT k FROM t LIMIT 10 OFFSET 5) ORDER BY k LIMIT 20",
        "SELECT k FROM (SELECT k FROM t WHERE k < 5000 LIMIT 10) ORDER BY k DESC",
        "SELECT k FROM (SELECT k FROM t WHERE k < 5000 AND n > 3 LIMIT 10) ORDER BY k",
    ] {
        let found = rows(&fixture.context, sql).await;
        assert_eq!(found.len(), 10, "{sql}\n{}", explain(&fixture.context, sql).await);
        let numbers: Vec<i64> = found.iter().map(|key| key.parse().unwrap()).collect();
        let ordered = if sql.contains("DESC") { numbers.is_sorted_by(|a, b| a > b) } else { numbers.is_sorted() };
        assert!(ordered && numbers.iter().all(|key| fixture.model.contains_key(key)), "{sql}: {numbers:?}");
    }
    // In one partition the limit is the scan's own.
    let mut small = Fixture::new();
    small.upsert(0..1000, 0);
    small.flush();
    for sql in [
        "SELECT k FROM (SELECT k FROM t LIMIT 10) ORDER BY k",
        "SELECT k FROM (SELECT k FROM t WHERE n > 3 LIMIT 10) ORDER BY k DESC",
    ] {
        assert_eq!(rows(&small.context, sql).await.len(), 10, "{sql}\n{}", explain(&small.context, sql).await);
    }
    for sql in [
        "SELECT k FROM (SELECT k FROM t ORDER BY k LIMIT 10) ORDER BY k DESC",
        "SELECT k FROM (SELECT k FROM t ORDER BY k DESC LIMIT 10 OFFSET 3) ORDER BY k LIMIT 4",
        "SELECT max(k) FROM (SELECT k FROM t ORDER BY k LIMIT 10)",
        "SELECT a.k FROM (SELECT k FROM t ORDER BY k LIMIT 10) a JOIN t b ON a.k = b.k + 3 ORDER BY a.k",
    ] {
        fixture.check(sql).await;
    }
}

#[tokio::test]
async fn the_first_columns_of_a_key_are_an_order_too() {
    let rows = values(format!("SELECT x % 7 AS a, concat('b', x % 30) AS b, x AS n FROM {}", numbers(0..210)));
    let table = Keyed::new(&rows.await, &["a", "b"]);
    for sql in [
        "SELECT a, b FROM t ORDER BY a, b LIMIT 20",
        "SELECT a, b FROM t ORDER BY a DESC, b DESC LIMIT 20",
        "SELECT a FROM t ORDER BY a DESC LIMIT 20",
        "SELECT n FROM t ORDER BY a, b, n",
        "SELECT n FROM t WHERE a = 3 ORDER BY b",
        "SELECT n FROM t WHERE a = 3 AND b > 'b2' ORDER BY a DESC, b DESC LIMIT 5",
        "SELECT b, n FROM t WHERE a = 3 ORDER BY b LIMIT 5",
        "SELECT b, n FROM t WHERE arrow_cast(a, 'Int32') = 3 ORDER BY b DESC LIMIT 5",
        "SELECT b, n FROM t WHERE (a = 3 AND b > 'b1' OR a = 3 AND b < 'b0') ORDER BY b DESC LIMIT 5",
    ] {
        table.check_plan(sql, ORDERED, NO_SORT).await;
    }
    for sql in [
        "SELECT a, b FROM t ORDER BY a, b DESC LIMIT 20",
        "SELECT a, b FROM t ORDER BY b, a LIMIT 20",
        "SELECT a, n FROM t ORDER BY a, n LIMIT 20",
        "SELECT b FROM t WHERE a IN (3, 4) ORDER BY b LIMIT 5",
        "SELECT b, n FROM t WHERE arrow_cast(a, 'Int32') = 3 ORDER BY b, n LIMIT 5",
    ] {
        table.check_plan(sql, &["SortExec"], &[]).await;
    }
}

#[tokio::test]
async fn orders_below_other_operators_stay_right() {
    let fixture = large();
    for sql in [
        "SELECT k, row_number() OVER (ORDER BY k DESC) FROM t ORDER BY k LIMIT 5",
        "SELECT n, k, rank() OVER (PARTITION BY n ORDER BY k) AS r FROM t WHERE k < 3000 ORDER BY k LIMIT 50",
        "SELECT k FROM t WHERE k < 50 UNION ALL SELECT k FROM t WHERE k > 299950 ORDER BY k DESC LIMIT 70",
        "SELECT k FROM (SELECT k FROM t ORDER BY k LIMIT 50) UNION ALL (SELECT k FROM t ORDER BY k DESC LIMIT 5) ORDER BY k",
        "SELECT DISTINCT n FROM (SELECT n FROM t ORDER BY k LIMIT 500) ORDER BY n",
        "SELECT first_value(n ORDER BY k), last_value(n ORDER BY k) FROM t",
        "SELECT v, first_value(n ORDER BY k DESC) FROM t GROUP BY v ORDER BY v",
        "SELECT a.k, b.k FROM t a JOIN t b ON a.n = b.n WHERE a.k < 40 AND b.k < 4000 ORDER BY a.k, b.k",
        "SELECT count(*) FROM (SELECT * FROM t ORDER BY k)",
        "SELECT k FROM t WHERE k IN (SELECT k + 1 FROM t ORDER BY k LIMIT 6) ORDER BY k",
    ] {
        fixture.check(sql).await;
    }
}

#[tokio::test]
async fn an_ordered_read_shows_its_snapshot() {
    let mut fixture = large();
    let sql = "SELECT k, n FROM t ORDER BY k DESC LIMIT 20";
    let before = plan(&fixture.context, sql).await;
    let expected = rows(&fixture.model_session(), sql).await;
    let pinned = session();
    let table = RustlingTable::new(fixture.database.clone(), "t").unwrap().at(fixture.database.snapshot());
    pinned.register_table("t", Arc::new(table)).unwrap();
    fixture.upsert(299_990..300_100, 3);
    fixture.delete([299_991]);
    fixture.flush();
    fixture.compact();
    assert_eq!(text(&collect(before, fixture.context.task_ctx()).await.unwrap()), expected);
    assert_eq!(rows(&pinned, sql).await, expected);
    fixture.check(sql).await;
}
