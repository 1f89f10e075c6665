//! Backups that are interrupted: power cuts at every call, and calls that fail.
//!
//! The oracle: the original holds what was acknowledged; the backup is a database with exactly its contents, or it is
//! none and says so. A backup that was interrupted can be made again in the same folder.

use std::collections::HashSet;
use std::sync::Arc;

use rustling_engine::backup::file::BackupOptions;
use rustling_engine::backup::run::Step as BackupStep;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::disk::sim::{Effect, Failure, Fault, Image, SimDisk};
use rustling_engine::error::{Error, ErrorKind, Result};
use rustling_engine::id::RunId;
use rustling_engine::verify::repair::repair;

use crate::backup::{COPIED, LINKED, open};
use crate::fixture::{Step, Tables, contents, run_model, run_open, small_options};
use crate::two_folders::Folder;

/// The mark of a backup that returned.
const BACKED_UP: u64 = 1000;

fn text(value: i64) -> Option<String> {
    Some(format!("value {value}"))
}

/// What happens before a backup: runs with and without deleted keys, and changes in memory of both tables.
fn before() -> Vec<Step> {
    vec![
        Step::Create("a"),
        Step::Create("b"),
        Step::Load("a", (0..6).map(|key| (key, format!("loaded {key}"))).collect()),
        Step::Write(vec![("a", 2, None), ("a", 7, text(7)), ("b", 1, text(1))]),
        Step::Flush("a"),
        Step::Write(vec![("a", 1, text(10)), ("b", 2, text(2)), ("a", 3, None)]),
    ]
}

/// What happens while it is made.
fn meanwhile() -> Vec<Step> {
    vec![
        Step::Write(vec![("a", 8, text(8)), ("b", 1, None)]),
        Step::Flush("a"),
        Step::Compact("a"),
        Step::Drop("b"),
        Step::Write(vec![("a", 9, text(9))]),
        Step::Create("b"),
    ]
}

/// The disk behind a backup of `db` into `backup`, at which boundary it began, what the original held behind each step
/// since then, and what the backup holds.
struct Story {
    disk: SimDisk,
    began: usize,
    states: Vec<Tables>,
    wanted: Tables,
}

fn tell(options: BackupOptions) -> Story {
    let disk = SimDisk::new();
    let db = Database::open(Folder::shared(&disk, "db"), small_options()).unwrap();
    let mut wanted = Tables::new();
    for step in before() {
        run_open(&db, &step).unwrap();
        run_model(&mut wanted, &step);
    }
    let began = disk.boundaries() - 1;
    let mut states = vec![wanted.clone()];
    let mut steps = meanwhile().into_iter();
    let mut live = |states: &mut Vec<Tables>| {
        let Some(step) = steps.next() else { return };
        run_open(&db, &step).unwrap();
        disk.mark(states.len() as u64);
        let mut state = states[states.len() - 1].clone();
        run_model(&mut state, &step);
        states.push(state);
    };
    let mut backup = db.begin_backup(Folder::shared(&disk, "backup"), options).unwrap();
    loop {
        match backup.step().unwrap() {
            BackupStep::Next(next) => backup = next,
            BackupStep::Done(_) => break,
        }
        live(&mut states);
    }
    disk.mark(BACKED_UP);
    live(&mut states);
    drop(db);
    Story { disk, began, states, wanted }
}

impl Story {
    /// What is wrong with an image in which these marks were made.
    fn check(&self, image: &Image, marks: &[u64]) -> Result<(), String> {
        let steps =
            marks.iter().filter(|mark| **mark != BACKED_UP).max().map_or(0, |mark| usize::try_from(*mark).unwrap());
        let disk = image.clone().into_disk();
        let original = open(Folder::shared(&disk, "db")).and_then(|db| contents(&db));
        let original = original.map_err(|error| format!("the original: {error}"))?;
        if !self.states[steps..self.states.len().min(steps + 2)].contains(&original) {
            return Err(format!("the original holds {original:?} behind {steps} steps"));
        }
        match open(Folder::shared(&disk, "backup")).and_then(|db| contents(&db)) {
            Ok(found) if found == self.wanted => {}
            Ok(found) => return Err(format!("the backup holds {found:?}")),
            Err(error) if marks.contains(&BACKED_UP) => return Err(format!("the backup was acknowledged: {error}")),
            Err(Error::Unfinished { .. }) => {}
            Err(Error::NoDatabase { .. }) => check_nothing(image)?,
            Err(error) => return Err(format!("the backup: {error}")),
        }
        Ok(())
    }

    /// A backup into the same folder, after a crash.
    fn again(&self, image: Image) -> Result<(), String> {
        let disk = image.into_disk();
        let db = open(Folder::shared(&disk, "db")).map_err(|error| error.to_string())?;
        let wanted = contents(&db).map_err(|error| error.to_string())?;
        let made = db.backup(Folder::shared(&disk, "backup"), COPIED);
        let found = open(Folder::shared(&disk, "backup")).and_then(|db| contents(&db));
        match (made, found) {
            (Ok(_), Ok(found)) if found == wanted => Ok(()),
            (Err(Error::NotEmpty { .. }), Ok(found)) if found == self.wanted => Ok(()),
            other => Err(format!("made again: {other:?}")),
        }
    }
}

/// What opens as a new database must not be half a backup.
fn check_nothing(image: &Image) -> Result<(), String> {
    let left: Vec<&str> = image.files().map(|(path, _)| path).filter(|path| path.starts_with("backup/")).collect();
    if left.iter().all(|path| *path == "backup/LOCK") { Ok(()) } else { Err(format!("not marked: {left:?}")) }
}

/// Cuts the power at every boundary since the backup began.
fn cut_power(options: BackupOptions) -> (usize, Vec<String>) {
    let story = tell(options);
    let (mut seen, mut violations) = (HashSet::new(), Vec::new());
    for boundary in story.began..story.disk.boundaries() {
        let marks = story.disk.marks(boundary);
        let marks: Vec<u64> = marks.into_iter().collect();
        story.disk.images(boundary, &mut |image| {
            if !seen.insert((image.digest(), marks.clone())) {
                return;
            }
            let mut outcome = story.check(&image, &marks);
            if outcome.is_ok() && seen.len().is_multiple_of(10) {
                outcome = story.again(image.clone());
            }
            if let Err(problem) = outcome {
                let place = story.disk.describe_boundary(boundary);
                violations.push(format!("boundary {boundary} ({place}), {}: {problem}", image.origin()));
            }
        });
    }
    (seen.len(), violations)
}

#[test]
fn a_power_cut_leaves_the_original_and_a_whole_backup_or_none() {
    for options in [LINKED, COPIED] {
        let (images, violations) = cut_power(options);
        println!("{options:?}: {images} images");
        assert_eq!(violations.into_iter().next(), None);
        assert!(images > 300, "{images}");
    }
}

const FAULTS: [(Failure, Effect); 5] = [
    (Failure::Kind(std::io::ErrorKind::StorageFull), Effect::Before),
    (Failure::Kind(std::io::ErrorKind::StorageFull), Effect::Short),
    (Failure::Errno(5), Effect::Before),
    (Failure::Errno(5), Effect::After),
    (Failure::Errno(5), Effect::Lost),
];

/// Makes a backup whose call number `call` fails; `None` if there is no such call, else whether the backup failed.
fn fail(image: &Image, wanted: &Tables, options: BackupOptions, call: usize, fault: (Failure, Effect)) -> Option<bool> {
    let disk = image.clone().into_disk();
    let target = || -> Arc<dyn Disk> { Folder::shared(&disk, "backup") };
    let db = open(Folder::shared(&disk, "db")).unwrap();
    let first = disk.calls().len();
    disk.fail_at(first + call, Fault { failure: fault.0, effect: fault.1 });
    let context = || format!("{options:?}, {fault:?}, call {:?}", disk.calls().get(first + call));
    let made = db.backup(target(), options);
    if disk.calls().len() <= first + call {
        return None;
    }
    assert_eq!(contents(&db).unwrap(), *wanted, "{}", context());
    run_open(&db, &Step::Write(vec![("a", 50, text(50))])).unwrap();
    match (&made, open(target())) {
        (Ok(_), Ok(copy)) => assert_eq!(contents(&copy).unwrap(), *wanted, "{}", context()),
        (Ok(_), Err(error)) => panic!("{}: {error}", context()),
        (Err(error), opened) => {
            assert_eq!(error.kind(), ErrorKind::Io, "{}: {error}", context());
            match opened {
                Ok(copy) => assert_eq!(contents(&copy).unwrap(), *wanted, "{}", context()),
                Err(Error::Unfinished { .. } | Error::NoDatabase { .. }) => {}
                Err(error) => panic!("{}: {error}", context()),
            }
            let wanted = contents(&db).unwrap();
            match db.backup(target(), options) {
                Ok(_) => assert_eq!(contents(&open(target()).unwrap()).unwrap(), wanted, "{}", context()),
                Err(Error::NotEmpty { .. }) => drop(open(target()).unwrap()),
                Err(error) => panic!("{}, again: {error}", context()),
            }
        }
    }
    Some(made.is_err())
}

#[test]
fn every_call_of_a_backup_that_fails_is_told_and_harms_nothing() {
    let disk = SimDisk::new();
    let db = Database::open(Folder::shared(&disk, "db"), small_options()).unwrap();
    let mut wanted = Tables::new();
    for step in before() {
        run_open(&db, &step).unwrap();
        run_model(&mut wanted, &step);
    }
    drop(db);
    let image = disk.killed_image(usize::MAX);
    let (mut runs, mut told) = (0, 0);
    for options in [LINKED, COPIED] {
        for fault in FAULTS {
            for failed in (0..).map_while(|call| fail(&image, &wanted, options, call, fault)) {
                runs += 1;
                told += usize::from(failed);
            }
        }
    }
    println!("{runs} runs, {told} backups failed");
    assert!(told > runs * 3 / 4, "too few faults reached the caller: {told} of {runs}");
}

/// A backup that failed is removed in an order in which it is never half a database.
#[test]
fn a_power_cut_while_a_failed_backup_is_removed_leaves_it_whole_or_marked() {
    let disk = SimDisk::new();
    let db = Database::open(Folder::shared(&disk, "db"), small_options()).unwrap();
    let mut wanted = Tables::new();
    for step in before() {
        run_open(&db, &step).unwrap();
        run_model(&mut wanted, &step);
    }
    let image = disk.killed_image(usize::MAX);
    let calls = disk.calls().len();
    db.backup(Folder::shared(&disk, "backup"), LINKED).unwrap();
    let (calls, mut images) = (disk.calls().len() - calls, 0);
    // In the middle, and at each of the last calls: around the manifest.
    for call in [calls / 2].into_iter().chain(calls - 12..calls) {
        let disk = image.clone().into_disk();
        let db = open(Folder::shared(&disk, "db")).unwrap();
        disk.fail_at(disk.calls().len() + call, Fault { failure: Failure::Errno(5), effect: Effect::Before });
        let began = disk.boundaries() - 1;
        drop(db.backup(Folder::shared(&disk, "backup"), LINKED));
        drop(db);
        let story = Story { states: vec![wanted.clone()], wanted: wanted.clone(), began, disk };
        let mut seen = HashSet::new();
        for boundary in story.began..story.disk.boundaries() {
            story.disk.images(boundary, &mut |image| {
                if seen.insert(image.digest()) {
                    let place = story.disk.describe_boundary(boundary);
                    let checked = story.check(&image, &[]);
                    assert_eq!(checked, Ok(()), "call {call}, boundary {boundary} ({place}), {}", image.origin());
                }
            });
        }
        images += seen.len();
    }
    println!("{images} images");
}

/// Changes that are copied before anything else is take memory no longer than they must.
#[test]
fn what_is_in_memory_is_written_before_any_file_is_copied() {
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    for table in ["a", "b"] {
        run_open(&db, &Step::Create(table)).unwrap();
        run_open(&db, &Step::Write(vec![(table, 1, Some("in a run".to_owned()))])).unwrap();
        run_open(&db, &Step::Flush(table)).unwrap();
        run_open(&db, &Step::Write(vec![(table, 2, Some("in memory".to_owned()))])).unwrap();
    }
    let tables = db.report().tables;
    let copied: Vec<RunId> = tables.iter().flat_map(|table| table.runs.iter().map(|run| run.id)).collect();
    let target: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut left = Some(db.begin_backup(target.clone(), COPIED).unwrap());
    let mut seen = 0;
    while let Some(backup) = left.take() {
        let folders = tables.iter().map(|table| path::table(table.id));
        let names = folders.flat_map(|folder| target.list(&folder).unwrap_or_default());
        let ids: HashSet<RunId> = names.filter_map(|name| path::parse_run(&name)).map(|(id, _)| id).collect();
        let is_copying = ids.iter().any(|id| copied.contains(id));
        assert!(!is_copying || ids.iter().filter(|id| !copied.contains(id)).count() == 2, "{ids:?}");
        seen += usize::from(is_copying);
        if let BackupStep::Next(next) = backup.step().unwrap() {
            left = Some(next);
        }
    }
    assert!(seen > 2, "{seen}");
}

/// Its key index had the width of keys that it has none of, and could not be made again.
#[test]
fn a_run_of_deleted_keys_alone_can_be_repaired_in_a_backup() {
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    run_open(&db, &Step::Create("a")).unwrap();
    run_open(&db, &Step::Write(vec![("a", 1, Some("one".to_owned())), ("a", 2, Some("two".to_owned()))])).unwrap();
    run_open(&db, &Step::Flush("a")).unwrap();
    run_open(&db, &Step::Write(vec![("a", 1, None)])).unwrap();
    let target: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    db.backup(target.clone(), COPIED).unwrap();
    let deletes = open(target.clone()).unwrap().report().tables[0].runs.iter().map(|run| run.id).max().unwrap();
    let index = path::run(db.report().tables[0].id, deletes, RunFile::Keys);
    target.remove(&index).unwrap();
    let report = repair(&target, &small_options(), None).unwrap();
    assert_eq!((report.rebuilt, report.left.len()), (vec![index], 0));
    assert_eq!(contents(&open(target).unwrap()).unwrap()["a"].len(), 1);
}
