//! Durable writes of single rows, by one or by many threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustling_db::arrow::array::RecordBatch;
use serde_json::json;

use crate::lineitem::{Digest, TABLE, keys};
use crate::machine::cpu_seconds;
use crate::run::{Result, Run, one_by_one};

/// Threads take the next row each from one counter.
pub(crate) fn write(run: &Run, threads: usize) -> Result<()> {
    let (one, rows) = (run.input.number("single_one")?, run.input.read("singles.arrow")?);
    let rows = if threads == 1 { rows.slice(0, one) } else { rows.slice(one, rows.num_rows() - one) };
    let batches = one_by_one(&rows);
    let next = AtomicUsize::new(0);
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let until = started + run.budget;
    let mut latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| write_next(run, &batches, &next, until))).collect();
        let mut latencies = Vec::new();
        for worker in workers {
            latencies.extend(worker.join().map_err(|_| "a writer panicked")??);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(latencies)
    })?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let ops = latencies.len();
    run.figure("rate", ops as f64 / seconds, "1/s", json!({"ops": ops, "cpu_s": cpu}));
    run.percentiles("", &mut latencies);
    let mut digest = Digest::default();
    for batch in &batches[..ops] {
        let key = keys(batch).ok_or("a row without its key")?;
        run.db.get(TABLE, &key)?.iter().for_each(|row| digest.add(row));
    }
    run.digest(ops, digest.json());
    Ok(())
}

fn write_next(run: &Run, rows: &[RecordBatch], next: &AtomicUsize, until: Instant) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
        let started = Instant::now();
        run.db.upsert(TABLE, row.clone())?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}
