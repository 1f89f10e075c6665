//! Queries over the whole table, warm and cold.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::lineitem::QUERIES;
use crate::machine::{cpu_seconds, drop_from_page_cache};
use crate::output::rows;
use crate::run::{Result, Run};

/// Runs of which the median counts.
const WARM_RUNS: usize = 5;

pub(crate) fn check(run: &Run) -> Result<()> {
    for (name, query) in QUERIES {
        run.answer(name, rows(&run.db.sql(query)?)?);
    }
    Ok(())
}

pub(crate) fn warm(run: &Run) -> Result<()> {
    for (name, query) in QUERIES {
        run.db.sql(query)?;
        let (until, cpu) = (Instant::now() + run.budget, cpu_seconds()?);
        let (mut times, mut answer) = (Vec::new(), Vec::new());
        while times.len() < WARM_RUNS && (times.is_empty() || Instant::now() < until) {
            let started = Instant::now();
            answer = run.db.sql(query)?;
            times.push(started.elapsed());
        }
        let cpu = (cpu_seconds()? - cpu) / times.len() as f64;
        times.sort_unstable();
        print(run, name, times[times.len() / 2], cpu);
        run.answer(name, rows(&answer)?);
    }
    Ok(())
}

pub(crate) fn cold(run: &mut Run) -> Result<()> {
    for (name, query) in QUERIES {
        run.closed(drop_from_page_cache)?;
        let (cpu, started) = (cpu_seconds()?, Instant::now());
        let answer = run.db.sql(query)?;
        print(run, name, started.elapsed(), cpu_seconds()? - cpu);
        run.answer(name, rows(&answer)?);
    }
    Ok(())
}

fn print(run: &Run, name: &str, time: Duration, cpu: f64) {
    run.figure(name, time.as_secs_f64() * 1e3, "ms", json!({"cpu_s": cpu}));
}
