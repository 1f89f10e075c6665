//! Deleting the rows that a predicate wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::Int64Type;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::delete_where::DeleteReport;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::{Error, Result};
use rustling_engine::read::resolve::resolve_all;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::verify::check::verify;

use crate::fixture::{KEYLESS, Rows, Step, Where, contents, contents_of, keys, rows, run_open, schema, small_options};

/// Rows of a word.
fn list(keys: impl Iterator<Item = i64>, word: &str) -> Vec<(i64, String)> {
    keys.map(|key| (key, format!("{word} {key}"))).collect()
}

/// Whether a value starts with "old".
fn is_old(rows: &RecordBatch) -> BooleanArray {
    rows.column(0).as_string::<i32>().iter().map(|value| Some(value?.starts_with("old"))).collect()
}

fn upsert(db: &Database, keys: impl Iterator<Item = i64>, word: &str) {
    db.write(WriteBatch::new().upsert("t", rows(&list(keys, word)))).unwrap();
}

fn delete_old(db: &Database) -> DeleteReport {
    db.delete_where("t", &mut Where::new(&[1], |rows| Ok(is_old(rows)))).unwrap()
}

fn table(options: &Options) -> (Arc<dyn Disk>, Database) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    (disk, db)
}

/// Closes the database; keys alone, deletion vectors and a merge say the same, and so does the next process.
fn check_closed(disk: &Arc<dyn Disk>, db: Database, model: &Rows) {
    assert_eq!(contents(&db).unwrap()["t"], *model);
    let table = db.snapshot().table("t").unwrap();
    let version = &table.table().version;
    let by_keys = resolve_all(version.runs(), &table.table().codec).unwrap();
    assert!(by_keys.iter().eq(version.dead().iter().map(|dead| &**dead)), "the dead rows");
    db.close().unwrap();
    drop((table, db));
    assert_eq!(verify(disk, &small_options(), None).unwrap().findings.len(), 0);
    assert_eq!(contents(&Database::open(disk.clone(), small_options()).unwrap()).unwrap()["t"], *model);
}

/// The rows of a predicate are found in memory and in runs, their newest values only; snapshots keep theirs.
#[test]
fn a_delete_finds_rows_wherever_they_are_and_looks_at_their_newest_values() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..30, "old");
    db.flush("t").unwrap();
    upsert(&db, 10..20, "new");
    db.flush("t").unwrap();
    db.write(WriteBatch::new().delete("t", keys(&[0, 1]))).unwrap();
    upsert(&db, 25..35, "new");
    upsert(&db, (40..45).chain(12..14), "old");
    let (before, at_first) = (db.snapshot(), contents(&db).unwrap());
    let report = delete_old(&db);
    assert_eq!(report.rows, 8 + 5 + 5 + 2);
    assert_eq!(report.seq, Some(db.snapshot().seq()));
    let mut model: Rows = list((10..12).chain(14..20).chain(25..35), "new").into_iter().collect();
    assert_eq!(contents(&db).unwrap()["t"], model);
    assert_eq!(contents_of(&before).unwrap(), at_first);
    assert_eq!(delete_old(&db), DeleteReport { rows: 0, seq: None }, "nothing is left");
    // What is written afterwards stays.
    upsert(&db, 0..3, "old");
    model.extend(list(0..3, "old"));
    check_closed(&disk, db, &model);
}

/// Writers go on while a delete looks for rows: a row that stops to be wanted stays, one that comes to be wanted goes.
#[test]
fn what_is_written_while_a_delete_looks_for_rows_counts() {
    for flushed in [false, true] {
        let (disk, db) = table(&small_options());
        upsert(&db, 0..30, "old");
        upsert(&db, 30..40, "new");
        let asked = AtomicUsize::new(0);
        let wants = |batch: &RecordBatch| {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    upsert(&db, 5..8, "newer");
                    upsert(&db, 35..45, "old, just now");
                    db.write(WriteBatch::new().delete("t", keys(&[20])))?;
                    if flushed {
                        db.flush("t")?;
                    }
                }
                1 => upsert(&db, 8..10, "newest"),
                _ => {}
            }
            Ok(is_old(batch))
        };
        let report = db.delete_where("t", &mut Where::new(&[1], wants)).unwrap();
        assert_eq!(report.rows, 30 - 5 - 1 + 10, "flushed: {flushed}");
        let model = list(5..8, "newer").into_iter().chain(list(8..10, "newest")).chain(list(30..35, "new"));
        check_closed(&disk, db, &model.collect());
    }
}

/// Writers that never pause do not keep a delete from its end.
#[test]
fn a_delete_ends_though_rows_come_whenever_it_looks() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..10, "old");
    let asked = AtomicUsize::new(0);
    let wants = |batch: &RecordBatch| {
        // Behind the third time writers are kept out, and this would wait for itself.
        let time = asked.fetch_add(1, Ordering::Relaxed);
        if time < 3 {
            upsert(&db, (100 * time as i64..).take(10), "old");
        }
        Ok(is_old(batch))
    };
    let report = db.delete_where("t", &mut Where::new(&[1], wants)).unwrap();
    assert_eq!((report.rows, asked.into_inner()), (30, 4));
    check_closed(&disk, db, &Rows::new());
}

#[test]
fn a_predicate_that_fails_deletes_nothing() {
    let (disk, db) = table(&small_options());
    for part in 0..10 {
        upsert(&db, part * 10..part * 10 + 10, "old");
        db.flush("t").unwrap();
    }
    let before = contents(&db).unwrap();
    let mut batches = 0;
    let fails = |rows: &RecordBatch| {
        batches += 1;
        if batches > 3 { Err(Error::Source("no".into())) } else { Ok(is_old(rows)) }
    };
    let error = db.delete_where("t", &mut Where::new(&[1], fails)).unwrap_err();
    assert_eq!(error.to_string(), "no");
    let short = |rows: &RecordBatch| Ok(is_old(&rows.slice(0, rows.num_rows() - 1)));
    let error = db.delete_where("t", &mut Where::new(&[1], short)).unwrap_err();
    assert!(matches!(error, Error::PredicateLength { expected: 10, found: 9 }), "{error}");
    let error = db.delete_where("u", &mut Where::new(&[1], |rows| Ok(is_old(rows)))).unwrap_err();
    assert!(matches!(error, Error::NoSuchTable { .. }), "{error}");
    check_closed(&disk, db, &before["t"]);
}

/// A predicate may fail on values that are not in the table any more.
#[test]
fn dead_rows_are_not_shown_to_a_predicate() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..10, "unspeakable");
    db.flush("t").unwrap();
    upsert(&db, 0..5, "old");
    db.write(WriteBatch::new().delete("t", keys(&[5, 6, 7, 8, 9]))).unwrap();
    let wants = |rows: &RecordBatch| {
        assert!(rows.column(0).as_string::<i32>().iter().all(|value| value.unwrap().starts_with("old")));
        Ok(is_old(rows))
    };
    assert_eq!(db.delete_where("t", &mut Where::new(&[1], wants)).unwrap().rows, 5);
    check_closed(&disk, db, &Rows::new());
}

/// A table without a key has rows to find all the same; NULL is no.
#[test]
fn rows_without_a_key_are_deleted_by_what_is_in_them() {
    let (_, db) = table(&small_options());
    run_open(&db, &Step::Create(KEYLESS)).unwrap();
    run_open(&db, &Step::Upsert(KEYLESS, list((0..10).chain(0..10), "row"))).unwrap();
    let wants = |rows: &RecordBatch| -> Result<BooleanArray> {
        let values = rows.column(0).as_string::<i32>();
        Ok(values
            .iter()
            .map(|value| value.filter(|value| !value.ends_with('7')).map(|value| value > "row 4"))
            .collect())
    };
    assert_eq!(db.delete_where(KEYLESS, &mut Where::new(&[1], wants)).unwrap().rows, 8);
    let left: Vec<String> = contents(&db).unwrap().remove(KEYLESS).unwrap().into_values().collect();
    assert_eq!(left.len(), 12);
    let stays = |value: &String| value.contains("row 7") || value.as_str() < "4: row 5";
    assert!(left.iter().all(stays), "{left:?}");
}

/// No columns at all: every row, or none.
#[test]
fn a_predicate_may_look_at_no_column() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..100, "old");
    // What is below a NULL does not count.
    let none = |rows: &RecordBatch| {
        let nulls = NullBuffer::new_null(rows.num_rows());
        Ok(BooleanArray::new(BooleanBuffer::new_set(rows.num_rows()), Some(nulls)))
    };
    assert_eq!(db.delete_where("t", &mut Where::new(&[], none)).unwrap().rows, 0);
    let all = |rows: &RecordBatch| Ok(BooleanArray::from(vec![true; rows.num_rows()]));
    assert_eq!(db.delete_where("t", &mut Where::new(&[], all)).unwrap().rows, 100);
    check_closed(&disk, db, &Rows::new());
}

/// Whatever the order in which a predicate names its columns, and however often.
#[test]
fn a_predicate_sees_its_columns_as_it_named_them() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..100, "old");
    let wants = |rows: &RecordBatch| {
        assert_eq!((rows.column(0), rows.num_columns()), (rows.column(2), 3));
        let words = rows.column(0).as_string::<i32>();
        let keys = rows.column(1).as_primitive::<Int64Type>();
        assert!(words.iter().zip(keys.values()).all(|(word, key)| word == Some(format!("old {key}").as_str())));
        Ok(keys.values().iter().map(|key| Some(*key < 30)).collect())
    };
    assert_eq!(db.delete_where("t", &mut Where::new(&[1, 0, 1], wants)).unwrap().rows, 30);
    check_closed(&disk, db, &list(30..100, "old").into_iter().collect());
}

/// Of a database that was opened and did nothing else.
#[test]
fn the_rows_that_a_delete_left_dead_are_collected_when_nobody_writes() {
    let (disk, db) = table(&small_options());
    upsert(&db, 0..400, "new");
    upsert(&db, 100..160, "old");
    db.compact("t").unwrap();
    db.close().unwrap();
    drop(db);
    let db = Database::open(disk.clone(), Options { background: true, ..small_options() }).unwrap();
    assert_eq!(delete_old(&db).rows, 60);
    let patience = Instant::now() + Duration::from_secs(60);
    while db.report().tables[0].dead_rows() > 0 {
        assert!(Instant::now() < patience, "{:?}", db.report());
        std::thread::yield_now();
    }
    check_closed(&disk, db, &list((0..100).chain(160..400), "new").into_iter().collect());
}
