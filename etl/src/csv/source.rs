//! CSV files as a source of batches.
//!
//! In: paths and [`CsvOptions`]. Out: [`CsvSource`], whose batches are in the order of the files and of their records.
//! Invariants: batches, lines and the error, if there is one, do not depend on the number of threads, and rows, lines
//! and the error not on the size of a chunk either; after an error no batch follows. Bytes in memory are bounded by
//! `threads * 2 + 2` chunks and their batches. A file that changes while it is read is what was read.

use std::collections::HashSet;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use rustling_engine::error::{Error, Result};
use rustling_engine::source::{BatchSource, SourceBatch};

use crate::csv::dialect::Dialect;
use crate::csv::fields::CHUNK_BYTES_MAX;
use crate::csv::infer::Inference;
use crate::csv::input::{Input, Limits};
use crate::csv::parse::{ChunkParser, FileChunk};
use crate::csv::pipeline::Pipeline;
use crate::error::CsvError;

pub use crate::csv::progress::Progress;

/// Most threads that parse.
const THREADS_MAX: usize = 1024;

/// How CSV files are read.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// Delimiter and header.
    pub dialect: Dialect,
    /// Columns of every file, matched by name where there is a header and by position where there is none; inferred
    /// from the first records if `None`.
    pub schema: Option<SchemaRef>,
    /// Columns that must have a value in every record, such as those of a key; names that no column has are ignored.
    pub required: Vec<String>,
    /// Threads that parse, beside the one that reads.
    pub threads: usize,
    /// Bytes that are parsed into one batch, as long as no record is longer.
    pub chunk_bytes: usize,
    /// Bytes of a record; a longer one is an error.
    pub record_bytes_max: usize,
    /// Records that a schema is inferred from.
    pub sample_records: usize,
    /// Bytes that these records may have together.
    pub sample_bytes: usize,
}

impl Default for CsvOptions {
    /// Commas and a header, inferred columns, as many threads as processors.
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            schema: None,
            required: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX),
            chunk_bytes: 1 << 20,
            record_bytes_max: 64 << 20,
            sample_records: 10_000,
            sample_bytes: 8 << 20,
        }
    }
}

impl CsvOptions {
    fn check(&self) -> Result<(), CsvError> {
        // A chunk holds two bytes more than the limits say: the line end.
        let bytes_max = CHUNK_BYTES_MAX / 2;
        for (option, value, max) in [
            ("threads", self.threads, THREADS_MAX),
            ("chunk_bytes", self.chunk_bytes, bytes_max),
            ("record_bytes_max", self.record_bytes_max, bytes_max),
            ("sample_records", self.sample_records, usize::MAX),
            ("sample_bytes", self.sample_bytes, usize::MAX),
        ] {
            if value < 1 || value > max {
                return Err(CsvError::BadOption { option, value, min: 1, max });
            }
        }
        self.schema.as_deref().map_or(Ok(()), check_schema)
    }
}

fn check_schema(schema: &Schema) -> Result<(), CsvError> {
    if schema.fields().is_empty() {
        return Err(CsvError::NoColumns);
    }
    let mut seen = HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        Some(field) => Err(CsvError::DuplicateColumn { column: field.name().clone() }),
        None => Ok(()),
    }
}

/// The records of some files, parsed in parallel.
pub struct CsvSource {
    schema: SchemaRef,
    progress: Arc<Progress>,
    pipeline: Pipeline<SourceBatch>,
    failed: bool,
}

impl CsvSource {
    /// Opens the files (`-` is standard input), infers the columns if they were not given, and starts the threads.
    ///
    /// # Errors
    /// A file that is not there; a first file whose header does not fit; an option or a column type that cannot work.
    pub fn open(files: &[PathBuf], options: CsvOptions) -> Result<Self, CsvError> {
        options.check()?;
        let limits = Limits { chunk_bytes: options.chunk_bytes, record_bytes_max: options.record_bytes_max };
        let given = options.schema.as_deref().map(column_names);
        let mut input = Input::new(files, options.dialect, limits, given)?;
        let (schema, sample) = match &options.schema {
            Some(schema) => (schema.clone(), Sample::default()),
            None => infer(&mut input, &options)?,
        };
        let schema = require(&schema, &options.required);
        let parser = || {
            let inferred_from = options.schema.is_none().then_some(sample.records);
            let mut parser = ChunkParser::new(schema.clone(), options.dialect.delimiter(), inferred_from)?;
            Ok(move |chunk: FileChunk| parser.parse(&chunk))
        };
        let parsers = (0..options.threads).map(|_| parser()).collect::<Result<Vec<_>, CsvError>>()?;
        let (progress, may_block) = (input.progress().clone(), input.may_block());
        let pipeline = Pipeline::start(sample.chunks.into_iter().chain(input), parsers, may_block)?;
        Ok(Self { schema, progress, pipeline, failed: false })
    }

    /// How far it has been read.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

impl BatchSource for CsvSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>> {
        if self.failed {
            return Err(Error::Cancelled);
        }
        loop {
            match self.pipeline.next() {
                None => return Ok(None),
                Some(Ok(batch)) if batch.batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    self.progress.add_rows(batch.batch.num_rows());
                    return Ok(Some(batch));
                }
                Some(Err(error)) => {
                    self.failed = true;
                    return Err(error.into());
                }
            }
        }
    }
}

/// The schema with some columns not nullable.
fn require(schema: &SchemaRef, required: &[String]) -> SchemaRef {
    if required.is_empty() {
        return schema.clone();
    }
    let fields = schema.fields().iter().map(|field| {
        let nullable = field.is_nullable() && !required.contains(field.name());
        field.as_ref().clone().with_nullable(nullable)
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

fn column_names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// What was read to infer the columns: it is parsed first, an error in its place.
#[derive(Default)]
struct Sample {
    chunks: Vec<Result<FileChunk, CsvError>>,
    records: u64,
}

fn infer(input: &mut Input, options: &CsvOptions) -> Result<(SchemaRef, Sample), CsvError> {
    let names = input.names()?.to_vec();
    let delimiter = options.dialect.delimiter();
    let mut inference = Inference::new(names.len(), delimiter, options.sample_records, options.sample_bytes);
    let mut chunks = Vec::new();
    while !inference.is_done() && !matches!(chunks.last(), Some(Err(_))) {
        let Some(chunk) = input.next() else {
            break;
        };
        if let Ok(chunk) = &chunk {
            inference.add(chunk);
        }
        chunks.push(chunk);
    }
    // A file that begins with an error says that one.
    if inference.records() == 0 && !chunks.iter().any(Result::is_err) {
        return Err(CsvError::NoRecords);
    }
    let schema = Arc::new(inference.schema(&names));
    Ok((schema, Sample { chunks, records: inference.records() }))
}
