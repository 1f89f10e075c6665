//! Compactions that cannot merge all runs at once: neighbours in age go first, and deleted keys stay until the oldest.
//! Compactions while the table changes: what is flushed or loaded meanwhile supersedes rows of the result.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::deletion::vector::DeletionVector;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::resolve::resolve_all;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::verify::check::verify;
use rustling_engine::version::history::Reason;

use crate::fixture::{MemorySource, Rows, contents, keys, rows, schema, small_options};
use crate::hooked::{Call, HookedDisk};

/// Bytes of a value: a merge with 1 MiB of memory holds a few of them.
const VALUE: usize = 10 << 10;

/// Some batches of changes, each flushed by itself.
fn flush_changes(db: &Database, random: &mut StdRng, model: &mut Rows, flushes: usize) {
    for flush in 0..flushes {
        let changed: BTreeMap<i64, String> = (0..6)
            .map(|_| random.random_range(0..40))
            .map(|key| (key, format!("{flush} ").repeat(VALUE / 2)))
            .collect();
        let deleted: Vec<i64> =
            (0..3).map(|_| random.random_range(0..40)).filter(|key| !changed.contains_key(key)).collect();
        let list: Vec<(i64, String)> = changed.clone().into_iter().collect();
        db.write(WriteBatch::new().upsert("t", rows(&list)).delete("t", keys(&deleted))).unwrap();
        db.flush("t").unwrap();
        model.retain(|key, _| !deleted.contains(key));
        model.extend(changed);
    }
}

#[test]
fn runs_that_take_too_much_memory_together_are_compacted_neighbours_first() {
    for seed in 0..8 {
        let options = Options { background: false, ..Options::with_memory(1 << 20) };
        let db = Database::open(Arc::new(MemoryDisk::new()), options).unwrap();
        db.create_table("t", &schema(), &["k"]).unwrap();
        let (mut random, mut model) = (StdRng::seed_from_u64(seed), Rows::new());
        for round in 0..2 {
            flush_changes(&db, &mut random, &mut model, 12);
            let before = db.report().compactions;
            db.compact("t").unwrap();
            let compactions = db.report().compactions - before;
            assert!(compactions > 2, "seed {seed}, round {round}: {compactions} compactions of 12 runs");
            assert_eq!(contents(&db).unwrap()["t"], model, "seed {seed}, round {round}");
            let runs = db.snapshot().table("t").unwrap().table().version.runs().to_vec();
            let rows: u64 = runs.iter().map(|run| run.rows()).sum();
            assert_eq!(rows, model.len() as u64, "seed {seed}, round {round}: each key once");
            assert!(runs.iter().all(|run| run.meta().files.deletes.is_none()), "seed {seed}, round {round}");
            assert_eq!(db.report().tables[0].dead_rows(), 0, "seed {seed}, round {round}");
        }
    }
}

/// Rows with these keys and a word.
fn list(keys: impl IntoIterator<Item = i64>, word: &str) -> Vec<(i64, String)> {
    keys.into_iter().map(|key| (key, format!("{word} {key}"))).collect()
}

/// What happens while a table is compacted.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Flush,
    Load,
    TwoFlushes,
}

impl Meanwhile {
    fn happen(self, db: &Database) {
        let upsert = |keys: std::ops::Range<i64>, word: &str| {
            db.write(WriteBatch::new().upsert("t", rows(&list(keys, word)))).unwrap();
        };
        match self {
            Self::Flush => {
                upsert(3..9, "meanwhile");
                db.write(WriteBatch::new().delete("t", keys(&[12, 25]))).unwrap();
                db.flush("t").unwrap();
            }
            Self::Load => {
                let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
                db.load("t", &mut MemorySource::new(vec![rows(&list(20..60, "loaded"))]), &options).unwrap();
            }
            Self::TwoFlushes => {
                upsert(0..10, "first");
                db.flush("t").unwrap();
                upsert(5..15, "second");
                db.flush("t").unwrap();
            }
        }
    }

    fn model(self, model: &mut Rows) {
        match self {
            Self::Flush => {
                model.extend(list(3..9, "meanwhile"));
                model.retain(|key, _| ![12, 25].contains(key));
            }
            Self::Load => model.extend(list(20..60, "loaded")),
            Self::TwoFlushes => {
                model.extend(list(0..10, "first"));
                model.extend(list(5..15, "second"));
            }
        }
    }
}

/// Lets something happen at one call of a compaction; `false` if it has not so many calls.
fn compact_while(meanwhile: Meanwhile, at_call: usize) -> bool {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (calls, database) = (Arc::new(AtomicUsize::new(usize::MAX / 2)), Arc::new(OnceLock::<Weak<Database>>::new()));
    let (counted, shared) = (calls.clone(), database.clone());
    let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), move |_, path| {
        // From its manifest on a compaction lets nobody publish.
        let is_free = path.ends_with(".parquet") || path.ends_with(".keys") || path.ends_with(".del");
        if is_free && counted.fetch_sub(1, Ordering::Relaxed) == 0 {
            // What happens calls the disk, too.
            counted.store(usize::MAX / 2, Ordering::Relaxed);
            meanwhile.happen(&shared.get().unwrap().upgrade().unwrap());
        }
        Ok(())
    }));
    let options = Options { memtable_bytes: 1 << 20, wal_segment_bytes: 1 << 20, ..small_options() };
    let db = Arc::new(Database::open(disk, options.clone()).unwrap());
    database.set(Arc::downgrade(&db)).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    let mut model = Rows::new();
    for (keys, word) in [(0..30, "old"), (10..20, "newer"), (15..40, "newest")] {
        let list = list(keys, word);
        db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap();
        db.flush("t").unwrap();
        model.extend(list);
    }
    calls.store(at_call, Ordering::Relaxed);
    db.compact("t").unwrap();
    let happened = calls.swap(usize::MAX / 2, Ordering::Relaxed) > usize::MAX / 4;
    if happened {
        meanwhile.model(&mut model);
    }
    let context = format!("{meanwhile:?} at call {at_call}");
    assert_eq!(contents(&db).unwrap()["t"], model, "{context}");
    let table = db.snapshot().table("t").unwrap();
    let version = table.table().version.clone();
    let by_keys: Vec<DeletionVector> = resolve_all(version.runs(), &table.table().codec).unwrap();
    assert!(by_keys.iter().eq(version.dead().iter().map(|dead| &**dead)), "{context}");
    db.close().unwrap();
    drop((table, version, db));
    assert_eq!(verify(&memory, &options, None).unwrap().findings.len(), 0, "{context}");
    let db = Database::open(memory, options).unwrap();
    assert_eq!(contents(&db).unwrap()["t"], model, "{context}, opened again");
    happened
}

#[test]
fn what_comes_at_any_call_of_a_compaction_supersedes_rows_of_its_result() {
    for meanwhile in [Meanwhile::Flush, Meanwhile::Load, Meanwhile::TwoFlushes] {
        let calls = (0..).take_while(|call| compact_while(meanwhile, *call)).count();
        assert!(calls > 12, "{meanwhile:?}: {calls} calls");
    }
}

/// A key of the last of ten parts of a table.
fn last_key(number: usize) -> i64 {
    360 + i64::try_from(number % 40).unwrap()
}

/// Keys of the last part of the table are flushed whenever a compaction begins to write.
#[test]
fn a_table_that_is_flushed_all_the_time_is_compacted_once() {
    let (acting, database) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::<Weak<Database>>::new()));
    let (acts, shared) = (acting.clone(), database.clone());
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |call, path| {
        // At most a hundred times, so that a compaction that goes on for ever ends after all, and is noticed.
        let is_begun = call == Call::Change && path.starts_with("staging/") && path.ends_with(".parquet");
        if is_begun && (1..100).contains(&acts.load(Ordering::Relaxed)) {
            let act = acts.swap(1000, Ordering::Relaxed);
            let db = shared.get().unwrap().upgrade().unwrap();
            db.write(WriteBatch::new().upsert("t", rows(&list([last_key(act)], "new")))).unwrap();
            db.flush("t").unwrap();
            acts.store(act + 1, Ordering::Relaxed);
        }
        Ok(())
    });
    let db = Arc::new(Database::open(Arc::new(disk), many_runs(64)).unwrap());
    database.set(Arc::downgrade(&db)).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    for part in 0..10 {
        db.write(WriteBatch::new().upsert("t", rows(&list(part * 40..part * 40 + 40, "old")))).unwrap();
        db.flush("t").unwrap();
    }
    db.write(WriteBatch::new().upsert("t", rows(&list((0..400).step_by(3), "old")))).unwrap();
    db.flush("t").unwrap();
    let before = db.report().compactions;
    acting.store(1, Ordering::Relaxed);
    db.compact("t").unwrap();
    let flushes = acting.swap(0, Ordering::Relaxed) - 1;
    let compactions = db.report().compactions - before;
    assert!(flushes > 10 && compactions < 13, "{compactions} compactions of ten parts, {flushes} flushes meanwhile");
    let mut model: Rows = list(0..400, "old").into_iter().collect();
    model.extend(list((1..=flushes).map(last_key), "new"));
    assert_eq!(contents(&db).unwrap()["t"], model);
}

/// A disk, and whether it refuses calls on files of the first table.
fn refusing_disk() -> (Arc<dyn Disk>, Arc<AtomicBool>) {
    let is_damaged = Arc::new(AtomicBool::new(false));
    let refuses = is_damaged.clone();
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |_, path| {
        let is_of_first = path.starts_with("tables/0000000001/");
        if is_of_first && refuses.load(Ordering::Relaxed) {
            Err(std::io::ErrorKind::PermissionDenied.into())
        } else {
            Ok(())
        }
    });
    (Arc::new(disk), is_damaged)
}

#[test]
fn a_table_that_cannot_be_flushed_keeps_no_other_from_it() {
    let (disk, is_damaged) = refusing_disk();
    let db = Database::open(disk, small_options()).unwrap();
    for table in ["a", "b"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
        db.write(WriteBatch::new().upsert(table, rows(&list(0..100, &"x".repeat(100))))).unwrap();
    }
    is_damaged.store(true, Ordering::Relaxed);
    assert!(db.flush_frozen().is_err());
    let runs = || db.report().tables.iter().map(|table| table.runs.len()).collect::<Vec<_>>();
    assert_eq!(runs(), [0, 1]);
    is_damaged.store(false, Ordering::Relaxed);
    db.flush_frozen().unwrap();
    assert_eq!(runs(), [1, 1]);
}

#[test]
fn a_table_that_cannot_be_compacted_keeps_no_other_from_it() {
    let (disk, is_damaged) = refusing_disk();
    let db = Database::open(disk, Options { compact_runs: 4, ..small_options() }).unwrap();
    for table in ["a", "b"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
        // More to do for the first one.
        for step in 0..if table == "a" { 8 } else { 5 } {
            db.write(WriteBatch::new().upsert(table, rows(&list(0..10, &step.to_string())))).unwrap();
            db.flush(table).unwrap();
        }
    }
    is_damaged.store(true, Ordering::Relaxed);
    while db.compact_step(Effort::Steady).unwrap_or(false) {}
    assert!(db.compact_step(Effort::Steady).is_err(), "nothing but the table that cannot be compacted is left");
    let depths: Vec<usize> = db.report().tables.iter().map(|table| table.depth).collect();
    assert!(depths[0] >= 4 && depths[1] < 4, "{depths:?}");
    is_damaged.store(false, Ordering::Relaxed);
    while db.compact_step(Effort::Steady).unwrap() {}
    assert!(db.report().tables.iter().all(|table| table.depth < 4));
}

#[test]
fn the_files_of_many_commits_become_one_and_say_the_same() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = Options { compact_runs: 1000, ..small_options() };
    let mut model = Rows::new();
    let (mut files, mut most) = (0, 0);
    for commit in 0..40 {
        let db = Database::open(disk.clone(), options.clone()).unwrap();
        if commit == 0 {
            db.create_table("t", &schema(), &["k"]).unwrap();
        }
        let list = list((commit..commit + 50).step_by(3), &format!("commit {commit}"));
        db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap();
        db.flush("t").unwrap();
        model.extend(list);
        let report = db.report().tables.swap_remove(0);
        most = most.max(report.deletion_files.len());
        files += usize::from(report.deletion_files.len() == 1 && commit > 1);
        assert_eq!(contents(&db).unwrap()["t"], model, "commit {commit}");
        db.close().unwrap();
    }
    assert!(files >= 2 && most <= 17, "{files} times one file, {most} at most");
    assert_eq!(verify(&disk, &options, None).unwrap().findings.len(), 0);
}

/// Options with which tables are of many small runs.
fn many_runs(compact_runs: usize) -> Options {
    Options { sst_rows: 40, compact_runs, dead_percent: 20, memtable_bytes: 400, ..small_options() }
}

#[test]
fn what_is_due_keeps_tables_within_their_bounds_and_leaves_every_row() {
    let mut reasons = BTreeMap::new();
    for seed in 0..6 {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        // Keys of all the table where few runs are allowed, new ones, and again all where dead rows come to many first.
        let (depth, appends) = [(4, false), (4, true), (24, false)][usize::try_from(seed % 3).unwrap()];
        let db = Database::open(disk.clone(), many_runs(depth)).unwrap();
        db.create_table("t", &schema(), &["k"]).unwrap();
        let (mut random, mut model) = (StdRng::seed_from_u64(seed), Rows::new());
        for round in 0..60 {
            let from = if appends { round * 50 } else { random.random_range(0..200) };
            let list = list(from..from + random.random_range(1..30), &format!("{round}"));
            let deleted: Vec<i64> = (0..3).map(|_| from + random.random_range(0..40)).collect();
            db.write(WriteBatch::new().delete("t", keys(&deleted)).upsert("t", rows(&list))).unwrap();
            db.flush("t").unwrap();
            model.retain(|key, _| !deleted.contains(key));
            model.extend(list);
            while db.compact_step(Effort::Steady).unwrap() {}
            let report = db.report();
            assert!(report.tables[0].depth < depth, "seed {seed}, round {round}: {report:?}");
            assert_eq!(contents(&db).unwrap()["t"], model, "seed {seed}, round {round}");
        }
        for compaction in &db.report().tables[0].history.compactions {
            *reasons.entry(compaction.reason).or_insert(0) += 1;
        }
        while db.compact_step(Effort::Idle).unwrap() {}
        let table = &db.report().tables[0];
        assert!(table.dead_rows() * 100 <= table.rows() * 3, "seed {seed}: {table:?}");
        assert_eq!(contents(&db).unwrap()["t"], model, "seed {seed}, idle");
        db.close().unwrap();
        assert_eq!(verify(&disk, &many_runs(depth), None).unwrap().findings.len(), 0, "seed {seed}");
    }
    let wanted = [Reason::ManyRuns, Reason::DeadRows, Reason::SmallRuns];
    assert!(wanted.iter().all(|reason| reasons.contains_key(reason)), "{reasons:?}");
}

/// Other tables waited for the end of a compaction that somebody had asked for, and so did their writers.
#[test]
fn other_tables_are_kept_within_their_limits_while_one_is_compacted_as_a_whole() {
    let (begun, database) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(OnceLock::<Weak<Database>>::new()));
    let depths = Arc::new(Mutex::new(Vec::new()));
    let (runs_begun, shared, found) = (begun.clone(), database.clone(), depths.clone());
    let disk = HookedDisk::new(Arc::new(MemoryDisk::new()), move |call, path| {
        let is_run = call == Call::Change && path.starts_with("staging/") && path.ends_with(".parquet");
        let is_asked = std::thread::current().name() == Some("asks");
        if is_run && is_asked && runs_begun.load(Ordering::Relaxed) < usize::MAX / 2 {
            let db = shared.get().unwrap().upgrade().unwrap();
            if runs_begun.fetch_add(1, Ordering::Relaxed) == 0 {
                let before = runs_begun.swap(usize::MAX, Ordering::Relaxed);
                overlapping_runs(&db, "b", 6);
                runs_begun.store(before, Ordering::Relaxed);
            }
            found.lock().unwrap().push(db.report().tables[1].depth);
        }
        Ok(())
    });
    let options = Options { background: true, dead_percent: 100, memtable_bytes: 1 << 20, ..many_runs(4) };
    let db = Arc::new(Database::open(Arc::new(disk), options).unwrap());
    database.set(Arc::downgrade(&db)).unwrap();
    for table in ["a", "b"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
    }
    for part in 0..10 {
        db.write(WriteBatch::new().upsert("a", rows(&list(part * 40..part * 40 + 40, "old")))).unwrap();
        db.flush("a").unwrap();
    }
    db.write(WriteBatch::new().upsert("a", rows(&list((0..400).step_by(3), "new")))).unwrap();
    // Not to be flushed by the one who is asked.
    db.flush("a").unwrap();
    let asking = db.clone();
    begun.store(0, Ordering::Relaxed);
    std::thread::Builder::new()
        .name("asks".to_owned())
        .spawn(move || asking.compact("a").unwrap())
        .unwrap()
        .join()
        .unwrap();
    let depths = depths.lock().unwrap().clone();
    assert!(depths[0] >= 6 && depths.last().is_some_and(|depth| *depth < 4), "{depths:?}");
}

/// Flushes runs that share all keys.
fn overlapping_runs(db: &Database, table: &str, count: usize) {
    for number in 0..count {
        db.write(WriteBatch::new().upsert(table, rows(&list(0..10, &number.to_string())))).unwrap();
        db.flush(table).unwrap();
    }
}
