//! Writes the files of one run from rows in key order.
//!
//! In: rows with their keys, strictly ascending; deleted keys, too. Out: two or three durable files under their final
//! names, and [`SstMeta`]; nobody sees them until a version edit names the run.
//! Invariants: files are made in the staging folder, synced, and only then named; a writer that is dropped or fails
//! removes what it made. A row's position in the SST is the rank of its key in the key index.

use std::sync::Arc;

use arrow::array::RecordBatch;
use rayon::ThreadPool;

use crate::disk::api::{Disk, at};
use crate::disk::path::{self, RunFile};
use crate::error::Result;
use crate::id::{RunId, TableId};
use crate::rows::keys::Keys;
use crate::rows::schema::TableSchema;
use crate::sst::key_index::writer::KeyIndexWriter;
use crate::sst::meta::{DeletesMeta, FileMeta, KeyRange, SstMeta};
use crate::sst::parquet_file::{ParquetFile, Target};

/// How rows are encoded.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// The pool that does it.
    pub pool: Arc<ThreadPool>,
    /// See [`Target::row_group_bytes`].
    pub row_group_bytes: usize,
}

impl Encoder {
    fn target(&self, disk: Arc<dyn Disk>, run: RunId, path: String) -> Target {
        Target { disk, pool: self.pool.clone(), run, path, row_group_bytes: self.row_group_bytes }
    }
}

/// A run being written.
pub struct SstWriter {
    table: TableId,
    run: RunId,
    schema: Arc<TableSchema>,
    encoder: Encoder,
    sst: ParquetFile,
    keys: KeyIndexWriter,
    key_range: Option<KeyRange>,
    deletes: Option<(ParquetFile, KeyRange)>,
    /// Last, so that the files are closed when it removes them.
    files: Files,
}

impl SstWriter {
    /// Starts a run of a table whose folder is durable, as is the staging folder.
    ///
    /// # Errors
    /// Files of this run are in the staging folder; the disk refuses.
    pub fn create(
        disk: Arc<dyn Disk>,
        table: TableId,
        run: RunId,
        schema: Arc<TableSchema>,
        encoder: Encoder,
    ) -> Result<Self> {
        let mut files = Files { disk: disk.clone(), staged: Vec::new(), named: Vec::new() };
        let keys = KeyIndexWriter::create(&*disk, &files.stage(table, run, RunFile::Keys))?;
        let path = files.stage(table, run, RunFile::Sst);
        let sst = ParquetFile::new(encoder.target(disk, run, path), schema.stored().clone(), schema.key().to_vec());
        Ok(Self { files, table, run, schema, encoder, sst, keys, key_range: None, deletes: None })
    }

    /// Appends rows: stored columns, and the key of each row. Keys are greater than all before them.
    ///
    /// # Errors
    /// Parquet refuses to encode; the disk refuses. The writer is then of no use any more.
    pub fn append(&mut self, keys: &Keys, batch: &RecordBatch) -> Result<()> {
        assert_eq!(keys.len(), batch.num_rows(), "one key per row");
        if keys.is_empty() {
            // A key index without keys has no width, whatever that of its table's keys.
            return Ok(());
        }
        extend(&mut self.key_range, keys);
        self.keys.append(keys)?;
        self.sst.append(batch)
    }

    /// Appends deleted keys: the key columns, and the key of each row. Keys are greater than all deleted ones before
    /// them; they are independent of the rows', for a run's deletes act on older runs only.
    ///
    /// # Errors
    /// As [`SstWriter::append`].
    pub fn append_deletes(&mut self, keys: &Keys, key_columns: &RecordBatch) -> Result<()> {
        assert_eq!(keys.len(), key_columns.num_rows(), "one key per row");
        let (deletes, range) = self.deletes.take().unzip();
        let mut range = range;
        extend(&mut range, keys);
        let mut deletes = deletes.unwrap_or_else(|| {
            let path = self.files.stage(self.table, self.run, RunFile::Deletes);
            let target = self.encoder.target(self.files.disk.clone(), self.run, path);
            ParquetFile::new(target, self.schema.key_schema(), (0..self.schema.key().len()).collect())
        });
        deletes.append(key_columns)?;
        self.deletes = range.map(|range| (deletes, range));
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.sst.rows()
    }

    /// Bytes of the run's files so far, those not encoded yet estimated.
    pub fn bytes(&self) -> u64 {
        self.sst.bytes() + self.keys.bytes() + self.deletes.as_ref().map_or(0, |(deletes, _)| deletes.bytes())
    }

    /// Writes the rest, makes the files durable and gives them their names. A run without rows has an SST, too.
    ///
    /// # Errors
    /// Parquet refuses to encode; the disk refuses. Nothing is left of the run then.
    pub fn finish(mut self) -> Result<SstMeta> {
        let rows = self.sst.rows();
        let sst = self.sst.finish()?;
        let deletes = match self.deletes {
            Some((deletes, key_range)) => Some((deletes.rows(), deletes.finish()?, key_range)),
            None => None,
        };
        let deletes_file = deletes.as_ref().map(|(_, file, _)| file);
        let (keys, footer_checksum) = self.keys.finish(self.run, &sst, deletes_file)?;
        self.files.publish(self.table)?;
        let deletes =
            deletes.map(|(count, file, key_range)| DeletesMeta { count, file: FileMeta::from(&file), key_range });
        Ok(SstMeta {
            run: self.run,
            rows,
            key_range: self.key_range,
            deletes,
            sst: FileMeta::from(&sst),
            keys: FileMeta::from(&keys),
            footer_checksum,
        })
    }
}

/// Widens a range by keys that must be greater than all in it.
fn extend(range: &mut Option<KeyRange>, keys: &Keys) {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return;
    };
    assert_eq!(keys.first_disorder(), None, "keys of a run ascend strictly");
    match range {
        Some(range) => {
            assert!(*range.max < *first, "keys of a run ascend strictly from one append to the next");
            range.max = last.to_vec();
        }
        None => *range = Some(KeyRange { min: first.to_vec(), max: last.to_vec() }),
    }
}

/// The files of an unfinished run; removed, as far as the disk allows, unless they are published.
struct Files {
    disk: Arc<dyn Disk>,
    /// Name in the staging folder and final name.
    staged: Vec<(String, String)>,
    /// Final names that are given, but not known to be durable.
    named: Vec<String>,
}

impl Files {
    /// The name in the staging folder for a file of the run.
    fn stage(&mut self, table: TableId, run: RunId, file: RunFile) -> String {
        let name = path::run(table, run, file);
        let staged = path::staging(name.rsplit('/').next().unwrap_or(&name));
        // A run that a crash left unfinished had this number, too, and opening may have failed to sweep it.
        let _ = self.disk.remove(&staged);
        self.staged.push((staged.clone(), name));
        staged
    }

    /// Gives the synced files their names, and makes those durable.
    fn publish(&mut self, table: TableId) -> Result<()> {
        while let Some((staged, name)) = self.staged.last() {
            self.disk.rename(staged, name).map_err(at("rename", staged))?;
            self.named.extend(self.staged.pop().map(|(_, name)| name));
        }
        let folder = path::table(table);
        self.disk.sync_dir(&folder).map_err(at("sync", &folder))?;
        self.named.clear();
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for name in self.staged.iter().map(|(staged, _)| staged).chain(&self.named) {
            // What cannot be removed now is swept when the database opens.
            self.disk.remove(name).ok();
        }
    }
}
