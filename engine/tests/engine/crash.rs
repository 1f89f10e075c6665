//! Power is cut at every I/O call of some scripts, in every way the disk may have kept or lost what was not synced.
//!
//! The oracle: what opens afterwards is what was acknowledged, or that plus the one step in flight. Nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Image, SimDisk};

use crate::fixture::{Step, Tables, contents, run, run_model, small_options};

/// Of so many images the recovery of one is cut off as well.
const NESTED_EVERY: usize = 10;

/// What checking a script found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) boundaries: usize,
    pub(crate) images: usize,
    pub(crate) nested: usize,
    pub(crate) violations: Vec<String>,
}

fn text(value: i64) -> Option<String> {
    Some(format!("value {value}"))
}

fn some_rows(keys: std::ops::Range<i64>, word: &str) -> Vec<(i64, String)> {
    keys.map(|key| (key, format!("{word} {key}"))).collect()
}

/// All scripts: name, steps. Tables are created first.
pub(crate) fn scripts() -> Vec<(&'static str, Vec<Step>)> {
    short_scripts().into_iter().chain(longer_scripts()).collect()
}

/// Scripts of writes and flushes.
fn short_scripts() -> Vec<(&'static str, Vec<Step>)> {
    let write = |table, key| Step::Write(vec![(table, key, text(key))]);
    vec![
        (
            "writes over two tables",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                Step::Write(vec![("a", 1, text(1)), ("b", 1, text(10))]),
                Step::Write(vec![("a", 2, text(2)), ("a", 1, None), ("b", 1, text(11))]),
                Step::Write(vec![("b", 1, None)]),
            ],
        ),
        (
            "a group with one sync",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Group(vec![("a", 2, text(2)), ("a", 3, text(3)), ("a", 1, None), ("a", 4, text(4))]),
                write("a", 5),
            ],
        ),
        ("log segments", {
            let mut steps = vec![Step::Create("a")];
            steps.extend((0..14).map(|key| write("a", key % 5)));
            steps
        }),
        (
            "flush",
            vec![
                Step::Create("a"),
                write("a", 1),
                write("a", 2),
                Step::Flush("a"),
                Step::Write(vec![("a", 1, None), ("a", 3, text(3))]),
                Step::Flush("a"),
                write("a", 2),
            ],
        ),
    ]
}

/// Scripts that rewrite, reopen and drop.
fn longer_scripts() -> Vec<(&'static str, Vec<Step>)> {
    let write = |table, key| Step::Write(vec![(table, key, text(key))]);
    vec![
        (
            "load",
            vec![
                Step::Create("a"),
                write("a", 100),
                Step::Load("a", some_rows(0..8, "loaded")),
                write("a", 3),
                Step::Load("a", some_rows(2..5, "again")),
                write("a", 4),
            ],
        ),
        (
            "compaction",
            vec![
                Step::Create("a"),
                Step::Load("a", some_rows(0..6, "old")),
                Step::Write(vec![("a", 2, None), ("a", 7, text(7))]),
                Step::Flush("a"),
                Step::Compact("a"),
                write("a", 1),
                Step::Compact("a"),
            ],
        ),
        (
            "closing and opening",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Reopen,
                write("a", 2),
                Step::Flush("a"),
                Step::Reopen,
                Step::Reopen,
                write("a", 3),
            ],
        ),
        (
            "dropping a table",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                Step::Write(vec![("a", 1, text(1)), ("b", 2, text(2))]),
                Step::Flush("a"),
                Step::Drop("a"),
                write("b", 3),
                Step::Create("a"),
                write("a", 4),
            ],
        ),
        (
            "one table is flushed, the other is not",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                write("b", 1),
                write("a", 1),
                write("a", 2),
                Step::Flush("a"),
                write("a", 3),
                write("b", 2),
                Step::Flush("a"),
                Step::Flush("b"),
            ],
        ),
    ]
}

/// Runs a script on a disk that lets through only what `wrap` allows, and checks every image of every boundary.
pub(crate) fn check(steps: &[Step], wrap: impl Fn(&SimDisk) -> Arc<dyn Disk>) -> Checked {
    let disk = SimDisk::new();
    let states = run_script(steps, &disk, wrap(&disk));
    let mut checked = Checked { boundaries: disk.boundaries(), ..Checked::default() };
    let mut seen = HashSet::new();
    for boundary in 0..disk.boundaries() {
        let acknowledged = disk.marks(boundary).last().map_or(0, |mark| usize::try_from(*mark).unwrap());
        let allowed = &states[acknowledged];
        disk.images(boundary, &mut |image| {
            if seen.insert((image.digest(), acknowledged)) {
                checked.images += 1;
                let origin = image.origin().to_string();
                let again = checked.images.is_multiple_of(NESTED_EVERY);
                let problem = if again { check_recovery(image.clone(), allowed, &mut checked.nested) } else { Ok(()) };
                if let Err(problem) = problem.and_then(|()| check_image(image, allowed)) {
                    checked.violations.push(format!(
                        "boundary {boundary} ({}), {origin}: {problem}",
                        disk.describe_boundary(boundary)
                    ));
                }
            }
        });
        if checked.violations.len() > 20 {
            break;
        }
    }
    checked
}

/// For each number of acknowledged steps the states that may be found: the one behind them, and those that the next
/// step may leave if it is cut off.
fn run_script(steps: &[Step], marks: &SimDisk, disk: Arc<dyn Disk>) -> Vec<Vec<Tables>> {
    let options = small_options();
    let mut db = Database::open(disk.clone(), options.clone()).unwrap();
    let mut tables = Tables::new();
    let mut allowed = vec![vec![tables.clone()]];
    for (index, step) in steps.iter().enumerate() {
        run(&mut db, &disk, &options, step).unwrap();
        marks.mark(index as u64 + 1);
        // A group may be in the log as a prefix of its batches.
        let prefixes = if let Step::Group(changes) = step { changes.len() } else { 1 };
        for length in 1..=prefixes {
            let mut cut_off = tables.clone();
            match step {
                Step::Group(changes) => run_model(&mut cut_off, &Step::Group(changes[..length].to_vec())),
                step => run_model(&mut cut_off, step),
            }
            allowed[index].push(cut_off);
        }
        run_model(&mut tables, step);
        allowed.push(vec![tables.clone()]);
        assert_eq!(contents(&db).unwrap(), tables, "without a crash, after {step:?}");
    }
    allowed
}

/// Power is cut again while the database recovers: what opens then is still allowed.
fn check_recovery(image: Image, allowed: &[Tables], nested: &mut usize) -> Result<(), String> {
    let disk = image.into_disk();
    let options = small_options();
    drop(Database::open(Arc::new(disk.clone()), options.clone()).map_err(|error| format!("does not open: {error}"))?);
    let mut outcome = Ok(());
    let mut seen = HashSet::new();
    for boundary in 0..disk.boundaries() {
        disk.images(boundary, &mut |image| {
            if outcome.is_err() || !seen.insert(image.digest()) {
                return;
            }
            *nested += 1;
            let origin = image.origin().to_string();
            let found = Database::open(Arc::new(image.into_disk()), options.clone()).and_then(|db| contents(&db));
            match found {
                Ok(found) if allowed.contains(&found) => {}
                Ok(found) => outcome = Err(format!("cut again at {boundary}, {origin}: holds {found:?}")),
                Err(error) => outcome = Err(format!("cut again at {boundary}, {origin}: {error}")),
            }
        });
    }
    outcome
}

fn check_image(image: Image, allowed: &[Tables]) -> Result<(), String> {
    let disk: Arc<dyn Disk> = Arc::new(image.into_disk());
    let options = small_options();
    let mut db = Database::open(disk.clone(), options.clone()).map_err(|error| format!("does not open: {error}"))?;
    let mut found = contents(&db).map_err(|error| format!("does not read: {error}"))?;
    if !allowed.contains(&found) {
        return Err(format!("holds {found:?}, allowed is {allowed:?}"));
    }
    // What was found is there to stay, and the database goes on.
    for step in [Step::Create("z"), Step::Write(vec![("z", 1, text(1))]), Step::Reopen] {
        run(&mut db, &disk, &options, &step).map_err(|error| format!("{step:?} fails: {error}"))?;
        run_model(&mut found, &step);
    }
    let again = contents(&db).map_err(|error| format!("does not read again: {error}"))?;
    if again == found { Ok(()) } else { Err(format!("opened again it holds {again:?}, expected {found:?}")) }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_every_call() {
    let mut total = Checked::default();
    for (name, steps) in scripts() {
        let checked = check(&steps, |disk| Arc::new(disk.clone()));
        println!("{name}: {} boundaries, {} images", checked.boundaries, checked.images);
        assert_eq!(checked.violations, Vec::<String>::new(), "{name}");
        total.boundaries += checked.boundaries;
        total.images += checked.images;
        total.nested += checked.nested;
    }
    println!("all: {} boundaries, {} images, {} during recovery", total.boundaries, total.images, total.nested);
    assert!(total.nested > 100 && total.images > 1000, "the scripts reach few states: {}", total.images);
}
