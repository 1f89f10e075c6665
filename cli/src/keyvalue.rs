//! `insert`, `get`, `delete`: single rows, of the key-value table or of any other.
//!
//! Invariants: values are read as the same text in a CSV file is, so that what is inserted here equals what is loaded;
//! nothing is rounded. Bytes, in JSON and in keys, are hexadecimal, as `get` prints them.

use std::io::Write;
use std::sync::Arc;

use rustling_db::Db;
use rustling_db::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray, new_null_array,
};
use rustling_db::arrow::compute::{cast, concat_batches};
use rustling_db::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use rustling_db::arrow::json::ReaderBuilder;
use rustling_db::engine::rows::schema::TableSchema;
use rustling_db::etl::csv::record::parse_record;

use crate::args::{Global, InsertArgs, KeyArgs};
use crate::failure::{Failure, Outcome, say};
use crate::output::{print_json, stdout};
use crate::session::{Missing, with_db};
use crate::size::counted;

/// The table of plain keys and values.
const KEY_VALUE: &str = "kv";

/// Inserts a key and its value, or rows.
///
/// # Errors
/// A key that is there already, unless it is to be replaced; what does not fit the table.
pub(crate) fn insert(global: &Global, args: &InsertArgs) -> Outcome {
    if args.table.is_none() && args.values.len() != 2 {
        let text = "write one KEY and one VALUE, or name a --table and write its rows as JSON";
        return Err(Failure::Usage(text.to_owned()));
    }
    // A table that is named is there, and so is its database.
    let missing = if args.table.is_some() { Missing::Refuse } else { Missing::Create };
    with_db(global, missing, |db| {
        let (table, rows) = match &args.table {
            Some(table) => {
                let schema = db.snapshot().table(table)?.schema().user().clone();
                (table.as_str(), read_json(&schema, &args.values)?)
            }
            None => (KEY_VALUE, key_value_row(db, &args.values)?),
        };
        let count = rows.num_rows() as u64;
        if args.replace {
            db.upsert(table, rows)?;
            say(&format!("wrote {}", counted(count, "row")));
        } else {
            db.insert(table, rows)?;
            say(&format!("inserted {}", counted(count, "row")));
        }
        Ok(())
    })
}

/// Prints the value of a key, or the row.
///
/// # Errors
/// A key that is not there, silently; what does not fit the table.
pub(crate) fn get(global: &Global, args: &KeyArgs) -> Outcome {
    with_db(global, Missing::Refuse, |db| {
        let (table, key) = key_of(db, args)?;
        let row = db.get(table, &key)?.ok_or(Failure::Silent)?;
        if args.table.is_some() {
            return print_json(std::iter::once(Ok(row))).map(drop);
        }
        let value = row.column(1).as_string::<i32>();
        let text = if value.is_null(0) { "" } else { value.value(0) };
        let mut out = stdout();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
    })
}

/// Deletes a key, or the row. A key that is not there is no failure: it is not there afterwards either.
///
/// # Errors
/// What does not fit the table.
pub(crate) fn delete(global: &Global, args: &KeyArgs) -> Outcome {
    with_db(global, Missing::Refuse, |db| {
        let (table, key) = key_of(db, args)?;
        let found = db.get(table, &key)?.is_some();
        if found {
            db.delete(table, key)?;
        }
        say(&format!("deleted {}", counted(u64::from(found), "row")));
        Ok(())
    })
}

/// The table, and the key as a batch of one row.
fn key_of<'a>(db: &Db, args: &'a KeyArgs) -> Outcome<(&'a str, RecordBatch)> {
    let table = args.table.as_deref().unwrap_or(KEY_VALUE);
    let snapshot = db.snapshot().table(table)?;
    let schema = snapshot.schema();
    if args.table.is_none() {
        check_key_value(schema)?;
    }
    if !schema.has_key() {
        return Err(Failure::Usage(format!("table `{table}` has no key; find its rows with `rustling sql`")));
    }
    let names = schema.key_names();
    if names.len() != args.key.len() {
        let (names, found) = (names.join(", "), args.key.len());
        return Err(Failure::Usage(format!("the key of table `{table}` is ({names}), not {found} values")));
    }
    let key_schema = schema.key_schema();
    let columns = key_schema.fields().iter().zip(&args.key).map(|(field, text)| read_value(field, text));
    let columns = columns.collect::<Outcome<Vec<_>>>()?;
    Ok((table, RecordBatch::try_new(key_schema, columns)?))
}

fn key_value_schema() -> SchemaRef {
    let column = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![column("key", false), column("value", true)]))
}

fn check_key_value(schema: &TableSchema) -> Outcome {
    let fits = *schema.user() == key_value_schema() && schema.key_names() == ["key"] && schema.has_key();
    let text = "the table `kv` is not one of keys and values; name it with --table to use it as it is";
    if fits { Ok(()) } else { Err(Failure::Said(text.to_owned())) }
}

/// The row of a key and its value; makes the table if it is not there.
fn key_value_row(db: &Db, texts: &[String]) -> Outcome<RecordBatch> {
    let schema = key_value_schema();
    match db.snapshot().table(KEY_VALUE) {
        Ok(snapshot) => check_key_value(snapshot.schema())?,
        Err(_) => {
            db.create_table(KEY_VALUE, &schema, &["key"])?;
        }
    }
    let column = |index: usize| Arc::new(StringArray::from_iter_values(texts.get(index))) as ArrayRef;
    Ok(RecordBatch::try_new(schema, vec![column(0), column(1)])?)
}

/// Rows of a table, each text one or more JSON objects.
fn read_json(schema: &SchemaRef, texts: &[String]) -> Outcome<RecordBatch> {
    // Values are taken as text first, which keeps every digit, then read as those of their column.
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let texts_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let bad = |error| Failure::Said(format!("cannot read the row: {error}"));
    let mut rows = Vec::new();
    for text in texts {
        let reader = ReaderBuilder::new(texts_schema.clone()).with_strict_mode(true).with_coerce_primitive(true);
        for batch in reader.build(text.as_bytes()).map_err(bad)? {
            let batch = batch.map_err(bad)?;
            for row in 0..batch.num_rows() {
                rows.push(read_row(schema, &batch.slice(row, 1))?);
            }
        }
    }
    if rows.is_empty() {
        return Err(Failure::Usage("no JSON object in the arguments".to_owned()));
    }
    Ok(concat_batches(rows[0].schema_ref(), &rows)?)
}

/// One row with the types of the table; all columns nullable, since the engine says best which must not be.
fn read_row(schema: &SchemaRef, texts: &RecordBatch) -> Outcome<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(texts.num_columns());
    for (field, text) in schema.fields().iter().zip(texts.columns()) {
        columns.push(match text.is_null(0) {
            true => new_null_array(field.data_type(), 1),
            false => read_value(field, text.as_string::<i32>().value(0))?,
        });
    }
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(nullable.collect::<Vec<_>>())), columns)?)
}

/// A value of a column.
fn read_value(field: &FieldRef, text: &str) -> Outcome<ArrayRef> {
    let bad_bytes = |expected: String| {
        let name = field.name();
        Failure::Said(format!("column `{name}`: `{text}` is not {expected} in hexadecimal, two digits for each"))
    };
    match field.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = hex::decode(text).map_err(|_| bad_bytes("bytes".to_owned()))?;
            Ok(cast(&BinaryArray::from_vec(vec![bytes.as_slice()]), field.data_type())?)
        }
        DataType::FixedSizeBinary(width) => {
            let bytes = hex::decode(text).ok().filter(|bytes| i32::try_from(bytes.len()) == Ok(*width));
            let bytes = bytes.ok_or_else(|| bad_bytes(format!("{width} bytes")))?;
            Ok(Arc::new(FixedSizeBinaryArray::try_new(*width, bytes.into(), None)?))
        }
        _ => Ok(parse_record(Arc::new(Schema::new(vec![field.clone()])), &[text])?.column(0).clone()),
    }
}

#[cfg(test)]
mod tests {
    use rustling_db::arrow::datatypes::TimeUnit;

    use super::*;

    fn read(data_type: DataType, json: &str) -> Result<String, String> {
        let schema = Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
        match read_json(&schema, &[format!("{{\"c\": {json}}}")]) {
            Ok(row) => {
                assert_eq!(row.column(0).data_type(), schema.field(0).data_type());
                Ok(rustling_db::arrow::util::display::array_value_to_string(row.column(0), 0).unwrap())
            }
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn bytes_are_whole_and_of_the_width_of_their_column() {
        for data_type in [DataType::Binary, DataType::LargeBinary, DataType::BinaryView, DataType::FixedSizeBinary(2)] {
            assert_eq!(read(data_type.clone(), "\"0Fa0\""), Ok("0fa0".to_owned()));
            for text in ["0f0", "0g", "ü", "+1"] {
                let error = read(data_type.clone(), &format!("\"{text}\"")).unwrap_err();
                assert!(error.starts_with(&format!("column `c`: `{text}` is not ")), "{error}");
            }
        }
        assert_eq!(read(DataType::Binary, "\"\""), Ok(String::new()));
        let error = read(DataType::FixedSizeBinary(2), "\"0f\"").unwrap_err();
        assert_eq!(error, "column `c`: `0f` is not 2 bytes in hexadecimal, two digits for each");
    }

    #[test]
    fn nothing_is_rounded_whatever_the_type() {
        for (data_type, fits, does_not) in [
            (DataType::Decimal32(9, 2), "1.23", "1.239"),
            (DataType::Decimal64(10, 2), "1.23", "1.239"),
            (DataType::UInt8, "255", "255.5"),
            (DataType::Time64(TimeUnit::Microsecond), "\"01:02:03.000004\"", "\"01:02:03.0000045\""),
        ] {
            assert_eq!(read(data_type.clone(), fits), Ok(fits.trim_matches('"').to_owned()), "{data_type}");
            assert!(read(data_type.clone(), does_not).is_err(), "{data_type}");
        }
        assert!(read(DataType::new_list(DataType::Int64, true), "[1.7]").is_err());
    }
}
