//! Parses one chunk into one batch.
//!
//! In: a [`FileChunk`] and the schema. Out: a [`SourceBatch`] of its records, which may be none.
//! Invariants: the error of a chunk is its first in the order of the file, left to right within a record; a record of
//! the wrong number of fields is reported as that, whatever its fields hold. Fields are read column by column in blocks
//! of [`BLOCK_RECORDS`], which keeps one parser at a time hot and the places of the fields in the cache.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use memchr::memchr_iter;
use rustling_engine::source::{Lines, SourceBatch};

use crate::csv::columns::{Block, Column, Fault, column, inferred_column};
use crate::csv::fields::{Cursor, Records, Tokenizer};
use crate::csv::split::{Chunk, byte_of_line};
use crate::error::{BadValue, CsvError, ValueProblem, shown};

/// Records that are read before their columns are parsed.
const BLOCK_RECORDS: usize = 1024;

/// The columns of one file.
#[derive(Debug)]
pub struct Layout {
    /// The file's name.
    pub file: Arc<str>,
    /// Which field of a record (from 0) holds each column of the schema; a permutation.
    pub fields: Vec<usize>,
}

/// Records of a file.
#[derive(Debug)]
pub struct FileChunk {
    /// The records.
    pub chunk: Chunk,
    /// The file's columns.
    pub layout: Arc<Layout>,
}

/// Parses chunks, one after the other.
pub struct ChunkParser {
    schema: SchemaRef,
    columns: Vec<Box<dyn Column>>,
    tokenizer: Tokenizer,
    records: Records,
    inferred_from: Option<u64>,
}

impl ChunkParser {
    /// A parser of one schema; `inferred_from` are the records that it was inferred from, if it was: then it reads values
    /// as strictly as inference does.
    ///
    /// # Errors
    /// A type that no field can be read as.
    pub fn new(schema: SchemaRef, delimiter: u8, inferred_from: Option<u64>) -> Result<Self, CsvError> {
        let column = if inferred_from.is_some() { inferred_column } else { column };
        let columns = schema.fields().iter().map(|field| column(field)).collect::<Result<_, _>>()?;
        let (tokenizer, records) = (Tokenizer::new(delimiter), Records::default());
        Ok(Self { schema, columns, tokenizer, records, inferred_from })
    }

    /// Parses a chunk.
    ///
    /// # Errors
    /// The first record with the wrong number of fields or a field that is no value of its column.
    pub fn parse(&mut self, file_chunk: &FileChunk) -> Result<SourceBatch, CsvError> {
        let parsed = self.parse_records(file_chunk);
        // Columns are emptied after an error, too: they hold rows that no batch will have.
        let arrays = self.columns.iter_mut().map(|column| column.finish()).collect::<Result<Vec<_>, _>>();
        let lines = parsed?;
        let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays?, &options)?;
        Ok(SourceBatch { batch, source: file_chunk.layout.file.clone(), lines: compact(lines) })
    }

    /// Appends the records to the columns; returns their lines.
    fn parse_records(&mut self, file_chunk: &FileChunk) -> Result<Vec<u64>, CsvError> {
        let FileChunk { chunk, layout } = file_chunk;
        let text = std::str::from_utf8(&chunk.bytes).ok();
        let mut cursor = Cursor { at: 0, line: chunk.line };
        let mut lines = Vec::new();
        loop {
            let complete = self.read_block(&chunk.bytes, &mut cursor, layout);
            let block = Block { bytes: &chunk.bytes, text, records: &self.records, width: layout.fields.len() };
            let faults =
                self.columns.iter_mut().zip(&layout.fields).enumerate().filter_map(|(column, (into, field))| {
                    let Fault { record, problem } = into.append(&block, *field).err()?;
                    Some(BadField { record, field: *field, column, problem })
                });
            if let Some(first) = faults.min_by_key(|bad| (bad.record, bad.field)) {
                return Err(CsvError::Value(Box::new(self.bad_value(file_chunk, &first))));
            }
            complete?;
            if self.records.starts.is_empty() {
                return Ok(lines);
            }
            lines.extend(self.records.starts.iter().map(|start| start.line));
        }
    }

    /// Reads the next records, up to one with the wrong number of fields, which is the error.
    fn read_block(&mut self, bytes: &[u8], cursor: &mut Cursor, layout: &Layout) -> Result<(), CsvError> {
        let expected = layout.fields.len();
        self.records.clear();
        while self.records.starts.len() < BLOCK_RECORDS {
            let before = self.records.spans.len();
            if !self.tokenizer.read(bytes, cursor, &mut self.records) {
                return Ok(());
            }
            let found = self.records.spans.len() - before;
            if found != expected {
                self.records.spans.truncate(before);
                let line = self.records.starts.pop().map_or(cursor.line, |start| start.line);
                return Err(CsvError::FieldCount { file: layout.file.clone(), line, expected, found });
            }
        }
        Ok(())
    }

    #[cold]
    fn bad_value(&mut self, file_chunk: &FileChunk, bad: &BadField) -> BadValue {
        let bytes = &file_chunk.chunk.bytes;
        let start = self.records.starts[bad.record];
        let at = self.tokenizer.start_of_field(bytes, start.at, bad.field);
        let width = file_chunk.layout.fields.len();
        let raw = self.records.field(bytes, self.records.spans[bad.record * width + bad.field]);
        let column = self.schema.field(bad.column);
        BadValue {
            file: file_chunk.layout.file.clone(),
            line: start.line + memchr_iter(b'\n', &bytes[start.at..at]).count() as u64,
            byte: byte_of_line(&bytes[start.at..], at - start.at),
            column: column.name().clone(),
            data_type: column.data_type().clone(),
            text: shown(raw.text),
            problem: bad.problem,
            inferred_from: self.inferred_from,
        }
    }
}

/// A field that is no value of its column.
struct BadField {
    /// Record of the block, from 0.
    record: usize,
    /// Field of the record, from 0.
    field: usize,
    /// Column of the schema, from 0.
    column: usize,
    problem: ValueProblem,
}

/// The same lines, as one number where they follow each other.
fn compact(lines: Vec<u64>) -> Lines {
    match lines.first().copied() {
        Some(first) if !(first..).zip(&lines).all(|(line, found)| line == *found) => Lines::Each(lines),
        first => Lines::From(first.unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use crate::schema_text;

    use super::*;

    fn parse(content: &str) -> SourceBatch {
        let schema = Arc::new(schema_text::parse("a text, b int").unwrap());
        let layout = Arc::new(Layout { file: "f".into(), fields: vec![1, 0] });
        let chunk = Chunk { bytes: content.as_bytes().to_vec(), line: 7 };
        ChunkParser::new(schema, b',', None).unwrap().parse(&FileChunk { chunk, layout }).unwrap()
    }

    #[test]
    fn lines_are_one_number_where_they_follow_each_other() {
        assert_eq!(parse("1,x\n2,y\r\n3,\"z\"").lines, Lines::From(7));
        assert_eq!(parse("\n1,x\n2,y\n").lines, Lines::From(8));
        assert_eq!(parse("1,x\n\n2,y\n").lines, Lines::Each(vec![7, 9]));
        assert_eq!(parse("1,\"x\n\"\n2,y\n").lines, Lines::Each(vec![7, 9]));
        assert_eq!(parse("\n").batch.num_rows(), 0);
    }

    #[test]
    fn a_chunk_of_many_blocks_is_one_batch() {
        let content: String = (0..5000).map(|number| format!("{number},x\n")).collect();
        let parsed = parse(&content);
        assert_eq!((parsed.batch.num_rows(), parsed.lines.line(4999)), (5000, 7 + 4999));
    }

    #[test]
    fn a_parser_goes_on_after_an_error() {
        let schema = Arc::new(schema_text::parse("a text, b int").unwrap());
        let layout = Arc::new(Layout { file: "f".into(), fields: vec![0, 1] });
        let mut parser = ChunkParser::new(schema, b',', None).unwrap();
        let mut parse = |content: &str| {
            let chunk = Chunk { bytes: content.as_bytes().to_vec(), line: 1 };
            parser.parse(&FileChunk { chunk, layout: layout.clone() })
        };
        assert!(parse("x,1\ny,z\n").is_err());
        assert_eq!(parse("x,1\n").unwrap().batch.num_rows(), 1);
    }
}
