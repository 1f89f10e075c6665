//! Backups: what is in them is what the database held at one moment, whatever happens meanwhile, and neither can change
//! the other.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::backup::file::BackupOptions;
use rustling_engine::backup::run::{Backup, BackupReport, Step as BackupStep};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::disk::sim::{Effect, Failure, Fault, Operation, SimDisk};
use rustling_engine::error::{Damage, Error, ErrorKind, Result};
use rustling_engine::id::WalId;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::version::manifest::Manifest;

use crate::crash::scripts;
use crate::fixture::{Rows, Step, Tables, contents, keys, rows, run, run_model, run_open, schema, small_options};
use crate::ledger;
use crate::two_folders::Folder;

pub(crate) const LINKED: BackupOptions = BackupOptions { link: true, verify: false };
pub(crate) const COPIED: BackupOptions = BackupOptions { link: false, verify: true };

/// Opens what must be there.
pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Database> {
    Database::open(disk, Options { create: false, ..small_options() })
}

fn held(disk: Arc<dyn Disk>) -> Tables {
    contents(&open(disk).unwrap()).unwrap()
}

/// Does one step of a backup; what it led to.
fn step<'a>(backup: Backup<'a>, done: &mut Vec<BackupReport>) -> Option<Backup<'a>> {
    match backup.step().unwrap() {
        BackupStep::Next(next) => Some(next),
        BackupStep::Done(report) => {
            done.push(report);
            None
        }
    }
}

/// Begins a backup behind `at` steps of a script, and does the others between its steps.
fn interleave(steps: &[Step], at: usize, options: BackupOptions) {
    let sim = SimDisk::new();
    let (disk, target) = (Folder::shared(&sim, "db"), Folder::shared(&sim, "backup"));
    let mut db = Database::open(disk.clone(), small_options()).unwrap();
    let mut model = Tables::new();
    for step in &steps[..at] {
        run(&mut db, &disk, &small_options(), step).unwrap();
        run_model(&mut model, step);
    }
    let wanted = model.clone();
    let mut done = Vec::new();
    let mut backup = Some(db.begin_backup(target.clone(), options).unwrap());
    for script_step in &steps[at..] {
        backup = backup.and_then(|backup| step(backup, &mut done));
        run_open(&db, script_step).unwrap();
        run_model(&mut model, script_step);
    }
    while let Some(next) = backup {
        backup = step(next, &mut done);
    }
    assert_eq!((done.len(), done[0].tables), (1, wanted.len()));
    assert_eq!(held(target.clone()), wanted, "behind {at} of {steps:?}");
    assert_eq!(contents(&db).unwrap(), model);
    check_independent(&sim, db, model, wanted);
}

/// Both live on, and neither sees what becomes of the other. Files of runs, which they may share, are never changed.
fn check_independent(sim: &SimDisk, mut db: Database, model: Tables, wanted: Tables) {
    let (disk, target) = (Folder::shared(sim, "db"), Folder::shared(sim, "backup"));
    let before = sim.calls().len();
    let mut copy = open(target.clone()).unwrap();
    let live_on = |db: &mut Database, disk: &Arc<dyn Disk>, tables: &mut Tables, word: &str| {
        for name in ["a", "b"].into_iter().filter(|name| tables.contains_key(*name)).collect::<Vec<_>>() {
            for step in [
                Step::Write((0..9).map(|key| (name, key, (key % 3 > 0).then(|| format!("{word} {key}")))).collect()),
                Step::Flush(name),
                Step::Compact(name),
                Step::Load(name, vec![(3, format!("{word} loaded"))]),
                Step::Reopen,
            ] {
                run(db, disk, &small_options(), &step).unwrap();
                run_model(tables, &step);
            }
        }
    };
    let (mut model, mut copied) = (model, wanted);
    live_on(&mut copy, &target, &mut copied, "copy");
    assert_eq!(contents(&db).unwrap(), model, "the original does not see what is done to the copy");
    live_on(&mut db, &disk, &mut model, "original");
    assert_eq!(contents(&copy).unwrap(), copied, "the copy does not see what is done to the original");
    for (name, gone) in [("a", &mut copy), ("b", &mut db)] {
        drop(gone.drop_table(name));
    }
    copied.remove("a");
    model.remove("b");
    drop((db, copy));
    assert_eq!((held(disk), held(target)), (model, copied));
    for call in &sim.calls()[before..] {
        assert!(call.operation != Operation::OpenAppend || call.path.contains("/wal/"), "{call:?}");
    }
}

#[test]
fn a_backup_holds_what_was_there_when_it_began_whatever_happens_meanwhile() {
    for script in scripts() {
        for at in 0..=script.steps.len() {
            interleave(&script.steps, at, if at % 2 == 0 { LINKED } else { COPIED });
        }
    }
}

/// A random step that fits the tables there are.
fn random_step(random: &mut StdRng, tables: &Tables) -> Step {
    let name = ["a", "b"][random.random_range(0..2)];
    let Some(rows) = tables.get(name) else { return Step::Create(name) };
    let value = random.random_range(0..1000);
    match random.random_range(0..20) {
        0..=9 => Step::Write(
            (0..random.random_range(1..5))
                .map(|_| (name, random.random_range(0..40), random.random_bool(0.7).then(|| format!("v {value}"))))
                .collect(),
        ),
        10..=13 => Step::Flush(name),
        14..=16 => Step::Compact(name),
        17 | 18 => Step::Load(name, (0..random.random_range(1..30)).map(|key| (key, format!("l {value}"))).collect()),
        _ if rows.len() > 3 => Step::Drop(name),
        _ => Step::Flush(name),
    }
}

/// Random steps with up to two backups under way at any time, begun and continued at random; the number of backups.
fn random_backups(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    let mut model = Tables::new();
    let mut running: Vec<(Backup<'_>, Arc<dyn Disk>, Tables)> = Vec::new();
    let mut complete = 0;
    for _ in 0..60 {
        if running.len() < 2 && random.random_bool(0.2) {
            let target: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            running.push((db.begin_backup(target.clone(), COPIED).unwrap(), target, model.clone()));
        }
        if !running.is_empty() && random.random_bool(0.6) {
            let (backup, target, wanted) = running.swap_remove(random.random_range(0..running.len()));
            let mut done = Vec::new();
            match step(backup, &mut done) {
                Some(next) => running.push((next, target, wanted)),
                None => {
                    assert_eq!(held(target), wanted);
                    complete += 1;
                }
            }
        }
        let next = random_step(&mut random, &model);
        run_open(&db, &next).unwrap();
        run_model(&mut model, &next);
    }
    for (backup, target, wanted) in running {
        backup.finish().unwrap();
        assert_eq!(held(target), wanted);
        complete += 1;
    }
    complete
}

#[test]
fn backups_at_random_moments_give_what_the_model_gives() {
    let ledger = ledger::Run::begin("backup", 0..150);
    let mut backups = 0;
    for seed in ledger.seeds() {
        let outcome = std::panic::catch_unwind(|| random_backups(seed));
        backups += outcome.unwrap_or_else(|_| panic!("failed with SEEDS={seed}..{}", seed + 1));
    }
    let sequences = ledger.seeds().end - ledger.seeds().start;
    ledger.end(&[("sequences", sequences), ("backups", backups), ("violations", 0)]);
}

#[test]
fn backups_under_concurrent_writers_hold_exactly_the_changes_up_to_their_sequence_number() {
    // Large enough that taking the changes of a memtable takes longer than a write.
    let small = Options { memory_bytes: 2 << 20, memtable_bytes: 256 << 10, compact_runs: 2, ..Options::default() };
    let db = Database::open(Arc::new(MemoryDisk::new()), small).unwrap();
    for name in ["a", "b"] {
        db.create_table(name, &schema(), &["k"]).unwrap();
    }
    let (changes, stop) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    let mut backups = Vec::new();
    std::thread::scope(|scope| {
        let writers = [0, 1, 2i64].map(|writer| {
            let (db, changes, stop) = (&db, &changes, &stop);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    let row = (round * 7 % 50 + writer, format!("{writer} {round:0>200}"));
                    let batch = rows(std::slice::from_ref(&row));
                    let seq = db.write(WriteBatch::new().upsert("a", batch.clone()).upsert("b", batch)).unwrap();
                    changes.lock().unwrap().insert(seq, row);
                    round += 1;
                }
            })
        });
        for round in 0..40 {
            while changes.lock().unwrap().len() < round * 100 && !writers.iter().any(|writer| writer.is_finished()) {
                std::thread::yield_now();
            }
            let target: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            backups.push((db.backup(target.clone(), BackupOptions::default()), target));
        }
        stop.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
    let changes = changes.into_inner().unwrap();
    for (made, target) in backups {
        let seq = made.unwrap().seq;
        let wanted: Rows = changes.range(..=seq).map(|(_, row)| row.clone()).collect();
        let found = held(target);
        assert!(found["a"] == wanted && found["b"] == wanted, "the backup at {seq} is not what was written until then");
    }
    assert!(db.report().flushes > 4, "{:?}", db.report());
}

/// A database in a folder with runs, deleted keys, and changes in memory; and what it holds.
fn on_disk(folder: &Path) -> (Database, Tables) {
    let db = Database::open(local(folder), small_options()).unwrap();
    let mut model = Tables::new();
    for step in [
        Step::Create("a"),
        Step::Load("a", (0..200).map(|key| (key, format!("loaded {key}"))).collect()),
        Step::Write(vec![("a", 1, None), ("a", 2, Some("two".to_owned()))]),
        Step::Flush("a"),
        Step::Write(vec![("a", 3, None), ("a", 4, Some("four".to_owned()))]),
    ] {
        run_open(&db, &step).unwrap();
        run_model(&mut model, &step);
    }
    (db, model)
}

pub(crate) fn local(folder: &Path) -> Arc<dyn Disk> {
    Arc::new(LocalDisk::open(folder).unwrap())
}

/// All files below a folder with their contents, and how many names each has.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u64)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let below = files(&path);
            found.extend(
                below.into_iter().map(|(below, file)| (Path::new(path.file_name().unwrap()).join(below), file)),
            );
        } else {
            let links = path.metadata().unwrap().nlink();
            found.insert(path.file_name().unwrap().into(), (std::fs::read(&path).unwrap(), links));
        }
    }
    found
}

#[test]
fn in_one_file_system_runs_are_linked_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let (db, model) = on_disk(&folder.path().join("db"));
    let report = db.backup(local(&folder.path().join("linked")), BackupOptions::default()).unwrap();
    assert_eq!((report.linked.files, report.tables), (5, 1), "two runs, one of them with deleted keys: {report:?}");
    assert_eq!(report.copied.files, 4, "what was in memory, and which rows are dead: {report:?}");
    for (path, (_, links)) in files(&folder.path().join("linked")) {
        let is_run =
            path.starts_with("tables") && ![".dv", "00004."].iter().any(|made| path.to_string_lossy().contains(made));
        assert_eq!(links, if is_run { 2 } else { 1 }, "{}", path.display());
    }
    let report = db.backup(local(&folder.path().join("copied")), COPIED).unwrap();
    assert_eq!((report.linked.files, report.copied.files), (0, 9));
    let bytes = |file: &(Vec<u8>, u64)| file.0.clone();
    for (path, file) in files(&folder.path().join("copied")).iter().filter(|(path, _)| path.starts_with("tables")) {
        assert_eq!(file.1, 1, "{}", path.display());
        assert_eq!(bytes(file), bytes(&files(&folder.path().join("linked"))[path]), "{}", path.display());
    }
    for copy in ["linked", "copied"] {
        assert_eq!(held(local(&folder.path().join(copy))), model, "{copy}");
    }
    // The original goes, the backup stays.
    drop(db);
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    assert_eq!(held(local(&folder.path().join("linked"))), model);
}

#[test]
fn into_another_file_system_files_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    if folder.path().metadata().unwrap().dev() == other.path().metadata().unwrap().dev() {
        return;
    }
    let (db, model) = on_disk(&folder.path().join("db"));
    let report = db.backup(local(&other.path().join("backup")), BackupOptions::default()).unwrap();
    assert_eq!((report.linked.files, report.copied.files), (0, 9));
    assert_eq!(held(local(&other.path().join("backup"))), model);
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_left_of_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = on_disk(&folder.path().join("db"));
    let name = "tables/0000000001/00000000000000000001.parquet";
    let path = folder.path().join("db").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    for options in [BackupOptions::default(), COPIED] {
        let error = db.backup(local(&folder.path().join("backup")), options).unwrap_err();
        let Error::Corrupt { path, damage: Damage::Digest { .. }, .. } = &error else { panic!("{error}") };
        assert_eq!(path, name);
        assert!(!folder.path().join("backup").exists());
    }
    // A folder that was there stays, and so does its lock.
    std::fs::create_dir(folder.path().join("backup")).unwrap();
    db.backup(local(&folder.path().join("backup")), COPIED).unwrap_err();
    assert_eq!(files(&folder.path().join("backup")).into_keys().collect::<Vec<_>>(), [PathBuf::from("LOCK")]);
    db.backup(local(&folder.path().join("backup")), LINKED).unwrap();
}

#[test]
fn a_folder_that_holds_something_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = on_disk(&folder.path().join("db"));
    let target = folder.path().join("backup");
    db.backup(local(&target), LINKED).unwrap();
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    std::fs::write(folder.path().join("photos/holiday.jpg"), "").unwrap();
    for (used, expected) in [("backup", "manifest"), ("db", "manifest"), ("photos", "holiday.jpg")] {
        let used = folder.path().join(used);
        let before = files(&used);
        let error = db.backup(local(&used), LINKED).unwrap_err();
        assert!(matches!(&error, Error::NotEmpty { found, .. } if found == expected), "{error}");
        assert_eq!(files(&used), before);
    }
    let error = db.backup(local(&folder.path().join("photos/holiday.jpg")), LINKED).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

#[test]
fn a_closed_database_is_copied_with_what_is_in_its_log_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (db, model) = on_disk(&folder.path().join("db"));
    let begin = |source: &str, target: &str| {
        let (source, target) = (local(&folder.path().join(source)), local(&folder.path().join(target)));
        Backup::of_closed(source, target, &small_options(), COPIED)
    };
    let error = begin("db", "backup").err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    // Not closed in order, and the log ends in half a record.
    let end = db.report().wal_end;
    drop(db);
    let segment = folder.path().join("db").join(path::wal(end.segment));
    let mut log = std::fs::read(&segment).unwrap();
    log.truncate(usize::try_from(end.length).unwrap());
    log.extend_from_slice(b"RWAL and then the power went");
    std::fs::write(&segment, log).unwrap();
    let before = files(&folder.path().join("db"));
    let report = begin("db", "backup").unwrap().finish().unwrap();
    assert_eq!(report.torn.as_ref().unwrap().bytes, 28, "{report:?}");
    assert_eq!(files(&folder.path().join("db")), before);
    let copied = files(&folder.path().join("backup"));
    let (log, _) = &copied[Path::new(&path::wal(WalId(1)))];
    assert!(log.len() < 200, "space is reserved in a log that nobody writes to: {} bytes", log.len());
    assert_eq!(held(local(&folder.path().join("backup"))), model);
    begin("backup", "restored").unwrap().finish().unwrap();
    let mut restored = open(local(&folder.path().join("restored"))).unwrap();
    assert!(restored.open_report().swept.is_empty() && restored.open_report().replayed == 0);
    run(&mut restored, &local(&folder.path().join("restored")), &small_options(), &Step::Compact("a")).unwrap();
    assert_eq!(contents(&restored).unwrap(), model);
    for (source, target) in [("missing", "new"), ("backup", "restored")] {
        let error = begin(source, target).err().unwrap();
        assert!(matches!(error, Error::NoDatabase { .. } | Error::NotEmpty { .. }), "{error}");
    }
    assert!(!folder.path().join("new").exists() && !folder.path().join("missing").exists());
}

/// Files of the one put over those of the other are told apart by the random number in both logs.
#[test]
fn a_log_of_the_original_is_not_taken_for_that_of_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = on_disk(&folder.path().join("db"));
    for name in ["backup", "another"] {
        db.backup(local(&folder.path().join(name)), LINKED).unwrap();
    }
    drop(db);
    let numbers = ["db", "backup", "another"].map(|name| {
        let place = folder.path().join(name).join(path::MANIFESTS);
        let manifest = std::fs::read_dir(place).unwrap().next().unwrap().unwrap();
        let id = path::parse_manifest(&manifest.file_name().to_string_lossy()).unwrap();
        Manifest::decode(name, id, &std::fs::read(manifest.path()).unwrap()).unwrap().database
    });
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2], "{numbers:?}");
    let log = |name: &str| folder.path().join(name).join("wal");
    std::fs::remove_dir_all(log("backup")).unwrap();
    std::fs::rename(log("db"), log("backup")).unwrap();
    let error = open(local(&folder.path().join("backup"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_poisoned_database_can_be_backed_up_and_a_closed_one_cannot() {
    let sim = SimDisk::new();
    let db = Database::open(Folder::shared(&sim, "db"), small_options()).unwrap();
    run_open(&db, &Step::Create("a")).unwrap();
    run_open(&db, &Step::Write(vec![("a", 1, Some("one".to_owned()))])).unwrap();
    let sync = sim.calls().len() + 1;
    sim.fail_at(sync, Fault { failure: Failure::Errno(5), effect: Effect::Lost });
    let refused = run_open(&db, &Step::Write(vec![("a", 2, Some("two".to_owned()))])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned, "{refused}");
    db.backup(Folder::shared(&sim, "backup"), LINKED).unwrap();
    let wanted = Tables::from([("a".to_owned(), Rows::from([(1, "one".to_owned())]))]);
    assert_eq!(held(Folder::shared(&sim, "backup")), wanted);
    let begun = db.begin_backup(Folder::shared(&sim, "late"), LINKED).unwrap();
    drop(db.close());
    assert!(matches!(begun.finish().unwrap_err(), Error::Closed));
    assert!(matches!(db.backup(Folder::shared(&sim, "late"), LINKED).unwrap_err(), Error::Closed));
    assert!(matches!(open(Folder::shared(&sim, "late")).unwrap_err(), Error::NoDatabase { .. }));
}

#[test]
fn a_backup_is_never_too_old() {
    let small = Options { memory_bytes: 1 << 20, memtable_bytes: 64 << 10, ..small_options() };
    let db = Database::open(Arc::new(MemoryDisk::new()), small).unwrap();
    let mut wanted = Tables::new();
    let before = [Step::Create("a"), Step::Write(vec![("a", 1, Some("in memory".to_owned()))])];
    for step in &before {
        run_open(&db, step).unwrap();
        run_model(&mut wanted, step);
    }
    let (snapshot, target): (_, Arc<dyn Disk>) = (db.snapshot(), Arc::new(MemoryDisk::new()));
    let backup = db.begin_backup(target.clone(), COPIED).unwrap();
    let kept: Vec<_> = (0..20)
        .map(|round| {
            let batch: Vec<(i64, String)> = (0..50).map(|key| (round * 50 + key, "x".repeat(1000))).collect();
            db.write(WriteBatch::new().upsert("a", rows(&batch))).unwrap();
            let snapshot = db.snapshot();
            db.flush("a").unwrap();
            snapshot
        })
        .collect();
    let read = snapshot.table("a").unwrap().get(&keys(&[1]));
    assert!(matches!(read, Err(Error::SnapshotTooOld { .. })), "{read:?}");
    backup.finish().unwrap();
    assert_eq!(held(target), wanted);
    drop(kept);
}

#[test]
fn rows_without_a_key_get_new_ids_in_a_backup() {
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    db.create_table("log", &schema(), &[]).unwrap();
    let insert = |db: &Database, count: i64| {
        let batch: Vec<(i64, String)> = (0..count).map(|key| (key, "row".to_owned())).collect();
        db.write(WriteBatch::new().insert("log", rows(&batch))).unwrap();
    };
    insert(&db, 3);
    db.flush("log").unwrap();
    insert(&db, 2);
    let target: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    db.backup(target.clone(), COPIED).unwrap();
    for round in 0..3 {
        let copy = open(target.clone()).unwrap();
        insert(&copy, 1);
        let snapshot = copy.snapshot().table("log").unwrap();
        let found = snapshot.scan(&rustling_engine::read::source::KeyInterval::ALL, &[2]).unwrap();
        let count: usize = found.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(count, 6 + round);
        copy.flush("log").unwrap();
    }
}
