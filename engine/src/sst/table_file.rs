//! A Parquet file of a run: its rows by position, out of what is kept, or out of its pages.
//!
//! In: positions, columns. Out: batches that hold on to nothing else.
//! Invariants: what is kept never changes an answer, only its cost. Rows are kept one by one, in row form, where keys
//! were looked up, for the next time; pages are kept for rows near by. Who reads many rows that lie together keeps
//! nothing, so that it does not drive out what is used often.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::error::{Damage, Error, Result};
use crate::id::RunId;
use crate::rows::canonical::compact;
use crate::rows::row_form::RowForm;
use crate::seeded::{SeededFault, makes};
use crate::sst::counts::ReadCounts;
use crate::sst::encoding::PAGE_ROWS;
use crate::sst::kept::{KeptRow, RowId};
use crate::sst::meta::FileId;
use crate::sst::page::point_reader::PointReader;
use crate::sst::page::source::PageSource;
use crate::sst::rows::{SstRows, load_metadata, row_bytes_max};
use crate::sst::store::Store;
use crate::sst::verified_file::VerifiedFile;

/// More rows than this are not kept, nor the pages in which they lie: they would drive out each other.
const KEPT_ROWS_MAX: usize = 4096;

/// Of rows that lie together, as many at most are found one by one, and their pages kept: Parquet's reader decodes more
/// of them faster.
const TOGETHER_MAX: usize = 1024;

/// Rows lie together if at least one in so many, from the first to the last, is wanted.
const TOGETHER_STEP: u64 = 8;

/// Bytes of rows that are decoded into one batch, about: an array of text or bytes has two GiB at most.
const DECODED_BYTES: usize = 512 << 20;

/// Why rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By their keys: the same ones may be wanted again.
    Keys,
    /// As a part of a range: they lie close to each other.
    Range,
}

/// The file.
#[derive(Debug)]
pub(super) struct TableFile {
    store: Arc<Store>,
    id: FileId,
    file: Arc<VerifiedFile>,
    rows: u64,
    form: RowForm,
}

impl TableFile {
    /// A file with so many rows of a schema.
    ///
    /// # Errors
    /// The schema cannot be stored; no table has such.
    pub(super) fn new(
        store: &Arc<Store>,
        id: FileId,
        file: VerifiedFile,
        rows: u64,
        schema: SchemaRef,
    ) -> Result<Self> {
        Ok(Self { store: store.clone(), id, file: Arc::new(file), rows, form: RowForm::new(schema)? })
    }

    /// Its bytes.
    pub(super) fn file(&self) -> &Arc<VerifiedFile> {
        &self.file
    }

    /// Number of its rows.
    pub(super) fn len(&self) -> u64 {
        self.rows
    }

    /// Its columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.form.schema()
    }

    /// Its footer, decoded unless it is kept.
    pub(super) fn metadata(&self) -> Result<ArrowReaderMetadata> {
        self.store.footer(self.id, || load_metadata(&self.file, self.schema(), self.rows))
    }

    /// The rows of a range, in batches.
    pub(super) fn rows(&self, range: Range<u64>, projection: &[usize], batch_rows: usize) -> Result<SstRows> {
        self.ranges(std::slice::from_ref(&range), projection, batch_rows)
    }

    /// The rows at ascending, different positions, as one batch.
    pub(super) fn rows_at(
        &self,
        rows: &[u64],
        projection: &[usize],
        access: Access,
        counts: &mut ReadCounts,
    ) -> Result<RecordBatch> {
        if let Some(last) = rows.last().filter(|last| **last >= self.rows) {
            return Err(self.truncated(last.saturating_add(1)));
        }
        if access == Access::Range || projection.is_empty() {
            return self.read_at(rows, projection, counts);
        }
        let kept: Vec<Option<KeptRow>> = rows.iter().map(|row| self.store.rows().get(&self.row_id(*row))).collect();
        let known: Vec<&[u8]> = kept.iter().flatten().map(|row| &**row).collect();
        counts.rows_kept += known.len() as u64;
        let decoded = (!known.is_empty()).then(|| self.decode(&known, projection)).transpose()?;
        if let (Some(decoded), true) = (&decoded, known.len() == rows.len()) {
            return Ok(decoded.clone());
        }
        let missing: Vec<u64> =
            rows.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(row, _)| *row).collect();
        let read = self.read_at(&missing, projection, counts)?;
        self.keep(&missing, &read)?;
        let Some(decoded) = decoded else { return Ok(read) };
        let mut next = [0, 0];
        let pick = |kept: &Option<KeptRow>| {
            let source = usize::from(kept.is_none());
            next[source] += 1;
            (source, next[source] - 1)
        };
        let picks: Vec<(usize, usize)> = kept.iter().map(pick).collect();
        Ok(interleave_record_batch(&[&decoded, &read], &picks)?)
    }

    fn row_id(&self, row: u64) -> RowId {
        let run = if makes(SeededFault::KeptRowOfOtherRun) { RunId(0) } else { self.id.run };
        RowId { file: FileId { run, ..self.id }, row }
    }

    fn decode(&self, rows: &[&[u8]], projection: &[usize]) -> Result<RecordBatch> {
        let decoded = self.form.decode_columns(rows.iter().copied(), projection);
        decoded.map_err(|damage| Error::corrupt("memory", damage))
    }

    /// Keeps rows, if all of their columns were read.
    fn keep(&self, rows: &[u64], read: &RecordBatch) -> Result<()> {
        if read.num_columns() == self.schema().fields().len() && rows.len() <= KEPT_ROWS_MAX {
            for (row, bytes) in rows.iter().zip(self.form.encode(read)?.iter()) {
                self.store.rows().insert(self.row_id(*row), bytes.into());
            }
        }
        Ok(())
    }

    /// Rows out of pages.
    fn read_at(&self, rows: &[u64], projection: &[usize], counts: &mut ReadCounts) -> Result<RecordBatch> {
        let mut columns = vec![None; projection.len()];
        if is_scattered(rows) {
            let metadata = self.metadata()?;
            let source = PageSource { file: &self.file, id: self.id, kept: self.store.pages() };
            let reader = PointReader { source, metadata: metadata.metadata(), schema: self.schema() };
            columns = reader.read(rows, projection, counts)?;
        }
        let left = projection.iter().zip(&columns).filter(|(_, found)| found.is_none()).map(|(column, _)| *column);
        let left: Vec<usize> = left.collect();
        if left.len() == projection.len() {
            return compact(self.read_together(rows, projection, counts)?);
        }
        if !left.is_empty() {
            let read = compact(self.read_together(rows, &left, counts)?)?;
            let mut read = read.columns().iter().cloned();
            columns.iter_mut().filter(|found| found.is_none()).for_each(|found| *found = read.next());
        }
        Ok(RecordBatch::try_new(self.projected(projection)?, columns.into_iter().flatten().collect())?)
    }

    /// Rows by Parquet's reader.
    fn read_together(&self, rows: &[u64], projection: &[usize], counts: &mut ReadCounts) -> Result<RecordBatch> {
        let pages = rows.chunk_by(|a, b| a / PAGE_ROWS as u64 == b / PAGE_ROWS as u64).count();
        counts.pages_read += (pages * projection.len()) as u64;
        self.read(&runs_of(rows), projection)
    }

    /// The rows of some ranges as one batch.
    fn read(&self, ranges: &[Range<u64>], projection: &[usize]) -> Result<RecordBatch> {
        // More than its arrays can hold of a column is no damage of the file.
        let batch_rows = (DECODED_BYTES / row_bytes_max(&self.metadata()?, projection)).max(1);
        let rows = self.ranges(ranges, projection, batch_rows)?;
        let schema = rows.schema().clone();
        let batches = rows.collect::<Result<Vec<_>>>()?;
        Ok(if let [batch] = &*batches { batch.clone() } else { concat_batches(&schema, &batches)? })
    }

    fn projected(&self, projection: &[usize]) -> Result<SchemaRef> {
        if projection.len() == self.schema().fields().len() {
            return Ok(self.schema().clone());
        }
        Ok(Arc::new(self.schema().project(projection)?))
    }

    /// There are no rows up to this one.
    fn truncated(&self, needed: u64) -> Error {
        Error::corrupt(self.file.path(), Damage::Truncated { field: "rows", needed, available: self.rows })
    }

    fn ranges(&self, ranges: &[Range<u64>], projection: &[usize], batch_rows: usize) -> Result<SstRows> {
        if let Some(range) = ranges.iter().find(|range| range.start > range.end || range.end > self.rows) {
            return Err(self.truncated(range.end));
        }
        SstRows::start(&self.file, &self.metadata()?, self.schema(), ranges, projection, batch_rows)
    }
}

/// Whether ascending positions are few, or lie so far from each other that each is found by itself.
fn is_scattered(rows: &[u64]) -> bool {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return false };
    let step = (last - first) / rows.len() as u64;
    rows.len() <= TOGETHER_MAX || rows.len() <= KEPT_ROWS_MAX && step >= TOGETHER_STEP
}

/// Ascending positions as ranges.
fn runs_of(rows: &[u64]) -> Vec<Range<u64>> {
    let runs = rows.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    runs.filter_map(|run| Some(*run.first()?..run.last()?.saturating_add(1))).collect()
}
