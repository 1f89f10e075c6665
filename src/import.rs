//! Loads CSV files into a table.
//!
//! In: files, and what is known of their columns. Out: rows in the table, all or none.
//! Invariants: a table that was made for a load goes again if the load fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arrow::datatypes::Schema;
use rustling_engine::database::Database;
use rustling_engine::load::run::{LoadOptions, LoadReport};
use rustling_engine::load::sink::OnConflict;
use rustling_engine::rows::schema::TableSchema;
use rustling_engine::source::BatchSource;
use rustling_etl::csv::dialect::Dialect;
use rustling_etl::csv::source::{CsvOptions, CsvSource, Progress};

use crate::error::{Error, Result};

/// How to load CSV files.
#[derive(Clone, Debug, Default)]
pub struct CsvLoad {
    /// Key columns of a new table; empty for a table without a key. For a table that exists, its key or nothing.
    pub key: Vec<String>,
    /// Columns of a new table; inferred if `None`. For a table that exists, its columns or `None`.
    pub schema: Option<Schema>,
    /// Delimiter and header.
    pub dialect: Dialect,
    /// What to do with keys that are there already.
    pub on_conflict: OnConflict,
    /// Set to stop the load.
    pub cancel: Arc<AtomicBool>,
    /// Counts rows as they are taken.
    pub rows_taken: Arc<AtomicU64>,
}

/// Called with the progress of reading, before the load starts.
pub type OnStart<'a> = dyn FnOnce(Arc<Progress>) + 'a;

/// Loads CSV files into a table, which is created if it is not there.
///
/// # Errors
/// Those of the files, of their rows, and of the engine. Nothing is loaded then.
pub fn load_csv(
    engine: &Database,
    table: &str,
    files: &[PathBuf],
    load: &CsvLoad,
    on_start: Box<OnStart<'_>>,
) -> Result<LoadReport> {
    let existing = engine.snapshot().table(table).ok();
    let threads = engine.options().threads;
    let schema = match &existing {
        Some(snapshot) => {
            check_agrees(table, snapshot.schema(), load)?;
            Some(snapshot.schema().user().clone())
        }
        None => load.schema.clone().map(Arc::new),
    };
    // Key columns must have values, which the parser checks line by line.
    let required = load.key.clone();
    let defaults = CsvOptions::default();
    // A record is in memory several times on its way into a run.
    let record_bytes_max = defaults.record_bytes_max.min(engine.options().memory_bytes / 8);
    let options = CsvOptions { dialect: load.dialect, schema, required, threads, record_bytes_max, ..defaults };
    let key: Vec<&str> = load.key.iter().map(String::as_str).collect();
    if let (None, Some(schema)) = (&existing, &options.schema) {
        // Refused before a file is read.
        TableSchema::new(table, schema, &key)?;
    }
    let mut source = CsvSource::open(files, options)?;
    on_start(source.progress());
    if existing.is_none() {
        engine.create_table(table, &source.schema(), &key)?;
    }
    let options =
        LoadOptions { on_conflict: load.on_conflict, cancel: load.cancel.clone(), rows_taken: load.rows_taken.clone() };
    let loaded = engine.load(table, &mut source, &options);
    if loaded.is_err() && existing.is_none() {
        engine.drop_table(table)?;
    }
    Ok(loaded?)
}

/// A table that exists brings its own columns and key; what is given again must agree.
fn check_agrees(table: &str, found: &TableSchema, load: &CsvLoad) -> Result<()> {
    let key = if found.has_key() { found.key_names() } else { Vec::new() };
    let differs =
        |what, found: String, given: String| Err(Error::TableDiffers { table: table.to_owned(), what, found, given });
    if !load.key.is_empty() && key != load.key {
        return differs("the key", key.join(","), load.key.join(","));
    }
    if let Some(schema) = &load.schema {
        let describe = |schema: &Schema| {
            let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
            columns.collect::<Vec<_>>().join(", ")
        };
        let (found, given) = (describe(found.user()), describe(schema));
        if found != given {
            return differs("the columns", found, given);
        }
    }
    Ok(())
}
