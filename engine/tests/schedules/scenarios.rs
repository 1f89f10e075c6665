//! What the threads do while their schedules are explored.
//!
//! In: nothing; choices come from shuttle, so that a schedule is the same each time. Out: a panic where something is
//! wrong: a read that differs from the model, a lost write, a key twice, a file that is missing or changed by one who
//! no longer has the database open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::error::{Error, Result};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::scope;

use crate::failing::failing;
use crate::fixture::{MemorySource, Where, multiples, rows};
use crate::history::{Change, History, How, Log};
use crate::hooked::{Call, HookedDisk};

/// What was done in all schedules together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) schedules: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) stalls: AtomicU64,
}

/// What is run once per schedule.
pub(crate) type Scenario = fn(&Counts);

/// The scenarios by name.
pub(crate) const SCENARIOS: [(&str, Scenario); 8] = [
    ("writers", writers),
    ("foreground", foreground),
    ("catch-up", catch_up),
    ("load", load),
    ("drop", drop_and_create),
    ("close", close),
    ("memory", memory),
    ("failing", failing),
];

const KEYS: i64 = 6;
const WAYS: [How; 4] = [How::Merge, How::Plan, How::Range, How::Get];

/// A database under test and the disk it is on.
struct Subject {
    disk: Arc<dyn Disk>,
    db: Database,
    /// What the threads that are done wrote and saw.
    logs: Mutex<Vec<Log>>,
    /// Whether anything was changed on the disk by one who does not hold its lock.
    trespassed: Arc<AtomicBool>,
}

pub(crate) fn small() -> Options {
    let defaults = Options { memory_bytes: 1 << 20, threads: 1, compact_runs: 2, ..Options::default() };
    Options { memtable_bytes: 400, wal_segment_bytes: 600, wal_bytes: 3000, ..defaults }
}

impl Subject {
    /// A new database with the tables `a` and `b`.
    fn new(options: Options) -> Self {
        let (held, trespassed) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
        let trespass = trespassed.clone();
        let hook = move |call, path: &str| {
            match call {
                Call::Lock => held.store(true, Ordering::Relaxed),
                Call::Unlock => held.store(false, Ordering::Relaxed),
                // The folder itself is made before there is a lock in it.
                Call::Change | Call::Append | Call::Sync if !path.is_empty() && !held.load(Ordering::Relaxed) => {
                    println!("{path} was changed without the lock");
                    trespass.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok(())
        };
        let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(Arc::new(MemoryDisk::new()), hook));
        let db = Database::open(disk.clone(), options).unwrap();
        let mut log = Log::default();
        log.create(&db, "a");
        log.create(&db, "b");
        Self { disk, db, logs: Mutex::new(vec![log]), trespassed }
    }

    /// Does something with a log of its own.
    fn log(&self, act: impl FnOnce(&Database, &mut Log)) {
        let mut log = Log::default();
        act(&self.db, &mut log);
        self.logs.lock().unwrap().push(log);
    }

    /// Closes the database and checks everything: what was read, what is there, and what is there after reopening.
    fn end(self, counts: &Counts) {
        let options = Options { background: false, ..self.db.options().clone() };
        let logs = self.logs.into_inner().unwrap();
        let history = History::check(&logs);
        history.check_end(&self.db);
        self.db.close().unwrap();
        let report = self.db.report();
        drop(self.db);
        let reopened = Database::open(self.disk, options).unwrap();
        history.check_end(&reopened);
        reopened.close().unwrap();
        assert!(!self.trespassed.load(Ordering::Relaxed), "the disk was changed after the database was closed");
        counts.flushes.fetch_add(report.flushes, Ordering::Relaxed);
        counts.compactions.fetch_add(report.compactions, Ordering::Relaxed);
        counts.stalls.fetch_add(report.stalls, Ordering::Relaxed);
        counts.writes.fetch_add(logs.iter().map(Log::writes).sum(), Ordering::Relaxed);
        counts.reads.fetch_add(logs.iter().map(Log::reads).sum(), Ordering::Relaxed);
    }
}

/// A change of a row that no other thread makes.
fn change(table: &'static str, key: i64, value: String) -> Change {
    match thread_rng().gen_range(0..8) {
        0 | 1 => Change::Delete(table, key),
        2 | 3 => Change::Insert(table, key, value),
        _ => Change::Upsert(table, key, value),
    }
}

/// Writes batches over two tables.
///
/// # Errors
/// The first refusal.
fn write(db: &Database, log: &mut Log, tables: [&'static str; 2], thread: usize, count: usize) -> Result<()> {
    for round in 0..count {
        let key = thread_rng().gen_range(0..KEYS);
        let value = format!("{thread}.{round}");
        let mut changes = vec![change(tables[0], key, value.clone())];
        if thread_rng().gen_range(0..3) > 0 {
            changes.push(change(tables[1], key, value.clone()));
            changes.push(Change::Upsert(tables[1], KEYS + key, value));
        }
        log.write(db, changes)?;
    }
    Ok(())
}

/// Reads tables of a snapshot.
fn read<const N: usize>(log: &mut Log, snapshot: &Snapshot, tables: [&str; N], ways: &[How]) {
    for table in tables {
        for how in ways {
            match log.read(snapshot, table, *how, 1..=3) {
                Ok(()) | Err(Error::SnapshotTooOld { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The files of a snapshot's runs are there.
fn check_files(disk: &dyn Disk, snapshot: &Snapshot) {
    for name in snapshot.table_names() {
        let table = snapshot.table(&name).unwrap();
        for run in table.table().version.runs() {
            let run = path::run(table.table().id, run.id(), path::RunFile::Sst);
            assert!(disk.open(&run).is_ok(), "{run} was removed while a snapshot held it");
        }
    }
}

/// Takes snapshots, and reads the first one again after all others.
fn read_often(subject: &Subject, tables: [&str; 2], count: usize) {
    subject.log(|db, log| {
        let held = db.snapshot();
        read(log, &held, tables, &WAYS);
        for _ in 0..count {
            let snapshot = db.snapshot();
            read(log, &snapshot, tables, &WAYS);
            check_files(&*subject.disk, &snapshot);
        }
        read(log, &held, tables, &WAYS);
        check_files(&*subject.disk, &held);
    });
}

/// Writers and readers, with flushes and compactions by the database's own threads.
fn writers(counts: &Counts) {
    let subject = Subject::new(small());
    scope(|scope| {
        for thread in 0..3 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| write(db, log, ["a", "b"], thread, 4).unwrap()));
        }
        scope.spawn(|| read_often(&subject, ["a", "b"], 2));
    });
    subject.end(counts);
}

/// The same steps, called by the threads that need them.
fn foreground(counts: &Counts) {
    let subject = Subject::new(Options { background: false, ..small() });
    scope(|scope| {
        for thread in 0..2 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| write(db, log, ["a", "b"], thread, 4).unwrap()));
        }
        scope.spawn(|| read_often(&subject, ["a", "b"], 1));
        scope.spawn(|| {
            subject.db.flush("a").unwrap();
            subject.db.flush_frozen().unwrap();
            subject.db.compact("b").unwrap();
            subject.db.compact("a").unwrap();
        });
        scope.spawn(|| {
            subject.db.flush("b").unwrap();
            subject.db.compact("a").unwrap();
        });
    });
    subject.end(counts);
}

/// Rows of a compaction's result die while it is made, by a flush and by a predicate, of which only the keys tell.
fn catch_up(counts: &Counts) {
    let subject = Subject::new(Options { background: false, ..small() });
    subject.log(|db, log| {
        for round in 0..2 {
            let changes = (0..KEYS).map(|key| Change::Upsert("a", key, format!("old {round}.{key}")));
            log.write(db, changes.collect()).unwrap();
            db.flush("a").unwrap();
        }
    });
    scope(|scope| {
        scope.spawn(|| subject.db.compact("a").unwrap());
        scope.spawn(|| {
            subject.log(|db, log| {
                for round in 0..3 {
                    let key = thread_rng().gen_range(0..KEYS);
                    log.write(db, vec![change("a", key, format!("new {round}.{key}"))]).unwrap();
                    db.flush("a").unwrap();
                }
            });
        });
        scope.spawn(|| {
            subject.log(|db, log| {
                let of = thread_rng().gen_range(2..4);
                let report = db.delete_where("a", &mut Where::new(&[0], |rows| multiples(rows, of))).unwrap();
                if let Some(seq) = report.seq {
                    log.deleted(seq, "a", (0..2 * KEYS).filter(|key| key % of == 0));
                }
            });
        });
        scope.spawn(|| read_often(&subject, ["a", "b"], 1));
    });
    subject.end(counts);
}

/// Bulk loads between writes.
fn load(counts: &Counts) {
    let subject = Subject::new(small());
    scope(|scope| {
        for thread in 0..2 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| write(db, log, ["a", "b"], thread, 4).unwrap()));
        }
        for loader in 0..2i64 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| load_rows(db, log, loader)));
        }
        scope.spawn(|| read_often(&subject, ["a", "b"], 2));
        scope.spawn(|| subject.db.compact("a").unwrap());
    });
    subject.end(counts);
}

fn load_rows(db: &Database, log: &mut Log, loader: i64) {
    let list: Vec<(i64, String)> = (loader..KEYS).map(|key| (key, format!("loaded {loader}.{key}"))).collect();
    let mut source = MemorySource::new(list.chunks(3).map(rows).collect());
    let on_conflict = if loader == 0 { OnConflict::Update } else { OnConflict::Error };
    match db.load("a", &mut source, &LoadOptions { on_conflict, ..LoadOptions::default() }) {
        Ok(report) => log.loaded(report.seq, "a", &list, on_conflict == OnConflict::Error),
        Err(Error::DuplicateOfStored { .. } | Error::ConcurrentWrite { .. }) if loader == 1 => {}
        Err(error) => panic!("{error}"),
    }
}

/// A table that comes and goes.
fn drop_and_create(counts: &Counts) {
    let subject = Subject::new(small());
    scope(|scope| {
        for thread in 0..2 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| write(db, log, ["a", "c"], thread, 4).unwrap()));
        }
        scope.spawn(|| {
            subject.log(|db, log| {
                for _ in 0..2 {
                    log.create(db, "c");
                    write(db, log, ["c", "a"], 2, 2).unwrap();
                    db.drop_table("c").unwrap();
                }
                log.create(db, "c");
            });
        });
        scope.spawn(|| read_often(&subject, ["a", "c"], 2));
        scope.spawn(|| {
            for step in [Database::flush, Database::compact, Database::flush] {
                match step(&subject.db, "c") {
                    Ok(()) | Err(Error::NoSuchTable { .. } | Error::Dropped { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    subject.end(counts);
}

/// A database that is closed while others use it.
fn close(counts: &Counts) {
    let background = thread_rng().gen_range(0..3) > 0;
    let subject = Subject::new(Options { background, ..small() });
    let closed = |outcome: Result<()>| match outcome {
        Ok(()) | Err(Error::Closed) => {}
        Err(error) => panic!("{error}"),
    };
    scope(|scope| {
        for thread in 0..2 {
            let subject = &subject;
            scope.spawn(move || subject.log(|db, log| closed(write(db, log, ["a", "b"], thread, 3))));
        }
        scope.spawn(|| closed(subject.db.flush("a").and_then(|()| subject.db.compact("b"))));
        scope.spawn(|| read_often(&subject, ["a", "b"], 1));
        scope.spawn(|| subject.db.close().unwrap());
    });
    subject.end(counts);
}

/// Writers that have to wait until memtables are flushed. With the larger ones memory is short while none is full: who
/// waits has to freeze one, while others still write to it.
fn memory(counts: &Counts) {
    let memtable_bytes = [260 << 10, 512 << 10][thread_rng().gen_range(0..2)];
    let subject = Subject::new(Options { memtable_bytes, ..small() });
    subject.log(|db, log| {
        for (table, kilobytes) in [("a", 250), ("b", 240)] {
            log.write(db, vec![Change::Upsert(table, KEYS, "x".repeat(kilobytes << 10))]).unwrap();
        }
    });
    scope(|scope| {
        for thread in 0..4i64 {
            let subject = &subject;
            scope.spawn(move || {
                subject.log(|db, log| {
                    for round in 0..2 {
                        let value = format!("{thread}.{round}").repeat(3000);
                        log.write(db, vec![Change::Upsert("a", thread * 10 + round, value)]).unwrap();
                        read(log, &db.snapshot(), ["a"], &[How::Range, How::Get]);
                    }
                });
            });
        }
    });
    subject.end(counts);
}
