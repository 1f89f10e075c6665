//! Rows of many kilobytes under little memory: what is gathered is bounded by bytes, not by rows.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::canonical::{batch_bytes, kept_bytes};
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, rows, schema};

const CELL: usize = 100 << 10;

fn database(memory_bytes: usize) -> Database {
    let options = Options { background: false, ..Options::with_memory(memory_bytes) };
    let db = Database::open(Arc::new(MemoryDisk::new()), options).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db
}

fn cell(key: i64, word: &str) -> String {
    format!("{word} {key} ").repeat(CELL / 5)[..CELL].to_owned()
}

#[test]
fn row_groups_and_batches_of_long_rows_have_few_of_them() {
    let db = database(12 << 20);
    for word in ["first", "again"] {
        let keys = if word == "first" { 0..100 } else { 50..150 };
        let list: Vec<(i64, String)> = keys.map(|key| (key, cell(key, word))).collect();
        let mut source = MemorySource::new(list.chunks(20).map(rows).collect());
        let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
        db.load("t", &mut source, &options).unwrap();
    }
    for compacted in [false, true] {
        if compacted {
            db.compact("t").unwrap();
        }
        let table = db.snapshot().table("t").unwrap();
        for run in table.table().version.runs() {
            let metadata = run.sst().parquet_metadata().unwrap();
            let rows = metadata.row_groups().iter().map(|row_group| row_group.num_rows()).max().unwrap();
            assert!(rows <= 11, "{rows} rows of 100 KiB in a row group of 1 MiB");
        }
        let (mut count, mut largest) = (0, 0);
        for batch in table.scan(&KeyInterval::ALL, &[0, 1]).unwrap() {
            let batch = batch.unwrap();
            count += batch.num_rows();
            largest = largest.max(batch_bytes(&batch));
            let cells = batch.column(1).as_string::<i32>();
            assert!(cells.iter().all(|cell| cell.unwrap().len() == CELL));
        }
        assert!(count == 150 && largest < 5 << 20, "{count} rows, a batch of {largest} bytes");
    }
}

#[test]
fn a_load_of_more_parts_than_are_merged_at_once_keeps_the_last_of_equal_keys() {
    let db = database(1 << 20);
    // Every key comes twice, the second time half of the input later.
    let list: Vec<(i64, String)> = (0..240).map(|row| (row * 77 % 120, cell(row, "row"))).collect();
    let mut source = MemorySource::new(list.chunks(2).map(rows).collect());
    let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
    let report = db.load("t", &mut source, &options).unwrap();
    assert!(report.spills > 16, "{} parts", report.spills);
    assert_eq!((report.rows_read, report.rows_loaded, report.rows_skipped), (240, 120, 120));
    assert_eq!(contents(&db).unwrap()["t"], list.into_iter().collect());
    let written = db.report();
    assert!(written.spills > u64::try_from(report.spills).unwrap(), "parts were merged into larger ones");
}

#[test]
fn a_batch_that_would_take_most_of_the_memory_is_refused() {
    let db = database(1 << 20);
    let list: Vec<(i64, String)> = (0..11).map(|key| (key, cell(key, "row"))).collect();
    let error = db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap_err();
    assert!(matches!(error, Error::BatchTooLarge { bytes, limit: 1_048_576 } if bytes > 11 * CELL), "{error}");
    db.write(WriteBatch::new().upsert("t", rows(&list[..10]))).unwrap();
    assert_eq!(contents(&db).unwrap()["t"].len(), 10);
}

#[test]
fn columns_beyond_the_memory_are_refused_where_a_table_is_made_and_where_one_is_opened() {
    let columns = |count: usize| {
        let fields = (0..count).map(|column| Field::new(format!("c{column}"), DataType::Int64, column > 0));
        Schema::new(fields.collect::<Vec<_>>())
    };
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let open = |memory_bytes| {
        Database::open(disk.clone(), Options { background: false, ..Options::with_memory(memory_bytes) })
    };
    let db = open(64 << 20).unwrap();
    let refused = db.create_table("t", &columns(129), &["c0"]).unwrap_err();
    assert!(matches!(refused, Error::TooManyColumns { columns: 129, needed_mib: 65, limit_mib: 64, .. }), "{refused}");
    db.create_table("t", &columns(128), &["c0"]).unwrap();
    db.close().unwrap();
    let refused = open(63 << 20).unwrap_err();
    assert!(matches!(refused, Error::TooManyColumns { columns: 128, needed_mib: 64, limit_mib: 63, .. }), "{refused}");
    let small = open(64 << 20).unwrap();
    small.create_table("u", &columns(64), &["c0"]).unwrap();
}

/// Each of the runs gave as much as a step may have.
#[test]
fn a_step_of_a_range_is_bounded_however_many_runs_there_are() {
    let db = database(256 << 20);
    for run in 0..3 {
        let list: Vec<(i64, String)> = (0..600).map(|key| (3 * key + run, "x".repeat(16 << 10))).collect();
        db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap();
        db.flush("t").unwrap();
    }
    let table = db.snapshot().table("t").unwrap();
    let (mut count, mut largest) = (0, 0);
    for batch in table.range(&KeyInterval::ALL, &[0, 1], KeyOrder::Ascending, None).unwrap() {
        let batch = batch.unwrap();
        count += batch.num_rows();
        largest = largest.max(kept_bytes(batch.columns()));
    }
    assert_eq!(count, 1800);
    assert!((8 << 20..20 << 20).contains(&largest), "{largest} bytes at once");
}
