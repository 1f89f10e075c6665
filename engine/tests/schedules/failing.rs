//! A disk that fails once, at any of its calls: all threads go on or are told, and nobody touches the log behind a
//! sync of it that failed.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::{ErrorKind, Result};
use rustling_engine::rows::change::WriteBatch;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::scope;

use crate::fixture::{contents, rows, schema};
use crate::hooked::{Call, HookedDisk};
use crate::scenarios::{Counts, small};

/// Calls of the scenario, about.
const CALLS: u64 = 160;
const WRITES: i64 = 4;

/// Fails one call of a disk.
#[derive(Default)]
struct Fault {
    calls: AtomicU64,
    /// The log whose sync failed.
    lost: Mutex<Option<String>>,
    /// Whether it was written to afterwards.
    touched: Mutex<bool>,
}

impl Fault {
    fn call(&self, call: Call, path: &str, fail_at: u64) -> io::Result<()> {
        if matches!(call, Call::Lock | Call::Unlock | Call::Read) {
            return Ok(());
        }
        let mut lost = self.lost.lock().unwrap();
        if lost.as_deref() == Some(path) {
            match call {
                Call::Append | Call::Sync => *self.touched.lock().unwrap() = true,
                // A new segment that could not be begun is begun again, from its first byte.
                _ => *lost = None,
            }
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) != fail_at {
            return Ok(());
        }
        if call == Call::Sync && path.starts_with("wal/") {
            *lost = Some(path.to_owned());
        }
        Err(io::Error::from_raw_os_error(5))
    }
}

/// Keys that were tried to write, and those that were acknowledged.
#[derive(Default)]
struct Told {
    tried: BTreeSet<i64>,
    done: BTreeSet<i64>,
}

/// See the file's header.
pub(crate) fn failing(counts: &Counts) {
    let fault = Arc::new(Fault::default());
    let (fail_at, hooked) = (thread_rng().gen_range(0..CALLS), fault.clone());
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let hook = move |call, path: &str| hooked.call(call, path, fail_at + 20);
    let db = Database::open(Arc::new(HookedDisk::new(memory.clone(), hook)), small()).unwrap();
    let mut created = true;
    for table in ["a", "b"] {
        created &= told(db.create_table(table, &schema(), &["k"]).map(drop));
    }
    let keys = Mutex::new(Told::default());
    if created {
        scope(|scope| {
            for writer in 0..3i64 {
                let (db, keys) = (&db, &keys);
                scope.spawn(move || (0..WRITES).for_each(|round| write(db, keys, writer * 100 + round)));
            }
            scope.spawn(|| told(db.flush("a")) && told(db.compact("b")));
        });
    }
    told(db.close());
    assert!(!*fault.touched.lock().unwrap(), "the log was written to behind a sync that failed");
    drop(db);
    let keys = keys.into_inner().unwrap();
    let db = Database::open(memory, small()).unwrap();
    if created {
        let found = contents(&db).unwrap();
        let [a, b] = ["a", "b"].map(|table| found[table].keys().copied().collect::<BTreeSet<i64>>());
        assert_eq!(a, b, "half a write");
        assert!(keys.done.is_subset(&a), "{:?} are lost", keys.done.difference(&a));
        assert!(a.is_subset(&keys.tried));
    }
    db.close().unwrap();
    counts.writes.fetch_add(keys.done.len() as u64, Ordering::Relaxed);
}

fn write(db: &Database, keys: &Mutex<Told>, key: i64) {
    keys.lock().unwrap().tried.insert(key);
    let row = rows(&[(key, "row".to_owned())]);
    if told(db.write(WriteBatch::new().upsert("a", row.clone()).upsert("b", row)).map(drop)) {
        keys.lock().unwrap().done.insert(key);
    }
}

/// Whether it succeeded; a failure says what can be done.
fn told(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{error}");
    }
    outcome.is_ok()
}
