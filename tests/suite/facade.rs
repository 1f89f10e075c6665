//! The facade's own promises: async twins, tables without a key, reopening, complete exports.

use std::sync::Arc;

use rustling_db::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use rustling_db::arrow::datatypes::{DataType, Int64Type};
use rustling_db::engine::error::Error as EngineError;
use rustling_db::etl::schema_text;
use rustling_db::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustling_db::{BackupOptions, Db, DbOptions, Error, ErrorKind, WriteBatch};

fn rows(list: &[(i64, &str)]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(list.iter().map(|(id, _)| *id));
    let words = StringArray::from_iter_values(list.iter().map(|(_, word)| *word));
    let columns = [("id", Arc::new(ids) as ArrayRef, false), ("word", Arc::new(words) as ArrayRef, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn count(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[test]
fn async_twins_do_what_the_blocking_calls_do() {
    let db = Arc::new(Db::in_memory().unwrap());
    db.create_table("t", rows(&[]).schema().as_ref(), &["id"]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for id in 0..50 {
            let db = db.clone();
            tasks.push(tokio::spawn(async move {
                let mut batch = WriteBatch::new();
                batch.insert("t", rows(&[(id, "async")]));
                db.write_async(&batch).await.unwrap()
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mut again = WriteBatch::new();
        again.insert("t", rows(&[(7, "again")]));
        assert_eq!(db.write_async(&again).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(matches!(db.sql("SELECT 1").unwrap_err(), Error::InsideRuntime));
        assert_eq!(count(&db.sql_async("SELECT count(*) FROM t WHERE word = 'async'").await.unwrap()), 50);
    });
    db.close().unwrap();
}

/// DataFusion 55.2 by itself says 1 and 1: it takes a column that equals a literal to have one distinct value.
#[test]
fn distinct_values_of_no_rows_are_none() {
    let db = Db::in_memory().unwrap();
    let schema = schema_text::parse("id bigint not null, name text, city text").unwrap();
    db.create_table("people", &schema, &["id"]).unwrap();
    db.sql("INSERT INTO people VALUES (1, 'Ada', 'London'), (2, 'Bo', 'Lund')").unwrap();
    let counted = "SELECT count(DISTINCT name) + count(DISTINCT city) FROM people WHERE name = ";
    for is_flushed in [false, true] {
        if is_flushed {
            db.flush("people").unwrap();
        }
        assert_eq!(count(&db.sql(&format!("{counted} 'nobody' AND city = 'nowhere'")).unwrap()), 0);
        assert_eq!(count(&db.sql(&format!("{counted} 'Bo' AND city = 'Lund'")).unwrap()), 2);
    }
}

#[test]
fn rows_of_a_query_can_be_written_back_and_exported_as_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::in_memory().unwrap();
    db.create_table("t", rows(&[]).schema().as_ref(), &["id"]).unwrap();
    db.insert("t", rows(&[(1, "a word"), (2, "words that are longer than a view holds")])).unwrap();
    let found = db.sql("SELECT id + 10 AS id, word FROM t").unwrap();
    assert_eq!(*found[0].column(1).data_type(), DataType::Utf8View);
    for batch in found {
        db.insert("t", batch).unwrap();
    }
    assert_eq!(count(&db.sql("SELECT count(DISTINCT word) + count(*) FROM t").unwrap()), 2 + 4);
    let file = folder.path().join("t.parquet");
    db.export("SELECT * FROM t ORDER BY id", &file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
    let back = reader.build().unwrap().next().unwrap().unwrap();
    let words = back.column(1).as_string::<i32>();
    assert_eq!([words.value(0), words.value(3)], ["a word", "words that are longer than a view holds"]);
}

#[test]
fn rows_without_a_key_are_kept_as_often_as_they_are_inserted() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let db = Db::open(folder.path()).unwrap();
        if round == 1 {
            db.create_table("log", rows(&[]).schema().as_ref(), &[]).unwrap();
        }
        db.insert("log", rows(&[(1, "same"), (1, "same")])).unwrap();
        assert_eq!(count(&db.sql("SELECT count(*) FROM log WHERE id = 1").unwrap()), 2 * round);
        assert_eq!(db.sql("SELECT * FROM log").unwrap()[0].num_columns(), 2, "the row id is hidden");
        if round == 2 {
            db.flush("log").unwrap();
        }
        db.close().unwrap();
    }
}

#[test]
fn an_export_that_fails_leaves_the_file_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.parquet");
    std::fs::write(&file, "before").unwrap();
    let db = Db::open(folder.path().join("db")).unwrap();
    db.create_table("t", rows(&[]).schema().as_ref(), &["id"]).unwrap();
    db.upsert("t", rows(&[(1, "x"), (2, "not a number")])).unwrap();
    let error = db.export("SELECT CAST(word AS BIGINT) FROM t", &file).unwrap_err();
    assert!(matches!(error, Error::Sql(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(db.export("SELECT * FROM t", &file).unwrap().rows, 2);
    db.close().unwrap();
}

#[test]
fn a_query_beyond_its_memory_is_told_so_or_spills() {
    let folder = tempfile::tempdir().unwrap();
    let options = DbOptions { memory_bytes: 8 << 20, ..DbOptions::default() };
    let db = Db::open_with(folder.path().join("db"), &options).unwrap();
    let sorted = db
        .sql("SELECT count(*) FROM (SELECT value FROM generate_series(1, 2000000) ORDER BY value DESC LIMIT 1999999)");
    match sorted {
        Ok(batches) => assert_eq!(count(&batches), 1_999_999),
        Err(error) => assert!(error.to_string().contains("Resources exhausted"), "{error}"),
    }
    db.close().unwrap();
}

/// Rows that go from some partitions to others waited for each other on the disk, for ever.
#[test]
fn a_query_that_groups_more_than_its_memory_ends() {
    let folder = tempfile::tempdir().unwrap();
    let options = DbOptions { memory_bytes: 32 << 20, ..DbOptions::default() };
    let db = Arc::new(Db::open_with(folder.path().join("db"), &options).unwrap());
    db.create_table("t", rows(&[]).schema().as_ref(), &["id"]).unwrap();
    let words = "SELECT value, concat(repeat('word ', 18), value) FROM generate_series(1, 1000000)";
    db.sql(&format!("INSERT INTO t {words}")).unwrap();
    let (told, answer) = std::sync::mpsc::channel();
    let asked = db.clone();
    std::thread::spawn(move || {
        let groups = "SELECT word, count(*) AS n, sum(id) AS total FROM t GROUP BY word";
        drop(told.send(asked.sql(&format!("SELECT sum(n), sum(total) FROM ({groups})"))));
    });
    let patience = std::time::Duration::from_secs(120);
    let batches = answer.recv_timeout(patience).expect("the query does not end").unwrap();
    assert_eq!(count(&batches), 1_000_000);
}

#[test]
fn a_backup_is_made_while_the_database_is_open_and_from_inside_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path().join("db")).unwrap();
    db.create_table("t", rows(&[]).schema().as_ref(), &["id"]).unwrap();
    db.upsert("t", rows(&[(1, "flushed")])).unwrap();
    db.flush("t").unwrap();
    db.upsert("t", rows(&[(2, "in memory")])).unwrap();
    let linked = db.backup(folder.path().join("linked")).unwrap();
    assert_eq!((linked.tables, linked.linked.files, linked.copied.files), (1, 2, 2));
    let copying = BackupOptions { link: false, ..BackupOptions::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let copied = runtime.block_on(db.backup_async(folder.path().join("copied"), copying)).unwrap();
    assert_eq!((copied.seq, copied.linked.files, copied.copied.files), (linked.seq, 0, 4));
    db.drop_table("t").unwrap();
    let error = db.backup(folder.path().join("linked")).unwrap_err();
    assert!(matches!(&error, Error::Engine(EngineError::NotEmpty { .. })), "{error}");
    Db::restore(folder.path().join("linked"), folder.path().join("restored")).unwrap();
    for copy in ["linked", "copied", "restored"] {
        let copy = Db::open(folder.path().join(copy)).unwrap();
        assert_eq!(count(&copy.sql("SELECT count(*) FROM t").unwrap()), 2);
        copy.close().unwrap();
    }
    db.close().unwrap();
}
