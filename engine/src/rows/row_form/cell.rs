//! Cells of nested columns as bytes: an Arrow IPC stream with one batch of one column and one row.
//!
//! In: nested columns; bytes, untrusted. Out: a column of byte strings; nested columns of the exact type.
//! Invariants: a cell is uncompressed, so that decoding it takes no more memory than it has bytes; its schema is
//! compared before its rows are read; Arrow's reader, which panics on some damage, cannot take the process with it.
//! Bytes: FORMAT.md, "Row form", and Arrow's own IPC specification.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeBinaryBuilder, RecordBatch, new_empty_array, new_null_array};
use arrow::buffer::Buffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::ipc::{Endianness, Message, MetadataVersion, root_as_message};

use crate::error::{Damage, Result};
use crate::rows::canonical::copied;

/// Stands before the length of every message.
const CONTINUATION: u64 = 0xffff_ffff;
/// Bytes at a multiple of which buffers of a cell start.
const ALIGNMENT_BYTES: usize = 8;

/// A nested column as a column of cells; NULLs stay NULL.
pub(super) fn encode(column: &ArrayRef) -> Result<ArrayRef> {
    let schema = cell_schema(column.data_type());
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?;
    let mut cells = LargeBinaryBuilder::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            cells.append_null();
            continue;
        }
        // Arrow writes whole buffers of views, so a cell must not share them with its neighbours.
        let cell = copied(&column.slice(row, 1))?;
        let batch = RecordBatch::try_new(schema.clone(), vec![cell])?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options.clone())?;
        writer.write(&batch)?;
        cells.append_value(writer.into_inner()?);
    }
    Ok(Arc::new(cells.finish()))
}

fn cell_schema(data_type: &DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("", data_type.clone(), true)]))
}

/// The nested column of a column of cells.
///
/// # Errors
/// What is wrong with a cell.
pub(super) fn decode<'a>(
    cells: impl Iterator<Item = Option<&'a [u8]>>,
    data_type: &DataType,
) -> Result<ArrayRef, Damage> {
    let schema = cell_schema(data_type);
    let null = new_null_array(data_type, 1);
    // A panic leaves nothing behind: the closure owns all it changes.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let rows: Vec<ArrayRef> = cells
            .map(|cell| cell.map_or_else(|| Ok(null.clone()), |bytes| decode_one(bytes, &schema)))
            .collect::<Result<_, Damage>>()?;
        if rows.is_empty() {
            return Ok(new_empty_array(data_type));
        }
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        concat(&rows).map_err(Damage::Arrow)
    }));
    decoded.unwrap_or(Err(Damage::DecoderPanic))
}

/// The one row of a cell.
fn decode_one(mut bytes: &[u8], schema: &SchemaRef) -> Result<ArrayRef, Damage> {
    let (message, _) = next_message(&mut bytes)?.ok_or(missing("schema of a nested cell"))?;
    check_schema(&message, schema)?;
    let (message, body) = next_message(&mut bytes)?.ok_or(missing("batch of a nested cell"))?;
    let array = decode_batch(&message, body, schema)?;
    if next_message(&mut bytes)?.is_some() || !bytes.is_empty() {
        return Err(Damage::Field { field: "bytes behind a nested cell", value: bytes.len() as u64 });
    }
    Ok(array)
}

fn missing(field: &'static str) -> Damage {
    Damage::Truncated { field, needed: 1, available: 0 }
}

/// Takes a message with its body; `None` at the end mark.
fn next_message<'a>(bytes: &mut &'a [u8]) -> Result<Option<(Message<'a>, &'a [u8])>, Damage> {
    let mark = next_u32(bytes)?;
    if mark != CONTINUATION {
        return Err(Damage::Field { field: "continuation mark of a nested cell", value: mark });
    }
    let length = next_u32(bytes)?;
    if length == 0 {
        return Ok(None);
    }
    let header = take(bytes, length, "message of a nested cell")?;
    let message = root_as_message(header).map_err(|source| Damage::Arrow(ArrowError::IpcError(source.to_string())))?;
    let body_length = unsigned(message.bodyLength(), "body length of a nested cell")?;
    let body = take(bytes, body_length, "body of a nested cell")?;
    Ok(Some((message, body)))
}

fn next_u32(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let taken = take(bytes, 4, "mark of a nested cell")?;
    Ok(taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn take<'a>(bytes: &mut &'a [u8], needed: u64, field: &'static str) -> Result<&'a [u8], Damage> {
    let split = usize::try_from(needed).ok().and_then(|needed| bytes.split_at_checked(needed));
    let (taken, rest) = split.ok_or(Damage::Truncated { field, needed, available: bytes.len() as u64 })?;
    *bytes = rest;
    Ok(taken)
}

/// A length that must not be negative.
fn unsigned(value: i64, field: &'static str) -> Result<u64, Damage> {
    u64::try_from(value).map_err(|_| Damage::Field { field, value: value.cast_unsigned() })
}

fn check_schema(message: &Message<'_>, expected: &SchemaRef) -> Result<(), Damage> {
    let schema = message.header_as_schema().ok_or(missing("schema of a nested cell"))?;
    if schema.endianness() != Endianness::Little {
        return Err(Damage::Field { field: "byte order of a nested cell", value: 1 });
    }
    let found = arrow::ipc::convert::fb_to_schema(schema);
    let fits = found.fields().len() == 1 && found.field(0).data_type() == expected.field(0).data_type();
    if !fits {
        let mismatch = ArrowError::SchemaError(format!("a nested cell has the columns {:?}", found.fields()));
        return Err(Damage::Arrow(mismatch));
    }
    Ok(())
}

fn decode_batch(message: &Message<'_>, body: &[u8], schema: &SchemaRef) -> Result<ArrayRef, Damage> {
    let batch = message.header_as_record_batch().ok_or(missing("batch of a nested cell"))?;
    if batch.compression().is_some() {
        // It would let a few bytes ask for any amount of memory.
        return Err(Damage::Field { field: "compression of a nested cell", value: 1 });
    }
    if batch.length() != 1 {
        let found = batch.length().cast_unsigned();
        return Err(Damage::Disagreement { fact: "the row count of a nested cell", expected: 1, found });
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let start = unsigned(buffer.offset(), "buffer offset of a nested cell")?;
        let length = unsigned(buffer.length(), "buffer length of a nested cell")?;
        take(&mut &*body, start.saturating_add(length), "buffer of a nested cell")?;
    }
    for node in batch.nodes().into_iter().flatten() {
        unsigned(node.length(), "row count in a nested cell")?;
        unsigned(node.null_count(), "null count in a nested cell")?;
    }
    let body = Buffer::from(body);
    let decoded = read_record_batch(&body, batch, schema.clone(), &HashMap::new(), None, &message.version())
        .map_err(Damage::Arrow)?;
    let array = decoded.column(0).clone();
    match array.is_null(0) {
        true => Err(Damage::Field { field: "null in a nested cell", value: 1 }),
        false => Ok(array),
    }
}
