//! A Parquet file of a run: its rows by position, out of what is kept, or out of its pages.
//!
//! In: positions, columns. Out: batches that hold on to nothing else.
//! Invariants: what is kept never changes an answer, only its cost. Rows are kept one by one, in row form, where keys
//! were looked up, for the next time; values are kept around them, for keys near by. Who reads a long range keeps
//! nothing, so that it does not drive out what is used often.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{concat_batches, interleave, interleave_record_batch, take};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::error::{Damage, Error, Result};
use crate::id::RunId;
use crate::rows::canonical::compact;
use crate::rows::row_form::RowForm;
use crate::seeded::{SeededFault, makes};
use crate::sst::checksum::in_memory;
use crate::sst::counts::ReadCounts;
use crate::sst::kept::{KeptRow, PIECE_BYTES_MAX, PIECE_ROWS, PieceId, RowId, piece_of};
use crate::sst::meta::FileId;
use crate::sst::rows::{SstRows, load_metadata, range_bytes};
use crate::sst::store::Store;
use crate::sst::verified_file::VerifiedFile;

/// More rows than this are not kept: they would drive out each other.
const KEPT_ROWS_MAX: usize = 4096;

/// More rows than this are read by themselves, each page once; fewer with the values around them, page after page.
const PIECED_ROWS_MAX: usize = 32;

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

/// Values in which some rows are: of a piece, or of exactly these rows.
struct Piece {
    columns: Vec<ArrayRef>,
    /// The first of its rows, if it has all from there on.
    first: Option<u64>,
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

    /// Rows out of kept values, or out of pages.
    fn read_at(&self, rows: &[u64], projection: &[usize], counts: &mut ReadCounts) -> Result<RecordBatch> {
        if projection.is_empty() || rows.len() > PIECED_ROWS_MAX {
            let pieces = rows.chunk_by(|a, b| piece_of(*a) == piece_of(*b)).count();
            counts.pieces_decoded += (pieces * projection.len()) as u64;
            return compact(self.read(&runs_of(rows), projection)?);
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut picks: Vec<(usize, usize)> = Vec::with_capacity(rows.len());
        for together in rows.chunk_by(|a, b| piece_of(*a) == piece_of(*b)) {
            let piece = self.piece(together, projection, counts)?;
            let place = |(index, row): (usize, &u64)| match piece.first {
                Some(first) => in_memory(row - first),
                None => index,
            };
            picks.extend(together.iter().enumerate().map(|row| (pieces.len(), place(row))));
            pieces.push(piece);
        }
        let mut columns = Vec::with_capacity(projection.len());
        for column in 0..projection.len() {
            columns.push(match &*pieces {
                [piece] => {
                    let places = UInt64Array::from_iter_values(picks.iter().map(|(_, place)| *place as u64));
                    take(&piece.columns[column], &places, None)?
                }
                _ => {
                    let values: Vec<&dyn Array> = pieces.iter().map(|piece| piece.columns[column].as_ref()).collect();
                    interleave(&values, &picks)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(self.projected(projection)?, columns, &options)?;
        if batch.schema_ref().fields().iter().any(|field| shares_values(field.data_type())) {
            return compact(batch);
        }
        Ok(batch)
    }

    /// Values of the piece that some rows lie in; of these alone where rows are large.
    fn piece(&self, rows: &[u64], projection: &[usize], counts: &mut ReadCounts) -> Result<Piece> {
        let piece = rows.first().map_or(0, |row| piece_of(*row));
        let first = piece * PIECE_ROWS as u64;
        let all = first..self.rows.min(first.saturating_add(PIECE_ROWS as u64));
        let id = |column: usize| PieceId { file: self.id, column, piece };
        let pieces = self.store.pieces();
        let mut columns: Vec<Option<ArrayRef>> = projection.iter().map(|column| pieces.get(&id(*column))).collect();
        let missing: Vec<usize> =
            projection.iter().zip(&columns).filter(|(_, kept)| kept.is_none()).map(|(column, _)| *column).collect();
        if !missing.is_empty() {
            if range_bytes(&self.metadata()?, &all, &missing) > PIECE_BYTES_MAX {
                let read = self.read(&runs_of(rows), projection)?;
                counts.pieces_decoded += projection.len() as u64;
                return Ok(Piece { columns: read.columns().to_vec(), first: None });
            }
            let decoded = self.read(&[all], &missing)?;
            for (column, values) in missing.iter().zip(decoded.columns()) {
                pieces.insert(id(*column), values.clone());
            }
            let mut decoded = decoded.columns().iter().cloned();
            columns.iter_mut().filter(|kept| kept.is_none()).for_each(|kept| *kept = decoded.next());
        }
        counts.pieces_decoded += missing.len() as u64;
        counts.pieces_kept += (projection.len() - missing.len()) as u64;
        Ok(Piece { columns: columns.into_iter().flatten().collect(), first: Some(first) })
    }

    /// The rows of some ranges as one batch.
    fn read(&self, ranges: &[Range<u64>], projection: &[usize]) -> Result<RecordBatch> {
        let rows = self.ranges(ranges, projection, usize::MAX)?;
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

/// Ascending positions as ranges.
fn runs_of(rows: &[u64]) -> Vec<Range<u64>> {
    let runs = rows.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    runs.filter_map(|run| Some(*run.first()?..run.last()?.saturating_add(1))).collect()
}

/// Whether what `take` gives shares its values with what it was taken from: views do, and numbers of other values.
fn shares_values(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(..)) || data_type.is_nested()
}
