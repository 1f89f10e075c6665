//! What an open database promises to many threads, one promise per test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, rows, schema};
use crate::hooked::{Call, HookedDisk};

fn database(options: Options) -> Database {
    database_on(MemoryDisk::new(), options)
}

fn database_on(disk: impl Disk + 'static, options: Options) -> Database {
    let db = Database::open(Arc::new(disk), options).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db
}

fn small() -> Options {
    Options { memory_bytes: 1 << 20, memtable_bytes: 64 << 10, compact_runs: 4, ..Options::default() }
}

#[test]
fn of_many_inserts_of_one_key_exactly_one_succeeds() {
    let db = database(Options::default());
    let inserted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (db, inserted) = (&db, &inserted);
            scope.spawn(move || {
                for key in 0..200 {
                    let row = rows(&[(key, format!("thread {thread}"))]);
                    match db.write(WriteBatch::new().insert("t", row)) {
                        Ok(_) => drop(inserted.fetch_add(1, Ordering::Relaxed)),
                        Err(Error::DuplicateKey { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(inserted.into_inner(), 200);
    assert_eq!(contents(&db).unwrap()["t"].len(), 200);
    db.close().unwrap();
}

#[test]
fn tables_that_are_created_at_once_are_different_tables() {
    let db = Database::open(Arc::new(MemoryDisk::new()), Options::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8i64 {
            let db = &db;
            scope.spawn(move || {
                let name = format!("t{thread}");
                db.create_table(&name, &schema(), &["k"]).unwrap();
                db.write(WriteBatch::new().upsert(&name, rows(&[(thread, name.clone())]))).unwrap();
            });
        }
    });
    let found = contents(&db).unwrap();
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|(name, rows)| rows.len() == 1 && rows.values().all(|value| value == name)), "{found:?}");
}

/// A write that waits for its answer comes behind those that one's own thread has queued. These are so large that none
/// shares a group with another, so that there are moments between them.
#[test]
fn a_write_does_not_overtake_one_that_is_queued() {
    const QUEUED: usize = 3;
    let db = database(Options::with_memory(4 << 20));
    let batch = |value: &str| {
        let mut batch = WriteBatch::new();
        batch.upsert("t", rows(&[(1, value.to_owned())]));
        batch
    };
    let (large, small) = (batch(&"queued ".repeat(30_000)), batch("last"));
    for _ in 0..1000 {
        let (sender, answers) = channel();
        for _ in 0..QUEUED {
            let sender = sender.clone();
            db.write_then(&large, Box::new(move |answer| sender.send(answer).unwrap())).unwrap();
        }
        let last = db.write(&small).unwrap();
        for queued in answers.iter().take(QUEUED) {
            assert!(queued.unwrap() < last);
        }
    }
    db.close().unwrap();
}

/// No sync ends before all are in the queue, so that the second takes all that the first did not.
#[test]
fn writers_that_wait_together_share_syncs() {
    const WRITERS: usize = 64;
    let gate = Arc::new(Mutex::new(()));
    let at_sync = gate.clone();
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |call, path| {
        if call == Call::Sync && path.starts_with("wal/") {
            drop(at_sync.lock().unwrap());
        }
        Ok(())
    });
    let db = database_on(disk, Options::default());
    let before = db.report().wal_syncs;
    let (sender, answers) = channel();
    let held = gate.lock().unwrap();
    for key in 0..WRITERS as i64 {
        let sender = sender.clone();
        let done = Box::new(move |answer| sender.send(answer).unwrap());
        db.write_then(WriteBatch::new().upsert("t", rows(&[(key, "x".to_owned())])), done).unwrap();
    }
    drop(held);
    for answer in answers.iter().take(WRITERS) {
        answer.unwrap();
    }
    let syncs = db.report().wal_syncs - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs for {WRITERS} commits");
    assert_eq!(contents(&db).unwrap()["t"].len(), WRITERS);
}

/// Every write sets a pair of keys to one value; a reader that sees them differ saw half a write.
#[test]
fn readers_see_whole_writes_and_stable_snapshots() {
    let db = database(small());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2i64 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                for round in 0..1500 {
                    let value = format!("{round:0>64}");
                    let pair = [(writer * 2, value.clone()), (writer * 2 + 1, value.clone()), (100 + round, value)];
                    db.write(WriteBatch::new().upsert("t", rows(&pair))).unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                loop {
                    let table = db.snapshot().table("t").unwrap();
                    // A thread that had to wait for its turn may find its snapshot too old.
                    let read = || {
                        let mut found = BTreeMap::new();
                        let scan = match table.scan(&KeyInterval::ALL, &[0, 1]) {
                            Err(Error::SnapshotTooOld { .. }) => return None,
                            scan => scan.unwrap(),
                        };
                        for batch in scan {
                            let batch = batch.unwrap();
                            let keys = batch.column(0).as_primitive::<Int64Type>();
                            let values = batch.column(1).as_string::<i32>();
                            found.extend(
                                (0..batch.num_rows()).map(|row| (keys.value(row), values.value(row).to_owned())),
                            );
                        }
                        Some(found)
                    };
                    let (Some(first), Some(second)) = (read(), read()) else { continue };
                    assert_eq!(first, second, "a snapshot changed");
                    for writer in 0..2 {
                        assert_eq!(first.get(&(writer * 2)), first.get(&(writer * 2 + 1)), "half a write");
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    // Nothing is left in memory that a flush meanwhile could leave to this snapshot alone.
    db.flush("t").unwrap();
    assert_eq!(contents(&db).unwrap()["t"].len(), 4 + 1500);
    db.close().unwrap();
}

#[test]
fn a_snapshot_that_keeps_too_much_is_told_so_and_new_ones_are_fine() {
    let db = database(small());
    let value = "x".repeat(1000);
    let old: Vec<_> = (0..40i64)
        .map(|round| {
            let batch: Vec<(i64, String)> = (0..50).map(|row| (round * 50 + row, value.clone())).collect();
            db.write(WriteBatch::new().upsert("t", rows(&batch))).unwrap();
            let snapshot = db.snapshot();
            db.flush("t").unwrap();
            snapshot
        })
        .collect();
    let first = old[0].table("t").unwrap();
    let error = first.scan(&KeyInterval::ALL, &[0]).err().unwrap();
    assert!(matches!(error, Error::SnapshotTooOld { .. }), "{error}");
    let last = old[39].table("t").unwrap();
    let count: usize = last.scan(&KeyInterval::ALL, &[0]).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(count, 2000);
    assert_eq!(contents(&db).unwrap()["t"].len(), 2000);
}

/// A mebibyte in all, so snapshots may keep a quarter of it in memtables that are flushed.
fn flushed_by_hand() -> Database {
    let options = Options { background: false, memory_bytes: 1 << 20, memtable_bytes: 512 << 10, ..Options::default() };
    let db = database(options);
    db.create_table("other", &schema(), &["k"]).unwrap();
    db
}

fn write_kib(db: &Database, table: &str, kib: i64) {
    let list: Vec<(i64, String)> = (0..kib).map(|key| (key, "x".repeat(1000))).collect();
    db.write(WriteBatch::new().upsert(table, rows(&list))).unwrap();
}

/// What a flush held of its own memtable was taken for what a snapshot keeps.
#[test]
fn a_snapshot_keeps_no_memtable_that_it_does_not_see() {
    let db = flushed_by_hand();
    write_kib(&db, "t", 100);
    write_kib(&db, "other", 1);
    let snapshot = db.snapshot();
    for table in ["t", "other"] {
        db.flush(table).unwrap();
    }
    write_kib(&db, "other", 180);
    db.flush("other").unwrap();
    assert_eq!(rows_of(&snapshot), 100);
}

/// It was given up as soon as it was flushed: a read that had just begun was told to begin again.
#[test]
fn a_memtable_is_kept_for_snapshots_until_the_next_one_is_flushed() {
    let db = flushed_by_hand();
    write_kib(&db, "t", 300);
    let snapshot = db.snapshot();
    db.flush("t").unwrap();
    assert_eq!(rows_of(&snapshot), 300);
    write_kib(&db, "other", 1);
    db.flush("other").unwrap();
    let told = snapshot.table("t").unwrap().scan(&KeyInterval::ALL, &[0]).err().unwrap();
    assert!(matches!(told, Error::SnapshotTooOld { .. }), "{told}");
}

/// It was refused for the sake of a memtable that was empty when it was taken.
#[test]
fn a_snapshot_is_not_too_old_for_changes_that_it_does_not_see() {
    let db = flushed_by_hand();
    write_kib(&db, "t", 10);
    db.flush("t").unwrap();
    let snapshot = db.snapshot();
    for kib in [300, 1] {
        write_kib(&db, "t", kib);
        db.flush("t").unwrap();
    }
    assert_eq!(rows_of(&snapshot), 10);
}

fn rows_of(snapshot: &Snapshot) -> usize {
    let table = snapshot.table("t").unwrap();
    table.scan(&KeyInterval::ALL, &[0]).unwrap().map(|batch| batch.unwrap().num_rows()).sum()
}

#[test]
fn memory_stays_within_its_limit_and_runs_are_compacted() {
    let options = small();
    let limit = options.memory_bytes / 2;
    let db = database(options);
    let value = "x".repeat(1000);
    for round in 0..400i64 {
        let batch: Vec<(i64, String)> = (0..50).map(|row| ((round * 37 + row * 11) % 5000, value.clone())).collect();
        db.write(WriteBatch::new().upsert("t", rows(&batch))).unwrap();
        let bytes: usize = db.report().tables.iter().map(|table| table.memtable_bytes).sum();
        assert!(bytes <= limit + (128 << 10), "{bytes} bytes of memtables, the limit is {limit}");
    }
    let report = db.report();
    assert!(report.flushes > 20 && report.compactions > 0, "{report:?}");
    db.close().unwrap();
    assert!(matches!(db.write(WriteBatch::new().upsert("t", rows(&[(1, String::new())]))), Err(Error::Closed)));
}

#[test]
fn a_database_that_nobody_writes_is_merged_and_keeps_few_dead_rows() {
    let db = database(Options { compact_runs: 1000, ..small() });
    // So few runs, and so few dead rows, that nothing is due before the database is idle.
    for (round, keys) in [0..400, 100..160].into_iter().enumerate() {
        let batch: Vec<(i64, String)> = keys.map(|key| (key, format!("{round}"))).collect();
        db.write(WriteBatch::new().upsert("t", rows(&batch))).unwrap();
        db.flush("t").unwrap();
    }
    let share = || {
        let table = db.report().tables.swap_remove(0);
        (table.dead_rows(), table.rows())
    };
    let patience = Instant::now() + Duration::from_secs(60);
    while share().0 * 100 > share().1 * 3 {
        assert!(Instant::now() < patience, "{:?}", db.report());
        std::thread::yield_now();
    }
    let table = db.report().tables.swap_remove(0);
    assert_eq!((table.depth, table.history.compactions.len()), (1, 1), "{:?}", table.history);
    assert_eq!(contents(&db).unwrap()["t"].len(), 400);
}

#[test]
fn writers_do_not_outrun_what_removes_dead_rows() {
    const KEYS: i64 = 40_000;
    let db = database(Options { compact_runs: 1000, ..small() });
    let loaded: Vec<(i64, String)> = (0..KEYS).map(|key| (key, "loaded".to_owned())).collect();
    let mut source = MemorySource::new(loaded.chunks(500).map(rows).collect());
    db.load("t", &mut source, &LoadOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let db = &db;
            scope.spawn(move || {
                for batch in 0..60 {
                    let keys = (0..500).map(|row| ((writer * 30_000 + batch * 500 + row) * 7919) % KEYS);
                    let batch: Vec<(i64, String)> = keys.map(|key| (key, format!("{writer}"))).collect();
                    db.write(WriteBatch::new().upsert("t", rows(&batch))).unwrap();
                    let table = db.report().tables.swap_remove(0);
                    let (dead, rows) = (table.dead_rows(), table.rows());
                    assert!(dead * 100 <= rows * 30, "{dead} of {rows} rows are dead");
                }
            });
        }
    });
    assert_eq!(contents(&db).unwrap()["t"].len(), usize::try_from(KEYS).unwrap());
}

#[test]
fn a_load_and_writes_at_once_leave_every_key_with_the_newest_value() {
    let db = database(small());
    let done = AtomicBool::new(false);
    let loaded: Vec<(i64, String)> = (0..20_000).map(|key| (key, "loaded".to_owned())).collect();
    std::thread::scope(|scope| {
        let (db, done) = (&db, &done);
        scope.spawn(move || {
            let mut source = MemorySource::new(loaded.chunks(500).map(rows).collect());
            let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
            let report = db.load("t", &mut source, &options).unwrap();
            assert_eq!(report.rows_loaded, 20_000);
            done.store(true, Ordering::Release);
        });
        scope.spawn(move || {
            let mut key = 0;
            while !done.load(Ordering::Acquire) {
                db.write(WriteBatch::new().upsert("t", rows(&[(key % 20_000, "written".to_owned())]))).unwrap();
                key += 7;
            }
            db.write(WriteBatch::new().upsert("t", rows(&[(3, "after".to_owned())]))).unwrap();
        });
    });
    db.flush("t").unwrap();
    let found = contents(&db).unwrap();
    assert_eq!(found["t"].len(), 20_000);
    assert_eq!(found["t"][&3], "after");
    assert!(found["t"].values().any(|value| value == "loaded"));
    db.close().unwrap();
}
