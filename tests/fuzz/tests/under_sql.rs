//! Hostile runs under SQL: what DataFusion's Parquet scan makes of pages behind checksums that match.
//!
//! Promise: a query ends with rows, or with the engine's `Corrupt`; nothing panics past this project's boundary. The
//! tables have one run each, so every read is DataFusion's own. Runs 10 seconds (`FUZZ_SECONDS=n`, `SEEDS=from..to` and
//! `LEDGER=file` as for the other targets).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

#[path = "../../../engine/tests/engine/ledger.rs"]
mod ledger;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_engine::database::Database;
use rustling_engine::error::ErrorKind;
use rustling_engine::rows::change::WriteBatch;
use rustling_fuzz::input::Input;
use rustling_fuzz::run::{Outcome, quiet, run_for, run_seed};
use rustling_fuzz::tables::{database, options, rows, tables};
use rustling_fuzz::targets::Target;
use rustling_fuzz::targets::database::{Image, changed, image_of, tolerated};
use rustling_table_provider::error::Error;
use rustling_table_provider::table::RustlingTable;

/// Rows of each table.
const ROWS: i32 = 60;

fn good() -> &'static Image {
    static GOOD: OnceLock<Image> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = database(|db| {
            for table in tables() {
                let mut batch = WriteBatch::new();
                db.write(batch.insert(table.name, rows(table.name, 0..ROWS, "a")))?;
                db.flush(table.name)?;
            }
            Ok(())
        });
        image_of(&*disk.unwrap())
    })
}

fn body(data: &[u8]) {
    let disk = changed(good(), Input(data));
    let Some(db) = tolerated(Database::open(disk, options()), "open") else { return };
    let db = Arc::new(db);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for table in db.snapshot().table_names() {
        for sql in [format!("SELECT * FROM \"{table}\""), format!("SELECT * FROM \"{table}\" LIMIT 3 OFFSET 50")] {
            runtime.block_on(query(&db, &table, &sql));
        }
    }
}

async fn query(db: &Arc<Database>, table: &str, sql: &str) {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let provider = RustlingTable::new(db.clone(), table).unwrap();
    context.register_table(format!("\"{table}\""), Arc::new(provider)).unwrap();
    let planned = context.sql(sql).await;
    let result = match planned {
        Ok(planned) => planned.collect().await,
        Err(error) => Err(error),
    };
    if let Err(error) = result.map_err(Error::from) {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql} gave `{error}`: {error:?}");
    }
}

/// Changes of the SSTs, half of them in the pages of each.
fn seeds() -> Vec<Vec<u8>> {
    let ssts = good().iter().enumerate().filter(|(_, (path, _))| path.ends_with(".parquet"));
    let change = |file: usize, at: u16, how: u8, operand: u8| {
        let [low, high] = at.to_le_bytes();
        vec![0, u8::try_from(file).unwrap(), 3, low, high, how, operand, operand, 0, 0]
    };
    ssts.flat_map(|(file, (_, content))| {
        let length = u16::try_from(content.len()).unwrap();
        (4..length).step_by(23).map(move |at| change(file, at, u8::try_from(at % 6).unwrap(), 40))
    })
    .collect()
}

#[test]
fn hostile_pages_under_a_query_are_damage() {
    quiet();
    let target = Target { name: "sql", body, seeds: || Ok(Vec::new()) };
    let corpus = seeds();
    let mut outcome = Outcome::default();
    if std::env::var_os("SEEDS").is_some() {
        let run = ledger::Run::begin("fuzz-sql", 0..0);
        run.seeds().for_each(|seed| run_seed(&target, &corpus, seed, &mut outcome));
        run.end(&[("executions", outcome.executions), ("violations", outcome.failures.len() as u64)]);
    } else {
        let seconds = std::env::var("FUZZ_SECONDS").map_or(10, |text| text.parse().unwrap());
        run_for(&target, &corpus, 0, Duration::from_secs(seconds), &mut outcome);
        println!("fuzz-sql: {} executions", outcome.executions);
    }
    let text: Vec<String> =
        outcome.failures.iter().map(|failure| format!("{}\n{:?}", failure.message, failure.input)).collect();
    assert!(text.is_empty(), "{}", text.join("\n"));
}
