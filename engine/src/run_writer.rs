//! Writes sorted rows into as many runs as the limits on one SST ask for.
//!
//! In: keys and rows, strictly ascending over all calls. Out: durable, open runs that are disjoint in keys.
//! Invariants: until they are published nobody names the runs; a writer that is given up removes what it wrote.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::disk::api::at;
use crate::disk::path::{self, RunFile};
use crate::error::{Error, Result};
use crate::id::SeqNo;
use crate::publish::{VersionEdit, publish};
use crate::read::merge::MergeBlock;
use crate::rows::keys::Keys;
use crate::seeded::{SeededFault, makes};
use crate::sst::meta::SstMeta;
use crate::sst::writer::SstWriter;
use crate::state::State;
use crate::version::run::{Run, RunMeta};
use crate::version::view::TableView;

/// First and last sequence number of the changes in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub first: SeqNo,
    /// The last.
    pub last: SeqNo,
}

/// Writes runs of one table.
pub struct RunWriter<'a> {
    open: Option<SstWriter>,
    closed: ClosedRuns<'a>,
}

/// Durable runs that are not published yet; dropping them removes their files.
pub struct ClosedRuns<'a> {
    state: &'a State,
    table: Arc<TableView>,
    files: Vec<SstMeta>,
}

impl<'a> RunWriter<'a> {
    /// Writes runs of a table.
    pub fn new(state: &'a State, table: Arc<TableView>) -> Self {
        let closed = ClosedRuns { state, table, files: Vec::new() };
        Self { open: None, closed }
    }

    /// Appends rows and their keys.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn append(&mut self, keys: &Keys, batch: &RecordBatch) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.sst()?.append(keys, batch)?;
        let options = &self.closed.state.options;
        let full = |sst: &SstWriter| {
            sst.deletes() == 0 && (sst.rows() >= options.sst_rows || sst.bytes() >= options.sst_bytes)
        };
        // Deleted keys belong to one run: whoever writes them writes one run.
        if self.open.as_ref().is_some_and(full) {
            self.close_sst()?;
        }
        Ok(())
    }

    /// Appends rows, and deleted keys that act on older runs.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn append_with_deletes(&mut self, block: &MergeBlock) -> Result<()> {
        self.append_deletes(&block.deleted)?;
        self.append(&block.keys, &block.batch)
    }

    /// Appends deleted keys that act on older runs.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn append_deletes(&mut self, deleted: &Keys) -> Result<()> {
        if deleted.is_empty() {
            return Ok(());
        }
        let table = &self.closed.table;
        let columns = table.codec.decode(deleted).map_err(|damage| Error::corrupt("memory", damage))?;
        let rows = RecordBatch::try_new(table.schema.key_schema(), columns)?;
        self.sst()?.append_deletes(deleted, &rows)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn close(mut self) -> Result<ClosedRuns<'a>> {
        self.close_sst()?;
        Ok(self.closed)
    }

    fn sst(&mut self) -> Result<&mut SstWriter> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.closed.begin_sst()?,
        };
        Ok(self.open.insert(open))
    }

    fn close_sst(&mut self) -> Result<()> {
        let Some(writer) = self.open.take() else { return Ok(()) };
        self.closed.files.push(writer.finish()?);
        Ok(())
    }
}

impl ClosedRuns<'_> {
    fn begin_sst(&self) -> Result<SstWriter> {
        // Not to make the folder anew.
        self.state.check_in_place().map_err(|failure| self.state.fail(failure))?;
        let folder = path::table(self.table.id);
        self.state.disk.create_dir(&folder).map_err(at("create", &folder))?;
        self.state.disk.sync_dir(path::TABLES).map_err(at("sync", path::TABLES))?;
        let (disk, encoder) = (self.state.disk.clone(), self.state.encoder()?);
        SstWriter::create(disk, self.table.id, self.state.new_run_id(), self.table.schema.clone(), encoder)
    }

    /// Opens the runs, their changes having these sequence numbers.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they do not read back; the disk's.
    pub fn open(&self, seqs: SeqRange) -> Result<Vec<Arc<Run>>> {
        let open = |files: &SstMeta| {
            let meta = RunMeta { files: files.clone(), min_seq: seqs.first, max_seq: seqs.last };
            Run::open(&self.state.store, self.table.id, &self.table.schema, meta).map(Arc::new)
        };
        self.files.iter().map(open).collect()
    }

    /// Rows in all runs.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|files| files.rows).sum()
    }

    /// Publishes an edit that names the runs, which from then on stay.
    ///
    /// # Errors
    /// As [`publish`].
    pub fn publish(mut self, edit: VersionEdit) -> Result<()> {
        publish(self.state, edit)?;
        self.files.clear();
        Ok(())
    }
}

impl Drop for ClosedRuns<'_> {
    fn drop(&mut self) {
        // An edit that names them may have been committed.
        if self.state.poison.get().is_some() && !makes(SeededFault::RunsRemovedInDoubt) {
            return;
        }
        for files in &self.files {
            for file in [RunFile::Sst, RunFile::Deletes, RunFile::Keys] {
                // Best effort: what is left is swept when the database opens.
                let _ = self.state.disk.remove(&path::run(self.table.id, files.run, file));
            }
        }
    }
}
