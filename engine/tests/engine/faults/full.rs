//! The disk is full from some call on, until space is given back.

use rustling_engine::disk::sim::SimDisk;

use crate::crash::{Script, scripts};
use crate::faults::handle::{Handle, Verdict};
use crate::fixture::Tables;
use crate::ledger;

const SCRIPTS: [&str; 2] = ["load", "closing and opening"];

/// Runs a script on a disk that is full from a call on; whether a step failed.
fn fill(script: &Script, call: usize) -> Verdict<bool> {
    let sim = SimDisk::new();
    sim.fill_at(call);
    let Ok(mut handle) = Handle::open(&sim, &script.options, &[Tables::new()]) else {
        // There is no database yet, and no space for one.
        sim.free_space();
        return Handle::open(&sim, &script.options, &[Tables::new()])?.recovered(false).map(|()| true);
    };
    for step in &script.steps {
        handle.step(step)?;
    }
    if handle.was_poisoned {
        return Err("a full disk poisons".to_owned());
    }
    sim.free_space();
    // The same handle goes on with everything that could not be done.
    handle.go_on(&script.steps)?;
    handle.recovered(true)?;
    Ok(handle.failures > 0)
}

#[test]
fn on_a_full_disk_reads_go_on_and_writes_do_when_there_is_space_again() {
    let (mut runs, mut told, mut violations) = (0, 0, Vec::new());
    let ledger = ledger::Run::begin("full disk", 0..SCRIPTS.len() as u64);
    let chosen = SCRIPTS.iter().zip(0..).filter(|(_, seed)| ledger.seeds().contains(seed)).map(|(name, _)| *name);
    for name in chosen {
        let script = &scripts().into_iter().find(|script| script.name == name).unwrap();
        let sim = SimDisk::new();
        let mut handle = Handle::open(&sim, &script.options, &[Tables::new()]).unwrap();
        script.steps.iter().for_each(|step| handle.step(step).unwrap());
        for call in 0..sim.calls().len() {
            runs += 1;
            match fill(script, call) {
                Ok(failed) => told += u64::from(failed),
                Err(problem) => violations.push(format!("{}: full at call {call}: {problem:.900}", script.name)),
            }
        }
    }
    ledger.end(&[("runs", runs), ("told", told), ("violations", violations.len() as u64)]);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(told > runs / 4, "a full disk was felt in {told} of {runs} runs only");
}
