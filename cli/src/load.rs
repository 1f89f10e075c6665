//! `load`: CSV files into a table, with a progress line.
//!
//! Invariants: the progress line is drawn on a terminal only.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustling_db::engine::error::Error as EngineError;
use rustling_db::etl::csv::dialect::Dialect;
use rustling_db::etl::csv::source::Progress;
use rustling_db::{CsvLoad, Db, Error};

use crate::args::{Conflict, Global, LoadArgs};
use crate::failure::{Failure, Outcome, say};
use crate::interrupt::Interrupt;
use crate::session::{Missing, with_db};
use crate::size::{bytes, count, counted, per_second, seconds};

/// How often the progress line is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Loads files into a table.
///
/// # Errors
/// A new table without `--key`; those of the files and of the database. Nothing is loaded then.
pub(crate) fn load(global: &Global, args: &LoadArgs, interrupt: &Interrupt) -> Outcome {
    let names_key = args.no_key || !args.key.is_empty();
    // Without a key the table must be there, and so must the database.
    let missing = if names_key { Missing::Create } else { Missing::Refuse };
    with_db(global, missing, |db| {
        let table = db.snapshot().table(&args.table).ok();
        if !names_key && table.is_none() {
            return Err(key_missing(args));
        }
        check_options(args, table.is_some_and(|table| table.schema().has_key()))?;
        interrupt.patiently(|| load_into(db, args, interrupt))
    })
    .map_err(|failure| match failure {
        Failure::Db(error) => match *error {
            Error::Engine(EngineError::NoDatabase { path }) => Failure::Usage(format!(
                "there is no database at {path} yet; to make one, name the columns of the key of `{}` with --key, or say --no-key",
                args.table
            )),
            error => error.into(),
        },
        other => other,
    })
}

/// Options that say something of a key, and the key of a table that is there, must agree.
fn check_options(args: &LoadArgs, has_key: bool) -> Outcome {
    let table = &args.table;
    if args.no_key && has_key {
        let text = format!("table `{table}` has a key; leave --no-key out or load into another table");
        return Err(Failure::Usage(text));
    }
    if args.on_conflict != Conflict::Error && !has_key && args.key.is_empty() {
        let text = format!("--on-conflict is about keys that are there, and table `{table}` has no key");
        return Err(Failure::Usage(text));
    }
    Ok(())
}

fn key_missing(args: &LoadArgs) -> Failure {
    Failure::Usage(format!(
        "there is no table `{}` yet; name the columns of its key with --key, or say --no-key",
        args.table
    ))
}

fn load_into(db: &Db, args: &LoadArgs, interrupt: &Interrupt) -> Outcome {
    let load = CsvLoad {
        key: args.key.clone(),
        schema: args.schema.clone(),
        dialect: Dialect::new(args.delimiter.delimiter(), !args.no_header)?,
        on_conflict: args.on_conflict.into(),
        cancel: interrupt.cancel.clone(),
        rows_taken: Arc::default(),
    };
    let started = Instant::now();
    let (mut line, mut watched) = (None, None);
    let rows_taken = load.rows_taken.clone();
    let on_start = |progress: Arc<Progress>| {
        line = ProgressLine::start(progress.clone(), rows_taken);
        watched = Some(progress);
    };
    let loaded = db.load_csv_watched(&args.table, &args.files, &load, Box::new(on_start));
    drop(line);
    let report = loaded?;
    let took = started.elapsed();
    let read = watched.map_or(0, |progress| progress.bytes_read());
    let skipped = match report.rows_skipped {
        0 => String::new(),
        skipped => format!(", left {} out", count(skipped)),
    };
    say(&format!(
        "loaded {} into `{}`{skipped} in {} ({} rows/s, {}/s)",
        counted(report.rows_loaded, "row"),
        args.table,
        seconds(took),
        count(per_second(report.rows_read, took)),
        bytes(per_second(read, took)),
    ));
    Ok(())
}

/// Draws how far a load is, until it is dropped.
struct ProgressLine {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressLine {
    fn start(progress: Arc<Progress>, rows: Arc<AtomicU64>) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (done, waiting) = channel();
        let draw = move || {
            let bar = bar(progress.bytes_total());
            let started = Instant::now();
            while waiting.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(progress.bytes_read());
                bar.set_message(describe(&progress, rows.load(Ordering::Relaxed), started.elapsed()));
            }
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("rustling-progress".to_owned()).spawn(draw).ok()?;
        Some(Self { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        drop(self.done.take());
        // A panic of the drawing thread was said already, and is no failure of the load.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = if total.is_some() { "{bar:24} {percent:>3}%  {wide_msg}" } else { "{spinner}  {wide_msg}" };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn describe(progress: &Progress, rows: u64, took: Duration) -> String {
    let speed = bytes(per_second(progress.bytes_read(), took));
    let memory = resident_bytes().map_or_else(String::new, |used| format!(", {} memory", bytes(used)));
    let state = if progress.bytes_total() == Some(progress.bytes_read()) { ", writing" } else { "" };
    format!("{} rows, {speed}/s{memory}{state}", count(rows))
}

/// Memory of this process, where the system says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}
