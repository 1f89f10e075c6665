//! Random work of many threads at once, each read against the model at its sequence number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;

use crate::fixture::{MemorySource, Where, rows};
use crate::history::{Change, History, How, Log};
use crate::ledger;

/// How long the threads of one seed work.
const WORK: Duration = Duration::from_secs(1);
const KEYS: i64 = 150;
/// Keys of batches that are so large that they become chunks of their own.
const LARGE: std::ops::Range<i64> = 1000..2100;
/// Snapshots that a reader holds.
const HELD_MAX: usize = 4;
const WAYS: [How; 4] = [How::Merge, How::Plan, How::Range, How::Get];

/// One thread's share of the work.
struct Worker<'a> {
    db: &'a Database,
    random: StdRng,
    until: Instant,
    log: Log,
    name: u64,
    /// Values that were written, so that each is another one.
    count: u64,
}

impl Worker<'_> {
    fn repeat(mut self, mut act: impl FnMut(&mut Self)) -> Log {
        while Instant::now() < self.until {
            act(&mut self);
        }
        self.log
    }

    fn value(&mut self) -> String {
        self.count += 1;
        let length = if self.random.random_bool(0.02) { 300 } else { 0 };
        format!("{}.{}{}", self.name, self.count, "x".repeat(length))
    }

    fn change(&mut self, table: &'static str, key: i64) -> Change {
        match self.random.random_range(0..10) {
            0..=2 => Change::Delete(table, key),
            3 | 4 => Change::Insert(table, key, self.value()),
            _ => Change::Upsert(table, key, self.value()),
        }
    }

    /// A batch over one table, two, or also the one that comes and goes.
    fn write(&mut self, large: bool) {
        let mut changes = Vec::new();
        for table in ["a", "b"] {
            let count = self.random.random_range(0..4);
            let first = self.random.random_range(0..KEYS);
            changes.extend((first..first + count).map(|key| self.change(table, key)));
        }
        if self.random.random_bool(0.2) {
            let key = self.random.random_range(0..KEYS);
            changes.push(self.change("c", key));
        }
        if large && self.random.random_bool(0.01) {
            let value = self.value();
            changes.extend(LARGE.map(|key| Change::Upsert("b", key, value.clone())));
        }
        if !changes.is_empty() {
            self.log.write(self.db, changes).unwrap();
        }
    }

    fn read(&mut self, held: &mut Vec<Snapshot>) {
        // Where nothing was written there is less to see: leave the cores to the writers.
        let seq = self.db.snapshot().seq();
        if self.log.newest_read() == Some(seq) && self.random.random_bool(0.9) {
            return std::thread::yield_now();
        }
        let fresh = held.is_empty() || self.random.random_bool(0.5);
        let snapshot =
            if fresh { self.db.snapshot() } else { held.swap_remove(self.random.random_range(0..held.len())) };
        let how = WAYS[self.random.random_range(0..WAYS.len())];
        let first = self.random.random_range(0..KEYS);
        for table in ["a", "b", "c"] {
            match self.log.read(&snapshot, table, how, first..=first + 20) {
                Ok(()) => {}
                Err(Error::SnapshotTooOld { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
        if held.len() < HELD_MAX {
            held.push(snapshot);
        }
    }

    fn maintain(&mut self) {
        let table = ["a", "b"][self.random.random_range(0..2)];
        match self.random.random_range(0..5) {
            0 => self.db.flush(table).unwrap(),
            1 => self.db.compact(table).unwrap(),
            2 => self.load(table),
            3 => self.delete_where(table),
            _ => match self.db.compact("c") {
                Ok(()) | Err(Error::NoSuchTable { .. } | Error::Dropped { .. }) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }

    fn load(&mut self, table: &'static str) {
        let first = self.random.random_range(0..KEYS);
        let step = self.random.random_range(1..10);
        let list: Vec<(i64, String)> = (first..first + 40).step_by(step).map(|key| (key, self.value())).collect();
        let new = self.random.random_bool(0.5);
        let on_conflict = if new { OnConflict::Error } else { OnConflict::Update };
        let mut source = MemorySource::new(list.chunks(7).map(rows).collect());
        match self.db.load(table, &mut source, &LoadOptions { on_conflict, ..LoadOptions::default() }) {
            Ok(report) => self.log.loaded(report.seq, table, &list, new),
            Err(Error::DuplicateOfStored { .. } | Error::ConcurrentWrite { .. }) if new => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn delete_where(&mut self, table: &'static str) {
        let (of, left) = (self.random.random_range(7..40), self.random.random_range(0..7));
        let goes = |key: i64| key % of == left;
        let wants = |rows: &RecordBatch| {
            let keys = rows.column(0).as_primitive::<Int64Type>();
            Ok(keys.values().iter().map(|key| Some(goes(*key))).collect())
        };
        let report = self.db.delete_where(table, &mut Where::new(&[0], wants)).unwrap();
        if let Some(seq) = report.seq {
            self.log.deleted(seq, table, (0..LARGE.end).filter(|key| goes(*key)));
        }
    }

    /// The life of a table.
    fn create_and_drop(&mut self) {
        self.log.create(self.db, "c");
        for _ in 0..self.random.random_range(1..20) {
            self.write(false);
        }
        self.db.drop_table("c").unwrap();
    }
}

fn options(random: &mut StdRng) -> Options {
    let one_of = |random: &mut StdRng, choices: [usize; 3]| choices[random.random_range(0..3)];
    Options {
        memory_bytes: 1 << 20,
        memtable_bytes: one_of(random, [2 << 10, 16 << 10, 200 << 10]),
        wal_segment_bytes: one_of(random, [2 << 10, 64 << 10, 1 << 20]) as u64,
        wal_bytes: one_of(random, [16 << 10, 256 << 10, 8 << 20]) as u64,
        sst_rows: one_of(random, [20, 1000, 1 << 20]) as u64,
        compact_runs: one_of(random, [2, 4, 8]),
        threads: random.random_range(1..3),
        ..Options::default()
    }
}

/// Figures of one seed.
#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    reads: AtomicU64,
    flushes: AtomicU64,
    compactions: AtomicU64,
}

fn work(db: &Database, seed: u64) -> Vec<Log> {
    let mut setup = Log::default();
    setup.create(db, "a");
    setup.create(db, "b");
    let until = Instant::now() + WORK;
    let worker = |name: u64| {
        let random = StdRng::seed_from_u64(seed << 8 | name);
        Worker { db, random, until, log: Log::default(), name, count: 0 }
    };
    let large = seed.is_multiple_of(4);
    let mut logs = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for name in 0..3 {
            threads.push(scope.spawn(move || worker(name).repeat(|worker| worker.write(large))));
        }
        for name in 3..5 {
            let mut held = Vec::new();
            threads.push(scope.spawn(move || worker(name).repeat(|worker| worker.read(&mut held))));
        }
        threads.push(scope.spawn(move || worker(5).repeat(Worker::maintain)));
        threads.push(scope.spawn(move || worker(6).repeat(Worker::create_and_drop)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Log>>()
    });
    logs.push(setup);
    logs
}

fn run(seed: u64, counts: &Counts) {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> =
        if seed % 4 == 3 { Arc::new(LocalDisk::open(folder.path()).unwrap()) } else { Arc::new(MemoryDisk::new()) };
    let options = options(&mut StdRng::seed_from_u64(seed));
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    let logs = work(&db, seed);
    let history = History::check(&logs);
    history.check_end(&db);
    if seed.is_multiple_of(2) {
        db.close().unwrap();
    }
    let report = db.report();
    drop(db);
    let db = Database::open(disk, options).unwrap();
    history.check_end(&db);
    db.close().unwrap();
    counts.writes.fetch_add(logs.iter().map(Log::writes).sum(), Ordering::Relaxed);
    counts.reads.fetch_add(logs.iter().map(Log::reads).sum(), Ordering::Relaxed);
    counts.flushes.fetch_add(report.flushes, Ordering::Relaxed);
    counts.compactions.fetch_add(report.compactions, Ordering::Relaxed);
}

/// Each seed is a second of work and a database of its own.
#[test]
fn every_read_of_many_threads_gives_what_the_model_gives() {
    let ledger = ledger::Run::begin("threads", 0..10);
    let counts = Counts::default();
    for seed in ledger.seeds() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &counts)));
        assert!(outcome.is_ok(), "failed with SEEDS={seed}..{}", seed + 1);
    }
    ledger.end(&[
        ("writes", counts.writes.into_inner()),
        ("reads", counts.reads.into_inner()),
        ("flushes", counts.flushes.into_inner()),
        ("compactions", counts.compactions.into_inner()),
        ("violations", 0),
    ]);
}
