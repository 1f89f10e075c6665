//! What DataFusion concludes from what it is told of a table: that keys are unique, bounds of columns, orders. A query
//! gives what it gives over plain rows, of which nothing is told.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, Int64Builder, ListBuilder, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::FutureExt;
use rustling_engine::rows::change::WriteBatch;
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{Fixture, rows, run};

/// A table besides `t`, of rows that are in one run.
fn with_run(fixture: &Fixture, name: &str, rows: RecordBatch, key: &str) {
    fixture.database.create_table(name, &rows.schema(), &[key]).unwrap();
    fixture.database.write(WriteBatch::new().upsert(name, rows)).unwrap();
    fixture.database.flush(name).unwrap();
    let table = RustlingTable::new(fixture.database.clone(), name).unwrap();
    fixture.context.register_table(name, Arc::new(table)).unwrap();
}

async fn check(fixture: &Fixture, cases: &[(&str, &[&str])]) {
    for (sql, expected) in cases {
        assert_eq!(rows(&fixture.context, sql).await, *expected, "{sql}");
    }
}

/// Behind a projection another column is not the key, and rows that are equal in it are sorted by what follows.
#[tokio::test]
async fn orders_that_a_key_would_end_are_kept_behind_projections() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..3_000, 0);
    for is_memory in [true, false] {
        if !is_memory {
            fixture.compact();
        }
        for sql in [
            "SELECT n, k, sum(k) OVER (ORDER BY n) FROM t ORDER BY n, k DESC",
            "SELECT k, n, sum(k) OVER (ORDER BY n) FROM t ORDER BY n, k DESC",
            "SELECT v, k, count(*) OVER (ORDER BY v) FROM t ORDER BY v, k DESC",
            "SELECT v, n FROM (SELECT v, n FROM t ORDER BY n LIMIT 1000) ORDER BY n, v LIMIT 9",
            "SELECT n, v FROM (SELECT n, v FROM t ORDER BY v LIMIT 1000) ORDER BY v, n LIMIT 9",
            "SELECT n, f FROM (SELECT n, f FROM t WHERE f > 1.0 ORDER BY n LIMIT 2000) ORDER BY n, f DESC LIMIT 9",
            "SELECT k, n FROM t ORDER BY k, n",
            "SELECT DISTINCT n FROM t ORDER BY n",
        ] {
            fixture.check(sql).await;
        }
    }
}

/// A list makes many rows of one, so that its key is not unique any more.
#[tokio::test]
async fn a_key_that_lists_repeat_is_not_unique() {
    let fixture = Fixture::new();
    let mut lists = ListBuilder::new(Int64Builder::new());
    for list in [&[10, 10, 20][..], &[1], &[], &[30, 40]] {
        lists.values().append_slice(list);
        lists.append(true);
    }
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let columns = [("k", keys, false), ("l", Arc::new(lists.finish()) as ArrayRef, true)];
    with_run(&fixture, "lists", RecordBatch::try_from_iter_with_nullable(columns).unwrap(), "k");
    let unnested = "(SELECT k, unnest(l) AS u FROM lists)";
    check(
        &fixture,
        &[
            (&format!("SELECT DISTINCT k FROM {unnested} WHERE u > 5"), &["1", "4"]),
            (&format!("SELECT k, count(*) FROM {unnested} GROUP BY k, u"), &["1|1", "1|2", "2|1", "4|1", "4|1"]),
            (
                &format!("SELECT k, u FROM {unnested} ORDER BY k, u DESC"),
                &["1|20", "1|10", "1|10", "2|1", "4|40", "4|30"],
            ),
            (&format!("SELECT a.k, a.u FROM {unnested} a JOIN lists b ON a.k = b.k WHERE b.k = 4"), &["4|30", "4|40"]),
        ],
    )
    .await;
}

/// Files know no bounds of floats that NaN is within.
#[tokio::test]
async fn bounds_without_nan_end_no_order_and_count_nothing() {
    let fixture = Fixture::new();
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..8));
    let nan = f64::NAN;
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![nan, 5.0, 1.0, nan, 5.0, 2.0, nan, 5.0]));
    with_run(&fixture, "floats", RecordBatch::try_from_iter([("k", keys), ("f", floats)]).unwrap(), "k");
    let last = ["7|5.0", "4|5.0", "1|5.0", "6|NaN", "3|NaN", "0|NaN"];
    check(
        &fixture,
        &[
            ("SELECT k, f FROM floats WHERE f >= 5.0 ORDER BY f, k DESC", &last),
            ("SELECT k, f FROM floats WHERE f >= 5.0 ORDER BY f, k DESC LIMIT 4", &last[..4]),
            ("SELECT count(*), count(DISTINCT f), count(DISTINCT k) FROM floats WHERE f > 5.0", &["3|1|3"]),
            ("SELECT min(f), max(f), count(f) FROM floats WHERE f > 5.0", &["NaN|NaN|3"]),
            ("SELECT a.k FROM floats a JOIN floats b ON a.f = b.f AND a.k = b.k WHERE b.f > 5.0", &["0", "3", "6"]),
        ],
    )
    .await;
}

/// A query that panics is not told as damage of the file whose rows it had.
#[tokio::test]
async fn a_function_that_panics_damages_no_file() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100, 0);
    fixture.compact();
    let panics = |_: &[ColumnarValue]| -> Result<ColumnarValue, DataFusionError> { panic!("a function panics") };
    let function =
        create_udf("panics", vec![DataType::Int32], DataType::Int32, Volatility::Immutable, Arc::new(panics));
    fixture.context.register_udf(function);
    let found = AssertUnwindSafe(run(&fixture.context, "SELECT panics(n) FROM t")).catch_unwind().await;
    if let Ok(found) = found {
        let error = found.unwrap_err().to_string();
        assert!(!error.contains(".parquet"), "{error}");
    }
    assert_eq!(rows(&fixture.context, "SELECT count(*), max(n) FROM t").await, ["100|99"]);
}
