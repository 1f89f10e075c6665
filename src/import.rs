//! Loads CSV files into a table.
//!
//! In: files, and what is known of their columns. Out: rows in the table, all or none.
//! Invariants: a table that was made for a load goes again if the load fails, unless it holds what others wrote.

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
use rustling_etl::schema_text::type_name;

use crate::error::{Error, Result};

/// Bytes that are parsed at once, however many threads share a small memory.
const CHUNK_BYTES_MIN: usize = 32 << 10;

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
    // Not the snapshot: it would keep what is in memory now as long as the load goes on.
    let existing = engine.snapshot().table(table).ok().map(|found| (found.table().id, found.schema().clone()));
    let threads = engine.options().threads;
    let schema = match &existing {
        Some((_, found)) => {
            check_agrees(table, found, load)?;
            Some(found.user().clone())
        }
        None => load.schema.clone().map(Arc::new),
    };
    // Key columns must have values, which the parser checks line by line.
    let required = load.key.clone();
    let defaults = CsvOptions::default();
    // A record is in memory several times on its way into a run.
    let memory = engine.options().memory_bytes;
    let record_bytes_max = defaults.record_bytes_max.min(memory / 8);
    // Each thread has two chunks and their batches on the way.
    let chunk_bytes = defaults.chunk_bytes.min((memory / 8 / (2 * threads + 2)).max(CHUNK_BYTES_MIN));
    let options =
        CsvOptions { dialect: load.dialect, schema, required, threads, chunk_bytes, record_bytes_max, ..defaults };
    let key: Vec<&str> = load.key.iter().map(String::as_str).collect();
    if let (None, Some(schema)) = (&existing, &options.schema) {
        // Refused before a file is read.
        TableSchema::new(table, schema, &key)?;
    }
    let mut source = CsvSource::open(files, options)?;
    on_start(source.progress());
    let options = LoadOptions {
        on_conflict: load.on_conflict,
        table: existing.map(|(id, _)| id),
        cancel: load.cancel.clone(),
        rows_taken: load.rows_taken.clone(),
    };
    match options.table {
        Some(_) => Ok(engine.load(table, &mut source, &options)?),
        None => load_new(engine, (table, &key), &mut source, options),
    }
}

/// Loads into a table that is made for it, and goes again if the load fails, unless it holds what others wrote.
fn load_new(
    engine: &Database,
    (table, key): (&str, &[&str]),
    source: &mut dyn BatchSource,
    options: LoadOptions,
) -> Result<LoadReport> {
    let made = engine.create_table(table, &source.schema(), key)?;
    let loaded = engine.load(table, source, &LoadOptions { table: Some(made), ..options });
    if loaded.is_err() {
        // Why the load failed says more than why an empty table stays.
        let _ = engine.drop_empty_table(made);
    }
    Ok(loaded?)
}

/// A table that exists brings its own columns and key; what is given again must agree.
fn check_agrees(table: &str, found: &TableSchema, load: &CsvLoad) -> Result<()> {
    let key = if found.has_key() { found.key_names() } else { Vec::new() };
    let differs =
        |what, found: String, given: String| Err(Error::TableDiffers { table: table.to_owned(), what, found, given });
    if !load.key.is_empty() && key != load.key {
        let found = if key.is_empty() { "(none)".to_owned() } else { key.join(",") };
        return differs("the key", found, load.key.join(","));
    }
    if let Some(schema) = &load.schema {
        let describe = |schema: &Schema| {
            let columns = schema.fields().iter().map(|field| {
                // A column of the key has values anyway.
                let not_null =
                    if field.is_nullable() || key.contains(&field.name().as_str()) { "" } else { " not null" };
                let data_type = type_name(field.data_type()).unwrap_or_else(|| field.data_type().to_string());
                format!("{} {data_type}{not_null}", field.name())
            });
            columns.collect::<Vec<_>>().join(", ")
        };
        let (found, given) = (describe(found.user()), describe(schema));
        if found != given {
            return differs("the columns", found, given);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, SchemaRef};
    use rustling_engine::config::Options;
    use rustling_engine::disk::memory::MemoryDisk;
    use rustling_engine::error::{Error as EngineError, Result as EngineResult};
    use rustling_engine::rows::change::WriteBatch;
    use rustling_engine::source::SourceBatch;

    use super::*;

    /// Fails when it is read; before that another writer may have come.
    struct Failing<'a> {
        db: &'a Database,
        meanwhile: Option<RecordBatch>,
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)]))
    }

    impl BatchSource for Failing<'_> {
        fn schema(&self) -> SchemaRef {
            schema()
        }

        fn next_batch(&mut self) -> EngineResult<Option<SourceBatch>> {
            if let Some(rows) = self.meanwhile.take() {
                self.db.write(WriteBatch::new().upsert("t", rows))?;
            }
            Err(EngineError::Cancelled)
        }
    }

    #[test]
    fn a_table_that_was_made_for_a_load_that_failed_goes_unless_others_wrote_into_it() {
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef]).unwrap();
        for meanwhile in [None, Some(rows)] {
            let db = Database::open(Arc::new(MemoryDisk::new()), Options::default()).unwrap();
            let stays = meanwhile.is_some();
            let mut source = Failing { db: &db, meanwhile };
            let failed = load_new(&db, ("t", &["k"]), &mut source, LoadOptions::default()).unwrap_err();
            assert!(matches!(failed, Error::Engine(EngineError::Cancelled)), "{failed}");
            let tables = db.snapshot().table_names();
            assert_eq!(tables, if stays { vec!["t"] } else { Vec::new() });
        }
    }
}
