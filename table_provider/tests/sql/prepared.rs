//! Prepared statements give what the same text with literals gives.

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use rustling_engine::error::Error as EngineError;
use rustling_table_provider::error::{Error, Result};
use rustling_table_provider::prepared::PreparedStatement;
use rustling_table_provider::statement::parse;

use crate::fixture::{Fixture, rows, run, text};
use crate::keys::{Keyed, numbers, values};

async fn prepare(context: &SessionContext, sql: &str) -> Result<PreparedStatement> {
    PreparedStatement::new(&parse(sql)?[0], &context.state()).await
}

/// Its rows, by the short way if there is one for these values.
async fn query(
    context: &SessionContext,
    prepared: &PreparedStatement,
    values: &[ScalarValue],
) -> Result<Vec<RecordBatch>> {
    prepared.check(values)?;
    match prepared.point_rows(values)? {
        Some(rows) => Ok(rows),
        None => Ok(prepared.execute(context, values).await?.collect().await?),
    }
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = text(batches);
    rows.sort();
    rows
}

/// A prepared query gives, whichever way it goes, the rows and the columns of the same text with literals.
async fn check(context: &SessionContext, sql: &str, parameters: &[(&str, ScalarValue)], is_point: bool) {
    let prepared = prepare(context, sql).await.unwrap();
    assert_eq!(prepared.is_point_query(), is_point, "{sql}");
    let values: Vec<ScalarValue> = parameters.iter().map(|(_, value)| value.clone()).collect();
    let mut literal = sql.to_owned();
    for (index, (text, _)) in parameters.iter().enumerate().rev() {
        literal = literal.replace(&format!("${}", index + 1), text);
    }
    let expected = run(context, &literal).await.unwrap();
    let long = prepared.execute(context, &values).await.unwrap().collect().await.unwrap();
    assert_eq!(sorted(&long), sorted(&expected), "{literal}");
    let found = query(context, &prepared, &values).await.unwrap();
    assert_eq!(sorted(&found), sorted(&expected), "{literal}");
    for (found, long) in found.iter().zip(long.iter().filter(|batch| batch.num_rows() > 0)) {
        assert_eq!(found.schema(), long.schema(), "{sql}");
    }
}

fn number(number: i64) -> (String, ScalarValue) {
    (number.to_string(), ScalarValue::Int64(Some(number)))
}

/// The rows of a table in every state.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.upsert(0..2000, 0);
    fixture.flush();
    fixture.upsert((0..2000).step_by(3), 1);
    fixture.delete((0..2000).step_by(10));
    fixture.flush();
    fixture.upsert([1, 5, 1999, 5000], 2);
    fixture.delete([2, 8]);
    fixture
}

#[tokio::test]
async fn a_row_by_its_key_comes_without_planning() {
    let fixture = fixture();
    for sql in [
        "SELECT * FROM t WHERE k = $1",
        "SELECT v, k FROM t WHERE $1 = k",
        "SELECT n FROM t WHERE k = $1",
        "SELECT n + 1, upper(v) AS big, k, f * 2 FROM t WHERE k = $1",
        "SELECT x.n AS m, x.v FROM t AS x WHERE x.k = $1",
        "SELECT count FROM (SELECT n * 2 AS count, k AS key FROM t) WHERE key = $1",
        "SELECT 1, 'one', n FROM t WHERE k = $1 LIMIT 1",
        "SELECT CASE WHEN n > 1000 THEN v ELSE 'small' END, n IS NULL, coalesce(v, 'none') FROM t WHERE k = $1",
        "SELECT n + 1 AS a, (n + 1) * (n + 1) AS b FROM t WHERE k = $1",
        "SELECT k, k AS again, n, n AS other FROM t WHERE k = $1",
        "WITH one AS (SELECT * FROM t WHERE k = $1) SELECT v, f FROM one",
    ] {
        for key in [0, 1, 2, 3, 4, 5, 8, 10, 1999, 5000, -1, 77_777] {
            let (text, value) = number(key);
            check(&fixture.context, sql, &[(&text, value)], true).await;
        }
    }
    let row = rows(&fixture.context, "SELECT * FROM t WHERE k = 5").await;
    check(&fixture.context, "SELECT * FROM t WHERE k = 5", &[], true).await;
    assert_eq!(row.len(), 1);
}

#[tokio::test]
async fn other_statements_are_planned_with_their_values() {
    let fixture = fixture();
    for (sql, key) in [
        ("SELECT * FROM t WHERE k > $1 AND k < 20", 7),
        ("SELECT * FROM t WHERE k = $1 AND n > 100", 3),
        ("SELECT * FROM t WHERE k = $1 OR k = 4", 3),
        ("SELECT * FROM t WHERE k IN ($1, 4, 5)", 3),
        ("SELECT n FROM t WHERE k = $1 + 1", 3),
        ("SELECT n + $1 AS m FROM t WHERE k = 3", 3),
        ("SELECT count(*), max(n) FROM t WHERE k = $1", 3),
        ("SELECT $1 AS one", 3),
        ("SELECT k FROM t ORDER BY k LIMIT $1", 3),
        ("SELECT n FROM t WHERE k = $1 LIMIT 0", 3),
        ("SELECT n FROM t WHERE k = $1 LIMIT 5 OFFSET 1", 3),
        ("SELECT a.n FROM t a JOIN t b ON a.k = b.n WHERE b.k = $1", 3),
        ("SELECT n FROM t WHERE k = $1 AND k = 4", 4),
        ("SELECT n FROM t WHERE n = $1", 3),
        ("SELECT n FROM t WHERE k <> $1 AND k < 10", 3),
        ("SELECT DISTINCT n FROM t WHERE k = $1", 3),
        ("SELECT n, (SELECT max(k) FROM t) FROM t WHERE k = $1", 3),
    ] {
        let (text, value) = number(key);
        check(&fixture.context, sql, &[(&text, value)], false).await;
    }
    // The clock and chance are asked at each run.
    for sql in ["SELECT now() > '2020-01-01', n FROM t WHERE k = $1", "SELECT random() < 2, n FROM t WHERE k = $1"] {
        let (text, value) = number(3);
        check(&fixture.context, sql, &[(&text, value)], false).await;
    }
}

#[tokio::test]
async fn values_of_other_types_find_what_literals_of_theirs_find() {
    let rows = values(format!("SELECT arrow_cast(x, 'UInt8') AS k, x AS n FROM {}", numbers(0..200))).await;
    let table = Keyed::new(&rows, &["k"]);
    let decimal = ScalarValue::Decimal128(Some(500), 10, 2);
    let halves = ScalarValue::Decimal128(Some(550), 10, 2);
    for (text, value) in [
        ("arrow_cast(5, 'UInt8')", ScalarValue::UInt8(Some(5))),
        ("5", ScalarValue::Int64(Some(5))),
        ("300", ScalarValue::Int64(Some(300))),
        ("-1", ScalarValue::Int64(Some(-1))),
        ("5.0", ScalarValue::Float64(Some(5.0))),
        ("5.5", ScalarValue::Float64(Some(5.5))),
        ("'5'", ScalarValue::Utf8(Some("5".to_owned()))),
        ("NULL", ScalarValue::Null),
        ("arrow_cast(NULL, 'UInt8')", ScalarValue::UInt8(None)),
        ("arrow_cast(5, 'Decimal128(10, 2)')", decimal),
        ("arrow_cast(5.5, 'Decimal128(10, 2)')", halves),
    ] {
        check(&table.context, "SELECT n FROM t WHERE k = $1", &[(text, value)], true).await;
    }
    let floats = values(
        "SELECT arrow_cast(column1, 'Float64') AS k, column2 AS n FROM (VALUES ('0', 1), ('NaN', 2), ('1.5', 3))",
    );
    let table = Keyed::of_rows(&floats.await, &["k"]);
    for (text, float) in [
        ("0.0", 0.0),
        ("arrow_cast('-0.0', 'Float64')", -0.0),
        ("arrow_cast('NaN', 'Float64')", f64::NAN),
        ("-arrow_cast('NaN', 'Float64')", -f64::NAN),
        ("1.5", 1.5),
    ] {
        check(&table.context, "SELECT n FROM t WHERE k = $1", &[(text, ScalarValue::Float64(Some(float)))], true).await;
    }
    let long = "x".repeat(100_000);
    let texts = values(format!("SELECT concat('a', x) AS k, x AS n FROM {}", numbers(0..100))).await;
    let table = Keyed::new(&texts, &["k"]);
    for text in ["a4", "a5", "a6", "", "a4 ", &long] {
        let literal = format!("'{text}'");
        for value in [
            ScalarValue::Utf8(Some(text.to_owned())),
            ScalarValue::Utf8View(Some(text.to_owned())),
            ScalarValue::LargeUtf8(Some(text.to_owned())),
        ] {
            check(&table.context, "SELECT n, k FROM t WHERE k = $1", &[(&literal, value)], true).await;
        }
    }
}

#[tokio::test]
async fn every_column_of_a_key_may_be_a_parameter_or_a_literal() {
    let rows = values(format!("SELECT x % 10 AS a, concat('b', x) AS b, x AS n FROM {}", numbers(0..200))).await;
    let table = Keyed::new(&rows, &["a", "b"]);
    let text = |x: i64| (format!("'b{x}'"), ScalarValue::Utf8(Some(format!("b{x}"))));
    for x in [0, 4, 5, 9, 14, 77] {
        let ((a, a_value), (b, b_value)) = (number(x % 10), text(x));
        let both = [(a.as_str(), a_value), (b.as_str(), b_value.clone())];
        check(&table.context, "SELECT n FROM t WHERE a = $1 AND b = $2", &both, true).await;
        check(&table.context, "SELECT a, n FROM t WHERE b = $2 AND a = $1", &both, true).await;
        check(&table.context, "SELECT n FROM t WHERE b = $1 AND a = 4", &[(&b, b_value.clone())], true).await;
        check(&table.context, "SELECT n FROM t WHERE b = $1", &[(&b, b_value)], false).await;
    }
}

#[tokio::test]
async fn each_run_shows_the_newest_rows() {
    let mut fixture = fixture();
    let prepared = prepare(&fixture.context, "SELECT n FROM t WHERE k = $1").await.unwrap();
    let found = async || text(&query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(7))]).await.unwrap());
    assert_eq!(found().await, ["7"]);
    fixture.upsert([7], 3);
    let found = async || text(&query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(7))]).await.unwrap());
    assert_eq!(found().await, ["3007"]);
    fixture.delete([7]);
    fixture.flush();
    fixture.compact();
    assert!(query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(7))]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_prepared_insert_adds_rows() {
    let mut fixture = Fixture::new();
    let prepared = prepare(&fixture.context, "INSERT INTO t VALUES ($1, $2, $3, NULL)").await.unwrap();
    let text = ScalarValue::Utf8(Some("text 7".to_owned()));
    for key in [7, 9] {
        let values = [text.clone(), ScalarValue::Int64(Some(key)), ScalarValue::Int32(Some(7))];
        assert_eq!(crate::fixture::text(&query(&fixture.context, &prepared, &values).await.unwrap()), ["1"]);
    }
    assert_eq!(rows(&fixture.context, "SELECT k, n, v FROM t").await, ["7|7|text 7", "9|7|text 7"]);
    fixture.upsert([7], 0);
    let values = [text, ScalarValue::Int64(Some(9)), ScalarValue::Int32(Some(7))];
    let error = query(&fixture.context, &prepared, &values).await.unwrap_err();
    assert!(matches!(error, Error::Engine(EngineError::DuplicateKey { .. })), "{error:?}");
}

/// As a literal is: the plan has no casts, since it takes parameters to be of their columns' types.
#[tokio::test]
async fn values_to_insert_are_cast_to_their_columns() {
    let fixture = fixture();
    let prepared =
        prepare(&fixture.context, "INSERT INTO t VALUES ($1, $2, $3, 0.5), ('b', 9002, $3, $4)").await.unwrap();
    let values =
        [ScalarValue::Null, ScalarValue::Int32(Some(9001)), ScalarValue::Int64(Some(7)), ScalarValue::Int64(Some(2))];
    assert_eq!(text(&query(&fixture.context, &prepared, &values).await.unwrap()), ["2"]);
    let inserted = rows(&fixture.context, "SELECT * FROM t WHERE k > 9000 ORDER BY k").await;
    assert_eq!(inserted, ["NULL|9001|7|0.5", "b|9002|7|2.0"]);
    // Where it is used twice it is what it is in each place.
    let prepared = prepare(&fixture.context, "INSERT INTO t VALUES ($1, $1, $2, $2 * 1.5)").await.unwrap();
    let values = [ScalarValue::Utf8(Some("009500".to_owned())), ScalarValue::Float64(Some(2.5))];
    assert_eq!(text(&query(&fixture.context, &prepared, &values).await.unwrap()), ["1"]);
    assert_eq!(rows(&fixture.context, "SELECT * FROM t WHERE k = 9500").await, ["009500|9500|2|3.75"]);
    let prepared =
        prepare(&fixture.context, "INSERT INTO t VALUES ($1, $2, $3, 0.5), ('b', 9002, $3, $4)").await.unwrap();
    let values = [ScalarValue::Null, ScalarValue::Int64(Some(1)), ScalarValue::Int64(Some(1 << 40)), ScalarValue::Null];
    query(&fixture.context, &prepared, &values).await.unwrap_err();
    let of_query = "INSERT INTO t SELECT $1, k + 9000, n, f FROM t WHERE k = $2 + 0.5";
    let prepared = prepare(&fixture.context, of_query).await.unwrap();
    let values = [ScalarValue::Utf8View(Some("c".to_owned())), ScalarValue::Float64(Some(2.5))];
    assert_eq!(text(&query(&fixture.context, &prepared, &values).await.unwrap()), ["1"], "not cast to a key");
}

#[tokio::test]
async fn what_cannot_be_prepared_or_run_is_refused() {
    let fixture = fixture();
    for (sql, name) in [
        ("EXPLAIN SELECT 1", "preparing EXPLAIN"),
        ("SET datafusion.execution.batch_size = 5", "preparing SET"),
        ("COPY t TO 'x.parquet'", "preparing COPY"),
        ("SHOW TABLES", "preparing SHOW"),
        ("PREPARE p AS SELECT 1", "preparing PREPARE"),
    ] {
        let error = prepare(&fixture.context, sql).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { statement, .. } if statement.starts_with(name)), "{error}");
    }
    let error = prepare(&fixture.context, "SELECT n FROM t WHERE k = $key").await.unwrap_err();
    assert!(matches!(&error, Error::NamedParameter { name } if name == "$key"), "{error}");
    for (sql, expected) in [("SELECT n FROM t WHERE k = $1", 1), ("SELECT $3, $1 FROM t", 3), ("SELECT 1", 0)] {
        let prepared = prepare(&fixture.context, sql).await.unwrap();
        for found in (0..5).filter(|found| *found != expected) {
            let error =
                query(&fixture.context, &prepared, &vec![ScalarValue::Int64(Some(1)); found]).await.unwrap_err();
            assert!(
                matches!(error, Error::Parameters { expected: e, found: f } if (e, f) == (expected, found)),
                "{error}"
            );
        }
    }
    let error = prepare(&fixture.context, "SELECT nothing FROM t").await.unwrap_err();
    assert!(matches!(error, Error::Query(_)), "{error}");
}

#[tokio::test]
async fn a_dropped_table_is_told() {
    let fixture = fixture();
    let prepared = [
        prepare(&fixture.context, "SELECT n FROM t WHERE k = $1").await.unwrap(),
        prepare(&fixture.context, "SELECT n FROM t WHERE k > $1").await.unwrap(),
    ];
    for prepared in &prepared {
        query(&fixture.context, prepared, &[ScalarValue::Int64(Some(1))]).await.unwrap();
    }
    fixture.database.drop_table("t").unwrap();
    fixture.database.create_table("t", &crate::fixture::schema(), &["k"]).unwrap();
    for prepared in prepared {
        let error = query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(1))]).await;
        assert!(matches!(error, Err(Error::Engine(EngineError::Dropped { .. }))), "{error:?}");
    }
}

#[tokio::test]
async fn an_expression_that_fails_fails_only_on_its_row() {
    let fixture = fixture();
    let prepared = prepare(&fixture.context, "SELECT 100 / (n - 4) FROM t WHERE k = $1").await.unwrap();
    assert!(prepared.is_point_query());
    query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(4))]).await.unwrap_err();
    assert_eq!(text(&query(&fixture.context, &prepared, &[ScalarValue::Int64(Some(14))]).await.unwrap()), ["10"]);
}
