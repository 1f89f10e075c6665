//! A script of steps for a process whose calls fail, and for one on a disk that is full.
//!
//! In: a folder. Out: a line per step: `done` (it was acknowledged), `refused` (a typed error; nothing happened) or
//! `unknown` (the handle was poisoned; it may have happened), its number and its kind. [`check`] reads these lines.
//! Invariants: without failures every run makes the same calls in the same order, all on one thread.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::error::{Error, ErrorKind, Result};

use crate::crash::applies;
use crate::fixture::{Step, Tables, contents, run, run_model};
use crate::processes::work::{TABLES, Work, differences};
use crate::processes::worker::{Says, open};

/// Rounds of the script.
const ROUNDS: u64 = 3;
/// Openings that are tried before the script is given up.
const OPENINGS_MAX: usize = 3;

/// Everything that can happen to a database, some rounds of it.
pub(crate) fn script() -> Vec<Step> {
    let mut steps: Vec<Step> = TABLES.map(Step::Create).to_vec();
    for round in 0..ROUNDS {
        let write = |work: Work, serial| work.step(1, 0, round * 10 + serial);
        let Step::Write(group) = write(Work::Groups, 0) else { continue };
        steps.extend([write(Work::Writes, 0), Step::Group(group), write(Work::Writes, 1)]);
        steps.extend((0..4).map(|serial| Work::Tables.step(1, 0, round * 4 + serial)));
        steps.extend([write(Work::Loads, 0), write(Work::Writes, 2), Step::Flush("first"), Step::Reopen]);
        steps.extend([write(Work::Flushes, 0), Step::Flush("flushed"), write(Work::Flushes, 1)]);
        steps.extend([Step::Compact("flushed"), Step::Compact("loaded"), write(Work::Writes, 3)]);
    }
    steps
}

/// Its options: one thread, and everything small.
fn options() -> Options {
    Options {
        background: false,
        threads: 1,
        memory_bytes: 1 << 20,
        memtable_bytes: 16 << 10,
        wal_segment_bytes: 3000,
        wal_bytes: 20_000,
        ..Options::default()
    }
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Write(_) | Step::Upsert(..) => "write",
        Step::Group(_) => "group",
        Step::Load(..) => "load",
        Step::DeleteMultiples(..) => "delete",
        Step::Flush(_) | Step::FlushFrozen => "flush",
        Step::Compact(_) | Step::CompactWhile(..) | Step::CompactDue(_) => "compact",
        Step::Drop(_) => "drop",
        Step::Create(_) => "create",
        Step::Reopen | Step::Kill => "reopen",
    }
}

/// Does the script, whatever fails; a handle that writes no more is given up for a new one.
pub(crate) fn follow_script(folder: &Path, says: &Says) {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(folder).unwrap());
    let Some(mut db) = open_again(&disk, says) else { return };
    for (number, step) in script().iter().enumerate() {
        let (verb, error) = match run(&mut db, &disk, &options(), step) {
            Ok(()) => ("done", None),
            Err(error) if error.kind() == ErrorKind::Poisoned => ("unknown", Some(error)),
            Err(error) => ("refused", Some(error)),
        };
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        says.line(&format!("{verb} {number} {} {text}", kind(step)));
        if verb == "unknown" || matches!(step, Step::Reopen) && verb == "refused" {
            drop(db);
            let Some(opened) = open_again(&disk, says) else { return };
            db = opened;
        }
    }
    if let Err(error) = db.close() {
        says.line(&format!("closed {error}"));
    }
}

/// Opens the database, and tries again where that fails, as an operator would.
fn open_again(disk: &Arc<dyn Disk>, says: &Says) -> Option<Database> {
    (0..OPENINGS_MAX).find_map(|_| {
        let opened = Database::open(disk.clone(), options());
        if let Err(error) = &opened {
            says.line(&format!("opening {error}"));
        }
        opened.ok()
    })
}

/// Checks a folder against what the process that followed the script said. A step that it did not come to say
/// anything about was in flight.
pub(crate) fn check(folder: &Path, said: &str) -> Result<(), String> {
    let mut possible = vec![Tables::new()];
    let mut next = 0;
    let script = script();
    for line in said.lines() {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        if !["done", "unknown", "refused"].contains(&verb) {
            continue;
        }
        let number: usize = words.next().unwrap_or_default().parse().unwrap();
        possible = match verb {
            "done" => possible.into_iter().filter_map(|tables| after(tables, &script[number])).collect(),
            "unknown" => either(possible, &script[number]),
            _ => refused(possible, &script[number]),
        };
        next = number + 1;
    }
    if let Some(in_flight) = script.get(next) {
        possible = either(possible, in_flight);
    }
    // Closing and opening again must not fail any more.
    for _ in 0..2 {
        let db = open(folder).map_err(|error| error.to_string())?;
        let found = contents(&db).map_err(|error| error.to_string())?;
        if !possible.contains(&found) {
            return Err(differences(&possible[0], &found));
        }
        db.close().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tables where a step was refused. The writes of a group that name a table that is not there are refused alone; what
/// else can happen to one happens to all.
fn refused(possible: Vec<Tables>, step: &Step) -> Vec<Tables> {
    let Step::Group(changes) = step else { return possible };
    let some = |tables: &Tables| {
        let there = changes.iter().filter(|(table, _, _)| tables.contains_key(*table));
        after(tables.clone(), &Step::Group(there.cloned().collect()))
    };
    let with: Vec<Tables> = possible.iter().filter_map(some).collect();
    possible.into_iter().chain(with).collect()
}

/// Tables with and without a step.
fn either(possible: Vec<Tables>, step: &Step) -> Vec<Tables> {
    let with: Vec<Tables> = possible.iter().filter_map(|tables| after(tables.clone(), step)).collect();
    possible.into_iter().chain(with).collect()
}

/// Tables after a step; `None` if the step could not have been done to them.
fn after(mut tables: Tables, step: &Step) -> Option<Tables> {
    applies(step, &tables).then(|| run_model(&mut tables, step))?;
    Some(tables)
}

/// Fills a small disk again and again: each time a step is refused for want of space, and works in the same handle when
/// there is space. Says how often that was so.
pub(crate) fn fill(disk_folder: &Path, rounds: u64, says: &Says) {
    let (folder, ballast) = (disk_folder.join("db"), disk_folder.join("ballast"));
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(&folder).unwrap());
    let background = Options { background: true, ..options() };
    let mut model = Tables::new();
    let mut db = Database::open(disk.clone(), background.clone()).unwrap();
    for table in TABLES {
        run(&mut db, &disk, &background, &Step::Create(table)).unwrap();
        run_model(&mut model, &Step::Create(table));
    }
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..rounds {
        // Leaves nothing, or some pages, so that different calls are the first to find the disk full.
        let pages = if round.is_multiple_of(2) { round % 6 / 2 } else { round % 40 };
        fill_up(&ballast, usize::try_from(pages).unwrap() * 4096);
        let mut full = false;
        for serial in 0..200 {
            let step = small_disk_step(round, serial);
            match run(&mut db, &disk, &background, &step) {
                Ok(()) => run_model(&mut model, &step),
                Err(Error::Io { operation, source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => {
                    full = true;
                    *refused.entry(format!("{}: {operation}", kind(&step))).or_default() += 1;
                    std::fs::remove_file(&ballast).unwrap();
                    run(&mut db, &disk, &background, &step).unwrap();
                    run_model(&mut model, &step);
                    break;
                }
                Err(error) => panic!("round {round}, {}: {error}", kind(&step)),
            }
        }
        assert!(full, "round {round}: the disk was never full");
        if round % 4 != 3 {
            // What a refused write left in the log must not be in the way of what came behind it.
            drop(db);
            db = Database::open(disk.clone(), background.clone()).unwrap();
        }
        assert_eq!(differences(&model, &contents(&db).unwrap()), "", "round {round}");
    }
    for (what, count) in &refused {
        says.line(&format!("{count} times refused: {what}"));
    }
    says.line(&format!("filled {rounds} refused {}", refused.values().sum::<u64>()));
}

/// Every other round only writes, so that it is the log that finds the disk full.
fn small_disk_step(round: u64, serial: u64) -> Step {
    let number = round * 1000 + serial;
    match if round.is_multiple_of(2) { 0 } else { serial % 10 } {
        0 | 3 | 5 | 8 => Work::Writes.step(2, 0, number),
        1 | 6 => Work::Flushes.step(2, 0, number),
        2 => Work::Loads.step(2, 0, number),
        4 => Step::Flush("flushed"),
        7 => Step::Flush("first"),
        _ => Step::Compact(if serial % 20 == 9 { "loaded" } else { "flushed" }),
    }
}

/// Writes a file until the disk is full, then gives some bytes back.
fn fill_up(ballast: &Path, leave: usize) {
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(leave as u64)).unwrap();
}
