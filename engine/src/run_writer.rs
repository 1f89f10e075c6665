//! Writes sorted rows into as many runs as the limits on one SST ask for.
//!
//! In: keys and rows, strictly ascending over all calls. Out: durable, open runs that are disjoint in keys.
//! Invariants: until they are published nobody names the runs; a writer that is given up removes what it wrote. A deleted
//! key goes into the run whose rows surround it.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::config::run_part;
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

/// Deleted keys that are decoded at once.
const DELETED_KEYS: usize = 8192;

/// Writes runs of one table.
pub struct RunWriter<'a> {
    open: Option<SstWriter>,
    closed: ClosedRuns<'a>,
    /// Deleted keys that are in no run yet, from `deleted_from` on.
    deleted: Keys,
    deleted_from: usize,
    /// Keys at which a new run begins, the last one first.
    cuts: Vec<Vec<u8>>,
    rows_max: u64,
    bytes_max: u64,
    is_in_parts: bool,
}

/// Durable runs that are not published yet; dropping them removes their files.
pub struct ClosedRuns<'a> {
    state: &'a State,
    table: Arc<TableView>,
    files: Vec<SstMeta>,
}

impl<'a> RunWriter<'a> {
    /// Writes runs of a table, each as large as the limits on one allow.
    pub fn new(state: &'a State, table: Arc<TableView>) -> Self {
        let deleted = Keys::new(table.codec.width());
        let (rows_max, bytes_max) = (state.options.sst_rows, state.options.sst_bytes);
        let closed = ClosedRuns { state, table, files: Vec::new() };
        let (open, cuts) = (None, Vec::new());
        Self { open, closed, deleted, deleted_from: 0, cuts, rows_max, bytes_max, is_in_parts: false }
    }

    /// Begins a new run at each of these ascending keys, too, and after about so many rows.
    #[must_use]
    pub fn cut(self, cuts: Vec<Vec<u8>>, rows_per_run: u64) -> Self {
        Self { cuts: cuts.into_iter().rev().collect(), rows_max: rows_per_run, ..self }
    }

    /// Begins a new run whenever one is as large as runs of such a table are to be: see [`run_part`].
    #[must_use]
    pub fn in_parts(self) -> Self {
        let mut writer = Self { is_in_parts: true, ..self };
        writer.limit_part();
        writer
    }

    /// Limits the next run given the rows that the table has, and those that were written.
    fn limit_part(&mut self) {
        let closed = &self.closed;
        let there = closed.table.version.runs().iter().map(|run| &run.meta().files);
        let (rows, bytes) = there
            .chain(&closed.files)
            .fold((0, 0), |(rows, bytes), files| (rows + files.rows, bytes + files.total_bytes()));
        let options = &closed.state.options;
        (self.rows_max, self.bytes_max) = (run_part(rows, options.sst_rows), run_part(bytes, options.sst_bytes));
    }

    /// Appends rows and their keys.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn append(&mut self, keys: &Keys, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while let Some(cut) = self.cuts.last() {
            let to = keys.gallop(from, (&**cut).into()).unwrap_or_else(|to| to);
            if to == keys.len() {
                break;
            }
            self.append_between(keys, batch, from, to)?;
            let cut = self.cuts.pop().unwrap_or_default();
            self.close_run(Some(&cut))?;
            from = to;
        }
        self.append_between(keys, batch, from, keys.len())
    }

    /// Appends the rows at `from..to`, which no cut parts.
    fn append_between(&mut self, keys: &Keys, batch: &RecordBatch, from: usize, to: usize) -> Result<()> {
        if from == to {
            return Ok(());
        }
        if (from, to) == (0, keys.len()) {
            self.sst()?.append(keys, batch)?;
        } else {
            let mut part = Keys::new(keys.width());
            part.extend(keys, from..to);
            self.sst()?.append(&part, &batch.slice(from, to - from))?;
        }
        let (rows_max, bytes_max) = (self.rows_max, self.bytes_max);
        if self.open.as_ref().is_some_and(|sst| sst.rows() >= rows_max || sst.bytes() >= bytes_max) {
            let mut behind = keys.get(to - 1).to_vec();
            // The lowest key behind the last one.
            behind.push(0);
            self.close_run(Some(&behind))?;
        }
        Ok(())
    }

    /// Appends rows, and deleted keys that act on older runs.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn append_with_deletes(&mut self, block: &MergeBlock) -> Result<()> {
        self.append_deletes(&block.deleted);
        self.append(&block.keys, &block.batch)
    }

    /// Appends deleted keys that act on older runs. Keys are greater than all deleted ones, and not less than any row,
    /// before them.
    pub fn append_deletes(&mut self, deleted: &Keys) {
        self.deleted.extend(deleted, 0..deleted.len());
    }

    /// Ends the run: what comes next goes into another one.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn end_run(&mut self) -> Result<()> {
        self.close_run(None)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The disk's; Parquet's.
    pub fn close(mut self) -> Result<ClosedRuns<'a>> {
        while let Some(cut) = self.cuts.pop() {
            self.close_run(Some(&cut))?;
        }
        self.close_run(None)?;
        Ok(self.closed)
    }

    fn sst(&mut self) -> Result<&mut SstWriter> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.closed.begin_sst()?,
        };
        Ok(self.open.insert(open))
    }

    /// Ends the run, if there is one, with all deleted keys below `end`.
    fn close_run(&mut self, end: Option<&[u8]>) -> Result<()> {
        let to = end.map_or(self.deleted.len(), |end| {
            self.deleted.gallop(self.deleted_from, end.into()).unwrap_or_else(|to| to)
        });
        while self.deleted_from < to {
            let part_end = to.min(self.deleted_from + DELETED_KEYS);
            let mut part = Keys::new(self.deleted.width());
            part.extend(&self.deleted, self.deleted_from..part_end);
            let table = &self.closed.table;
            let columns = table.codec.decode(&part).map_err(|damage| Error::corrupt("memory", damage))?;
            let rows = RecordBatch::try_new(table.schema.key_schema(), columns)?;
            self.sst()?.append_deletes(&part, &rows)?;
            self.deleted_from = part_end;
        }
        if self.deleted_from == self.deleted.len() {
            (self.deleted, self.deleted_from) = (Keys::new(self.deleted.width()), 0);
        }
        let Some(writer) = self.open.take() else { return Ok(()) };
        self.closed.files.push(writer.finish()?);
        if self.is_in_parts {
            self.limit_part();
        }
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

    /// Opens the runs; `seqs` gives the sequence numbers of the changes in each.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they do not read back; the disk's.
    pub fn open(&self, seqs: impl Fn(&SstMeta) -> SeqRange) -> Result<Vec<Arc<Run>>> {
        let open = |files: &SstMeta| {
            let seqs = seqs(files);
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
        publish(self.state, edit).map_err(|error| error.of_table(&self.table.name))?;
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
