//! Writes one Parquet file from sorted batches, its row groups encoded column by column on a thread pool.
//!
//! In: batches of one schema. Out: one synced file; row groups of [`ROW_GROUP_ROWS`] rows, or of fewer that have
//! [`Target::row_group_bytes`] in memory, or [`COLUMN_BYTES`] for each column, the last one smaller.
//! Invariants: at most [`IN_FLIGHT_MAX`] row groups are being encoded while the next one is gathered, so memory is
//! bounded by three of them (fewer where many columns make a row group larger); no gathered batch keeps alive string buffers it does not use. It works on a pool of one
//! thread and from within the pool, too: who waits for a column helps to encode.
//! Bytes: FORMAT.md, "SST".

use std::collections::VecDeque;
use std::io::sink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use rayon::{ThreadPool, Yield};

use crate::disk::api::{Disk, at};
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::rows::canonical::{batch_bytes, kept_bytes};
use crate::sst::checksum::{HashedFile, HashingFile};
use crate::sst::encoding::{ROW_GROUP_ROWS, SAMPLE_ROWS, properties};

/// Row groups that are being encoded at one time.
const IN_FLIGHT_MAX: usize = 2;
/// Bytes that a row group has for each column, at least, however little memory there is: a column of a row group takes
/// about a kilobyte in the footer, which readers hold.
const COLUMN_BYTES: usize = 16 << 10;

/// What a file is written for and with.
#[derive(Clone)]
pub struct Target {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The pool that encodes.
    pub pool: Arc<ThreadPool>,
    /// The run, for errors.
    pub run: RunId,
    /// The file's name while it is written.
    pub path: String,
    /// Bytes in memory of a row group's rows, about, unless a single row has more or there are very many columns.
    pub row_group_bytes: usize,
}

/// A Parquet file being written.
pub struct ParquetFile {
    target: Target,
    schema: SchemaRef,
    /// Indexes of the columns that the rows are sorted by.
    key: Vec<usize>,
    rows: u64,
    gathered: Vec<RecordBatch>,
    gathered_rows: usize,
    gathered_bytes: usize,
    in_flight: VecDeque<EncodingRowGroup>,
    /// Row groups that may be in flight while the next one is gathered.
    in_flight_max: usize,
    /// Made when the first row group is there to decide the encodings.
    open: Option<OpenFile>,
}

struct OpenFile {
    writer: SerializedFileWriter<HashingFile>,
    columns: Arc<[ColumnEncoder]>,
    /// Rows whose row groups are written.
    written_rows: u64,
}

impl ParquetFile {
    /// A file of no rows; it is created on disk when its first row group is full.
    pub fn new(mut target: Target, schema: SchemaRef, key: Vec<usize>) -> Self {
        let memory_bytes = (IN_FLIGHT_MAX + 1) * target.row_group_bytes;
        target.row_group_bytes = target.row_group_bytes.max(COLUMN_BYTES * schema.fields().len());
        let in_flight_max = (memory_bytes / target.row_group_bytes).saturating_sub(1);
        Self {
            target,
            schema,
            key,
            rows: 0,
            gathered: Vec::new(),
            gathered_rows: 0,
            gathered_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_max,
            open: None,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes written, and an estimate for the rows that are not written yet.
    pub fn bytes(&self) -> u64 {
        match &self.open {
            Some(open) if open.written_rows > 0 => {
                let written = open.writer.bytes_written() as u64;
                written + written / open.written_rows * (self.rows - open.written_rows)
            }
            // Encoded lineitem is a fifth of itself in memory; a half is a careful guess.
            _ => {
                let in_flight = self.in_flight.iter().map(|row_group| row_group.memory_bytes).sum::<u64>();
                (in_flight + memory_bytes(&self.gathered)) / 2
            }
        }
    }

    /// Appends rows with the columns of the schema.
    ///
    /// # Errors
    /// Parquet refuses to encode; the disk refuses.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let types = batch.columns().iter().map(|column| column.data_type());
        assert!(types.eq(self.schema.fields().iter().map(|field| field.data_type())), "a batch of the file's columns");
        self.rows += batch.num_rows() as u64;
        let row_bytes = batch_bytes(batch).div_ceil(batch.num_rows().max(1)).max(1);
        let mut start = 0;
        while start < batch.num_rows() {
            let room = self.target.row_group_bytes.saturating_sub(self.gathered_bytes) / row_bytes;
            let rows = (batch.num_rows() - start).min(ROW_GROUP_ROWS - self.gathered_rows).min(room.max(1));
            let columns = batch.columns().iter().map(|column| compact(&column.slice(start, rows))).collect();
            self.gathered.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            self.gathered_rows += rows;
            self.gathered_bytes += rows * row_bytes;
            start += rows;
            if self.gathered_rows == ROW_GROUP_ROWS || self.gathered_bytes + row_bytes > self.target.row_group_bytes {
                self.start_row_group()?;
            }
        }
        Ok(())
    }

    /// Encodes and writes what is left and makes the file durable.
    ///
    /// # Errors
    /// Parquet refuses to encode; the disk refuses.
    pub fn finish(mut self) -> Result<HashedFile> {
        if self.gathered_rows > 0 {
            self.start_row_group()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        for row_group in self.in_flight.drain(..) {
            open.write(row_group, &self.target)?;
        }
        let refused = |error| self.target.refused(error);
        open.writer.finish().map_err(refused)?;
        open.writer.inner_mut().finish()
    }

    /// Hands the gathered rows to the pool; waits for the oldest row group in flight if there are too many.
    fn start_row_group(&mut self) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        if self.in_flight.len() >= self.in_flight_max.max(1)
            && let Some(oldest) = self.in_flight.pop_front()
        {
            open.write(oldest, &self.target)?;
        }
        (self.gathered_rows, self.gathered_bytes) = (0, 0);
        let batches = std::mem::take(&mut self.gathered);
        let started = EncodingRowGroup::start(&self.target.pool, &open.columns, &batches);
        if self.in_flight_max == 0 {
            drop(batches);
            open.write(started, &self.target)?;
        } else {
            self.in_flight.push_back(started);
        }
        self.open = Some(open);
        Ok(())
    }

    /// Creates the file with encodings that fit the rows gathered first.
    fn open_file(&self) -> Result<OpenFile> {
        let mut sample = Vec::new();
        let mut room = SAMPLE_ROWS;
        for batch in &self.gathered {
            sample.push(batch.slice(0, batch.num_rows().min(room)));
            room -= batch.num_rows().min(room);
        }
        let sample = concat_batches(&self.schema, &sample)?;
        let refused = |error| self.target.refused(error);
        let properties = properties(&self.schema, &self.key, &sample).map_err(refused)?;
        let file = HashingFile::create(&*self.target.disk, &self.target.path)?;
        let shared = Arc::new(properties.clone());
        let encoder = |field: &FieldRef| ColumnEncoder::new(field.clone(), shared.clone());
        let columns = self.schema.fields().iter().map(encoder).collect::<Result<_, _>>().map_err(refused)?;
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties)).map_err(refused)?;
        let (writer, _) = writer.into_serialized_writer().map_err(refused)?;
        Ok(OpenFile { writer, columns, written_rows: 0 })
    }
}

impl Target {
    /// The error behind a refusal of Parquet's writer: often the disk's.
    fn refused(&self, error: ParquetError) -> Error {
        let source = match error {
            ParquetError::External(cause) => match cause.downcast() {
                Ok(cause) => return at("write", &self.path)(*cause),
                Err(cause) => ParquetError::External(cause),
            },
            other => other,
        };
        Error::Encode { run: self.run, source }
    }
}

impl OpenFile {
    /// Waits for a row group and writes it.
    fn write(&mut self, row_group: EncodingRowGroup, target: &Target) -> Result<()> {
        let refused = |error| target.refused(error);
        let rows = row_group.rows;
        let mut writer = self.writer.next_row_group().map_err(refused)?;
        for chunk in row_group.wait(target)? {
            chunk.append_to_row_group(&mut writer).map_err(refused)?;
        }
        writer.close().map_err(refused)?;
        self.written_rows += rows;
        Ok(())
    }
}

/// Makes the encoders of one column. They take megabytes before they see a value, so they are made when their column's
/// turn has come, not for all columns of a row group at once.
struct ColumnEncoder {
    field: FieldRef,
    writers: ArrowRowGroupWriterFactory,
}

impl ColumnEncoder {
    fn new(field: FieldRef, properties: Arc<WriterProperties>) -> Result<Self, ParquetError> {
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        let parquet = ArrowSchemaConverter::new().convert(&schema)?;
        // Only a file makes them; this one keeps nothing.
        let file = SerializedFileWriter::new(sink(), parquet.root_schema_ptr(), properties)?;
        Ok(Self { field, writers: ArrowRowGroupWriterFactory::new(&file, schema) })
    }

    fn encode(&self, arrays: &[ArrayRef]) -> EncodedColumn {
        let mut writers = self.writers.create_column_writers(0)?;
        for array in arrays {
            for (writer, leaf) in writers.iter_mut().zip(compute_leaves(&self.field, array)?) {
                writer.write(&leaf)?;
            }
        }
        writers.into_iter().map(ArrowColumnWriter::close).collect()
    }
}

/// The encoded leaves of one column.
type EncodedColumn = Result<Vec<ArrowColumnChunk>, ParquetError>;

/// A row group whose columns are being encoded.
struct EncodingRowGroup {
    rows: u64,
    /// What the rows took in memory before.
    memory_bytes: u64,
    columns: usize,
    /// Column index and what came of it; as large as there are columns, so that no worker ever waits.
    encoded: Receiver<(usize, EncodedColumn)>,
}

impl EncodingRowGroup {
    fn start(pool: &ThreadPool, encoders: &Arc<[ColumnEncoder]>, batches: &[RecordBatch]) -> Self {
        let columns = encoders.len();
        let (sender, encoded) = bounded(columns);
        for index in 0..columns {
            let arrays = batches.iter().map(|batch| batch.column(index).clone()).collect();
            let (encoders, sender) = (encoders.clone(), sender.clone());
            pool.spawn(move || encode_and_send(index, &encoders[index], arrays, &sender));
        }
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Self { rows, memory_bytes: memory_bytes(batches), columns, encoded }
    }

    /// The encoded leaves of all columns, in order.
    fn wait(self, target: &Target) -> Result<Vec<ArrowColumnChunk>> {
        let mut chunks: Vec<Vec<ArrowColumnChunk>> = (0..self.columns).map(|_| Vec::new()).collect();
        for _ in 0..self.columns {
            let (index, column) = self.next(&target.pool)?;
            chunks[index] = column.map_err(|error| target.refused(error))?;
        }
        Ok(chunks.into_iter().flatten().collect())
    }

    /// The next column that is done. A thread of the pool itself works on whatever the pool has to do meanwhile: the
    /// column it waits for may be queued behind it.
    fn next(&self, pool: &ThreadPool) -> Result<(usize, EncodedColumn)> {
        let panicked = Error::ThreadPanicked { thread: "encoding" };
        loop {
            match self.encoded.try_recv() {
                Ok(column) => return Ok(column),
                Err(TryRecvError::Disconnected) => return Err(panicked),
                Err(TryRecvError::Empty) => {}
            }
            match pool.yield_now() {
                Some(Yield::Executed) => {}
                // Another thread has the column, or is just about to queue work.
                Some(Yield::Idle) => {
                    if let Ok(column) = self.encoded.recv_timeout(Duration::from_millis(1)) {
                        return Ok(column);
                    }
                }
                None => return self.encoded.recv().map_err(|_| panicked),
            }
        }
    }
}

/// Encodes one column; a panic drops the sender, which is how the receiver learns of it, and stays out of the pool.
fn encode_and_send(
    index: usize,
    encoder: &ColumnEncoder,
    arrays: Vec<ArrayRef>,
    sender: &Sender<(usize, EncodedColumn)>,
) {
    if let Ok(column) = catch_unwind(AssertUnwindSafe(|| encoder.encode(&arrays))) {
        // A receiver that is gone was dropped with an unfinished file.
        drop(arrays);
        sender.send((index, column)).ok();
    }
}

fn memory_bytes(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| kept_bytes(batch.columns()) as u64).sum()
}

/// The same values without string buffers of which they use less than a half: views produced by `take` and the like
/// point into the whole buffers of their sources. Views inside of nested columns are not looked at; their buffers
/// live until their row group is encoded.
fn compact(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            if wasteful(views.data_buffers(), views.total_buffer_bytes_used()) {
                Arc::new(views.gc())
            } else {
                array.clone()
            }
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            if wasteful(views.data_buffers(), views.total_buffer_bytes_used()) {
                Arc::new(views.gc())
            } else {
                array.clone()
            }
        }
        _ => array.clone(),
    }
}

fn wasteful(buffers: &[arrow::buffer::Buffer], used: usize) -> bool {
    buffers.iter().map(|buffer| buffer.capacity()).sum::<usize>() / 2 > used
}
