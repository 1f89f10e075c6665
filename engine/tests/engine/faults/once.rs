//! Every call of some scripts fails once, in every way it can. Seeds beyond the chosen scripts are random ones.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustling_engine::disk::sim::{Call, Effect, Failure, Fault, Operation, SimDisk};

use crate::crash::{Script, random_script, scripts};
use crate::faults::handle::{Handle, Verdict};
use crate::fixture::{Step, Tables};
use crate::ledger;

pub(super) const INPUT_OUTPUT: Failure = Failure::Errno(5);
const NO_SPACE: Failure = Failure::Errno(28);
const TOO_MANY_FILES: Failure = Failure::Errno(24);
const INTERRUPTED: Failure = Failure::Errno(4);
const SHORT_READ: Failure = Failure::Kind(ErrorKind::UnexpectedEof);

/// Scripts that together use every operation in every room of the engine.
const SCRIPTS: [&str; 9] = [
    "a group with one sync",
    "groups that fill segments",
    "the log passes its limit",
    "everything is deleted and flushed",
    "load",
    "a load that spills",
    "runs of two rows",
    "closing and opening",
    "dropping a table",
];

/// Every way in which a call can fail.
pub(super) fn faults_of(call: &Call) -> Vec<Fault> {
    let fault = |failure, effect| Fault { failure, effect };
    let errors = [INPUT_OUTPUT, NO_SPACE, TOO_MANY_FILES, INTERRUPTED];
    let mut faults = errors.map(|failure| fault(failure, Effect::Before)).to_vec();
    match call.operation {
        Operation::Open | Operation::Map | Operation::List | Operation::Lock => {}
        Operation::ReadAt => faults.push(fault(SHORT_READ, Effect::Short)),
        Operation::Append | Operation::Reserve => {
            faults.push(fault(NO_SPACE, Effect::Short));
            faults.push(fault(INPUT_OUTPUT, Effect::Short));
            faults.push(fault(INPUT_OUTPUT, Effect::After));
        }
        Operation::SyncFile => {
            faults.push(fault(INPUT_OUTPUT, Effect::Lost));
            faults.push(fault(INPUT_OUTPUT, Effect::After));
        }
        _ => faults.push(fault(INPUT_OUTPUT, Effect::After)),
    }
    faults
}

/// The calls of a script on a disk that works, and for each whether its failure poisons the handle.
fn calls_of(script: &Script) -> Verdict<Vec<(Call, bool)>> {
    let sim = SimDisk::new();
    let mut handle = Handle::open(&sim, &script.options, &[Tables::new()])?;
    // Opening has no handle yet that could be poisoned.
    let mut opening: Vec<Range<usize>> = std::iter::once(0..sim.calls().len()).collect();
    for step in &script.steps {
        let before = sim.calls().len();
        handle.go_on(std::slice::from_ref(step))?;
        if matches!(step, Step::Reopen | Step::Kill) {
            opening.push(before..sim.calls().len());
        }
    }
    let calls = sim.calls();
    let mut synced = HashSet::new();
    let poisons = |(index, call): (usize, Call)| {
        let doubt = match call.operation {
            // The log beyond the header of a segment, and manifests. Files of runs are made anew.
            Operation::SyncFile if call.path.starts_with("wal/") => !synced.insert(call.path.clone()),
            Operation::SyncFile => call.path.starts_with("staging/manifest-"),
            Operation::SyncDir => call.path == "manifest",
            _ => false,
        };
        (call, doubt && !opening.iter().any(|calls| calls.contains(&index)))
    };
    Ok(calls.into_iter().enumerate().map(poisons).collect())
}

/// Runs a script with one fault; the number of calls to the engine that failed.
fn inject(script: &Script, index: usize, fault: Fault, call: &Call, poisons: bool) -> Verdict<usize> {
    let sim = SimDisk::new();
    sim.fail_at(index, fault);
    let mut handle = Handle::open(&sim, &script.options, &[Tables::new()])?;
    for step in &script.steps {
        handle.step(step)?;
        // The script without faults read here, too.
        handle.go_on(&[])?;
    }
    if handle.was_poisoned != poisons {
        return Err(format!("poisoned: {}, expected: {poisons}", handle.was_poisoned));
    }
    handle.recovered(matches!(call.operation, Operation::SyncFile | Operation::SyncDir))?;
    Ok(handle.failures)
}

#[derive(Default)]
struct Total {
    calls: u64,
    runs: u64,
    told: u64,
    poisoning: u64,
    violations: Vec<String>,
}

fn every_fault(script: &Script) -> Total {
    let mut total = Total::default();
    let calls = match calls_of(script) {
        Ok(calls) => calls,
        Err(problem) => return Total { violations: vec![format!("{}: {problem}", script.name)], ..total },
    };
    for (index, (call, poisons)) in calls.iter().enumerate() {
        total.calls += 1;
        total.poisoning += u64::from(*poisons);
        for fault in faults_of(call) {
            total.runs += 1;
            let run = || inject(script, index, fault, call, *poisons);
            match catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("panics".to_owned())) {
                Ok(failures) => total.told += u64::from(failures > 0),
                Err(problem) => {
                    total.violations.push(format!("{}: call {index} {call:?}, {fault:?}: {problem:.900}", script.name));
                }
            }
        }
    }
    total
}

impl Total {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.runs += other.runs;
        self.told += other.told;
        self.poisoning += other.poisoning;
        self.violations.extend(other.violations);
    }
}

fn script(seed: u64) -> Script {
    let name = usize::try_from(seed).ok().and_then(|index| SCRIPTS.get(index));
    name.and_then(|name| scripts().into_iter().find(|script| script.name == *name))
        .unwrap_or_else(|| random_script(seed))
}

#[test]
fn a_call_that_fails_once_is_told_loses_nothing_and_the_same_handle_goes_on() {
    let ledger = ledger::Run::begin("faults", 0..SCRIPTS.len() as u64);
    let (next, total) = (AtomicU64::new(ledger.seeds().start), Mutex::new(Total::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        // No script begins any more once one broke the promise.
        if !ledger.seeds().contains(&seed) || !total.lock().unwrap().violations.is_empty() {
            return;
        }
        let script = script(seed);
        let found = every_fault(&script);
        println!("{}: {} calls, {} runs, {} told", script.name, found.calls, found.runs, found.told);
        total.lock().unwrap().add(found);
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let Total { calls, runs, told, poisoning, violations } = total.into_inner().unwrap();
    let figures = [("calls", calls), ("runs", runs), ("told", told), ("poisoning_calls", poisoning)];
    ledger.end(&[&figures[..], &[("violations", violations.len() as u64)]].concat());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(told > runs / 4, "too few faults reached a caller: {told} of {runs}");
}
