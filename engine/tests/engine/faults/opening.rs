//! Calls fail while a database recovers from a crash.

use std::sync::Arc;

use rustling_engine::disk::sim::Operation;
use rustling_engine::disk::sim::{Image, SimDisk};

use crate::crash::{Script, live, scripts};
use crate::faults::handle::{Handle, Verdict};
use crate::faults::once::faults_of;
use crate::fixture::Tables;
use crate::ledger;

/// Of all images of a script one in so many, in an ordinary run and in one of seeds that were asked for.
const SHARES: [u128; 2] = [1000, 50];

/// Images of a script that a crash leaves, each with what it may hold.
fn images(script: &Script) -> Verdict<Vec<(Image, Vec<Tables>)>> {
    let sim = SimDisk::new();
    let disk: Arc<dyn rustling_engine::disk::api::Disk> = Arc::new(sim.clone());
    let states = live(&sim, &disk, &script.options, &script.steps, &[Tables::new()])?;
    let share = SHARES[usize::from(std::env::var_os("SEEDS").is_some())];
    let mut images = Vec::new();
    for boundary in 0..sim.boundaries() {
        let allowed = &states[sim.marks(boundary).len()];
        sim.images(boundary, &mut |image| {
            if image.digest().is_multiple_of(share) {
                images.push((image, allowed.clone()));
            }
        });
    }
    Ok(images)
}

/// Opens an image with each call failing in each way; runs, and those in which opening failed.
fn open_with_faults(image: &Image, allowed: &[Tables], script: &Script) -> Verdict<(u64, u64)> {
    let sim = image.clone().into_disk();
    drop(Handle::open(&sim, &script.options, allowed)?);
    let (mut runs, mut told) = (0, 0);
    for (index, call) in sim.calls().iter().enumerate() {
        for fault in faults_of(call) {
            let sim = image.clone().into_disk();
            sim.fail_at(index, fault);
            let place = |problem| format!("{}: call {index} {call:?}, {fault:?}: {problem}", image.origin());
            let mut handle = Handle::open(&sim, &script.options, allowed).map_err(place)?;
            runs += 1;
            told += u64::from(handle.failures > 0);
            handle.recovered(matches!(call.operation, Operation::SyncFile | Operation::SyncDir)).map_err(place)?;
        }
    }
    Ok((runs, told))
}

#[test]
fn a_call_that_fails_during_recovery_only_delays_it() {
    let ledger = ledger::Run::begin("faults during recovery", 0..scripts().len() as u64);
    let (mut count, mut runs, mut told, mut violations) = (0, 0, 0, Vec::new());
    for (script, _) in scripts().iter().zip(0..).filter(|(_, seed)| ledger.seeds().contains(seed)) {
        for (image, allowed) in images(script).unwrap() {
            count += 1;
            match open_with_faults(&image, &allowed, script) {
                Ok((more, failed)) => (runs, told) = (runs + more, told + failed),
                Err(problem) => violations.push(format!("{}: {problem:.900}", script.name)),
            }
        }
    }
    ledger.end(&[("images", count), ("runs", runs), ("told", told), ("violations", violations.len() as u64)]);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(told > runs / 4, "too few faults kept a database from opening: {told} of {runs}");
}
