//! The database as a user sees it: tables, writes, SQL, files.
//!
//! In: calls from any thread. Methods without `async` block, and are not for the worker threads of a runtime: those for
//! SQL, writes and backups have an async twin, to be called in one of Tokio; the others are called by its
//! `spawn_blocking`, but for those that run SQL (`sql`, `run`, `export`), which take a thread that is no part of a
//! runtime, not even one of those.
//! Invariants: every statement shows one snapshot of all tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error as EngineError;
use rustling_engine::id::{SeqNo, TableId};
use rustling_engine::load::run::{LoadOptions, LoadReport};
use rustling_engine::read::lookup::FoundRows;
use rustling_engine::recover::OpenReport;
use rustling_engine::report::DatabaseReport;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::BatchSource;
use rustling_engine::sst::counts::ReadCounts;
use rustling_table_provider::catalog::RustlingCatalog;
use rustling_table_provider::error::Error as SqlError;
use rustling_table_provider::partial_file::FileError;
use rustling_table_provider::statement::{Statement, parse};
use tokio::runtime::{Handle, Runtime};

use crate::aggregate_rule::physical_rules;
use crate::error::{Error, Result};
use crate::export::{ExportReport, write_parquet};
use crate::import::{CsvLoad, OnStart, load_csv};
use crate::options::DbOptions;
use crate::pool::QueryPool;
use crate::rows::{Rows, refuse_inside_runtime};

/// Name of the catalog that holds the database's tables, in the schema `public`.
pub const CATALOG: &str = "rustling";

/// An open database.
pub struct Db {
    engine: Arc<Database>,
    /// Its tables as DataFusion knows them, in this session and in others.
    catalog: Arc<RustlingCatalog>,
    context: SessionContext,
    /// Taken when the database goes, so that it can go inside another runtime.
    runtime: Option<Runtime>,
}

impl Db {
    /// Opens the database in a folder, or creates it.
    ///
    /// # Errors
    /// A folder that another process has open, or that holds something else; damaged files; the system's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &DbOptions::default())
    }

    /// Opens the database in a folder.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &DbOptions) -> Result<Self> {
        Self::on_disk(local_disk(path.as_ref())?, options.engine(), options.query_bytes())
    }

    /// A database that lives as long as this value, in memory.
    ///
    /// # Errors
    /// The system's, where threads cannot be started.
    pub fn in_memory() -> Result<Self> {
        let options = DbOptions::default();
        Self::on_disk(Arc::new(MemoryDisk::new()), options.engine(), options.query_bytes())
    }

    /// Opens the database on any disk.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn on_disk(disk: Arc<dyn Disk>, options: Options, query_bytes: usize) -> Result<Self> {
        let threads = options.threads;
        let engine = Arc::new(Database::open(disk, options)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("rustling-query")
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let catalog = Arc::new(RustlingCatalog::new(engine.clone())?);
        let context = session(threads, query_bytes)?;
        context.register_catalog(CATALOG, catalog.clone());
        Ok(Self { engine, catalog, context, runtime: Some(runtime) })
    }

    /// The storage engine.
    pub fn engine(&self) -> &Arc<Database> {
        &self.engine
    }

    /// The session that SQL runs in.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        self.engine.open_report()
    }

    /// Creates a table with a key of some of its columns; with no key, rows can only be inserted and read.
    ///
    /// # Errors
    /// A table of that name; names, types and keys that cannot be; the system's.
    pub fn create_table(&self, name: &str, schema: &Schema, key: &[&str]) -> Result<TableId> {
        Ok(self.engine.create_table(name, schema, key)?)
    }

    /// Drops a table with its rows.
    ///
    /// # Errors
    /// No such table; the system's.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        Ok(self.engine.drop_table(name)?)
    }

    /// A table for a session of your own: `ctx.register_table("t", db.table("t")?)`.
    ///
    /// # Errors
    /// No such table.
    pub fn table(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.catalog.table(name)?))
    }

    /// All tables as they are now; what it shows never changes. One that keeps much from being given back may say that it
    /// is too old instead ([`rustling_engine::error::Error::SnapshotTooOld`]).
    pub fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    /// Adds rows whose keys must be new. Durable and visible when it returns.
    ///
    /// # Errors
    /// A key that is there already; rows that do not fit; the system's. Nothing is written then.
    pub fn insert(&self, table: &str, rows: RecordBatch) -> Result<SeqNo> {
        self.write(WriteBatch::new().insert(table, rows))
    }

    /// Adds rows, replacing those with the same keys. Durable and visible when it returns.
    ///
    /// # Errors
    /// Rows that do not fit; the system's. Nothing is written then.
    pub fn upsert(&self, table: &str, rows: RecordBatch) -> Result<SeqNo> {
        self.write(WriteBatch::new().upsert(table, rows))
    }

    /// Removes the rows with these keys (a batch of the key columns). Keys that are absent are no error.
    ///
    /// # Errors
    /// Keys that do not fit; the system's. Nothing is written then.
    pub fn delete(&self, table: &str, keys: RecordBatch) -> Result<SeqNo> {
        self.write(WriteBatch::new().delete(table, keys))
    }

    /// Applies changes to one or several tables, all or none, at one place in the order of writes.
    ///
    /// # Errors
    /// What is wrong with the changes; the system's. Nothing is written then.
    pub fn write(&self, batch: &WriteBatch) -> Result<SeqNo> {
        Ok(self.engine.write(batch)?)
    }

    /// As [`Db::write`], without blocking a thread of the caller's runtime, which is one of Tokio, while the log is synced.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_async(&self, batch: &WriteBatch) -> Result<SeqNo> {
        let (done, answer) = tokio::sync::oneshot::channel();
        // Its rows are shared, and not copied.
        let (engine, batch) = (self.engine.clone(), batch.clone());
        let queued = tokio::task::spawn_blocking(move || {
            engine.write_then(&batch, Box::new(move |result| drop(done.send(result))))
        });
        queued.await.map_err(|_| EngineError::ThreadPanicked { thread: "write" })??;
        Ok(answer.await.unwrap_or(Err(EngineError::ThreadPanicked { thread: "commit" }))?)
    }

    /// The row with a key, given as a batch of one row with the key columns.
    ///
    /// # Errors
    /// No such table; a key that does not fit; damaged files.
    pub fn get(&self, table: &str, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        Ok(self.engine.snapshot().table(table)?.get(key)?)
    }

    /// The rows with some keys, given as a batch of the key columns in key order, in any order.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use rustling_db::Db;
    /// # use rustling_db::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// # let db = Db::in_memory()?;
    /// let ids = |ids: Vec<i64>| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids)) as ArrayRef)]);
    /// db.create_table("t", &ids(vec![])?.schema(), &["id"])?;
    /// db.upsert("t", ids(vec![1, 2, 3])?)?;
    /// let found = db.get_many("t", &ids(vec![3, 7, 1])?)?;
    /// assert_eq!(found.rows, ids(vec![3, 1])?);
    /// assert_eq!(found.row_of, [Some(0), None, Some(1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get_many(&self, table: &str, keys: &RecordBatch) -> Result<FoundRows> {
        let table = self.engine.snapshot().table(table)?;
        Ok(table.get_many(keys, &table.user_projection(), &mut ReadCounts::default())?)
    }

    /// Runs SQL text and gives the rows of its last statement.
    ///
    /// # Errors
    /// SQL that does not parse, plan or run; statements that this database does not do. All statements are parsed
    /// before the first one runs.
    pub fn sql(&self, text: &str) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for statement in parse(text)? {
            batches = self.run(&statement)?.collect::<Result<_>>()?;
        }
        Ok(batches)
    }

    /// As [`Db::sql`], on the caller's runtime.
    ///
    /// # Errors
    /// As [`Db::sql`].
    pub async fn sql_async(&self, text: &str) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for statement in parse(text)? {
            batches = statement.execute(&self.context).await?.rows.try_collect().await?;
        }
        Ok(batches)
    }

    /// The statements of SQL text, checked, to be run one after the other.
    ///
    /// # Errors
    /// As [`Db::sql`].
    pub fn statements(&self, text: &str) -> Result<Vec<Statement>> {
        Ok(parse(text)?)
    }

    /// Starts a statement and gives its rows as they come.
    ///
    /// # Errors
    /// As [`Db::sql`]; [`Error::InsideRuntime`].
    pub fn run(&self, statement: &Statement) -> Result<Rows> {
        refuse_inside_runtime()?;
        let runtime = self.runtime()?;
        let executed = runtime.block_on(statement.execute(&self.context))?;
        Ok(Rows::new(runtime.handle().clone(), executed))
    }

    /// The runtime that queries run in.
    pub(crate) fn handle(&self) -> Result<Handle> {
        Ok(self.runtime()?.handle().clone())
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or(Error::Engine(EngineError::Closed))
    }

    /// Loads CSV files into a table as one change; the table is created if it is not there.
    ///
    /// # Errors
    /// A value, a row or a key that does not fit, with file and line; the system's. Nothing is loaded then.
    pub fn load_csv(&self, table: &str, files: &[PathBuf], load: &CsvLoad) -> Result<LoadReport> {
        load_csv(&self.engine, table, files, load, Box::new(|_| ()))
    }

    /// As [`Db::load_csv`]; `on_start` gets the counters of reading when it starts.
    ///
    /// # Errors
    /// As [`Db::load_csv`].
    pub fn load_csv_watched(
        &self,
        table: &str,
        files: &[PathBuf],
        load: &CsvLoad,
        on_start: Box<OnStart<'_>>,
    ) -> Result<LoadReport> {
        load_csv(&self.engine, table, files, load, on_start)
    }

    /// Loads any source of batches into a table as one change.
    ///
    /// # Errors
    /// Those of the source; rows and keys that do not fit; the system's. Nothing is loaded then.
    pub fn load(&self, table: &str, source: &mut dyn BatchSource, options: &LoadOptions) -> Result<LoadReport> {
        Ok(self.engine.load(table, source, options)?)
    }

    /// Writes the rows of a query to a Parquet file; of several statements those of the last one, once the others have run.
    ///
    /// # Errors
    /// As [`Db::sql`]; the system's. The file is complete, or as it was before.
    pub fn export(&self, query: &str, path: &Path) -> Result<ExportReport> {
        let statements = parse(query)?;
        let Some((last, first)) = statements.split_last() else {
            return Err(SqlError::NoStatement.into());
        };
        for statement in first {
            self.run(statement)?.try_for_each(|batch| batch.map(drop))?;
        }
        let rows = self.run(last)?;
        write_parquet(path, rows.schema().clone(), rows)
    }

    /// Turns what is in memory of a table into files.
    ///
    /// # Errors
    /// No such table; the system's.
    pub fn flush(&self, table: &str) -> Result<()> {
        Ok(self.engine.flush(table)?)
    }

    /// Rewrites a table so that the Parquet files in its folder are exactly its rows; older files that a snapshot or a query
    /// holds stay until it lets go and the next flush or compaction comes.
    ///
    /// # Errors
    /// No such table; damaged files; the system's.
    pub fn compact(&self, table: &str) -> Result<()> {
        Ok(self.engine.compact(table)?)
    }

    /// What the database consists of now.
    pub fn report(&self) -> DatabaseReport {
        self.engine.report()
    }

    /// Closes the database, for everybody who has it: calls that write say so from then on. Nothing that was acknowledged
    /// is lost without; the next opening is just longer.
    ///
    /// # Errors
    /// The system's. The database is closed all the same.
    pub fn close(&self) -> Result<()> {
        Ok(self.engine.close()?)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The files in a folder.
pub(crate) fn local_disk(path: &Path) -> Result<Arc<dyn Disk>> {
    Ok(Arc::new(LocalDisk::open(path).map_err(FileError::of("open", path))?))
}

/// Rows of a batch of a query, at least, however little memory there is.
const BATCH_ROWS_MIN: usize = 512;
/// Parts that a sort merges at once. It takes four batches for each of them: for rows of 128 bytes, and batches as
/// below, half of a thread's share of the memory. Without a limit the first sort takes what there is, and others fail.
const MERGED_PARTS_MAX: usize = 8;

/// Keys of a join's small side that are looked up: about what takes a few milliseconds, as for lists in SQL.
const JOIN_KEYS_MAX: usize = 1_024;

/// A session whose default tables are those of the catalog [`CATALOG`], once it is registered.
fn session(threads: usize, query_bytes: usize) -> Result<SessionContext> {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, "public");
    let thread_bytes = query_bytes / threads;
    // Each sort sets so much aside for merging what it spilled, before anything else.
    let set_aside = &mut config.options_mut().execution.sort_spill_reservation_bytes;
    *set_aside = (*set_aside).min(thread_bytes / 8);
    // Rows that are read in order are fetched ahead, up to so much; what is more is refused, and the query fails.
    let ahead = &mut config.options_mut().execution.sort_pushdown_buffer_capacity;
    *ahead = (*ahead).min(thread_bytes / 8);
    // So many keys a join's small side tells the other side, which looks them up instead of being scanned.
    config.options_mut().optimizer.hash_join_inlist_pushdown_max_distinct_values = JOIN_KEYS_MAX;
    let batch_rows = config.batch_size().min(thread_bytes >> 13).max(BATCH_ROWS_MIN);
    let config = config.with_batch_size(batch_rows);
    let spilled = DiskManagerBuilder::default().with_max_spill_merge_fan_in(MERGED_PARTS_MAX);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(QueryPool::new(query_bytes)))
        .with_disk_manager_builder(spilled)
        .build_arc()?;
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_physical_optimizer_rules(physical_rules())
        .build();
    Ok(SessionContext::new_with_state(state))
}
