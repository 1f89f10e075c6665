//! Deleting rows by a condition, against what DataFusion makes of the same condition.

use std::sync::Arc;

use rustling_db::arrow::array::{AsArray, RecordBatch};
use rustling_db::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use rustling_db::arrow::util::pretty::pretty_format_batches;
use rustling_db::datafusion::common::DFSchema;
use rustling_db::datafusion::logical_expr::{Expr, exists, in_subquery};
use rustling_db::datafusion::prelude::{col, lit};
use rustling_db::{Db, DeleteReport, ErrorKind};

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("word", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("day", DataType::Date32, true),
    ])
}

/// Rows in a run, dead ones among them, and rows in memory.
fn database(key: &[&str]) -> Db {
    let db = Db::in_memory().unwrap();
    db.create_table("t", &schema(), key).unwrap();
    let rows = "SELECT value, CASE WHEN value % 7 = 0 THEN NULL ELSE 'word ' || (value % 13) END, \
                CASE WHEN value % 5 = 0 THEN NULL ELSE value * 0.25 END, arrow_cast(value * 10, 'Date32') FROM range";
    db.sql(&format!("INSERT INTO t {}", rows.replace("range", "generate_series(0, 499)"))).unwrap();
    db.flush("t").unwrap();
    if !key.is_empty() {
        let newer = db.sql("SELECT id, 'newer' AS word, price, day FROM t WHERE id % 10 = 3").unwrap();
        for batch in newer {
            db.upsert("t", batch).unwrap();
        }
    }
    db.sql(&format!("INSERT INTO t {}", rows.replace("range", "generate_series(500, 599)"))).unwrap();
    db
}

fn condition(db: &Db, text: &str) -> Expr {
    db.context()
        .state()
        .create_logical_expr(text, &DFSchema::try_from_qualified_schema("t", &schema()).unwrap())
        .unwrap()
}

fn show(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

#[test]
fn what_stays_is_what_a_query_for_the_opposite_gives() {
    for key in [&["id"][..], &["day", "id"], &[]] {
        for text in [
            "id % 3 = 0",
            "t.id BETWEEN 100 AND 505",
            "word = 'newer'",
            "word LIKE 'word 1%' OR price IS NULL",
            "word IN ('word 3', 'word 4', 'word 5', 'no word') AND price > 20",
            "word IS NULL",
            "length(word) > 6",
            "price < 10.5 AND day >= DATE '1970-03-01'",
            "CASE WHEN price IS NULL THEN id < 50 ELSE price > id * 0.2 END",
            "now() > TIMESTAMP '2020-01-01' AND id > 550",
            "word ~ '^w.*7$'",
            "id = 599",
            "arrow_cast(price, 'Float64') > 70 AND coalesce(word, 'none') <> 'none'",
            "CAST(day AS TIMESTAMP) < now() AND day < current_date() AND date_part('month', day) = 3",
            "id > 1000",
            "true",
            "false",
            "NULL",
            "NULL > 1",
        ] {
            let db = database(key);
            let left = db.sql(&format!("SELECT * FROM t WHERE ({text}) IS NOT TRUE ORDER BY id")).unwrap();
            let goes = db.sql(&format!("SELECT count(*) FROM t WHERE {text}")).unwrap();
            let goes = u64::try_from(goes[0].column(0).as_primitive::<Int64Type>().value(0)).unwrap();
            let report = db.delete_where("t", condition(&db, text)).unwrap();
            assert_eq!((report.rows, report.seq.is_some()), (goes, goes > 0), "{text}, key {key:?}");
            let all = || show(&db.sql("SELECT * FROM t ORDER BY id").unwrap());
            assert_eq!(all(), show(&left), "{text}, key {key:?}");
            db.compact("t").unwrap();
            assert_eq!(all(), show(&left), "{text}, key {key:?}, compacted");
        }
    }
}

/// NULL is neither in a list nor not in it. DataFusion 55.2 simplifies this condition to `true`.
#[test]
fn rows_with_null_stay_where_a_condition_would_be_true_of_any_value() {
    let db = database(&["id"]);
    let nulls = || show(&db.sql("SELECT count(*) FROM t WHERE word IS NULL").unwrap());
    let before = nulls();
    for text in ["word NOT IN ('a', 'b') OR word NOT IN ('c', 'd')", "NOT (word IN ('a', 'b') AND word IN ('c', 'd'))"]
    {
        db.delete_where("t", condition(&db, text)).unwrap();
        assert_eq!(nulls(), before, "{text}");
    }
    assert_eq!(show(&db.sql("SELECT count(*) FROM t").unwrap()), before);
}

#[test]
fn what_is_no_condition_over_the_table_deletes_nothing() {
    let db = database(&["id"]);
    let rows = || show(&db.sql("SELECT count(*), sum(id) FROM t").unwrap());
    let before = rows();
    let query = Arc::new(db.context().read_empty().unwrap().into_unoptimized_plan());
    let subquery = in_subquery(col("id"), query.clone());
    for (condition, text) in [
        (col("id") + lit(1), "`id + 1` is of type Int64, not a condition; compare it with something"),
        (col("no").eq(lit(1)), "No field named no"),
        (col("u.id").eq(lit(1)), "No field named u.id"),
        ((lit(1) / (col("id") - lit(7))).gt(lit(0)), "Divide by zero"),
        (subquery, "has a subquery"),
        (exists(query).or(col("id").gt(lit(1))), "has a subquery"),
        (condition(&db, "sum(id) > 3"), "has an aggregate"),
        (condition(&db, "row_number() OVER () > 3"), "has a window"),
        (condition(&db, "id = $1"), "has a parameter without a value"),
    ] {
        let error = db.delete_where("t", condition.clone()).unwrap_err();
        println!("{condition}: {error}");
        assert!(error.to_string().contains(text), "{condition}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{condition}");
        assert_eq!(rows(), before, "{condition}");
    }
    let error = db.delete_where("u", lit(true)).unwrap_err();
    assert_eq!(error.to_string(), "there is no table `u`; there are: t");
}

#[test]
fn the_async_twin_deletes_too() {
    let db = database(&["id"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(db.delete_where_async("t", col("id").lt(lit(100)))).unwrap();
    assert_eq!(report, DeleteReport { rows: 100, seq: Some(db.snapshot().seq()) });
}
