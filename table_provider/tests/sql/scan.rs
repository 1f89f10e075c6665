//! Scans of tables in every state give the model's rows.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::collect;
use futures::{StreamExt, TryStreamExt};
use rustling_engine::config::Options;
use rustling_engine::rows::canonical::batch_bytes;
use rustling_engine::rows::change::WriteBatch;
use std::sync::Arc;
use tokio::runtime::Builder;

use crate::fixture::{Fixture, explain, number, plan, rows, run, schema, session};

/// Queries that any state of the table must answer as the model does.
const QUERIES: [&str; 22] = [
    "SELECT * FROM t",
    "SELECT n, k FROM t",
    "SELECT f, n, v, k, n AS m FROM t",
    "SELECT count(*) FROM t",
    "SELECT 1 FROM t",
    "SELECT count(*) FROM (SELECT k FROM t LIMIT 10)",
    "SELECT count(*) FROM (SELECT k FROM t WHERE n >= 0 LIMIT 10 OFFSET 3)",
    "SELECT count(v), count(f), min(k), max(k), min(f), max(f), min(v), max(v), sum(n) FROM t",
    "SELECT * FROM t WHERE k = 500",
    "SELECT v FROM t WHERE k = -1",
    "SELECT k FROM t WHERE k BETWEEN 100 AND 200 AND n % 2 = 0",
    "SELECT * FROM t WHERE v = 'text 3'",
    "SELECT * FROM t WHERE v IS NULL AND f > 10.5",
    "SELECT k FROM t WHERE f IS NULL OR n > 2050",
    "SELECT k FROM t WHERE k IN (1, 2, 3, 700, 9999)",
    "SELECT * FROM t ORDER BY k",
    "SELECT * FROM t ORDER BY k DESC LIMIT 7",
    "SELECT k, n FROM t ORDER BY n, k LIMIT 20 OFFSET 5",
    "SELECT v, count(*), sum(n), avg(f) FROM t GROUP BY v ORDER BY v",
    "SELECT a.k, b.n FROM t a JOIN t b ON a.k = b.k + 1 WHERE a.n < 50",
    "SELECT k FROM t WHERE k IN (SELECT n FROM t)",
    "SELECT n + 1 AS m, v FROM t WHERE n > (SELECT avg(n) FROM t)",
];

async fn check_all(fixture: &Fixture) {
    for sql in QUERIES {
        fixture.check(sql).await;
    }
    // Which rows a limit takes is open; how many is not.
    for limit in [0, 1, 10, 100_000] {
        let found = rows(&fixture.context, &format!("SELECT k FROM t LIMIT {limit}")).await;
        assert_eq!(found.len(), limit.min(fixture.model.len()));
        assert!(found.iter().all(|key| fixture.model.contains_key(&key.parse().unwrap())));
    }
}

#[tokio::test]
async fn an_empty_table_gives_nothing() {
    check_all(&Fixture::new()).await;
}

#[tokio::test]
async fn clean_runs_give_all_rows() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    fixture.upsert(1000..1500, 0);
    fixture.flush();
    let plan = explain(&fixture.context, "SELECT * FROM t").await;
    assert!(plan.contains("rustling=clean runs") && !plan.contains("merge") && !plan.contains("memory"), "{plan}");
    check_all(&fixture).await;
}

#[tokio::test]
async fn memtable_rows_stand_beside_clean_runs() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    fixture.upsert(2000..2300, 0);
    fixture.upsert([3000], 0);
    let plan = explain(&fixture.context, "SELECT * FROM t").await;
    assert!(plan.contains("UnionExec") && plan.contains("rustling memory: rows="), "{plan}");
    check_all(&fixture).await;
}

#[tokio::test]
async fn rows_of_runs_that_overlap_are_masked() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    fixture.upsert((0..1200).step_by(3), 1);
    fixture.delete((0..1000).step_by(10));
    fixture.flush();
    fixture.upsert(5000..5500, 0);
    fixture.flush();
    fixture.upsert([5, 7, 999], 2);
    fixture.delete([8, 1199, 4000]);
    let plan = explain(&fixture.context, "SELECT * FROM t").await;
    assert!(plan.contains("LiveFilterExec: files_masked=") && !plan.contains("merge"), "{plan}");
    check_all(&fixture).await;
    fixture.compact();
    let plan = explain(&fixture.context, "SELECT * FROM t").await;
    assert!(!plan.contains("LiveFilterExec") && plan.contains("rustling=clean runs"), "{plan}");
    check_all(&fixture).await;
}

#[tokio::test]
async fn many_memtable_rows_are_cut_over_partitions() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100_000, 0);
    let plan = explain(&fixture.context, "SELECT n, count(*) FROM t GROUP BY n").await;
    assert!(plan.contains("rustling memory: rows=100000, partitions=2"), "{plan}");
    for sql in [
        "SELECT sum(k), sum(n), count(*) FROM t",
        "SELECT count(*) FROM (SELECT k FROM t LIMIT 70000)",
        "SELECT count(*) FROM (SELECT k FROM t LIMIT 70000) WHERE k >= 0",
    ] {
        fixture.check(sql).await;
    }
}

#[tokio::test]
async fn a_large_merge_is_cut_over_partitions() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.upsert((0..300_000).step_by(7), 1);
    let plan = explain(&fixture.context, "SELECT n, count(*) FROM t GROUP BY n").await;
    assert!(plan.contains("parts=2") && plan.contains("partitions=2"), "{plan}");
    for sql in ["SELECT sum(k), sum(n), count(*) FROM t", "SELECT n, count(*) FROM t GROUP BY n ORDER BY n"] {
        fixture.check(sql).await;
    }
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM (SELECT k FROM t LIMIT 100000)").await, 100_000);
}

#[tokio::test]
async fn a_table_without_a_key_hides_its_row_id() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100, 0);
    fixture.database.create_table("bare", &schema(), &[]).unwrap();
    let mut change = WriteBatch::new();
    change.insert("bare", crate::fixture::batch(&fixture.model)).insert("bare", crate::fixture::batch(&fixture.model));
    fixture.database.write(&change).unwrap();
    let table = rustling_table_provider::table::RustlingTable::new(fixture.database.clone(), "bare").unwrap();
    fixture.context.register_table("bare", Arc::new(table)).unwrap();
    let expected = rows(&fixture.model_session(), "SELECT * FROM t UNION ALL SELECT * FROM t").await;
    assert_eq!(rows(&fixture.context, "SELECT * FROM bare").await, expected);
    fixture.database.flush("bare").unwrap();
    assert_eq!(rows(&fixture.context, "SELECT * FROM bare").await, expected);
    assert!(run(&fixture.context, "SELECT __rowid FROM bare").await.is_err());
}

#[tokio::test]
async fn every_leaf_gives_batches_of_the_plans_schema() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100, 0);
    fixture.flush();
    fixture.upsert(200..300, 0);
    fixture.flush();
    fixture.upsert(250..260, 1);
    fixture.upsert(400..410, 1);
    for sql in ["SELECT * FROM t", "SELECT f, k FROM t"] {
        let plan = plan(&fixture.context, sql).await;
        for batch in collect(plan.clone(), fixture.context.task_ctx()).await.unwrap() {
            assert_eq!(batch.schema(), plan.schema(), "{sql}");
        }
    }
}

#[tokio::test]
async fn many_types_come_back_from_memory_runs_and_merges() {
    let fixture = Fixture::new();
    let sql = "SELECT arrow_cast(column1, 'Int64') AS k, arrow_cast(column1, 'Utf8View') AS a, \
        arrow_cast(column1, 'Decimal128(12, 2)') AS b, arrow_cast(column1, 'Date32') AS c, \
        arrow_cast(column1, 'Timestamp(Microsecond, Some(\"UTC\"))') AS d, column1 % 2 = 0 AS e, \
        [column1, NULL] AS g, {'x': column1, 'y': 'z'} AS h, arrow_cast(arrow_cast(column1, 'Utf8'), 'LargeBinary') AS i \
        FROM (VALUES (1), (2), (3), (50)) ORDER BY k";
    let expected = run(&session(), sql).await.unwrap().into_iter().find(|batch| batch.num_rows() == 4).unwrap();
    let fields: Vec<Field> = (expected.schema().fields().iter())
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.data_type() != &DataType::Int64))
        .collect();
    fixture.database.create_table("many", &Schema::new(fields), &["k"]).unwrap();
    let table = rustling_table_provider::table::RustlingTable::new(fixture.database.clone(), "many").unwrap();
    fixture.context.register_table("many", Arc::new(table)).unwrap();
    let check = async || {
        let found = rows(&fixture.context, "SELECT * FROM many ORDER BY k").await;
        assert_eq!(found, crate::fixture::text(std::slice::from_ref(&expected)));
    };
    let write = |rows| {
        let mut change = WriteBatch::new();
        change.upsert("many", rows);
        fixture.database.write(&change).unwrap();
    };
    write(expected.clone());
    check().await;
    fixture.database.flush("many").unwrap();
    check().await;
    write(expected.slice(1, 2));
    check().await;
}

/// Parquet's footers leave NaN out of minimum and maximum, so pruning by them must not lose it.
#[tokio::test]
async fn nan_is_found_where_it_is_greater_than_all() {
    let fixture = Fixture::new();
    let schema = Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("f", DataType::Float64, true)]);
    fixture.database.create_table("floats", &schema, &["k"]).unwrap();
    let table = rustling_table_provider::table::RustlingTable::new(fixture.database.clone(), "floats").unwrap();
    fixture.context.register_table("floats", Arc::new(table)).unwrap();
    run(&fixture.context, "INSERT INTO floats VALUES (1, 1.5), (2, 'NaN'), (3, -0.0), (4, 2.5)").await.unwrap();
    let check = async || {
        for (sql, expected) in [
            ("SELECT k FROM floats WHERE f > 100.0", vec!["2"]),
            ("SELECT k FROM floats WHERE f = 'NaN'::double", vec!["2"]),
            ("SELECT max(f) FROM floats", vec!["NaN"]),
            ("SELECT k FROM floats ORDER BY f DESC LIMIT 1", vec!["2"]),
        ] {
            assert_eq!(rows(&fixture.context, sql).await, expected, "{sql}");
        }
    };
    check().await;
    fixture.database.flush("floats").unwrap();
    check().await;
}

/// A thread that waited for who asks would be one of two that there are.
#[test]
fn merges_that_nobody_reads_on_hold_no_other_query_up() {
    let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    let mut fixture = Fixture::new();
    fixture.upsert((0..3_000).step_by(2), 0);
    fixture.upsert((1..3_000).step_by(2), 0);
    fixture.upsert((0..3_000).step_by(3), 1);
    runtime.block_on(async {
        let session = fixture.context.clone();
        run(&session, "SET datafusion.execution.batch_size = 50").await.unwrap();
        let mut begun = Vec::new();
        for _ in 0..8 {
            let mut rows = session.sql("SELECT * FROM t").await.unwrap().execute_stream().await.unwrap();
            let first = rows.next().await.unwrap().unwrap().num_rows();
            begun.push((rows, first));
        }
        assert_eq!(number(&session, "SELECT count(*) FROM t WHERE n >= 0").await, 3_000);
        for (rows, first) in begun {
            let rest: Vec<_> = rows.try_collect().await.unwrap();
            assert_eq!(first + rest.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3_000);
        }
    });
}

/// A sort counts the buffers of each batch that it is given: of a hundred slices of one large batch a hundred times.
#[tokio::test]
async fn batches_of_rows_in_memory_keep_no_memory_but_their_own() {
    let mut fixture = Fixture::with(Options { background: false, ..Options::with_memory(256 << 20) });
    // Of one change, and of two that overlap.
    for version in 0..2 {
        fixture.upsert(0..100_000, version);
        let batches = run(&fixture.context, "SELECT v, n, k FROM t").await.unwrap();
        assert!(batches.len() > 10);
        let kept: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let needed: usize = batches.iter().map(batch_bytes).sum();
        assert!(kept < 3 * needed, "version {version}: {kept} bytes for {needed}");
    }
}
