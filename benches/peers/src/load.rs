//! Loads, upserts, deletes, and waiting for what they left to do.

use std::time::{Duration, Instant};

use rustling_db::CsvLoad;
use rustling_db::etl::schema_text;
use serde_json::json;

use crate::lineitem::{COLUMNS, KEY, TABLE};
use crate::run::{Result, Run};

/// At rest is who has compacted nothing for so long.
const QUIET: Duration = Duration::from_secs(5);
/// Nobody waits longer.
const REST_MAX: Duration = Duration::from_secs(120);

pub(crate) fn load(run: &Run) -> Result<()> {
    let name = if run.step == "load" { "lineitem.csv" } else { "lineitem_shuffled.csv" };
    let key = KEY.map(str::to_owned).to_vec();
    let load = CsvLoad { key, schema: Some(schema_text::parse(COLUMNS)?), ..CsvLoad::default() };
    let rows = json!({"rows": run.input.number("rows")?});
    run.timed(rows, || Ok(run.db.load_csv(TABLE, &[run.input.path(name)], &load)?))?;
    Ok(())
}

pub(crate) fn upserts(run: &Run) -> Result<()> {
    let count = run.input.number(if run.step == "w2a" { "burst" } else { "batches" })?;
    for number in 1..=count {
        let batch = run.input.read(&format!("upserts/{number:04}.arrow"))?;
        run.timed(json!({"n": number, "rows": batch.num_rows()}), || Ok(run.db.upsert(TABLE, batch)?))?;
    }
    Ok(())
}

pub(crate) fn deletes(run: &Run) -> Result<()> {
    for (number, name) in (1..).zip(run.input.list("deletes")?) {
        let keys = run.input.read(&name)?;
        run.timed(json!({"n": number, "rows": keys.num_rows()}), || Ok(run.db.delete(TABLE, keys)?))?;
    }
    Ok(())
}

pub(crate) fn drain(run: &Run) -> Result<()> {
    run.timed(json!({}), || Ok(run.db.flush(TABLE)?))
}

/// Waits until no compaction ends any more.
pub(crate) fn rest(run: &Run) -> Result<()> {
    run.timed(json!({}), || {
        let started = Instant::now();
        let (mut seen, mut since) = (run.db.report().compactions, Instant::now());
        while since.elapsed() < QUIET && started.elapsed() < REST_MAX {
            std::thread::sleep(Duration::from_millis(100));
            let now = run.db.report().compactions;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        Ok(())
    })
}
