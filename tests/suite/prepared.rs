//! Prepared statements of the facade.

use std::sync::Arc;

use rustling_db::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use rustling_db::arrow::datatypes::{Float64Type, Int64Type};
use rustling_db::datafusion::scalar::ScalarValue;
use rustling_db::engine::error::Error as EngineError;
use rustling_db::table_provider::error::Error as SqlError;
use rustling_db::{Db, Error};

fn db() -> Db {
    let db = Db::in_memory().unwrap();
    let ids = Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef;
    let names = Arc::new(StringArray::from_iter_values((0..1000).map(|id| format!("name {id}")))) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap();
    db.create_table("t", &rows.schema(), &["id"]).unwrap();
    db.upsert("t", rows).unwrap();
    db.flush("t").unwrap();
    db
}

fn id(id: i64) -> [ScalarValue; 1] {
    [ScalarValue::from(id)]
}

#[test]
fn a_prepared_query_gives_what_the_text_gives() {
    let db = db();
    let prepared = db.prepare("SELECT name, id * 2 AS twice FROM t WHERE id = $1").unwrap();
    assert!(prepared.is_point_query());
    let other = db.prepare("SELECT name, id * 2 AS twice FROM t WHERE id >= $1 AND id < $1 + 1").unwrap();
    assert!(!other.is_point_query());
    for number in [0, 7, 999, 1000, -1] {
        let expected = db.sql(&format!("SELECT name, id * 2 AS twice FROM t WHERE id = {number}")).unwrap();
        let found = prepared.query(&id(number)).unwrap();
        assert_eq!(found, expected, "{number}");
        assert_eq!(other.query(&id(number)).unwrap(), expected, "{number}");
    }
    let row = &prepared.query(&id(7)).unwrap()[0];
    assert_eq!(row.column(1).as_primitive::<Int64Type>().value(0), 14);
}

#[test]
fn its_clones_run_in_many_threads() {
    let db = db();
    let prepared = db.prepare("SELECT id / 2.0 FROM t WHERE id = $1").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let prepared = prepared.clone();
            scope.spawn(move || {
                for number in (thread..1000).step_by(4) {
                    let row = &prepared.query(&id(number)).unwrap()[0];
                    assert_eq!(row.column(0).as_primitive::<Float64Type>().value(0), number as f64 / 2.0);
                }
            });
        }
    });
}

#[test]
fn its_async_twin_gives_the_same_and_it_refuses_inside_a_runtime() {
    let db = db();
    let prepared = db.prepare("SELECT name FROM t WHERE id = $1").unwrap();
    let expected = prepared.query(&id(5)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(matches!(prepared.query(&id(5)), Err(Error::InsideRuntime)));
        assert!(matches!(db.prepare("SELECT 1"), Err(Error::InsideRuntime)));
        assert_eq!(prepared.query_async(&id(5)).await.unwrap(), expected);
        let other = db.prepare_async("SELECT name FROM t WHERE id = $1 OR id < 0").await.unwrap();
        assert_eq!(other.query_async(&id(5)).await.unwrap(), expected);
    });
}

#[test]
fn what_is_wrong_is_told() {
    let db = db();
    let prepared = db.prepare("SELECT name FROM t WHERE id = $1").unwrap();
    let error = prepared.query(&[]).err().unwrap();
    assert_eq!(error.to_string(), "the prepared statement has 1 parameters, 0 values were given");
    for sql in ["", "SELECT 1; SELECT 2"] {
        let error = db.prepare(sql).err().unwrap();
        assert!(matches!(error, Error::Sql(SqlError::NotOneStatement { .. })), "{error}");
    }
    let error = db.prepare("DELETE FROM t WHERE id = $1").err().unwrap();
    assert!(matches!(error, Error::Sql(SqlError::Refused { .. })), "{error}");
    db.drop_table("t").unwrap();
    let error = prepared.query(&id(1)).err().unwrap();
    assert!(matches!(error, Error::Sql(SqlError::Engine(EngineError::Dropped { .. }))), "{error}");
}
