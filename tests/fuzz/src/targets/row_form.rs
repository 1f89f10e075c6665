//! Rows as bytes: the row form of small writes, and the Arrow IPC streams of large ones, behind valid checksums.
//!
//! In: a byte of choices (lowest two bits: the table; 4: a stream), then rows, each behind its length (two bytes), or
//! the bytes of a stream.
//! Promise: what is decoded is a batch of exactly the table's columns, whose every value can be used; a row without
//! nested columns has one form, so that it is written again as the same bytes.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use rustling_engine::error::{Damage, Result};
use rustling_engine::id::TableId;
use rustling_engine::rows::change::{SortedChanges, TableChanges};
use rustling_engine::rows::keys::Keys;
use rustling_engine::rows::row_form::RowForm;
use rustling_engine::wal::body::{RawChanges, read_changes, write_changes};

use crate::input::Input;
use crate::tables::{Table, rows, tables};
use crate::targets::Seeds;

const STREAM: u8 = 4;

/// Decodes rows.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let table = &tables()[usize::from(choices % 4).min(2)];
    if choices & STREAM != 0 {
        stream(table, input.0);
    } else {
        separate(table, input);
    }
}

fn separate(table: &Table, mut input: Input<'_>) {
    let form = form_of(table);
    let mut rows = Vec::new();
    while !input.0.is_empty() {
        let length = usize::from(u16::from_le_bytes(input.array()));
        rows.push(input.piece(length));
    }
    let Ok(batch) = form.decode(rows.iter().copied()) else { return };
    check(table, &batch);
    let again = form.encode(&batch).unwrap_or_else(|error| panic!("what was read cannot be written: {error}"));
    if !table.schema.stored().fields().iter().any(|field| field.data_type().is_nested()) {
        assert!(again.iter().eq(rows.iter().copied()), "a row has two forms");
    }
    let decoded =
        form.decode(again.iter()).unwrap_or_else(|damage| panic!("what was written cannot be read: {damage}"));
    assert_eq!(decoded, batch);
}

fn form_of(table: &Table) -> RowForm {
    RowForm::new(table.schema.stored().clone()).unwrap_or_else(|error| panic!("a table without a row form: {error}"))
}

/// The body of a log record with one table's part, whose rows are a stream.
fn stream(table: &Table, stream: &[u8]) {
    let mut body = vec![0; 24];
    body[12] = 1;
    body[16..24].copy_from_slice(&(stream.len() as u64).to_le_bytes());
    body.extend_from_slice(stream);
    body.extend_from_slice(&[0; 8]);
    let parts = read_changes(&body).unwrap_or_else(|damage| panic!("a part that cannot be split off: {damage}"));
    if let Ok(changes) = decode(table, &parts[0]) {
        check(table, &changes.batch);
        assert_eq!(changes.keys.len(), changes.batch.num_rows());
    }
}

fn decode(table: &Table, part: &RawChanges<'_>) -> Result<SortedChanges, Damage> {
    part.decode(&table.schema, &table.codec)
}

fn check(table: &Table, batch: &RecordBatch) {
    assert_eq!(batch.schema_ref(), table.schema.stored());
    for column in batch.columns() {
        column.to_data().validate_full().unwrap_or_else(|error| panic!("a column that lies: {error}"));
    }
}

/// Rows and streams of each table.
pub fn seeds() -> Result<Seeds> {
    let mut seeds = Vec::new();
    for ((choices, table), name, stream_name) in (0..)
        .zip(tables())
        .zip(["numbers", "typed", "notes"])
        .zip(["numbers-stream", "typed-stream", "notes-stream"])
        .map(|((table, name), stream)| (table, name, stream))
    {
        let batch = stored(table, 0..6)?;
        let mut bytes = vec![choices];
        for row in form_of(table).encode(&batch)?.iter() {
            bytes.extend_from_slice(&u16::try_from(row.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(row);
        }
        seeds.push((name, bytes));
        seeds.push((stream_name, [&[choices | STREAM], &*stream_of(table)?].concat()));
    }
    Ok(seeds)
}

/// Rows with the columns that are stored.
fn stored(table: &Table, numbers: std::ops::Range<i32>) -> Result<RecordBatch> {
    let batch = rows(table.name, numbers.clone(), "a");
    let mut columns = batch.columns().to_vec();
    if !table.schema.has_key() {
        columns.push(Arc::new(Int64Array::from_iter_values(numbers.map(i64::from))));
    }
    Ok(RecordBatch::try_new(table.schema.stored().clone(), columns)?)
}

/// What the log writes for rows that are many; nested columns and all.
fn stream_of(table: &Table) -> Result<Vec<u8>> {
    let batch = stored(table, 0..1100)?;
    let keys = table.codec.encode_batch(&batch)?;
    let order = keys.sort_order();
    let changes = SortedChanges { keys: keys.take(&order), rows: order, batch, encoded: None };
    let mut body = Vec::new();
    let absent = Keys::new(table.codec.width());
    write_changes(&mut body, &table.schema, &TableChanges { table: TableId(1), changes, absent })?;
    // Behind the head and the length of the stream, before the length of the deleted keys.
    Ok(body[24..body.len() - 8].to_vec())
}
