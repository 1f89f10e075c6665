//! The engine with all its threads under many schedules: shuttle runs one thread at a time and chooses at every lock,
//! atomic and queue who goes on.
//!
//! `cargo test -p rustling-engine --features schedules --test schedules`. A failure names its seed and prints the
//! schedule; `SEEDS=from..to` runs others.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

#[path = "../engine/fixture.rs"]
#[expect(dead_code, reason = "the steps of the other tests are not needed here")]
mod fixture;
#[path = "../engine/history.rs"]
#[expect(dead_code, reason = "the pace of real readers is not needed here")]
mod history;
#[path = "../engine/hooked.rs"]
mod hooked;
#[path = "../engine/ledger.rs"]
mod ledger;
mod failing;
mod scenarios;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use crate::scenarios::{Counts, SCENARIOS, Scenario};

/// Schedules of one scenario with one seed, half of them random, half by priorities that change a few times.
const SCHEDULES: usize = 20;
/// Times that the priorities of threads change in a schedule.
const PRIORITY_CHANGES: usize = 4;
/// Bytes of a thread's stack; encoders need more than shuttle's default.
const STACK_BYTES: usize = 1 << 20;
/// A schedule with more steps than this does not end.
const STEPS_MAX: usize = 2_000_000;

fn explore(scheduler: impl Scheduler + 'static, scenario: Scenario, counts: &Arc<Counts>) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    let counts = counts.clone();
    Runner::new(scheduler, config).run(move || {
        scenario(&counts);
        counts.schedules.fetch_add(1, Ordering::Relaxed);
    });
}

#[test]
fn every_schedule_of_threads_gives_what_the_model_gives() {
    let ledger = ledger::Run::begin("schedules", 0..4);
    let only = std::env::var("SCENARIO").ok();
    let counts = Arc::new(Counts::default());
    for seed in ledger.seeds() {
        for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
            let explored = catch_unwind(|| {
                explore(RandomScheduler::new_from_seed(seed, SCHEDULES / 2), *scenario, &counts);
                explore(PctScheduler::new_from_seed(seed, PRIORITY_CHANGES, SCHEDULES / 2), *scenario, &counts);
            });
            assert!(explored.is_ok(), "`{name}` failed with SEEDS={seed}..{}", seed + 1);
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    ledger.end(&[
        ("schedules", count(&counts.schedules)),
        ("writes", count(&counts.writes)),
        ("reads", count(&counts.reads)),
        ("flushes", count(&counts.flushes)),
        ("compactions", count(&counts.compactions)),
        ("stalls", count(&counts.stalls)),
        ("violations", 0),
    ]);
}
