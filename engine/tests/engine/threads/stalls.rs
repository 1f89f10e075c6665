//! Writers that wait for memory: they are let go where it will come back, and told why where it will not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustling_engine::back_pressure::admit;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::recover::open;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, rows, schema};
use crate::hooked::HookedDisk;

/// How long something that must come may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// So little memory that a few batches fill it, and a table is held once it has two runs that overlap.
fn small() -> Options {
    Options { memory_bytes: 1 << 20, memtable_bytes: 256 << 10, compact_runs: 2, ..Options::default() }
}

/// A write of about so many KiB. Those with different numbers have no key in common, and lie between each other.
fn write(db: &Database, table: &str, number: i64, kib: i64) -> Result<(), Error> {
    let list: Vec<(i64, String)> = (0..kib).map(|key| (1000 * key + number, "x".repeat(1000))).collect();
    db.write(WriteBatch::new().upsert(table, rows(&list))).map(drop)
}

fn is_compaction() -> bool {
    std::thread::current().name() == Some("rustling-compact")
}

/// A database with these tables, of which the first one has runs that a compaction is to merge.
fn overlapping(disk: HookedDisk, tables: &[&str]) -> Database {
    let db = Database::open(Arc::new(disk), small()).unwrap();
    for table in tables {
        db.create_table(table, &schema(), &["k"]).unwrap();
    }
    for number in 0..6 {
        write(&db, tables[0], number, 2).unwrap();
        db.flush(tables[0]).unwrap();
    }
    db
}

/// It waited for a compaction that had ended, and closing waited for it.
#[test]
fn closing_lets_a_writer_go_that_waits_for_a_compaction() {
    let (begins, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begun, waits) = (begins.clone(), goes_on.clone());
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |_, path| {
        if is_compaction() && path.starts_with("staging/") && path.ends_with(".keys") {
            begun.store(true, Ordering::Release);
            while !waits.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        Ok(())
    });
    let db = overlapping(disk, &["t"]);
    std::thread::scope(|scope| {
        let db = &db;
        let writer = scope.spawn(move || (10..).find(|number| write(db, "t", *number, 50).is_err()));
        while !begins.load(Ordering::Acquire) || db.report().stalls_for_compaction == 0 {
            std::thread::yield_now();
        }
        let (closed, answer) = channel();
        scope.spawn(move || closed.send(db.close()).unwrap());
        while !matches!(write(db, "t", 9, 1), Err(Error::Closed)) {
            std::thread::yield_now();
        }
        goes_on.store(true, Ordering::Release);
        answer.recv_timeout(PATIENCE).expect("closing waits for a writer that waits for ever").unwrap();
        writer.join().unwrap();
    });
}

/// They were told of the damage, or waited for ever.
#[test]
fn a_table_that_cannot_be_compacted_lets_writers_of_others_go_on() {
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), |_, path| {
        let is_refused = is_compaction() && path.starts_with("tables/0000000001/");
        if is_refused { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    });
    let db = overlapping(disk, &["held", "other", "third"]);
    // Frozen, and not flushed, for a compaction must come before.
    write(&db, "held", 10, 260).unwrap();
    for number in 0..20 {
        for table in ["other", "third"] {
            write(&db, table, number, 50).unwrap_or_else(|error| panic!("a write to `{table}`: {error}"));
        }
    }
    assert!(db.report().stalls_for_compaction > 0, "{:?}", db.report());
    // Its own writers fill what is left, and are told.
    let refused = (11..40).find_map(|number| write(&db, "held", number, 50).err()).unwrap();
    assert!(matches!(&refused, Error::Stuck { table, .. } if table == "held"), "{refused}");
    let found = contents(&db).unwrap();
    assert_eq!((found["other"].len(), found["third"].len()), (1000, 1000));
    assert!(found["held"].len() >= 272, "{}", found["held"].len());
}

/// Each commit of another writer ended a rest early.
#[test]
fn a_rest_is_as_long_as_it_is_meant_to_be_whatever_others_write() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (state, _) = open(disk, Options { background: false, ..Options::default() }).unwrap();
    let bytes = 1 << 20;
    state.pace.set(900);
    let meant = state.pace.rest(bytes).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (state, is_done) = (&state, &is_done);
        scope.spawn(move || {
            while !is_done.load(Ordering::Acquire) {
                state.progress.raise();
            }
        });
        admit(state, bytes).unwrap();
        is_done.store(true, Ordering::Release);
    });
    let rested = Duration::from_micros(state.counters.rested_micros.load(Ordering::Relaxed));
    assert!(rested >= meant, "{rested:?} instead of {meant:?}");
}

/// It was told of another table's failure, though a batch that was on its way only had to arrive.
#[test]
fn a_writer_that_waits_for_a_batch_on_its_way_is_not_told_of_a_failure() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    // Threads of the background there are none.
    let db = Database::open(disk.clone(), Options { background: false, ..small() }).unwrap();
    db.create_table("failing", &schema(), &["k"]).unwrap();
    write(&db, "failing", 0, 100).unwrap();
    drop(db);
    let (state, _) = open(disk, small()).unwrap();
    let id = state.current().view.named("failing").unwrap().id;
    assert!(state.flush_failures.note(id, Err(Error::Cancelled)));
    let on_its_way = state.reserve(300 << 10).unwrap();
    std::thread::scope(|scope| {
        let state = &state;
        let writer = scope.spawn(move || admit(state, 100 << 10).map(drop));
        while state.counters.stalls.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        // It looks again each time, and waits on.
        for _ in 0..10_000 {
            state.progress.raise();
            std::thread::yield_now();
        }
        drop(on_its_way);
        writer.join().unwrap().unwrap();
    });
}

/// Small batches always fitted, and came between: it waited as long as there were any.
#[test]
fn nobody_passes_a_large_batch_that_waits() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (state, _) = open(disk, Options { background: false, ..small() }).unwrap();
    let stalls = || state.counters.stalls.load(Ordering::Relaxed);
    let on_its_way = state.reserve(1 << 10).unwrap();
    let small_is_in = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (state, small_is_in) = (&state, &small_is_in);
        let large = scope.spawn(move || admit(state, 256 << 10).map(|_| small_is_in.load(Ordering::Acquire)));
        while stalls() < 1 {
            std::thread::yield_now();
        }
        let small = scope.spawn(move || {
            let memory = admit(state, 1 << 10);
            small_is_in.store(true, Ordering::Release);
            memory.map(drop)
        });
        while stalls() < 2 {
            assert!(!small_is_in.load(Ordering::Acquire), "a small batch passed");
            std::thread::yield_now();
        }
        drop(on_its_way);
        assert!(!large.join().unwrap().unwrap(), "a small batch passed");
        small.join().unwrap().unwrap();
    });
}

#[test]
fn a_batch_that_is_too_large_does_not_wait() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (state, _) = open(disk, Options { background: false, ..small() }).unwrap();
    let _on_its_way = state.reserve(1 << 10).unwrap();
    let refused = admit(&state, state.options.batch_bytes_max() + 1).unwrap_err();
    assert!(matches!(refused, Error::BatchTooLarge { .. }), "{refused}");
}

/// The log grew until there was no space, for the sake of a table that cannot be flushed.
#[test]
fn a_log_that_cannot_be_cut_stops_writes_at_twice_its_bytes() {
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), |_, path| {
        let is_refused =
            std::thread::current().name() == Some("rustling-flush") && path.starts_with("tables/0000000001");
        if is_refused { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    });
    let options = Options { wal_bytes: 100_000, wal_segment_bytes: 20_000, ..Options::default() };
    let db = Database::open(Arc::new(disk), options).unwrap();
    for table in ["failing", "other"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
    }
    write(&db, "failing", 0, 1).unwrap();
    let began = std::time::Instant::now();
    let refused = (0..).find_map(|number| {
        assert!(began.elapsed() < PATIENCE, "{} bytes of log", db.report().wal_bytes);
        write(&db, "other", number, 1).err()
    });
    let refused = refused.unwrap();
    assert!(matches!(&refused, Error::LogPinned { table, .. } if table == "failing"), "{refused}");
    assert!(db.report().wal_bytes > 200_000);
}

/// Each brings runs of its own, and writers of small batches alone had to wait for compactions.
#[test]
fn a_load_waits_for_compactions_that_are_behind() {
    let (goes_on, was_early) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (waits, early) = (goes_on.clone(), was_early.clone());
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |_, path| {
        let is_run = path.starts_with("staging/") && path.ends_with(".parquet");
        while is_run && is_compaction() && !waits.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        if is_run && std::thread::current().name() == Some("loader") && !waits.load(Ordering::Acquire) {
            early.store(true, Ordering::Release);
        }
        Ok(())
    });
    let db = overlapping(disk, &["t"]);
    std::thread::scope(|scope| {
        let db = &db;
        let load = move || {
            let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
            db.load("t", &mut MemorySource::new(vec![rows(&[(1, "loaded".to_owned())])]), &options).map(drop)
        };
        let loader = std::thread::Builder::new().name("loader".to_owned()).spawn_scoped(scope, load).unwrap();
        while db.report().stalls_for_compaction == 0 && !loader.is_finished() {
            std::thread::yield_now();
        }
        goes_on.store(true, Ordering::Release);
        loader.join().unwrap().unwrap();
    });
    assert!(!was_early.load(Ordering::Acquire));
    assert_eq!(contents(&db).unwrap()["t"][&1], "loaded");
}
