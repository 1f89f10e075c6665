//! Prints rows: as a table for eyes, as CSV, as JSON lines.
//!
//! In: batches as they come. Out: text on standard output; how many rows there were.
//! Invariants: CSV and JSON are written batch by batch, nothing is collected. CSV tells NULL (an empty field) from the
//! empty text (`""`), and `load` reads it back, but for a NULL that is all of a row: that is a blank line. JSON has every
//! column in every object, so their names differ; decimals, and floats that JSON has no number for, are strings.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use rustling_db::Error;
use rustling_db::arrow::array::{Array, AsArray, RecordBatch, StringArray};
use rustling_db::arrow::buffer::NullBuffer;
use rustling_db::arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Schema, SchemaRef,
};
use rustling_db::arrow::error::ArrowError;
use rustling_db::arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, Writer, WriterBuilder,
};
use rustling_db::arrow::util::display::{ArrayFormatter, FormatOptions};
use rustling_db::arrow::util::pretty::pretty_format_batches_with_options;

use crate::args::Format;
use crate::failure::{Failure, Outcome, say};
use crate::size::{count, counted};

/// Rows that a table shows.
const TABLE_ROWS_MAX: usize = 10_000;
/// Bytes in memory of the batches that it shows rows of, but for the last one.
const TABLE_BYTES_MAX: usize = 16 << 20;

/// Standard output, buffered.
pub(crate) fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Prints rows; returns their number.
///
/// # Errors
/// Those of the rows, and of the output.
pub(crate) fn print_rows(
    format: Format,
    schema: &SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, Error>>,
) -> Outcome<u64> {
    match format {
        Format::Table => print_table(schema, rows),
        Format::Csv => print_csv(schema, rows),
        Format::Json => print_json(rows),
    }
}

fn print_table(schema: &SchemaRef, rows: impl Iterator<Item = Result<RecordBatch, Error>>) -> Outcome<u64> {
    let (mut shown, mut shown_rows, mut shown_bytes, mut total) = (Vec::new(), 0, 0, 0);
    for batch in rows {
        let batch = batch?;
        total += batch.num_rows() as u64;
        let room = if shown_bytes > TABLE_BYTES_MAX { 0 } else { TABLE_ROWS_MAX - shown_rows };
        let taken = batch.num_rows().min(room);
        if taken > 0 {
            shown_rows += taken;
            shown_bytes += batch.get_array_memory_size();
            shown.push(batch.slice(0, taken));
        }
    }
    let mut out = stdout();
    if shown.is_empty() {
        shown.push(RecordBatch::new_empty(schema.clone()));
    }
    let table = pretty_format_batches_with_options(&shown, &FormatOptions::new().with_null("NULL"))?;
    writeln!(out, "{table}").and_then(|()| out.flush()).map_err(Failure::Output)?;
    let left_out = total - shown_rows as u64;
    if left_out > 0 {
        let (shown, left_out) = (count(shown_rows as u64), counted(left_out, "row"));
        say(&format!("note: the first {shown} rows are shown, {left_out} left out; --format csv or json gives all"));
    }
    Ok(total)
}

/// Prints texts as a table.
///
/// # Errors
/// Those of the output.
pub(crate) fn print_texts(columns: &[&str], rows: &[Vec<String>]) -> Outcome {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let column = |index: usize| StringArray::from_iter_values(rows.iter().map(|row| &row[index]));
    let arrays = (0..columns.len()).map(|index| Arc::new(column(index)) as _).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    print_table(&schema, std::iter::once(Ok(batch))).map(drop)
}

fn print_csv(schema: &SchemaRef, rows: impl Iterator<Item = Result<RecordBatch, Error>>) -> Outcome<u64> {
    let mut out = stdout();
    let mut header = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        write_field(&mut header, index, Some(field.name().as_bytes()));
    }
    header.push(b'\n');
    out.write_all(&header).map_err(Failure::Output)?;
    let mut total = 0;
    for batch in rows {
        let batch = batch?;
        total += batch.num_rows() as u64;
        write_csv(&mut out, &batch)?;
        out.flush().map_err(Failure::Output)?;
    }
    out.flush().map_err(Failure::Output)?;
    Ok(total)
}

fn write_csv(out: &mut impl Write, batch: &RecordBatch) -> Outcome {
    let options = FormatOptions::new().with_display_error(false);
    let columns = batch.columns().iter().map(|column| CsvColumn::new(column, &options));
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let (mut line, mut text) = (Vec::new(), String::new());
    for row in 0..batch.num_rows() {
        line.clear();
        for (index, column) in columns.iter().enumerate() {
            write_field(&mut line, index, column.value(row, &mut text)?);
        }
        line.push(b'\n');
        out.write_all(&line).map_err(Failure::Output)?;
    }
    Ok(())
}

/// A column whose values are written as CSV fields.
struct CsvColumn<'a> {
    array: &'a dyn Array,
    /// Also of arrays whose values, not themselves, are NULL.
    nulls: Option<NullBuffer>,
    text: ArrayFormatter<'a>,
}

impl<'a> CsvColumn<'a> {
    fn new(array: &'a dyn Array, options: &FormatOptions<'a>) -> Result<Self, ArrowError> {
        Ok(Self { array, nulls: array.logical_nulls(), text: ArrayFormatter::try_new(array, options)? })
    }

    /// The bytes of a value; binary as it stands, since that is how CSV is read.
    fn value<'b>(&'b self, row: usize, text: &'b mut String) -> Result<Option<&'b [u8]>, ArrowError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        match self.array.data_type() {
            DataType::Binary => return Ok(Some(self.array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => return Ok(Some(self.array.as_binary::<i64>().value(row))),
            DataType::BinaryView => return Ok(Some(self.array.as_binary_view().value(row))),
            _ => {}
        }
        text.clear();
        self.text.value(row).write(text)?;
        Ok(Some(text.as_bytes()))
    }
}

/// Appends a field, in quotes where it is empty, holds what ends a field, or begins or ends with a space, of which a
/// header's names are freed.
fn write_field(line: &mut Vec<u8>, index: usize, value: Option<&[u8]>) {
    if index > 0 {
        line.push(b',');
    }
    let Some(value) = value else { return };
    let is_plain = !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !value.is_empty() && is_plain && value.trim_ascii() == value {
        line.extend_from_slice(value);
        return;
    }
    line.push(b'"');
    for byte in value {
        if *byte == b'"' {
            line.push(b'"');
        }
        line.push(*byte);
    }
    line.push(b'"');
}

/// Prints rows as JSON objects, one a line.
///
/// # Errors
/// Two columns of one name; those of the rows, and of the output.
pub(crate) fn print_json(rows: impl Iterator<Item = Result<RecordBatch, Error>>) -> Outcome<u64> {
    let mut out = stdout();
    let mut total = 0;
    for batch in rows {
        let batch = batch?;
        refuse_same_names(batch.schema_ref())?;
        total += batch.num_rows() as u64;
        // A writer into memory, so that an error of the output keeps its type.
        let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Exact));
        let mut writer: Writer<Vec<u8>, LineDelimited> = builder.build(Vec::new());
        writer.write(&batch)?;
        writer.finish()?;
        out.write_all(&writer.into_inner()).and_then(|()| out.flush()).map_err(Failure::Output)?;
    }
    Ok(total)
}

/// Of two members of one name most readers of JSON keep the last one and say nothing.
fn refuse_same_names(schema: &Schema) -> Outcome {
    let mut names = HashSet::new();
    match schema.fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(field) => {
            let name = field.name();
            Err(Failure::Said(format!(
                "two columns are named `{name}`, which JSON cannot tell apart; rename one with AS"
            )))
        }
    }
}

/// Encodes what JSON numbers lose, decimals and floats that are no numbers; and fails where a date has no text, which is
/// written as if it were the text otherwise.
#[derive(Debug)]
struct Exact;

impl EncoderFactory for Exact {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Box::new(Floats(array)),
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..) => Box::new(Texts::new(array)?),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Values as strings, which need no escape. They are made before, because making one can fail.
struct Texts(Vec<String>);

impl Texts {
    fn new(array: &dyn Array) -> Result<Self, ArrowError> {
        let texts = ArrayFormatter::try_new(array, &FormatOptions::new().with_display_error(false))?;
        (0..array.len()).map(|row| texts.value(row).try_to_string()).collect::<Result<_, _>>().map(Self)
    }
}

impl Encoder for Texts {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = write!(out, "\"{}\"", self.0[index]);
    }
}

/// Floats in the shortest form that reads back as the same value.
struct Floats<'a>(&'a dyn Array);

impl Encoder for Floats<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let (text, finite) = match self.0.data_type() {
            DataType::Float16 => {
                let value = self.0.as_primitive::<Float16Type>().value(index);
                (format!("{:?}", value.to_f32()), value.is_finite())
            }
            DataType::Float32 => {
                let value = self.0.as_primitive::<Float32Type>().value(index);
                (format!("{value:?}"), value.is_finite())
            }
            _ => {
                let value = self.0.as_primitive::<Float64Type>().value(index);
                (format!("{value:?}"), value.is_finite())
            }
        };
        let _ = if finite { write!(out, "{text}") } else { write!(out, "\"{text}\"") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let mut line = Vec::new();
        for (index, value) in [Some("a b"), None, Some(""), Some("1,5"), Some("say \"x\""), Some("\n"), Some(" a")]
            .into_iter()
            .enumerate()
        {
            write_field(&mut line, index, value.map(str::as_bytes));
        }
        assert_eq!(String::from_utf8(line).unwrap(), "a b,,\"\",\"1,5\",\"say \"\"x\"\"\",\"\n\",\" a\"");
    }
}
