//! Work that takes long keeps no memtable in memory that is flushed meanwhile, and does not end where one is given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::{Error, Result};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::memtable::table::Memtable;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::{BatchSource, SourceBatch};

use crate::fixture::{MemorySource, Where, contents, rows, schema, small_options};
use crate::hooked::{Call, HookedDisk};

type Work = fn(&Database);

fn upsert(db: &Database, keys: std::ops::Range<i64>) {
    let list: Vec<(i64, String)> = keys.map(|key| (key, format!("value {key}"))).collect();
    db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap();
}

/// A table of some runs, with nothing in memory, so that work has nothing to flush.
fn table(disk: Arc<dyn Disk>) -> Database {
    let options = Options { memtable_bytes: 1 << 20, wal_segment_bytes: 1 << 20, compact_runs: 2, ..small_options() };
    let db = Database::open(disk, options).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    for _ in 0..4 {
        upsert(&db, 0..40);
        db.flush("t").unwrap();
    }
    db
}

/// Writes a row and flushes it; whether the memtable is still there then.
fn flushed_memtable_stays(db: &Database) -> bool {
    upsert(db, 100..101);
    let memtable: Weak<Memtable> = Arc::downgrade(db.snapshot().table("t").unwrap().table().active());
    db.flush("t").unwrap();
    memtable.upgrade().is_some()
}

/// Does some work, and flushes when it begins to write a run; whether the memtable stays as long as the work goes on, or
/// `None` if it writes none.
fn stays_during(work: Work) -> Option<bool> {
    let database = Arc::new(OnceLock::<Weak<Database>>::new());
    let (is_due, stays) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (shared, due, found) = (database.clone(), is_due.clone(), stays.clone());
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |call, path| {
        if call == Call::Change && path.ends_with(".parquet") && due.swap(false, Ordering::Relaxed) {
            *found.lock().unwrap() = Some(flushed_memtable_stays(&shared.get().unwrap().upgrade().unwrap()));
        }
        Ok(())
    });
    let db = Arc::new(table(Arc::new(disk)));
    database.set(Arc::downgrade(&db)).unwrap();
    is_due.store(true, Ordering::Relaxed);
    work(&db);
    *stays.lock().unwrap()
}

fn load(db: &Database, on_conflict: OnConflict) {
    let options = LoadOptions { on_conflict, ..LoadOptions::default() };
    db.load("t", &mut MemorySource::new(vec![rows(&[(60, "loaded".to_owned())])]), &options).unwrap();
}

#[test]
fn what_is_flushed_while_runs_are_written_leaves_memory() {
    let cases: [(&str, Work); 5] = [
        ("a load that refuses keys", |db| load(db, OnConflict::Error)),
        ("a load that skips keys", |db| load(db, OnConflict::Skip)),
        ("a load that replaces rows", |db| load(db, OnConflict::Update)),
        ("a compaction of the whole table", |db| db.compact("t").unwrap()),
        ("a compaction that is due", |db| assert!(db.compact_step(Effort::Steady).unwrap())),
    ];
    for (name, work) in cases {
        assert_eq!(stays_during(work), Some(false), "{name}");
    }
}

/// Writes and flushes as many bytes as the memory has before it gives its rows.
struct Written<'a>(&'a Database, MemorySource);

impl BatchSource for Written<'_> {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>> {
        let long = "x".repeat(100 << 10);
        for key in 0..11 {
            self.0.write(WriteBatch::new().upsert("t", rows(&[(key, long.clone())])))?;
            self.0.flush("t")?;
        }
        self.1.next_batch()
    }
}

#[test]
fn a_load_looks_for_keys_however_much_is_written_meanwhile() {
    let options = Options { background: false, ..Options::with_memory(1 << 20) };
    for on_conflict in [OnConflict::Error, OnConflict::Skip] {
        let db = Database::open(Arc::new(MemoryDisk::new()), options.clone()).unwrap();
        db.create_table("t", &schema(), &["k"]).unwrap();
        // More than a quarter of the memory, with what is written first.
        for key in 40..42 {
            db.write(WriteBatch::new().upsert("t", rows(&[(key, "y".repeat(120 << 10))]))).unwrap();
        }
        let list: Vec<(i64, String)> = (50..60).map(|key| (key, "loaded".to_owned())).collect();
        let options = LoadOptions { on_conflict, ..LoadOptions::default() };
        let report = db.load("t", &mut Written(&db, MemorySource::new(vec![rows(&list)])), &options).unwrap();
        assert_eq!(report.rows_loaded, 10, "{on_conflict:?}");
        assert_eq!(contents(&db).unwrap()["t"].len(), 11 + 2 + 10, "{on_conflict:?}");
    }
}

#[test]
fn what_is_flushed_while_rows_are_asked_whether_to_go_leaves_memory() {
    let db = table(Arc::new(MemoryDisk::new()));
    let mut stays = None;
    let nothing = |rows: &RecordBatch| {
        stays.get_or_insert_with(|| flushed_memtable_stays(&db));
        Ok(BooleanArray::from(vec![false; rows.num_rows()]))
    };
    db.delete_where("t", &mut Where::new(&[1], nothing)).unwrap();
    assert_eq!(stays, Some(false));
}

/// Nobody counted what was in memory of it.
#[test]
fn what_is_in_memory_of_a_dropped_table_is_given_up_as_what_was_flushed_is() {
    let options =
        Options { memory_bytes: 1 << 20, memtable_bytes: 512 << 10, wal_segment_bytes: 1 << 20, ..small_options() };
    let db = Database::open(Arc::new(MemoryDisk::new()), options).unwrap();
    let snapshots = ["dropped", "flushed"].map(|table| {
        db.create_table(table, &schema(), &["k"]).unwrap();
        let list: Vec<(i64, String)> = (0..150).map(|key| (key, "x".repeat(1000))).collect();
        db.write(WriteBatch::new().upsert(table, rows(&list))).unwrap();
        db.snapshot()
    });
    db.drop_table("dropped").unwrap();
    let count = |snapshot: usize, table: &str| -> Result<usize> {
        let batches = snapshots[snapshot].table(table)?.scan(&KeyInterval::ALL, &[0])?;
        batches.map(|batch| batch.map(|batch| batch.num_rows())).sum()
    };
    assert_eq!(count(0, "dropped").unwrap(), 150);
    db.flush("flushed").unwrap();
    let refused = count(0, "dropped").unwrap_err();
    assert!(matches!(refused, Error::SnapshotTooOld { .. }), "{refused}");
    assert_eq!(count(1, "flushed").unwrap(), 150);
}
