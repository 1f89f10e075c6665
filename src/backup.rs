//! Keeping a database: backups, restoring them, checking and repairing what is on disk.
//!
//! In: folders. Out: databases of their own, reports.
//! Invariants: a backup is complete or none; checking changes nothing; repairing rebuilds only what follows from rows and
//! deleted keys.

use std::path::Path;

use rustling_engine::backup::file::BackupOptions;
use rustling_engine::backup::run::{Backup, BackupReport};
use rustling_engine::error::Error as EngineError;
use rustling_engine::verify::check::{VerifyReport, verify};
use rustling_engine::verify::repair::{RepairReport, repair};

use crate::db::{Db, local_disk};
use crate::error::Result;
use crate::options::DbOptions;

impl Db {
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
        Ok(self.engine().backup(local_disk(folder.as_ref())?, options)?)
    }

    /// As [`Db::backup_with`], without blocking a thread of the caller's runtime.
    ///
    /// # Errors
    /// As [`Db::backup`].
    pub async fn backup_async(&self, folder: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReport> {
        let (engine, disk) = (self.engine().clone(), local_disk(folder.as_ref())?);
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
    /// against keys, how many rows a scan gives against a merge of everything. Changes nothing.
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
}
