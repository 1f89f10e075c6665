//! JSON lines, and answers as JSON.

use std::io::Write;

use rustling_db::arrow::array::{Array, AsArray, RecordBatch};
use rustling_db::arrow::datatypes::{DataType, Int64Type};
use rustling_db::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Value, json};

use crate::run::Result;

/// Prints a line.
pub(crate) fn emit(line: &Value) {
    println!("{line}");
}

/// Says what is wrong, where nobody reads lines.
pub(crate) fn complain(text: &str) {
    // Who closed standard error does not want to know.
    writeln!(std::io::stderr(), "error: {text}").ok();
}

/// The rows of a query: whole numbers as numbers, everything else as text; in the order of their texts.
pub(crate) fn rows(batches: &[RecordBatch]) -> Result<Value> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let options = FormatOptions::default();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let mut values = Vec::new();
            for column in batch.columns() {
                values.push(match column.data_type() {
                    _ if column.is_null(row) => Value::Null,
                    DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
                    _ => json!(ArrayFormatter::try_new(column, &options)?.value(row).to_string()),
                });
            }
            rows.push(values);
        }
    }
    rows.sort_by_key(|row| row.iter().take(2).map(Value::to_string).collect::<Vec<_>>());
    Ok(json!(rows))
}
