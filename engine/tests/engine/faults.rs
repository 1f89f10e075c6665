//! Every I/O call of the scripts fails once, with different errors: nothing panics, nothing acknowledged is lost, and
//! the database goes on or opens again.

use std::io::ErrorKind;
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Effect, Failure, Fault, SimDisk};
use rustling_engine::error::{Error, ErrorKind as Kind};

use crate::crash::scripts;
use crate::fixture::{Step, Tables, contents, run, run_model, small_options};

const NO_SPACE: Failure = Failure::Kind(ErrorKind::StorageFull);
const INPUT_OUTPUT: Failure = Failure::Errno(5);
const TOO_MANY_FILES: Failure = Failure::Errno(24);

const FAULTS: [(Failure, Effect); 6] = [
    (NO_SPACE, Effect::Before),
    (NO_SPACE, Effect::Short),
    (INPUT_OUTPUT, Effect::Before),
    (INPUT_OUTPUT, Effect::After),
    (INPUT_OUTPUT, Effect::Lost),
    (TOO_MANY_FILES, Effect::Before),
];

/// What a database may hold after some steps, of which some failed.
struct Allowed(Vec<Tables>);

impl Allowed {
    /// A step that succeeded is there; one that failed is there or not, a group also in part.
    fn step(&mut self, step: &Step, succeeded: bool) {
        let mut after = Vec::new();
        for before in &self.0 {
            if !succeeded {
                after.push(before.clone());
            }
            let prefixes = match step {
                Step::Group(changes) if !succeeded => {
                    (1..=changes.len()).map(|n| Step::Group(changes[..n].to_vec())).collect()
                }
                step => vec![step.clone()],
            };
            for step in prefixes {
                let mut tables = before.clone();
                if applies(&step, &tables) {
                    run_model(&mut tables, &step);
                }
                after.push(tables);
            }
        }
        after.dedup();
        self.0 = after;
    }
}

/// Whether the tables of a step are there (their creation may have failed).
fn applies(step: &Step, tables: &Tables) -> bool {
    match step {
        Step::Write(changes) | Step::Group(changes) => changes.iter().all(|(table, ..)| tables.contains_key(*table)),
        Step::Load(table, _) => tables.contains_key(*table),
        _ => true,
    }
}

fn run_with_fault(steps: &[Step], call: usize, fault: (Failure, Effect)) -> bool {
    let disk = SimDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = small_options();
    disk.fail_at(call, Fault { failure: fault.0, effect: fault.1 });
    let context = format!("call {call}, {fault:?}");
    let mut allowed = Allowed(vec![Tables::new()]);
    let mut failed = false;
    if let Ok(mut db) = Database::open(shared.clone(), options.clone()) {
        for step in steps {
            let outcome = run(&mut db, &shared, &options, step);
            if let Err(error) = &outcome {
                let told = matches!(error.kind(), Kind::Io | Kind::Poisoned | Kind::Invalid | Kind::Conflict);
                assert!(told && !matches!(error, Error::Corrupt { .. }), "{context}, {step:?}: {error}");
                failed = true;
            }
            allowed.step(step, outcome.is_ok());
        }
        drop(db);
    } else {
        failed = true;
    }
    let mut db = Database::open(shared.clone(), options.clone())
        .unwrap_or_else(|error| panic!("{context}: does not open: {error}"));
    let found = contents(&db).unwrap_or_else(|error| panic!("{context}: does not read: {error}"));
    assert!(allowed.0.contains(&found), "{context}: holds {found:?}, allowed is {:?}", allowed.0);
    // Once the fault is over everything works again.
    for step in
        [Step::Create("z"), Step::Write(vec![("z", 1, Some("after".to_owned()))]), Step::Flush("z"), Step::Reopen]
    {
        run(&mut db, &shared, &options, &step).unwrap_or_else(|error| panic!("{context}, {step:?}: {error}"));
    }
    failed
}

#[test]
fn every_call_that_fails_once_is_told_and_loses_nothing() {
    let (mut runs, mut told) = (0, 0);
    for (_, steps) in scripts() {
        let disk = SimDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut db = Database::open(shared.clone(), small_options()).unwrap();
        steps.iter().for_each(|step| run(&mut db, &shared, &small_options(), step).unwrap());
        drop(db);
        for call in 0..disk.calls().len() {
            for fault in FAULTS {
                runs += 1;
                told += usize::from(run_with_fault(&steps, call, fault));
            }
        }
    }
    println!("{runs} runs, {told} with a step that failed");
    assert!(told > runs / 4, "too few faults reached a caller: {told} of {runs}");
}
