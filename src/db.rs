//! The database as a user sees it: tables, writes, SQL, files.
//!
//! In: calls from any thread. Methods without `async` block and must not be called from inside a runtime; each that
//! may take long has an async twin.
//! Invariants: every statement shows one snapshot of all tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_engine::backup::file::BackupOptions;
use rustling_engine::backup::run::{Backup, BackupReport};
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error as EngineError;
use rustling_engine::id::{SeqNo, TableId};
use rustling_engine::load::run::{LoadOptions, LoadReport};
use rustling_engine::recover::OpenReport;
use rustling_engine::report::DatabaseReport;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::BatchSource;
use rustling_engine::verify::check::{VerifyReport, verify};
use rustling_engine::verify::repair::{RepairReport, repair};
use rustling_table_provider::catalog::RustlingCatalog;
use rustling_table_provider::statement::{Statement, parse};
use rustling_table_provider::table::RustlingTable;
use tokio::runtime::Runtime;

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
        let context = session(&engine, threads, query_bytes)?;
        Ok(Self { engine, context, runtime: Some(runtime) })
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
        Ok(Arc::new(RustlingTable::new(self.engine.clone(), name)?))
    }

    /// All tables as they are now; what it shows never changes.
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

    /// As [`Db::write`], without blocking a thread of the caller's runtime while the log is synced.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_async(&self, batch: WriteBatch) -> Result<SeqNo> {
        let (done, answer) = tokio::sync::oneshot::channel();
        let engine = self.engine.clone();
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
            let frame: DataFrame = statement.execute(&self.context).await?;
            batches = frame.collect().await?;
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
        let stream = runtime
            .block_on(async { statement.execute(&self.context).await?.execute_stream().await.map_err(Error::from) })?;
        Ok(Rows::new(runtime.handle().clone(), stream))
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

    /// Writes the rows of a query to a Parquet file.
    ///
    /// # Errors
    /// As [`Db::sql`]; the system's. The file is complete or not there.
    pub fn export(&self, query: &str, path: &Path) -> Result<ExportReport> {
        let statements = parse(query)?;
        let Some((last, first)) = statements.split_last() else {
            return Ok(ExportReport { rows: 0, bytes: 0 });
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

    /// Rewrites a table so that the Parquet files in its folder are exactly its rows.
    ///
    /// # Errors
    /// No such table; damaged files; the system's.
    pub fn compact(&self, table: &str) -> Result<()> {
        Ok(self.engine.compact(table)?)
    }

    /// Makes a backup: a database of its own, with what every table holds now, in a folder that is missing or empty.
    /// Other threads may read and write meanwhile.
    ///
    /// Within one file system files are linked: that takes no space and hardly any time but that of reading them once,
    /// to check them. Linked files share their bytes with the database, so such a backup is safe from what is done to
    /// the database, and not from a failing disk. Into another file system files are copied. [`Db::backup_with`]
    /// chooses. To go back, open the backup as it is, or keep it and [`Db::restore`] it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use rustling_db::Db;
    /// use rustling_db::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let folder = folder.path();
    /// let db = Db::open(folder.join("live"))?;
    /// let ids = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// let rows = RecordBatch::try_from_iter([("id", ids)])?;
    /// db.create_table("t", &rows.schema(), &["id"])?;
    /// db.upsert("t", rows)?;
    /// let report = db.backup(folder.join("backup"))?;
    /// assert_eq!(report.tables, 1);
    ///
    /// db.drop_table("t")?; // by mistake
    /// db.close()?;
    /// Db::restore(folder.join("backup"), folder.join("restored"))?;
    /// let restored = Db::open(folder.join("restored"))?;
    /// assert_eq!(restored.sql("SELECT * FROM t")?[0].num_rows(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A folder that holds something; a damaged file; the system's. What was made of the backup is removed then. A
    /// process that dies meanwhile leaves a folder that says so when it is opened; the next backup into it starts over.
    pub fn backup(&self, folder: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(folder, BackupOptions::default())
    }

    /// As [`Db::backup`], and chooses whether files may be linked, and whether linked files are checked.
    ///
    /// # Errors
    /// As [`Db::backup`].
    pub fn backup_with(&self, folder: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReport> {
        Ok(self.engine.backup(local_disk(folder.as_ref())?, options)?)
    }

    /// As [`Db::backup_with`], without blocking a thread of the caller's runtime.
    ///
    /// # Errors
    /// As [`Db::backup`].
    pub async fn backup_async(&self, folder: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReport> {
        let (engine, disk) = (self.engine.clone(), local_disk(folder.as_ref())?);
        let made = tokio::task::spawn_blocking(move || engine.backup(disk, options)).await;
        Ok(made.map_err(|_| EngineError::ThreadPanicked { thread: "backup" })??)
    }

    /// Copies a backup, or any database that nobody has open, into a folder that is missing or empty. Every file is
    /// checked and none is linked, so the two have nothing in common; the backup is not changed.
    ///
    /// # Errors
    /// A folder without a database; one that holds something already; damaged files; the system's. Nothing is left in
    /// the new folder then.
    pub fn restore(backup: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<BackupReport> {
        let (from, to) = (local_disk(backup.as_ref())?, local_disk(folder.as_ref())?);
        let options = DbOptions::default().engine();
        Ok(Backup::of_closed(from, to, &options, BackupOptions { link: false, verify: true })?.finish()?)
    }

    /// Checks a database that nobody has open, or one table of it: every byte of its files, keys against rows, dead rows
    /// against keys, what a scan gives against a merge of everything. Changes nothing.
    ///
    /// ```
    /// # use rustling_db::{Db, DbOptions};
    /// # use rustling_db::arrow::datatypes::{DataType, Field, Schema};
    /// # let folder = tempfile::tempdir()?;
    /// let db = Db::open(folder.path())?;
    /// db.create_table("t", &Schema::new(vec![Field::new("id", DataType::Int64, false)]), &["id"])?;
    /// db.sql("INSERT INTO t VALUES (1), (2)")?;
    /// db.close()?;
    /// let report = Db::verify(folder.path(), None, &DbOptions::default())?;
    /// assert!(report.findings.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// No database there, or one that is open; no such table; a manifest that cannot be read; the system's. What else is
    /// wrong is in the report.
    pub fn verify(folder: impl AsRef<Path>, table: Option<&str>, options: &DbOptions) -> Result<VerifyReport> {
        Ok(verify(&local_disk(folder.as_ref())?, &options.engine(), table)?)
    }

    /// Rebuilds key indexes and deletion vectors of a database that nobody has open, where these are lost or damaged;
    /// they follow from rows and deleted keys, of which nothing can be rebuilt.
    ///
    /// # Errors
    /// As [`Db::verify`]. What is wrong still is in the report.
    pub fn repair(folder: impl AsRef<Path>, table: Option<&str>, options: &DbOptions) -> Result<RepairReport> {
        Ok(repair(&local_disk(folder.as_ref())?, &options.engine(), table)?)
    }

    /// What the database consists of now.
    pub fn report(&self) -> DatabaseReport {
        self.engine.report()
    }

    /// Closes the database. Nothing that was acknowledged is lost without; the next opening is just longer.
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

fn local_disk(path: &Path) -> Result<Arc<dyn Disk>> {
    let failed = |source| Error::File { operation: "open", path: path.to_owned(), source };
    Ok(Arc::new(LocalDisk::open(path).map_err(failed)?))
}

/// Rows of a batch of a query, at least, however little memory there is.
const BATCH_ROWS_MIN: usize = 512;
/// Parts that a sort merges at once. It takes four batches for each of them: for rows of 128 bytes, and batches as
/// below, half of a thread's share of the memory. Without a limit the first sort takes what there is, and others fail.
const MERGED_PARTS_MAX: usize = 8;

/// A session in which the database's tables are the default ones.
fn session(engine: &Arc<Database>, threads: usize, query_bytes: usize) -> Result<SessionContext> {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, "public");
    let thread_bytes = query_bytes / threads;
    // Each sort sets so much aside for merging what it spilled, before anything else.
    let set_aside = &mut config.options_mut().execution.sort_spill_reservation_bytes;
    *set_aside = (*set_aside).min(thread_bytes / 8);
    let batch_rows = config.batch_size().min(thread_bytes >> 13).max(BATCH_ROWS_MIN);
    let config = config.with_batch_size(batch_rows);
    let spilled = DiskManagerBuilder::default().with_max_spill_merge_fan_in(MERGED_PARTS_MAX);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(QueryPool::new(query_bytes)))
        .with_disk_manager_builder(spilled)
        .build_arc()?;
    let state =
        SessionStateBuilder::new().with_default_features().with_config(config).with_runtime_env(runtime).build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog(CATALOG, Arc::new(RustlingCatalog::new(engine.clone())?));
    Ok(context)
}
