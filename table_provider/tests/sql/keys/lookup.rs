//! Rows by their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::collect;
use rustling_engine::rows::change::WriteBatch;
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{Fixture, Row, analyze, batch, explain, plan, rows, run, session};
use crate::keys::{Keyed, numbers, values};

const LOOKUP: &[&str] = &["KeyLookupExec"];
const NO_SCAN: &[&str] = &["DataSourceExec", "TableScanExec", "KeyRangeExec"];

/// Rows with a key of two columns, text and number, and a nullable float.
async fn pairs() -> Keyed {
    let rows = values(format!(
        "SELECT concat('a', x % 7) AS a, x / 7 AS b, x AS n, nullif(x % 5, 0) / 2.0 AS nullable FROM {}",
        numbers(0..700)
    ));
    Keyed::new(&rows.await, &["a", "b"])
}

#[tokio::test]
async fn equalities_on_the_whole_key_are_looked_up() {
    let table = pairs().await;
    for condition in [
        "a = 'a3' AND b = 5",
        "b = 5 AND 'a3' = a AND nullable > 0.5",
        "a IN ('a1', 'a2', 'none') AND b IN (1, 2, 3, 1000)",
        "(a = 'a1' AND b = 1) OR (b = 2 AND a = 'a2') OR (a = 'a1' AND b = 1)",
        "(a = 'a1' OR a = 'a2') AND (b = 7 OR b = 8) AND n > 0",
        "a = 'a3' AND b BETWEEN 5 AND 5",
        "arrow_cast(a, 'LargeUtf8') = arrow_cast('a3', 'LargeUtf8') AND arrow_cast(b, 'Int32') = 5",
        "CASE WHEN n > 100 THEN a = 'a1' AND b = 50 ELSE a = 'a2' AND b = 3 END",
    ] {
        let sql = format!("SELECT n, nullable, b, m FROM t WHERE {condition}");
        if condition.contains("BETWEEN") {
            table.check(&sql).await;
        } else {
            table.check_plan(&sql, LOOKUP, NO_SCAN).await;
        }
        table.check(&format!("SELECT count(*), sum(n) FROM t WHERE {condition}")).await;
        table.check(&format!("SELECT * FROM t WHERE {condition} ORDER BY n DESC LIMIT 2")).await;
    }
    // What is not known for certain to bound the key is not looked up.
    for condition in ["a = 'a3'", "a = 'a3' AND b <> 5", "a = 'a3' AND (b = 5 OR n = 3)", "a || 'x' = 'a3x' AND b = 5"]
    {
        table.check_plan(&format!("SELECT n FROM t WHERE {condition}"), &[], LOOKUP).await;
    }
}

#[tokio::test]
async fn conditions_that_no_key_meets_read_nothing() {
    let table = pairs().await;
    for condition in ["a = 'a3' AND a = 'a4'", "b > 5 AND b < 5", "a IN ('x') AND a IN ('y', 'z')", "b < 3 AND b = 4"] {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        table.check_plan(&sql, &[], &["KeyLookupExec", "KeyRangeExec", "DataSourceExec"]).await;
    }
    for condition in
        ["b = NULL AND a = 'a3'", "b IN (NULL) AND a = 'a3'", "b IN (5, NULL) AND a = 'a3'", "b NOT IN (5, NULL)"]
    {
        table.check(&format!("SELECT n FROM t WHERE {condition}")).await;
    }
}

#[tokio::test]
async fn literals_of_other_types_find_what_they_equal() {
    let rows = values(format!("SELECT arrow_cast(x, 'UInt8') AS k, x AS n FROM {}", numbers(0..200))).await;
    let table = Keyed::new(&rows, &["k"]);
    for condition in [
        "k = 5",
        "k = 300",
        "k = -1",
        "k = 5.0",
        "k = 5.5",
        "k = '5'",
        "k IN (1, 300, -7)",
        "k > 300",
        "k > -1",
        "k < 300",
        "k <= -1",
        "k BETWEEN -5 AND 3",
        "k < 5.5",
        "k >= 5.5",
        "k = arrow_cast(5, 'Decimal128(10, 2)')",
        "k < arrow_cast(5.25, 'Decimal128(10, 2)')",
        "k = arrow_cast('5', 'Dictionary(Int8, Utf8)')",
        "k = true",
        "arrow_cast(k, 'Int64') = 5",
        "arrow_cast(k, 'Int64') > 300",
        "arrow_cast(k, 'Float64') = 5.0",
        "arrow_cast(k, 'Utf8') > '5'",
        "arrow_cast(k, 'Utf8') = '5'",
        "k = 18446744073709551615",
    ] {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        if run(&table.model, &sql).await.is_ok() {
            table.check(&sql).await;
        }
    }
}

#[tokio::test]
async fn casts_of_the_key_that_lose_something_find_all_keys_that_they_make_equal() {
    let rows = values(format!(
        "SELECT arrow_cast(x * 500, 'Timestamp(Millisecond, None)') AS k, x AS n FROM {}",
        numbers(0..100)
    ));
    let table = Keyed::new(&rows.await, &["k"]);
    for condition in [
        "arrow_cast(k, 'Timestamp(Second, None)') = arrow_cast(5, 'Timestamp(Second, None)')",
        "arrow_cast(k, 'Timestamp(Second, None)') <= arrow_cast(5, 'Timestamp(Second, None)')",
        "arrow_cast(k, 'Date32') = DATE '1970-01-01'",
        "k = TIMESTAMP '1970-01-01T00:00:05'",
        "k = '1970-01-01T00:00:05'",
        "k > TIMESTAMP '1970-01-01T00:00:05.000001'",
        "date_trunc('second', k) = TIMESTAMP '1970-01-01T00:00:05'",
    ] {
        table.check(&format!("SELECT n FROM t WHERE {condition}")).await;
    }
    let floats = values(format!("SELECT arrow_cast(x, 'Float32') / 10 AS k, x AS n FROM {}", numbers(-20..20)));
    let table = Keyed::new(&floats.await, &["k"]);
    for condition in
        ["k = 0.1", "k > 0.1", "k <= 0.1", "k = 0.5", "k IN (0.5, 0.1)", "k = 1", "arrow_cast(k, 'Int32') = 1"]
    {
        table.check(&format!("SELECT n FROM t WHERE {condition}")).await;
    }
    let floats = values(format!("SELECT arrow_cast(x, 'Float64') / 10 AS k, x AS n FROM {}", numbers(-20..20)));
    let table = Keyed::new(&floats.await, &["k"]);
    for condition in ["=", "<", ">=", "<>"] {
        let sql = format!("SELECT n FROM t WHERE arrow_cast(k, 'Float32') {condition} arrow_cast(0.1, 'Float32')");
        table.check(&sql).await;
    }
    let days = values(format!(
        "SELECT arrow_cast(arrow_cast(x * 20000000, 'Timestamp(Millisecond, None)'), 'Int64') AS k, x AS n FROM {}",
        numbers(0..40)
    ));
    let days = days.await;
    let dates = arrow::compute::cast(days.column(0), &arrow::datatypes::DataType::Date64).unwrap();
    let dates = RecordBatch::try_from_iter([("k", dates), ("n", days.column(1).clone())]).unwrap();
    let table = Keyed::new(&dates, &["k"]);
    for condition in ["arrow_cast(k, 'Date32') = DATE '1970-01-03'", "arrow_cast(k, 'Date32') > DATE '1970-01-03'"] {
        table.check(&format!("SELECT n FROM t WHERE {condition}")).await;
    }
}

/// Keys have one zero and one NaN; literals may have others, which DataFusion orders before or behind them.
#[tokio::test]
async fn zeros_and_nans_of_any_form_leave_no_key_out() {
    for kind in ["Float16", "Float32", "Float64"] {
        let cast = |text: &str| format!("arrow_cast(arrow_cast({text}, 'Float64'), '{kind}')");
        let list = ["-1.5", "0.0", "2.5", "'inf'", "'-inf'", "'NaN'", "1.0", "3.0"];
        let rows: Vec<String> =
            list.iter().enumerate().map(|(n, text)| format!("SELECT {} AS k, {n} AS n", cast(text))).collect();
        let table = Keyed::new(&values(&rows.join(" UNION ALL ")).await, &["k"]);
        for literal in ["0.0", "-0.0", "'NaN'", "'-NaN'", "1.0", "'inf'", "'-inf'"] {
            let literal = match literal {
                "'-NaN'" => format!("-{}", cast("'NaN'")),
                literal => cast(literal),
            };
            for operator in ["=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM"] {
                table.check(&format!("SELECT n FROM t WHERE k {operator} {literal}")).await;
                table.check(&format!("SELECT n FROM t WHERE k {operator} {literal} ORDER BY k DESC")).await;
            }
            table.check(&format!("SELECT n FROM t WHERE k IN ({literal}, {})", cast("2.5"))).await;
            table.check(&format!("SELECT n FROM t WHERE k IN ({}, {literal}, {})", cast("0.0"), cast("-0.0"))).await;
        }
        table.check("SELECT n FROM t ORDER BY k").await;
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_to_be_one_is_not_there() {
    let table = pairs().await;
    let long = "x".repeat(100_000);
    for condition in [format!("a = '{long}' AND b = 1"), format!("a > '{long}'"), format!("a IN ('a1', '{long}')")] {
        table.check(&format!("SELECT n FROM t WHERE {condition}")).await;
    }
}

#[tokio::test]
async fn long_lists_are_looked_up_unless_a_scan_is_less() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100_000, 0);
    fixture.flush();
    fixture.upsert((0..100_000).step_by(10), 1);
    let list = |keys: &mut dyn Iterator<Item = i64>| keys.map(|key| key.to_string()).collect::<Vec<_>>().join(", ");
    let sql = |list: String| format!("SELECT k, n, v FROM t WHERE k IN ({list})");
    let some = sql(list(&mut (0..100_000).step_by(20)));
    assert!(explain(&fixture.context, &some).await.contains("KeyLookupExec: key=[k], keys=5000"));
    fixture.check(&some).await;
    fixture.check(&some.replace(" IN ", " NOT IN ").replace("k, n, v", "count(*), sum(n)")).await;
    let many = sql(list(&mut (0..100_000).step_by(11)));
    assert!(!explain(&fixture.context, &many).await.contains("KeyLookupExec"));
    fixture.check(&many).await;
}

#[tokio::test]
async fn a_lookup_measures_its_work_and_stops_at_a_limit() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..50_000, 0);
    fixture.flush();
    let plan = analyze(&fixture.context, "SELECT v, f FROM t WHERE k IN (5, 70, 49000, -3)").await;
    let line = plan.lines().find(|line| line.contains("KeyLookupExec")).unwrap();
    assert!(line.contains("keys=4,") && line.contains("rows_found=3") && line.contains("keys_denied="), "{line}");
    assert!(line.contains("pages_read=") && !line.contains("pages_read=0"), "{line}");
    assert!(line.contains("projection=[v, f]") && line.contains("predicate=k@1 IN"), "{line}");
    assert_eq!(plan.trim(), line.trim(), "nothing but the operator");
    let keys: Vec<String> = (0..1000).map(|key| key.to_string()).collect();
    let sql = format!("SELECT k FROM t WHERE k IN ({}) LIMIT 3", keys.join(", "));
    assert_eq!(rows(&fixture.context, &sql).await.len(), 3);
}

#[tokio::test]
async fn a_lookup_shows_its_snapshot() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100, 0);
    fixture.flush();
    let sql = "SELECT * FROM t WHERE k IN (5, 50, 150)";
    let before = plan(&fixture.context, sql).await;
    let expected = rows(&fixture.model_session(), sql).await;
    let pinned = session();
    let table = RustlingTable::new(fixture.database.clone(), "t").unwrap().at(fixture.database.snapshot());
    pinned.register_table("t", Arc::new(table)).unwrap();
    fixture.upsert([5, 150], 1);
    fixture.delete([50]);
    fixture.flush();
    fixture.compact();
    let mut found = crate::fixture::text(&collect(before, fixture.context.task_ctx()).await.unwrap());
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(rows(&pinned, sql).await, expected);
    fixture.check(sql).await;
}

#[tokio::test]
async fn an_empty_table_has_no_keys() {
    let fixture = Fixture::new();
    for sql in [
        "SELECT * FROM t WHERE k = 5",
        "SELECT count(*) FROM t WHERE k IN (1, 2)",
        "SELECT k FROM t WHERE k > 3 ORDER BY k DESC LIMIT 2",
        "SELECT k FROM t ORDER BY k",
        "SELECT * FROM t a JOIN t b ON a.k = b.k",
    ] {
        fixture.check(sql).await;
    }
}

#[tokio::test]
async fn boolean_keys_are_found_without_a_comparison() {
    let rows = values(format!("SELECT x % 2 = 0 AS k, x AS n FROM {}", numbers(0..40))).await;
    let table = Keyed::new(&rows, &["k", "n"]);
    for condition in
        ["k", "NOT k", "k = true", "k = false", "k <> false", "k AND n = 4", "NOT k AND n IN (1, 2, 5)", "k > false"]
    {
        table.check(&format!("SELECT n, k FROM t WHERE {condition}")).await;
    }
    table.check_plan("SELECT n FROM t WHERE k AND n IN (4, 8)", LOOKUP, NO_SCAN).await;
    table.check_plan("SELECT n FROM t WHERE NOT k AND n IN (5, 9)", LOOKUP, NO_SCAN).await;
}

#[tokio::test]
async fn a_table_without_a_key_is_scanned() {
    let rows = values(format!("SELECT x AS k, x AS n FROM {}", numbers(0..40))).await;
    let table = Keyed::new(&rows, &["k"]);
    table.database.create_table("bare", &rows.schema(), &[]).unwrap();
    Keyed::write(&table.database, |change| change.insert("bare", rows.clone()));
    let bare = RustlingTable::new(table.database.clone(), "bare").unwrap();
    table.context.register_table("bare", Arc::new(bare)).unwrap();
    for sql in ["SELECT n FROM bare WHERE k = 5", "SELECT n FROM bare ORDER BY k LIMIT 5"] {
        let plan = explain(&table.context, sql).await;
        assert!(!plan.contains("KeyLookupExec") && !plan.contains("KeyRangeExec"), "{plan}");
    }
    assert_eq!(rows_of(&table, "SELECT n FROM bare WHERE k = 5").await, ["5"]);
}

async fn rows_of(table: &Keyed, sql: &str) -> Vec<String> {
    rows(&table.context, sql).await
}

#[tokio::test]
async fn long_rows_are_looked_up_few_at_a_time() {
    let fixture = Fixture::new();
    let long = (0..100).map(|key| (key, (Some("x".repeat(500_000)), 0))).collect::<BTreeMap<i64, Row>>();
    // More at once would be too large a batch.
    for rows in long.iter().collect::<Vec<_>>().chunks(8) {
        let mut change = WriteBatch::new();
        change.upsert("t", batch(rows.iter().copied()));
        fixture.database.write(&change).unwrap();
    }
    let keys = (0..100).map(|key| key.to_string()).collect::<Vec<_>>().join(", ");
    let looked_up = plan(&fixture.context, &format!("SELECT v FROM t WHERE k IN ({keys})")).await;
    let batches = collect(looked_up, fixture.context.task_ctx()).await.unwrap();
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert!(rows.iter().sum::<usize>() == 100 && rows[0] <= 32 && rows[1..].iter().all(|rows| *rows <= 8), "{rows:?}");
}
