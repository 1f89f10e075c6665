//! Every target over its corpus and over seeded mutations of it.
//!
//! Each target runs for 30 seconds; `FUZZ_SECONDS=n` makes that shorter or longer. `SEEDS=from..to` runs these seeds
//! instead, whatever time they take, and writes a row to the ledger (`LEDGER=file`). A seed stands for 1000
//! executions. `FUZZ_INPUT=file` runs that one input, for the test named. `CORPUS_WRITE=1` writes the good entries of
//! the corpus anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

#[path = "../../../engine/tests/engine/ledger.rs"]
mod ledger;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustling_fuzz::allocation::{Counting, reset};
use rustling_fuzz::corpus;
use rustling_fuzz::mutate::Random;
use rustling_fuzz::run::{EXECUTIONS_PER_SEED, Failure, Outcome, execute, quiet, run_for, run_seed};
use rustling_fuzz::targets::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).unwrap()
}

fn campaign(name: &'static str, campaign: &'static str) {
    quiet();
    let target = target(name);
    let mut outcome = Outcome::default();
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        let input = std::fs::read(path).unwrap();
        reset(0, 0);
        let message = execute(&target, &input, &mut outcome);
        println!("{name}: {message:?}, {} bytes allocated, {:?}", outcome.peak_bytes, outcome.slowest);
        return;
    }
    let entries: Vec<Vec<u8>> = corpus::entries(&target).unwrap().into_iter().map(|(_, content)| content).collect();
    let started = Instant::now();
    if std::env::var_os("SEEDS").is_some() {
        let run = ledger::Run::begin(campaign, 0..0);
        run.seeds().for_each(|seed| run_seed(&target, &entries, seed, &mut outcome));
        run.end(&[("executions", outcome.executions), ("violations", outcome.failures.len() as u64)]);
    } else {
        let seconds = std::env::var("FUZZ_SECONDS").map_or(30, |text| text.parse().unwrap());
        // Other seeds every day would make a failure that nobody caused; the same ones stay what was once run.
        let end = run_for(&target, &entries, 0, Duration::from_secs(seconds), &mut outcome);
        println!("{campaign}: seeds 0..{end}");
    }
    let rate = outcome.executions as f64 / started.elapsed().as_secs_f64();
    let Outcome { executions, peak_bytes, slowest, failures } = outcome;
    println!(
        "{campaign}: {executions} executions, {rate:.0} a second, at most {peak_bytes} bytes and {slowest:?} each"
    );
    report(name, &failures);
}

/// Writes the inputs of failures down, and fails if there are any.
fn report(name: &str, failures: &[Failure]) {
    let mut text = String::new();
    for Failure { seed, execution, input, message } in failures {
        let path = failures_folder().join(format!("{name}-{seed}-{execution}"));
        std::fs::create_dir_all(failures_folder()).unwrap();
        std::fs::write(&path, input).unwrap();
        writeln!(text, "seed {seed}, execution {execution}: {message}\n  input: {}", path.display()).unwrap();
    }
    assert!(failures.is_empty(), "{name}: {} of {EXECUTIONS_PER_SEED} per seed:\n{text}", failures.len());
}

fn failures_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failures")
}

macro_rules! campaigns {
    ($($name:ident $campaign:literal),*) => { $(
        #[test]
        fn $name() {
            campaign(stringify!($name), $campaign);
        }
    )* };
}
campaigns! {
    wal "fuzz-wal", manifest "fuzz-manifest", key_index "fuzz-key_index", parquet "fuzz-parquet", deletions "fuzz-deletions",
    key_encoding "fuzz-key_encoding", row_form "fuzz-row_form", csv "fuzz-csv", schema_text "fuzz-schema_text",
    database "fuzz-database"
}

#[test]
fn every_entry_of_the_corpus_keeps_the_promises() {
    quiet();
    if std::env::var_os("CORPUS_WRITE").is_some() {
        corpus::write().unwrap();
    }
    let mut outcome = Outcome::default();
    let mut problems = String::new();
    for target in TARGETS {
        for (name, content) in corpus::entries(&target).unwrap() {
            reset(0, 0);
            if let Some(message) = execute(&target, &content, &mut outcome) {
                writeln!(problems, "{}/{name}: {message}", target.name).unwrap();
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn a_broken_promise_is_found() {
    quiet();
    type Body = fn(&[u8]);
    let bodies: [(Body, &str); 2] = [
        (|data| assert!(data.iter().filter(|byte| **byte == 0xff).count() < 3, "three of them"), "three of them"),
        (|data| drop(std::hint::black_box(vec![0_u8; usize::from(data.len() > 20) << 30])), "allocated 1073741824"),
    ];
    for (body, want) in bodies {
        let target = Target { name: "broken", body, seeds: || Ok(Vec::new()) };
        let corpus = [vec![0; 18], Random::new(1).number().to_le_bytes().to_vec()];
        let mut outcome = Outcome::default();
        let end = run_for(&target, &corpus, 0, Duration::from_secs(20), &mut outcome);
        assert!(outcome.executions > 0 && end > 0);
        assert!(outcome.failures.iter().any(|failure| failure.message.contains(want)), "{:?}", outcome.failures);
    }
}

/// Numbers at which arithmetic breaks.
const LIMITS: [u64; 9] = [0, 1, 1 << 30, 1 << 31, u32::MAX as u64, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX];

#[test]
fn every_number_of_every_file_at_its_limits() {
    quiet();
    let mut problems = Vec::new();
    let mut outcome = Outcome::default();
    let entries = [
        ("wal", "small-sealed"),
        ("wal", "large-sealed"),
        ("key_index", "packed-sealed"),
        ("key_index", "fixed-sealed"),
        ("key_index", "variable-sealed"),
        ("deletions", "scattered"),
        ("deletions", "dense"),
        ("parquet", "numbers"),
        ("parquet", "typed-deletes"),
        ("row_form", "typed"),
        ("row_form", "numbers-stream"),
    ];
    for (name, entry) in entries {
        let target = target(name);
        let (_, good) = corpus::entries(&target).unwrap().into_iter().find(|(name, _)| name == entry).unwrap();
        for at in 1..good.len().min(3000) {
            for (value, width) in LIMITS.into_iter().flat_map(|value| [(value, 4), (value, 8)]) {
                let mut bad = good.clone();
                bad.iter_mut().skip(at).take(width).zip(value.to_le_bytes()).for_each(|(byte, value)| *byte = value);
                reset(0, at as u64);
                if let Some(message) = execute(&target, &bad, &mut outcome) {
                    problems.push(format!("{name}/{entry}, byte {at}, {value} in {width} bytes: {message}"));
                }
            }
        }
    }
    // A manifest's numbers are text: every value becomes each of the limits, by the edits that its target makes.
    let manifest = target("manifest");
    for value in 0..400_u16 {
        for limit in LIMITS {
            let edit = [&[2][..], &value.to_le_bytes(), &[0], &limit.to_le_bytes()].concat();
            reset(0, value.into());
            if let Some(message) = execute(&manifest, &edit, &mut outcome) {
                problems.push(format!("manifest, value {value} is {limit}: {message}"));
            }
        }
    }
    println!("{} executions, at most {} bytes", outcome.executions, outcome.peak_bytes);
    let first = problems.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems, the first of them:\n{first}", problems.len());
}
