//! Reads rows of a verified Parquet file by position.
//!
//! In: a range of positions, columns. Out: batches of exactly the types the table has.
//! Invariants: a batch of large rows has fewer of them; pages without a wanted row are neither read nor decoded; a panic
//! of the decoder is an error; what is read is as many rows as were asked for, or an error.

use std::io::{self, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};

use crate::error::{Damage, Error, Result};
use crate::sst::checksum::in_memory;
use crate::sst::encoding::{PAGE_BYTES, PAGE_ROWS};
use crate::sst::page::header::{HEADER_START_BYTES, check_page};
use crate::sst::verified_file::VerifiedFile;

/// A batch has no more bytes than if its rows had so many each, unless it is a single row: rows may have megabytes.
pub const ROW_BYTES: usize = 512;

/// Decodes the footer and the page index of a file and compares them with what the file must hold.
///
/// # Errors
/// The file is damaged, or holds other rows or columns; the disk refuses.
pub fn load_metadata(file: &Arc<VerifiedFile>, schema: &Schema, rows: u64) -> Result<ArrowReaderMetadata> {
    let source = Source::new(file.clone());
    let loaded = source.guard(|| {
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        ArrowReaderMetadata::try_new(Arc::new(reader.parse_and_finish(&source)?), ArrowReaderOptions::new())
    })?;
    (check_metadata(&loaded, schema, rows).and_then(|()| check_places(&loaded, file.file_bytes())))
        .map_err(|damage| Error::corrupt(file.path(), damage))?;
    Ok(loaded)
}

/// Checks that column chunks lie in the file, one behind the other.
fn check_places(loaded: &ArrowReaderMetadata, file_bytes: u64) -> Result<(), Damage> {
    let mut behind = 0;
    for chunk in loaded.metadata().row_groups().iter().flat_map(|row_group| row_group.columns()) {
        let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
        let place = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        match place.and_then(|(start, bytes)| Some((start, start.checked_add(bytes)?))) {
            Some((start, end)) if start >= behind && end <= file_bytes => behind = end,
            _ => return Err(Damage::Field { field: "column_chunk", value: start.unsigned_abs() }),
        }
    }
    Ok(())
}

fn check_metadata(loaded: &ArrowReaderMetadata, schema: &Schema, rows: u64) -> Result<(), Damage> {
    let counts = loaded.metadata().row_groups().iter().map(|row_group| u64::try_from(row_group.num_rows()));
    let found = counts.fold(0, |sum: u64, count| sum.saturating_add(count.unwrap_or(u64::MAX)));
    // Parquet counts in signed numbers.
    if found != rows || i64::try_from(rows).is_err() {
        return Err(Damage::Disagreement { fact: "the number of rows", expected: rows, found });
    }
    let (expected, found) = (schema.fields().len() as u64, loaded.schema().fields().len() as u64);
    if expected != found {
        return Err(Damage::Disagreement { fact: "the number of columns", expected, found });
    }
    for (index, (expected, found)) in schema.fields().iter().zip(loaded.schema().fields()).enumerate() {
        let id =
            |field: &arrow::datatypes::Field| field.metadata().get(parquet::arrow::PARQUET_FIELD_ID_META_KEY).cloned();
        if id(expected) != id(found) {
            return Err(Damage::Field { field: "field_id", value: index as u64 });
        }
        if expected.data_type() != found.data_type() || found.is_nullable() && !expected.is_nullable() {
            return Err(Damage::Field { field: "column_type", value: index as u64 });
        }
    }
    Ok(())
}

/// The rows of a range of positions, in batches.
pub struct SstRows {
    source: Source,
    schema: SchemaRef,
    /// None where there is nothing (more) to read.
    reader: Option<ParquetRecordBatchReader>,
    left: u64,
}

impl SstRows {
    /// Starts to read. The ascending `ranges` lie in the file, `projection` holds ascending indexes of columns of `schema`.
    ///
    /// # Errors
    /// The file is damaged; the disk refuses.
    pub fn start(
        file: &Arc<VerifiedFile>,
        metadata: &ArrowReaderMetadata,
        schema: &Schema,
        ranges: &[Range<u64>],
        projection: &[usize],
        batch_rows: usize,
    ) -> Result<Self> {
        assert!(projection.is_sorted_by(|a, b| a < b), "columns ascend");
        let fields = projection.iter().map(|index| schema.fields()[*index].clone()).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let headers = match metadata.metadata().offset_index() {
            Some(_) => Headers::InPages,
            None => Headers::Alone,
        };
        let source = Source { headers, ..Source::new(file.clone()) };
        let left = ranges.iter().map(|range| range.end - range.start).sum();
        let reader = if left == 0 {
            None
        } else {
            let (row_groups, selection) = select(metadata, ranges);
            let row_bytes = row_bytes(metadata.metadata(), &row_groups, projection);
            let batch_rows = batch_rows.min((batch_rows.saturating_mul(ROW_BYTES) / row_bytes).max(1));
            let mask = ProjectionMask::roots(metadata.parquet_schema(), projection.iter().copied());
            Some(source.guard(|| {
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source.clone(), metadata.clone())
                    .with_row_groups(row_groups)
                    .with_projection(mask)
                    .with_batch_size(batch_rows.min(in_memory(left)));
                selection.into_iter().fold(builder, ParquetRecordBatchReaderBuilder::with_row_selection).build()
            })?)
        };
        Ok(Self { source, schema, reader, left })
    }

    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let batch = self.source.guard(|| reader.next().transpose().map_err(ParquetError::from))?;
        let rows = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        if rows > self.left || rows == 0 && self.left > 0 {
            let damage = Damage::Disagreement { fact: "the number of rows read", expected: self.left, found: rows };
            return Err(Error::corrupt(self.source.file.path(), damage));
        }
        self.left -= rows;
        batch.map(|batch| self.retype(&batch)).transpose()
    }

    /// The batch with the table's names and metadata.
    fn retype(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)
            .map_err(|error| Error::corrupt(self.source.file.path(), Damage::Arrow(error)))
    }
}

impl Iterator for SstRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.reader = None;
        }
        next
    }
}

/// Bytes that a reader of all rows holds at one time, about: a page of each column and the footer.
pub fn merged_bytes(metadata: &ArrowReaderMetadata) -> usize {
    let metadata = metadata.metadata();
    let page = |row_group: &RowGroupMetaData| {
        let bytes: i64 = row_group.columns().iter().map(decoded_bytes).fold(0, i64::saturating_add);
        let rows = usize::try_from(row_group.num_rows()).unwrap_or(usize::MAX).max(1);
        let row_bytes = in_memory(u64::try_from(bytes).unwrap_or(0)) / rows;
        // A page of wide values is full of bytes before it is full of rows, and may then get twice as many.
        row_bytes.saturating_mul(rows.min(PAGE_ROWS)).min(row_bytes.max(2 * PAGE_BYTES * row_group.num_columns()))
    };
    metadata.memory_size() + metadata.row_groups().iter().map(page).max().unwrap_or(0)
}

/// Bytes in memory of a row of some columns, about, in the row group where rows are largest.
pub fn row_bytes_max(metadata: &ArrowReaderMetadata, projection: &[usize]) -> usize {
    let all: Vec<usize> = (0..metadata.metadata().num_row_groups()).collect();
    row_bytes(metadata.metadata(), &all, projection)
}

/// Bytes in memory of a row of some columns, in the one of some row groups where rows are largest.
fn row_bytes(metadata: &ParquetMetaData, row_groups: &[usize], projection: &[usize]) -> usize {
    let wanted = |leaf: usize| projection.contains(&metadata.file_metadata().schema_descr().get_column_root_idx(leaf));
    let of = |row_group: &usize| {
        let row_group = metadata.row_group(*row_group);
        let columns = row_group.columns().iter().enumerate().filter(|(leaf, _)| wanted(*leaf));
        let bytes: i64 = columns.map(|(_, column)| decoded_bytes(column)).fold(0, i64::saturating_add);
        in_memory(u64::try_from(bytes / row_group.num_rows().max(1)).unwrap_or(0))
    };
    row_groups.iter().map(of).max().unwrap_or(0).max(1)
}

/// Bytes in memory of the values of a column of a row group. A dictionary has each of its values once on disk, so the
/// bytes there say little.
fn decoded_bytes(column: &ColumnChunkMetaData) -> i64 {
    let width = match column.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => i64::from(column.column_descr().type_length()),
        Type::BYTE_ARRAY => {
            let values = column.unencoded_byte_array_data_bytes().unwrap_or(column.uncompressed_size());
            return values.saturating_add(column.num_values().saturating_mul(4));
        }
    };
    column.num_values().saturating_mul(width)
}

/// The row groups that ascending ranges touch, and which of their rows those select, if not all.
fn select(metadata: &ArrowReaderMetadata, ranges: &[Range<u64>]) -> (Vec<usize>, Option<RowSelection>) {
    let (mut row_groups, mut selectors) = (Vec::new(), Vec::new());
    let (mut start, mut next, mut skipped) = (0, 0, 0);
    for (index, row_group) in metadata.metadata().row_groups().iter().enumerate() {
        let end = start + u64::try_from(row_group.num_rows()).unwrap_or(0);
        let mut at = start;
        while let Some(range) = ranges.get(next).filter(|range| range.start < end) {
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                selectors.push(RowSelector::skip(in_memory(from - at)));
                selectors.push(RowSelector::select(in_memory(to - from)));
                skipped += from - at;
                at = to;
            }
            if range.end > end {
                break;
            }
            next += 1;
        }
        if at > start {
            row_groups.push(index);
            selectors.push(RowSelector::skip(in_memory(end - at)));
            skipped += end - at;
        }
        start = end;
    }
    (row_groups, (skipped > 0).then(|| selectors.into()))
}

/// How Parquet's reader asks for the headers of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Headers {
    /// It asks for no pages.
    None,
    /// Each with its page, whose place and length it knows.
    InPages,
    /// Each before its page, whose length is in it.
    Alone,
}

/// A verified file as Parquet's reader wants it. Parquet's errors lose their cause on the way through Arrow's, so the
/// file's own error is kept aside. Parquet's reader believes what a page says of its length, so that is checked here.
#[derive(Clone)]
struct Source {
    file: Arc<VerifiedFile>,
    headers: Headers,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Source {
    fn new(file: Arc<VerifiedFile>) -> Self {
        Self { file, headers: Headers::None, failure: Arc::default() }
    }

    /// Runs a part of Parquet's reader; gives the file's own error where that is the cause.
    fn guard<T>(&self, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
        let result = catch_unwind(AssertUnwindSafe(read));
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let damage = match (result, failure) {
            (Ok(Ok(value)), None) => return Ok(value),
            (_, Some(failure)) => return Err(failure),
            (Ok(Err(error)), None) => Damage::Parquet(error),
            (Err(_), None) => Damage::DecoderPanic,
        };
        Err(Error::corrupt(self.file.path(), damage))
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        self.file.read(range).map_err(|error| self.keep(error))
    }

    /// Keeps an error aside.
    fn keep(&self, error: Error) -> ParquetError {
        let cause = ParquetError::General(error.to_string());
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        cause
    }

    /// Checks the header of the page that starts at a byte of the file.
    fn check_page(&self, start: u64, bytes: &[u8]) -> Result<(), ParquetError> {
        check_page(bytes).map_err(|damage| self.keep(Error::corrupt_at(self.file.path(), start, damage)))
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.file.file_bytes()
    }
}

impl ChunkReader for Source {
    type T = SourceReader;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        if self.headers == Headers::Alone {
            let end = self.len().min(start.saturating_add(HEADER_START_BYTES));
            self.check_page(start, &self.read(start.min(end)..end)?)?;
        }
        Ok(SourceReader { source: self.clone(), position: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.read(start..start.saturating_add(length as u64))?;
        if self.headers == Headers::InPages {
            self.check_page(start, &bytes)?;
        }
        Ok(bytes)
    }
}

/// Reads on from a position; Parquet reads its footer's last bytes so.
struct SourceReader {
    source: Source,
    position: u64,
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.source.len().min(self.position.saturating_add(buffer.len() as u64));
        let bytes = self.source.read(self.position.min(end)..end)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}
