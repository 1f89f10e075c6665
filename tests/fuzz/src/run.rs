//! Runs a body over seeded mutations of its corpus.
//!
//! In: a target, seeds or a time. Out: [`Outcome`], with the inputs that broke a promise.
//! Invariants: a seed stands for [`EXECUTIONS_PER_SEED`] executions, the same ones on every machine with the same
//! corpus. A body that panics, allocates more than [`allowed_bytes`] or takes longer than [`SECONDS_MAX`] breaks its
//! promise.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::allocation::{peak, reset};
use crate::mutate::{Random, mutate};
use crate::targets::{TARGETS, Target};

/// Executions of one seed.
pub const EXECUTIONS_PER_SEED: u64 = 1000;

/// Seconds that an execution may take: some hundred times what the slowest one takes on a busy machine.
pub const SECONDS_MAX: u64 = 20;

/// Broken promises that are kept of one run; it ends behind them.
const FAILURES_MAX: usize = 8;

/// The most bytes that an input may make a body allocate.
pub fn allowed_bytes(input: usize) -> usize {
    (64 << 20) + 64 * input
}

/// An input that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The execution of this seed, from 0.
    pub execution: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What went wrong.
    pub message: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Executions.
    pub executions: u64,
    /// Broken promises, one per place in the code.
    pub failures: Vec<Failure>,
    /// The most bytes that one execution allocated.
    pub peak_bytes: usize,
    /// The longest execution.
    pub slowest: Duration,
}

thread_local! {
    /// Whether this thread executes a body.
    static EXECUTING: Cell<bool> = const { Cell::new(false) };
    /// The last panic of a body on this thread, caught or not: its message with its place.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics of bodies off the screen, because they cause many that the engine catches, and remembers the last one.
pub fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXECUTING.get() {
                return default(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let message = format!("{place}: {}", info.payload_as_str().unwrap_or("a panic"));
            PANIC.with(|panic| *panic.borrow_mut() = message);
        }));
    });
}

/// Runs one input; says what went wrong, if something did.
pub fn execute(target: &Target, input: &[u8], outcome: &mut Outcome) -> Option<String> {
    let started = Instant::now();
    EXECUTING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| (target.body)(input)));
    EXECUTING.set(false);
    let (bytes, took) = (peak(), started.elapsed());
    outcome.executions += 1;
    outcome.peak_bytes = outcome.peak_bytes.max(bytes);
    outcome.slowest = outcome.slowest.max(took);
    if result.is_err() {
        return Some(PANIC.with(|panic| panic.borrow().clone()));
    }
    if bytes > allowed_bytes(input.len()) {
        return Some(format!("allocated {bytes} bytes for an input of {} bytes", input.len()));
    }
    (took.as_secs() >= SECONDS_MAX).then(|| format!("took {took:?}"))
}

/// Runs one input for libFuzzer, which takes a panic for a crash and keeps the input.
pub fn keep_promise(name: &str, input: &[u8]) {
    reset(0, 0);
    let target = TARGETS.iter().find(|target| target.name == name);
    let message = target.and_then(|target| execute(target, input, &mut Outcome::default()));
    assert_eq!(message, None, "{name} broke a promise");
}

/// Runs all executions of a seed.
pub fn run_seed(target: &Target, corpus: &[Vec<u8>], seed: u64, outcome: &mut Outcome) {
    let mut random = Random::new(seed);
    let mut input = Vec::new();
    for execution in 0..EXECUTIONS_PER_SEED {
        mutate(&mut random, corpus, &mut input);
        reset(seed, execution);
        let Some(message) = execute(target, &input, outcome) else { continue };
        let place = |message: &str| message.split(": ").next().unwrap_or_default().to_owned();
        let known = outcome.failures.iter().any(|failure| place(&failure.message) == place(&message));
        if !known {
            outcome.failures.push(Failure { seed, execution, input: input.clone(), message });
        }
        if outcome.failures.len() == FAILURES_MAX {
            return;
        }
    }
}

/// Runs seeds from `first` on until the time is over; returns the seed behind the last one.
pub fn run_for(target: &Target, corpus: &[Vec<u8>], first: u64, time: Duration, outcome: &mut Outcome) -> u64 {
    let started = Instant::now();
    let mut seed = first;
    while started.elapsed() < time && outcome.failures.len() < FAILURES_MAX {
        run_seed(target, corpus, seed, outcome);
        seed += 1;
    }
    seed
}
