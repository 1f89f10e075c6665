//! The tests: all named scripts and some random ones in an ordinary run, more of those by `SEEDS=from..to`.
//!
//! `THREADS=n` says on how many threads; else on all cores. The named scripts belong to seed 0.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::crash::check::{Checked, Seen, check};
use crate::crash::random;
use crate::crash::scripts::{Script, scripts};
use crate::ledger;

/// Random scripts of an ordinary run.
const SEEDS: u64 = 6;

fn threads() -> usize {
    let given = std::env::var("THREADS").ok().map(|text| text.parse().unwrap());
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Checks scripts on several threads; none begins any more once one broke the promise.
fn check_all(scripts: usize, script: impl Fn(usize) -> Script + Sync, seen: &Seen) -> Checked {
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Checked::default()));
    let work = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= scripts || !total.lock().unwrap().violations.is_empty() {
            return;
        }
        let script = script(index);
        let started = std::time::Instant::now();
        let checked = check(&script, seen);
        let Checked { boundaries, images, recoveries, later_images, distinct, .. } = checked;
        println!(
            "{}: {boundaries} boundaries, {images} images, {recoveries} during recovery, {later_images} later, {distinct} distinct, {:?}",
            script.name,
            started.elapsed()
        );
        total.lock().unwrap().add(checked);
    };
    std::thread::scope(|scope| (0..threads()).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().unwrap()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_every_call() {
    let ledger = ledger::Run::begin("crash", 0..SEEDS);
    let seeds = ledger.seeds();
    let named = if seeds.start == 0 { scripts() } else { Vec::new() };
    let count = named.len() + usize::try_from(seeds.end - seeds.start).unwrap();
    let script = |index: usize| match named.get(index) {
        Some(script) => script.clone(),
        None => random::script(seeds.start + (index - named.len()) as u64),
    };
    let seen = Seen::default();
    let total = check_all(count, script, &seen);
    ledger.end(&[
        ("scripts", count as u64),
        ("boundaries", total.boundaries),
        ("images", total.images + total.recoveries + total.later_images),
        ("distinct", total.distinct),
        ("states", seen.states()),
        ("recoveries", total.recoveries),
        ("second_recoveries", total.second_recoveries),
        ("lives", total.lives),
        ("later_images", total.later_images),
        ("violations", total.violations.len() as u64),
    ]);
    assert!(total.violations.is_empty(), "{}", total.violations.join("\n"));
}
