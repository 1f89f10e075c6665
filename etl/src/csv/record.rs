//! One record whose fields come from elsewhere than a file, such as a command line.
//!
//! In: one text per column. Out: a batch of one row.
//! Invariants: a text is read as the same text in a CSV file is; none is NULL.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::csv::parse::{ChunkParser, FileChunk, Layout};
use crate::csv::split::Chunk;
use crate::error::CsvError;

/// Reads one text per column of a schema. In errors about a value, file and line mean nothing;
/// [`crate::error::BadValue::reason`] leaves them out.
///
/// # Errors
/// A text that is no value of its column; too few or too many of them.
pub fn parse_record(schema: SchemaRef, texts: &[&str]) -> Result<RecordBatch, CsvError> {
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect();
    let layout = Arc::new(Layout { file: "values".into(), fields: (0..schema.fields().len()).collect() });
    let chunk = Chunk { bytes: quoted.join(",").into_bytes(), line: 1 };
    Ok(ChunkParser::new(schema, b',', None)?.parse(&FileChunk { chunk, layout })?.batch)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use crate::schema_text;

    use super::*;

    fn parse(texts: &[&str]) -> Result<RecordBatch, CsvError> {
        parse_record(Arc::new(schema_text::parse("a text, b int").unwrap()), texts)
    }

    #[test]
    fn texts_are_read_as_in_a_file_and_kept_whole() {
        let batch = parse(&["a \"quote\", a\nline", "-7"]).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "a \"quote\", a\nline");
        assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), -7);
        assert_eq!(parse(&["", "1"]).unwrap().column(0).null_count(), 0);
    }

    #[test]
    fn a_bad_text_and_a_wrong_number_of_them_are_errors() {
        let CsvError::Value(bad) = parse(&["a", "x"]).unwrap_err() else { panic!() };
        assert_eq!(bad.reason().to_string(), "column `b`: `x` is not a value of type int");
        assert!(matches!(parse(&["a"]), Err(CsvError::FieldCount { expected: 2, found: 1, .. })));
    }
}
