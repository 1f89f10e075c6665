//! Ranges of keys.

use datafusion::physical_plan::collect;

use crate::fixture::{Fixture, analyze, explain, plan};
use crate::keys::{Keyed, numbers, values};

const RANGE: &[&str] = &["KeyRangeExec"];
const NO_SCAN: &[&str] = &["DataSourceExec", "TableScanExec", "KeyLookupExec"];

/// Rows with a key of three columns.
async fn triples() -> Keyed {
    let rows = values(format!(
        "SELECT x % 3 AS a, concat('b', (x / 3) % 5) AS b, x / 15 AS c, x AS n FROM {}",
        numbers(0..900)
    ));
    Keyed::new(&rows.await, &["a", "b", "c"])
}

#[tokio::test]
async fn bounds_behind_equalities_on_a_prefix_are_read_in_order() {
    let table = triples().await;
    for condition in [
        "a = 1",
        "a > 1",
        "a >= 1 AND a < 2",
        "a = 1 AND b = 'b3'",
        "a = 1 AND b > 'b3'",
        "a = 1 AND b BETWEEN 'b1' AND 'b3'",
        "a = 1 AND b = 'b3' AND c > 20",
        "a = 1 AND b = 'b3' AND c <= 20 AND n % 2 = 0",
        "a = 1 AND c = 20",
        "a IN (0, 2) AND b = 'b4'",
        "a IN (0, 2) AND b IN ('b0', 'b4') AND c BETWEEN 5 AND 7",
        "a = 0 AND b = 'b1' OR a = 2 AND b >= 'b3'",
        "a = 0 OR a = 0 AND b = 'b1' OR a >= 2",
        "a < 1 OR a > 1 AND b < 'b2'",
        "a > 1 OR (a = 1 AND b > 'b2') OR (a = 1 AND b = 'b2' AND c > 30)",
        "a > 0 AND a < 2 AND b = 'b2' AND c = 7",
        "a BETWEEN 0 AND 100 AND b = 'b2'",
        "a = 7",
    ] {
        let sql = format!("SELECT n, c, m FROM t WHERE {condition}");
        table.check_plan(&sql, RANGE, NO_SCAN).await;
        table.check(&format!("{sql} ORDER BY a, b, c")).await;
        table.check(&format!("{sql} ORDER BY a DESC, b DESC, c DESC LIMIT 9")).await;
        table.check(&format!("SELECT b, count(*), min(c), max(n) FROM t WHERE {condition} GROUP BY b")).await;
    }
    for condition in ["b = 'b2'", "c > 5", "a = 1 OR n = 5", "a + 0 = 1", "NOT (a = 1)"] {
        table.check_plan(&format!("SELECT n FROM t WHERE {condition}"), &["DataSourceExec"], RANGE).await;
    }
}

#[tokio::test]
async fn a_range_of_a_large_table_reads_little_of_it() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.flush();
    fixture.upsert((0..300_000).step_by(3), 1);
    fixture.flush();
    let plan = analyze(&fixture.context, "SELECT sum(n), sum(f) FROM t WHERE k BETWEEN 140000 AND 140499").await;
    let line = plan.lines().find(|line| line.contains("KeyRangeExec")).unwrap();
    assert!(line.contains("ranges=1") && line.contains("keys<=667") && line.contains("rows_found=500"), "{line}");
    let decoded = line.split("pages_read=").nth(1).unwrap().split([',', ']']).next().unwrap();
    assert!(decoded.parse::<u64>().unwrap() < 40, "{line}");
    for sql in [
        "SELECT k, n, v FROM t WHERE k BETWEEN 140000 AND 140499",
        "SELECT k, n FROM t WHERE k > 299990",
        "SELECT count(*), sum(k) FROM t WHERE k < 40000",
        "SELECT k FROM t WHERE k BETWEEN 10 AND 20 OR k BETWEEN 200000 AND 200010 OR k = 77",
    ] {
        assert!(explain(&fixture.context, sql).await.contains("KeyRangeExec"), "{sql}");
        fixture.check(sql).await;
    }
    let plan = explain(&fixture.context, "SELECT sum(n) FROM t WHERE k > 50000").await;
    assert!(plan.contains("DataSourceExec") && !plan.contains("KeyRangeExec"), "{plan}");
    fixture.check("SELECT sum(n) FROM t WHERE k > 50000").await;
}

#[tokio::test]
async fn many_listed_prefixes_become_one_range_around_them() {
    let rows = values(format!("SELECT x / 2 AS a, x % 2 AS b, x AS n FROM {}", numbers(0..2000)));
    let table = Keyed::new(&rows.await, &["a", "b"]);
    let list = |step: usize| (0..1000).step_by(step).map(|a| a.to_string()).collect::<Vec<_>>().join(", ");
    let few = format!("SELECT n FROM t WHERE a IN ({})", list(10));
    table.check_plan(&few, &["KeyRangeExec: key=[a, b], ranges=100,"], NO_SCAN).await;
    let many = format!("SELECT n FROM t WHERE a IN ({})", list(2));
    table.check_plan(&many, &["KeyRangeExec: key=[a, b], ranges=1,"], NO_SCAN).await;
    let alternatives: Vec<String> = (0..400).map(|a| format!("(a = {} AND b > 0)", a * 2)).collect();
    table.check(&format!("SELECT n FROM t WHERE {}", alternatives.join(" OR "))).await;
}

/// What operators above set aside for a batch is what its rows take, not what was read together with them.
#[tokio::test]
async fn batches_keep_no_more_than_their_rows() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..200_000, 0);
    fixture.flush();
    for sql in ["SELECT * FROM t WHERE k < 60000", "SELECT k, v FROM t ORDER BY k DESC"] {
        let plan = plan(&fixture.context, sql).await;
        let batches = collect(plan.clone(), fixture.context.task_ctx()).await.unwrap();
        assert!(batches.len() > 6, "{sql}");
        for batch in batches {
            let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
            assert!(rows <= 8192 && bytes < 200 * rows + 16_384, "{sql}: {bytes} bytes for {rows} rows");
        }
    }
}
