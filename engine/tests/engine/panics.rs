//! A panic in any step, on any thread: everyone who waits gets an answer, nothing acknowledged is lost, and nobody
//! hangs.
//!
//! A disk panics at its n-th call, for every n of a script with writers, a flush, a load and a compaction.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::{Error, ErrorKind, Result};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, rows, schema};
use crate::hooked::{Call, HookedDisk};
use crate::ledger;

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: i64 = 3;
const ROUNDS: i64 = 12;
/// Keys from here on are loaded.
const LOADED: i64 = 1_000_000;

/// What the script tried, and what it was told is done.
#[derive(Debug, Default)]
struct Told {
    tried: BTreeSet<i64>,
    done: BTreeSet<i64>,
    /// Steps that ended with an error or a panic.
    failures: Vec<String>,
}

struct Script {
    db: Database,
    told: Mutex<Told>,
}

impl Script {
    /// Does a step that adds keys to `b`, and to `a` if it is a write. A caller's own panic is an answer, too.
    fn step(&self, keys: &[i64], act: impl FnOnce(&Database) -> Result<()>) {
        self.told.lock().unwrap().tried.extend(keys);
        let outcome = catch_unwind(AssertUnwindSafe(|| act(&self.db)));
        let mut told = self.told.lock().unwrap();
        match outcome {
            Ok(Ok(())) => told.done.extend(keys),
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                told.failures.push(error.to_string());
            }
            Err(_) => told.failures.push("panicked".to_owned()),
        }
    }

    fn write(&self, writer: i64) {
        for round in 0..ROUNDS {
            let key = writer * 1000 + round;
            // The row before comes again, so that older ones die.
            let list = [(key - i64::from(round > 0), "again".to_owned()), (key, format!("{writer}.{round}"))];
            let row = rows(&list[usize::from(round == 0)..]);
            let mut batch = WriteBatch::new();
            batch.upsert("a", row.clone()).upsert("b", row);
            self.step(&[key], |db| db.write(&batch).map(drop));
        }
    }

    fn maintain(&self) {
        self.step(&[], |db| db.flush("a"));
        let list: Vec<(i64, String)> = (LOADED..LOADED + 9).map(|key| (key, "loaded".to_owned())).collect();
        let keys: Vec<i64> = list.iter().map(|(key, _)| *key).collect();
        self.step(&keys, |db| {
            let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
            db.load("b", &mut MemorySource::new(list.chunks(3).map(rows).collect()), &options).map(drop)
        });
        self.step(&[], |db| db.compact("b"));
        self.step(&[], |db| db.create_table("c", &schema(), &["k"]).map(drop));
        self.step(&[], |db| match db.drop_table("c") {
            Err(Error::NoSuchTable { .. }) => Ok(()),
            dropped => dropped,
        });
    }
}

fn options(background: bool) -> Options {
    let defaults = Options { background, threads: 1, compact_runs: 2, memory_bytes: 1 << 20, ..Options::default() };
    Options { memtable_bytes: 700, wal_segment_bytes: 900, wal_bytes: 4000, ..defaults }
}

/// Runs the script on a disk that panics at a call; whether it came to that.
fn run(background: bool, panic_at: u64) -> bool {
    let calls = Arc::new(AtomicU64::new(u64::MAX / 2));
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let counted = calls.clone();
    let hook = move |call, _: &str| {
        if !matches!(call, Call::Lock | Call::Unlock) && counted.fetch_add(1, Ordering::Relaxed) == panic_at {
            resume_unwind(Box::new("the disk panicked"));
        }
        Ok(())
    };
    let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), hook));
    let db = Database::open(disk, options(background)).unwrap();
    db.create_table("a", &schema(), &["k"]).unwrap();
    db.create_table("b", &schema(), &["k"]).unwrap();
    let script = Script { db, told: Mutex::default() };
    calls.store(0, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let script = &script;
            scope.spawn(move || script.write(writer));
        }
        scope.spawn(|| script.maintain());
    });
    let Script { db, told } = script;
    let told = told.into_inner().unwrap();
    // Reads go on, and show at least what was acknowledged.
    check(&db, &told, "before closing");
    let closed = catch_unwind(AssertUnwindSafe(|| db.close()));
    if let Ok(Err(error)) = closed {
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    }
    check(&db, &told, "closed");
    drop(db);
    for _ in 0..2 {
        let reopened = Database::open(memory.clone(), options(background)).unwrap();
        check(&reopened, &told, "reopened");
        reopened.write(WriteBatch::new().upsert("a", rows(&[(-1, String::new())]))).unwrap();
        reopened.compact("a").unwrap();
        reopened.compact("b").unwrap();
        reopened.close().unwrap();
    }
    calls.load(Ordering::Relaxed) > panic_at
}

fn check(db: &Database, told: &Told, when: &str) {
    let tables = contents(db).unwrap();
    let found = |table: &str| -> BTreeSet<i64> { tables[table].keys().copied().filter(|key| *key >= 0).collect() };
    let (a, mut b) = (found("a"), found("b"));
    let context = || format!("{when}, after {:?}", told.failures);
    assert!(told.done.is_subset(&b), "{}: {:?} are lost", context(), told.done.difference(&b));
    assert!(b.is_subset(&told.tried), "{}", context());
    b.retain(|key| *key < LOADED);
    assert_eq!(a, b, "{}: half a write", context());
}

/// Runs something on a thread of its own; a panic of it, or that it does not end, is a failure.
fn watch(what: String, act: impl FnOnce() -> bool + Send + 'static) -> bool {
    let (done, answer): (_, Receiver<bool>) = channel();
    std::thread::spawn(move || done.send(act()));
    answer.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn panic_at_every_call(campaign: &'static str, background: bool, share: u64) {
    let ledger = ledger::Run::begin(campaign, 0..share);
    let (mut runs, mut panics) = (0, 0);
    for seed in ledger.seeds() {
        for call in 0.. {
            runs += 1;
            let what = format!("seed {seed}, call {call}");
            if !watch(what, move || run(background, call)) {
                break;
            }
            panics += 1;
        }
    }
    assert!(panics > 100 * share, "the script is too short: {panics}");
    ledger.end(&[("runs", runs), ("panics", panics), ("violations", 0)]);
}

#[test]
fn a_panic_at_any_call_hangs_nobody_and_loses_nothing() {
    panic_at_every_call("panics", true, 1);
}

#[test]
fn a_panic_at_any_call_of_ones_own_thread_hangs_nobody_and_loses_nothing() {
    panic_at_every_call("panics-foreground", false, 1);
}
