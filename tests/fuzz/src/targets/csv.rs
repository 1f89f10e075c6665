//! CSV: any bytes, cut anywhere.
//!
//! In: a byte of choices (lowest two bits: the delimiter; next two: the columns; 16: infer some), a byte for the size of a chunk, then the content of a file.
//! Promise: records and fields are those of `csv_core`, wherever the file is cut into chunks; so are values, lines and
//! the error; columns that are inferred from all records can hold all of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread::LocalKey;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use rustling_engine::error::Result;
use rustling_etl::csv::fields::{Cursor, Records, Tokenizer};
use rustling_etl::csv::infer::Inference;
use rustling_etl::csv::parse::{ChunkParser, FileChunk, Layout};
use rustling_etl::csv::split::{Chunk, Splitter, count_lines};
use rustling_etl::error::CsvError;
use rustling_etl::schema_text;

use crate::input::Input;
use crate::targets::Seeds;

const INFER: u8 = 16;

/// A content that is at most this long is cut at every byte.
const CUT_EVERYWHERE_BYTES: usize = 24;
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A record: its line, and the text of its fields with whether each is quoted.
type Record = (u64, Vec<(Vec<u8>, bool)>);

/// Records, or the line of a quote that is never closed.
type Outcome = Result<Vec<Record>, u64>;

/// Reads a file.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let size = 1 + usize::from(input.byte());
    let delimiter = delimiter_of(choices);
    let content = input.0;
    // Compressed and UTF-16 files are refused by their first bytes.
    if splitter(content, delimiter).is_none() {
        return;
    }
    let want = expected(content, delimiter);
    let mut sizes = vec![size, content.len().max(1)];
    if content.len() <= CUT_EVERYWHERE_BYTES {
        sizes.extend(1..content.len());
    }
    for size in &sizes {
        assert_eq!(found(content, delimiter, *size), want, "chunks of {size} bytes");
    }
    let whole = parse(content, choices, content.len().max(1));
    assert_eq!(parse(content, choices, size), whole, "chunks of {size} bytes");
    if let Ok(records) = want
        && choices & INFER != 0
    {
        infer(content, delimiter, &records);
    }
}

/// The columns that a choice means.
fn schema_of(choices: u8) -> SchemaRef {
    static SCHEMAS: OnceLock<Vec<SchemaRef>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(|| {
        let texts = ["a text, b int", "a timestamp, b decimal(9,2), c double", "a boolean, b date, c time, d text"];
        let parse = |text: &str| schema_text::parse(text).unwrap_or_else(|error| panic!("a good schema: {error}"));
        texts.into_iter().map(|text| Arc::new(parse(text))).collect()
    });
    schemas[usize::from((choices >> 2) % 4).min(2)].clone()
}

/// Lends the value that was made for a choice; to make one takes longer than to read a file.
fn cached<T: 'static, R>(
    cache: &'static LocalKey<RefCell<HashMap<u8, T>>>,
    choice: u8,
    make: impl FnOnce() -> T,
    run: impl FnOnce(&mut T) -> R,
) -> R {
    cache.with(|cache| {
        let mut value = cache.borrow_mut().remove(&choice).unwrap_or_else(make);
        let result = run(&mut value);
        cache.borrow_mut().insert(choice, value);
        result
    })
}

thread_local! {
    static READERS: RefCell<HashMap<u8, Reader>> = RefCell::default();
    static TOKENIZERS: RefCell<HashMap<u8, Tokenizer>> = RefCell::default();
    static PARSERS: RefCell<HashMap<u8, ChunkParser>> = RefCell::default();
}

fn delimiter_of(choices: u8) -> u8 {
    [b',', b';', b'\t', b'|'][usize::from(choices % 4)]
}

fn splitter(content: &[u8], delimiter: u8) -> Option<Splitter<&[u8]>> {
    Splitter::new(content, "f".into(), delimiter, RECORD_BYTES_MAX).ok()
}

/// The chunks of a file and the error that ends them, if there is one.
fn chunks(content: &[u8], delimiter: u8, size: usize) -> (Vec<Chunk>, Option<CsvError>) {
    let mut chunks = Vec::new();
    let Some(mut splitter) = splitter(content, delimiter) else { return (chunks, None) };
    loop {
        match splitter.cut(size) {
            Ok(Some(chunk)) => chunks.push(chunk),
            Ok(None) => return (chunks, None),
            Err(error) => return (chunks, Some(error)),
        }
    }
}

/// What `csv_core` reads, byte by byte.
fn expected(content: &[u8], delimiter: u8) -> Outcome {
    let bytes = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    cached(
        &READERS,
        delimiter,
        || ReaderBuilder::new().delimiter(delimiter).build(),
        |reader| expected_of(bytes, reader),
    )
}

fn expected_of(bytes: &[u8], reader: &mut Reader) -> Outcome {
    reader.reset();
    // The reader would skip a byte order mark at its start.
    reader.read_field(b"\n", &mut [0]);
    let (mut records, mut fields, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let (mut line, mut start, mut quote_line) = (1, 1, 1);
    let (mut in_record, mut at_field, mut quoted) = (false, true, false);
    for (at, byte) in bytes.iter().chain(b"\n").enumerate() {
        let last = at == bytes.len();
        if last && !in_record {
            break;
        }
        let ends_line = matches!(byte, b'\n' | b'\r');
        if !in_record && !ends_line {
            (in_record, start) = (true, line);
        }
        if in_record && at_field {
            (quoted, at_field, quote_line) = (*byte == b'"', false, line);
        }
        let mut output = [0];
        let (result, _, written) = reader.read_field(&[*byte], &mut output);
        text.extend_from_slice(&output[..written]);
        let mut outside = !in_record;
        if let ReadFieldResult::Field { record_end } = result {
            fields.push((std::mem::take(&mut text), quoted));
            at_field = true;
            if record_end {
                records.push((start, std::mem::take(&mut fields)));
                (in_record, outside) = (false, true);
            }
        } else if last {
            return Err(quote_line);
        }
        let return_alone = *byte == b'\r' && outside && bytes.get(at + 1) != Some(&b'\n');
        line += u64::from(*byte == b'\n' || return_alone);
    }
    Ok(records)
}

/// What our reader reads, in chunks of a size.
fn found(content: &[u8], delimiter: u8, size: usize) -> Outcome {
    let (chunks, error) = chunks(content, delimiter, size);
    match error {
        Some(CsvError::UnclosedQuote { line, .. }) => return Err(line),
        Some(error) => panic!("{error}"),
        None => {}
    }
    cached(
        &TOKENIZERS,
        delimiter,
        || Tokenizer::new(delimiter),
        |tokenizer| fields(content, &chunks, delimiter, tokenizer),
    )
}

fn fields(content: &[u8], chunks: &[Chunk], delimiter: u8, tokenizer: &mut Tokenizer) -> Outcome {
    let (mut read, mut total) = (Vec::new(), 0);
    for chunk in chunks {
        total += chunk.bytes.len();
        let (mut cursor, mut records) = (Cursor { at: 0, line: chunk.line }, Records::default());
        while tokenizer.read(&chunk.bytes, &mut cursor, &mut records) {
            let fields = records.fields(&chunk.bytes).map(|field| (field.text.to_vec(), field.quoted)).collect();
            read.push((records.starts[0].line, fields));
            records.clear();
        }
        assert_eq!(cursor.line - chunk.line, count_lines(&chunk.bytes, delimiter));
    }
    let mark = if content.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    assert_eq!(total + mark, content.len());
    Ok(read)
}

/// All rows with their lines, or the first error.
fn parse(content: &[u8], choices: u8, size: usize) -> Result<(RecordBatch, Vec<u64>), String> {
    let (schema, delimiter) = (schema_of(choices), delimiter_of(choices));
    let make = || {
        let parser = ChunkParser::new(schema.clone(), delimiter, None);
        parser.unwrap_or_else(|error| panic!("a good schema: {error}"))
    };
    let (chunks, failed) = chunks(content, delimiter, size);
    cached(&PARSERS, choices % 16, make, |parser| {
        let layout = Arc::new(Layout { file: "f".into(), fields: (0..schema.fields().len()).collect() });
        let (mut batches, mut lines) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let parsed = parser.parse(&FileChunk { chunk, layout: layout.clone() });
            let parsed = parsed.map_err(|error| error.to_string())?;
            lines.extend((0..parsed.batch.num_rows()).map(|row| parsed.lines.line(row)));
            batches.push(parsed.batch);
        }
        if let Some(error) = failed {
            return Err(error.to_string());
        }
        let rows = concat_batches(&schema, &batches).unwrap_or_else(|error| panic!("batches of one schema: {error}"));
        Ok((rows, lines))
    })
}

/// Infers columns from all records that have as many fields as the first one, which then must fit.
fn infer(content: &[u8], delimiter: u8, records: &[Record]) {
    let Some((_, first)) = records.first() else { return };
    if records.iter().any(|(_, fields)| fields.len() != first.len()) || std::str::from_utf8(content).is_err() {
        return;
    }
    let (chunks, _) = chunks(content, delimiter, content.len());
    let layout = Arc::new(Layout { file: "f".into(), fields: (0..first.len()).collect() });
    let names: Vec<String> = (0..first.len()).map(|index| format!("c{index}")).collect();
    let mut inference = Inference::new(first.len(), delimiter, usize::MAX, usize::MAX);
    let chunks: Vec<FileChunk> = chunks.into_iter().map(|chunk| FileChunk { chunk, layout: layout.clone() }).collect();
    chunks.iter().for_each(|chunk| inference.add(chunk));
    assert_eq!(inference.records(), records.len() as u64);
    let schema = Arc::new(inference.schema(&names));
    let parser = ChunkParser::new(schema.clone(), delimiter, Some(inference.records()));
    let mut parser = parser.unwrap_or_else(|error| panic!("an inferred schema: {error}"));
    for chunk in &chunks {
        let parsed = parser.parse(chunk);
        parsed.unwrap_or_else(|error| {
            panic!("columns {schema:?} that cannot hold what they were inferred from: {error}")
        });
    }
}

/// Files that fit their columns, and odd ones.
pub fn seeds() -> Result<Seeds> {
    let with = |choices: u8, size: u8, content: &[u8]| [&[choices, size], content].concat();
    Ok(vec![
        ("plain", with(INFER, 7, b"one,1\ntwo,2\r\n\n,\n\"three, \"\"quoted\"\"\",-3\r\"four\nlines\",4")),
        (
            "numbers",
            with(
                5,
                30,
                b"2024-02-29 23:59:59.123456;1.25;1e300\n1970-01-01T00:00:00Z;-0.5;nan\n;;\n0001-01-01;9;-inf\n",
            ),
        ),
        ("times", with(10, 12, b"true\t2024-02-29\t23:59:59.5\tx\nFALSE\t1600-01-01\t00:00:00\t\"\"\n\t\t\t\n")),
        ("mark", with(3, 2, b"\xef\xbb\xbf\"a\"|1\n\"b\"x|2\n\xc3\xa9|3\n")),
        ("short", with(0, 1, b"a,\"b\n\"\"\r\",\r\nc")),
        (
            "inferred",
            with(
                1,
                9,
                b"1;2.5;1e3;true;2024-01-01;2024-01-01 10:00:00+02:00;00501\n-9;99999999999999999999;inf;false;;;x\n",
            ),
        ),
    ])
}
