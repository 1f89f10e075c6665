//! Cells of nested columns as bytes: an Arrow IPC stream with one batch of one column and one row.
//!
//! In: nested columns; bytes, untrusted. Out: a column of byte strings; nested columns of the exact type.
//! Invariants: a cell is uncompressed, so that decoding it takes no more memory than it has bytes; else those of
//! [`crate::rows::ipc`]. Bytes: FORMAT.md, "Row form", and Arrow's own IPC specification.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeBinaryBuilder, RecordBatch, new_empty_array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::error::{Damage, Result};
use crate::rows::canonical::copied;
use crate::rows::ipc::{Stream, read_batch};

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
    let rows: Vec<ArrayRef> = cells
        .map(|cell| cell.map_or_else(|| Ok(null.clone()), |bytes| decode_one(bytes, &schema)))
        .collect::<Result<_, Damage>>()?;
    if rows.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    // A panic leaves nothing behind: the rows are not changed.
    catch_unwind(AssertUnwindSafe(|| concat(&rows))).map_err(|_| Damage::DecoderPanic)?.map_err(Damage::Arrow)
}

/// The one row of a cell.
fn decode_one(bytes: &[u8], schema: &SchemaRef) -> Result<ArrayRef, Damage> {
    let array = read_batch(bytes, schema, Stream::Cell)?.column(0).clone();
    match array.is_null(0) {
        true => Err(Damage::Field { field: "null in a nested cell", value: 1 }),
        false => Ok(array),
    }
}
