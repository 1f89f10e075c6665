//! `INSERT INTO` adds all rows or none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::datasource::sink::DataSink;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt, stream};
use rustling_engine::config::Options;
use rustling_engine::error::Error as EngineError;
use rustling_table_provider::error::Error;
use rustling_table_provider::sink::TableSink;
use rustling_table_provider::statement::parse;
use rustling_table_provider::table::RustlingTable;
use tokio::runtime::Builder;

use crate::fixture::{Fixture, Row, analyze, batch, number, options, row, rows, run, schema, text};

#[tokio::test]
async fn a_small_insert_adds_its_rows() {
    let fixture = Fixture::new();
    assert_eq!(number(&fixture.context, "INSERT INTO t VALUES ('a', 1, 2, 0.5), (NULL, 2, 3, NULL)").await, 2);
    assert_eq!(number(&fixture.context, "INSERT INTO t (n, k) VALUES (7, 3)").await, 1);
    assert_eq!(rows(&fixture.context, "SELECT * FROM t").await, ["NULL|2|3|NULL", "NULL|3|7|NULL", "a|1|2|0.5"]);
    assert_eq!(number(&fixture.context, "INSERT INTO t SELECT v, k + 10, n, f FROM t").await, 3);
    assert_eq!(number(&fixture.context, "INSERT INTO t SELECT * FROM t WHERE false").await, 0);
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM t").await, 6);
}

/// Small memtables, so that a few thousand rows are too many for one write batch.
fn small() -> Fixture {
    Fixture::with(Options { memtable_bytes: 64 << 10, ..options() })
}

const MANY: &str = "INSERT INTO t SELECT 'text ' || value, value, arrow_cast(value % 100, 'Int32'), value / 4.0 \
    FROM generate_series(1, 50000)";

#[tokio::test]
async fn a_large_insert_is_loaded() {
    let fixture = small();
    assert_eq!(number(&fixture.context, MANY).await, 50_000);
    assert_eq!(fixture.database.report().tables[0].runs.len(), 1);
    let sums = rows(&fixture.context, "SELECT count(*), sum(k), max(v) FROM t").await;
    assert_eq!(sums, ["50000|1250025000|text 9999"]);
}

/// The load waits for rows that the caller reads on behalf of it, maybe by the one thread there is for that.
#[test]
fn a_large_insert_ends_without_a_runtime_and_with_one_thread_that_may_block() {
    let (ended, ends) = channel();
    let insert = move || {
        let fixture = small();
        let config = SessionConfig::new().with_target_partitions(1);
        let bare = SessionContext::new_with_config(config);
        let table = RustlingTable::new(fixture.database.clone(), "t").unwrap();
        bare.register_table("t", Arc::new(table)).unwrap();
        let source: BTreeMap<i64, Row> = (0..5_000).map(|key| (key, row(key))).collect();
        let source = MemTable::try_new(schema(), vec![vec![batch(&source)]]).unwrap();
        bare.register_table("source", Arc::new(source)).unwrap();
        let inserted = futures::executor::block_on(number(&bare, "INSERT INTO t SELECT * FROM source"));
        fixture.flush();
        let runtime = Builder::new_multi_thread().worker_threads(2).max_blocking_threads(1).build().unwrap();
        let again = runtime.block_on(number(&fixture.context, "INSERT INTO t SELECT v, k + 5000, n, f FROM t"));
        ended.send((inserted, again)).unwrap();
    };
    std::thread::spawn(insert);
    assert_eq!(ends.recv_timeout(Duration::from_secs(100)), Ok((5_000, 5_000)));
}

#[tokio::test]
async fn an_insert_that_repeats_a_key_adds_nothing() {
    for (sql, before) in [
        ("INSERT INTO t VALUES ('a', 1, 1, 1.0), ('b', 30000, 1, 1.0)", true),
        ("INSERT INTO t VALUES ('a', 1, 1, 1.0), ('b', 1, 1, 1.0)", false),
        (MANY, true),
        (
            "INSERT INTO t SELECT v, k % 40000, n, f FROM (SELECT 'a' v, value k, 1::int n, 1.0 f \
          FROM generate_series(1, 50000))",
            false,
        ),
    ] {
        let mut fixture = small();
        if before {
            fixture.upsert([30_000], 0);
        }
        let error = Error::from(run(&fixture.context, sql).await.unwrap_err());
        assert!(
            matches!(
                error,
                Error::Engine(
                    EngineError::DuplicateKey { .. }
                        | EngineError::DuplicateInLoad { .. }
                        | EngineError::DuplicateOfStored { .. }
                )
            ),
            "{sql}: {error:?}"
        );
        fixture.check("SELECT * FROM t").await;
    }
}

#[tokio::test]
async fn a_query_that_fails_half_way_adds_nothing() {
    let fixture = small();
    let sql = "INSERT INTO t SELECT 'a', value, arrow_cast(100 / (49000 - value), 'Int32'), 1.0 \
        FROM generate_series(1, 50000)";
    let error = Error::from(run(&fixture.context, sql).await.unwrap_err());
    assert!(error.to_string().contains("ivide by zero"), "{error}");
    fixture.check("SELECT * FROM t").await;
}

#[tokio::test]
async fn an_insert_that_is_dropped_half_way_adds_nothing() {
    let mut fixture = small();
    fixture.upsert(100_000..150_000, 0);
    let rows = crate::fixture::batch(&std::mem::take(&mut fixture.model));
    fixture.delete(100_000..150_000);
    let table = fixture.database.snapshot().table("t").unwrap();
    let sink = TableSink::new(fixture.database.clone(), table.table().id, "t".into(), table.schema());
    drop(table);
    let holders = Arc::strong_count(&fixture.database);
    // All rows come, but never the end of them.
    let (reached, wait) = tokio::sync::oneshot::channel();
    let rest = stream::once(async move {
        reached.send(()).unwrap();
        std::future::pending().await
    });
    let batches = stream::iter((0..50).map(move |part| Ok(rows.slice(part * 1000, 1000)))).chain(rest);
    let input: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema(), batches));
    let context = fixture.context.task_ctx();
    let statement = tokio::spawn(async move { sink.write_all(input, &context).await });
    wait.await.unwrap();
    statement.abort();
    assert!(statement.await.unwrap_err().is_cancelled());
    // The load runs on a thread of its own until it notices.
    while Arc::strong_count(&fixture.database) >= holders {
        tokio::task::yield_now().await;
    }
    fixture.check("SELECT * FROM t").await;
}

#[tokio::test]
async fn null_keys_are_refused_with_the_column() {
    let fixture = Fixture::new();
    for sql in [
        "INSERT INTO t (v, n) VALUES ('a', 1)",
        "INSERT INTO t SELECT 'a', nullif(value, 5), 1, 1.0 FROM generate_series(1, 10)",
        "INSERT INTO t SELECT 'a', value, nullif(value, 5), 1.0 FROM generate_series(1, 10)",
    ] {
        let error = Error::from(run(&fixture.context, sql).await.unwrap_err());
        assert!(matches!(error, Error::Engine(EngineError::NullValue { .. })), "{sql}: {error:?}");
        fixture.check("SELECT * FROM t").await;
    }
    // Here DataFusion is first, while it builds the row.
    run(&fixture.context, "INSERT INTO t VALUES ('a', NULL, 1, 1.0)").await.unwrap_err();
    fixture.check("SELECT * FROM t").await;
}

#[tokio::test]
async fn explain_shows_the_sink_and_does_not_write() {
    let fixture = Fixture::new();
    let plan = rows(&fixture.context, "EXPLAIN INSERT INTO t VALUES ('a', 1, 1, 1.0)").await.join("\n");
    assert!(plan.contains("rustling insert"), "{plan}");
    fixture.check("SELECT * FROM t").await;
    let plan = analyze(&fixture.context, "INSERT INTO t VALUES ('a', 1, 1, 1.0)").await;
    assert!(plan.contains("rustling insert: table=t") && plan.contains("rows_written=1"), "{plan}");
}

#[tokio::test]
async fn copy_writes_the_table_into_files() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..100, 0);
    fixture.flush();
    fixture.upsert(50..150, 1);
    let folder = tempfile::tempdir().unwrap();
    for (format, register) in [("parquet", "PARQUET"), ("csv", "CSV")] {
        let path = folder.path().join(format!("t.{format}"));
        let path = path.to_str().unwrap();
        assert_eq!(number(&fixture.context, &format!("COPY t TO '{path}' STORED AS {register}")).await, 150);
        let other = crate::fixture::session();
        run(&other, &format!("CREATE EXTERNAL TABLE t STORED AS {register} LOCATION '{path}'")).await.unwrap();
        let sql = "SELECT v, k, n, f FROM t ORDER BY k";
        assert_eq!(rows(&other, sql).await, rows(&fixture.context, sql).await);
    }
}

/// With parts there is a folder, whatever its name looks like, to which copies add; and nothing beside it where one fails.
#[tokio::test]
async fn a_copy_in_parts_is_a_folder() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..20_000, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let copy = async |rows: &str| -> Result<Vec<RecordBatch>, Error> {
        let statements = parse(&format!("COPY ({rows}) TO '{}' PARTITIONED BY (part)", path.display()))?;
        Ok(statements[0].execute(&fixture.context).await?.rows.try_collect().await?)
    };
    copy("SELECT 100 / (k - 15000) AS k, n % 3 AS part FROM t").await.unwrap_err();
    let beside = std::fs::read_dir(folder.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path() != path);
    assert_eq!(beside.count(), 0);
    drop(std::fs::remove_dir_all(&path));
    for times in 1..3 {
        assert_eq!(text(&copy("SELECT k, n % 3 AS part FROM t WHERE k < 100").await.unwrap()), ["100"]);
        let other = crate::fixture::session();
        let location = format!("LOCATION '{}/'", path.display());
        run(&other, &format!("CREATE EXTERNAL TABLE t STORED AS PARQUET PARTITIONED BY (part) {location}"))
            .await
            .unwrap();
        assert_eq!(number(&other, "SELECT count(*) FROM t").await, 100 * times);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn columns_under_other_names_are_refused() {
    let fixture = Fixture::new();
    let write =
        async |sql: &str| fixture.context.sql(sql).await.unwrap().write_table("t", DataFrameWriteOptions::new()).await;
    let error = write("SELECT 'a' AS v, 1 AS n, arrow_cast(2, 'Int32') AS k, 0.5 AS f").await.unwrap_err();
    assert!(error.to_string().contains("gives column `n` where the table has `k`"), "{error}");
    write("SELECT 'a' AS v, 1 AS k, arrow_cast(2, 'Int32') AS n, 0.5 AS f").await.unwrap();
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM t").await, 1);
}
