//! What all steps need: the open database, the data, the budget, and the lines that are printed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustling_db::arrow::array::RecordBatch;
use rustling_db::{Db, DbOptions};
use serde_json::{Value, json};

use crate::input::Input;
use crate::machine::cpu_seconds;
use crate::output::emit;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A process that does steps.
pub(crate) struct Run {
    pub(crate) db: Db,
    pub(crate) input: Input,
    pub(crate) budget: Duration,
    pub(crate) folder: PathBuf,
    /// The step that is done.
    pub(crate) step: String,
    options: DbOptions,
    label: String,
}

impl Run {
    pub(crate) fn open(data: &Path, folder: &Path, memory_mib: usize, budget: f64) -> Result<Self> {
        let options = DbOptions { memory_bytes: memory_mib << 20, ..DbOptions::default() };
        let (db, input) = (Db::open_with(folder, &options)?, Input::open(data)?);
        let kept = options.engine().kept_bytes();
        emit(&json!({"kind": "open", "version": env!("CARGO_PKG_VERSION"), "settings": {
            "memory": format!("{memory_mib} MiB for everything, half of it for queries"),
            "cache": format!(
                "{} MiB of rows, up to {} where little is in memtables, and {} MiB of decompressed pages within that memory; \
                 files in the page cache",
                kept.rows >> 20, options.engine().kept_row_bytes(0) >> 20, kept.pages >> 20
            ),
            "durability": "the log is synced before a write returns, writers that wait together share a sync",
            "access": "Rust, in the process",
        }}));
        let budget = Duration::from_secs_f64(budget);
        Ok(Self { db, input, budget, folder: folder.to_owned(), step: String::new(), options, label: String::new() })
    }

    pub(crate) fn begin(&mut self, step: &str, label: &str) {
        (self.step, self.label) = (step.to_owned(), label.to_owned());
    }

    /// Closes the database, does something, opens it again.
    pub(crate) fn closed(&mut self, then: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.db.close()?;
        self.db = Db::in_memory()?;
        then(&self.folder)?;
        self.db = Db::open_with(&self.folder, &self.options)?;
        Ok(())
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }

    /// Prints a line of this step.
    fn line(&self, kind: &str, fields: Value) {
        let mut line = json!({"kind": kind, "step": self.step, "label": self.label});
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        emit(&line);
    }

    /// Prints a figure, with more that belongs to it.
    pub(crate) fn figure(&self, metric: &str, value: f64, unit: &str, more: Value) {
        let mut fields = json!({"metric": metric, "value": value, "unit": unit});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.line("figure", fields);
    }

    pub(crate) fn answer(&self, query: &str, rows: Value) {
        self.line("answer", json!({"query": query, "answer": rows}));
    }

    pub(crate) fn digest(&self, ops: usize, digest: Value) {
        self.line("answer", json!({"ops": ops, "digest": digest}));
    }

    /// Prints how long something took, and gives what it gave.
    pub(crate) fn timed<T>(&self, more: Value, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (cpu, started) = (cpu_seconds()?, Instant::now());
        let done = work()?;
        let seconds = started.elapsed().as_secs_f64();
        let mut fields = json!({"cpu_s": cpu_seconds()? - cpu});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.figure("seconds", seconds, "s", fields);
        Ok(done)
    }

    /// Does an operation for each item until the budget is spent; gives latencies, in the order of the items.
    pub(crate) fn each<T, R>(
        &self,
        items: impl IntoIterator<Item = T>,
        budget: Duration,
        mut operation: impl FnMut(T) -> Result<R>,
        mut keep: impl FnMut(R),
    ) -> Result<Vec<Duration>> {
        let until = Instant::now() + budget;
        let mut latencies = Vec::new();
        for item in items {
            let started = Instant::now();
            if started >= until {
                break;
            }
            let result = operation(item)?;
            latencies.push(started.elapsed());
            keep(result);
        }
        Ok(latencies)
    }

    /// Prints a rate, by the sum of latencies, and percentiles.
    pub(crate) fn latencies(&self, mut latencies: Vec<Duration>, ops_each: usize) {
        let (count, sum) = (latencies.len(), latencies.iter().sum::<Duration>());
        let ops = count * ops_each;
        self.figure("rate", ops as f64 / sum.as_secs_f64(), "1/s", json!({"ops": ops}));
        self.percentiles("", &mut latencies);
    }

    pub(crate) fn percentiles(&self, prefix: &str, latencies: &mut [Duration]) {
        latencies.sort_unstable();
        for percent in [50, 99] {
            if let Some(latency) = latencies.get(latencies.len() * percent / 100) {
                let ops = latencies.len();
                self.figure(&format!("{prefix}p{percent}"), latency.as_secs_f64() * 1e6, "us", json!({"ops": ops}));
            }
        }
    }
}

/// Each row as a batch of its own.
pub(crate) fn one_by_one(rows: &RecordBatch) -> Vec<RecordBatch> {
    (0..rows.num_rows()).map(|row| rows.slice(row, 1)).collect()
}
