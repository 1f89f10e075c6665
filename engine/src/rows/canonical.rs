//! The one form in which rows enter the engine: canonical floats in keys, no memory but their own.
//!
//! In: batches as they arrive, slices and views of other people's buffers among them. Out: equal batches.
//! Invariants: after [`canonicalize_keys`] equal keys are equal bits; after [`compact`] a batch keeps at most
//! [`SLACK_BYTES`] more than twice the memory its rows need, shared buffers counted once. Both run before the WAL and
//! the memtable: a batch of a few views into a large buffer costs thirty times its size in either.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, MutableArrayData,
    OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray, make_array,
};
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::rows::key::Float;
use crate::rows::physical::{BytesForm, Half, Physical, for_each_bytes, native_array, native_values};
use crate::rows::schema::TableSchema;

/// Memory beyond twice what its rows need that a batch may keep.
pub const SLACK_BYTES: usize = 4096;

/// Makes floats in the key columns of a batch of stored columns canonical: every NaN the positive quiet one, -0.0 the
/// positive zero. Copies only key columns that hold others; other columns keep their floats bit for bit.
///
/// # Errors
/// [`crate::error::Error::Arrow`] if the batch does not have the stored columns.
pub fn canonicalize_keys(schema: &TableSchema, batch: RecordBatch) -> Result<RecordBatch> {
    let key = batch.project(schema.key())?;
    let mut columns = batch.columns().to_vec();
    let mut changed = false;
    for (index, column) in schema.key().iter().zip(key.columns()) {
        let canonical = match column.data_type() {
            DataType::Float16 => canonical_floats::<Half>(column)?,
            DataType::Float32 => canonical_floats::<f32>(column)?,
            DataType::Float64 => canonical_floats::<f64>(column)?,
            _ => None,
        };
        if let Some(canonical) = canonical {
            columns[*index] = canonical;
            changed = true;
        }
    }
    if changed { Ok(RecordBatch::try_new(batch.schema(), columns)?) } else { Ok(batch) }
}

/// The canonical column, if it differs.
fn canonical_floats<T: Float>(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    let values = native_values::<T>(column);
    if values.iter().all(|value| T::from_raw(*value).is_canonical()) {
        return Ok(None);
    }
    let values = values.iter().map(|value| T::from_raw(*value).canonical().raw()).collect();
    Ok(Some(native_array::<T>(column.data_type(), values, column.nulls().cloned())?))
}

/// Copies the columns of a batch that keep much more memory than its rows need; the others stay as they are.
///
/// Cost: a look at the rows' views and offsets; a copy of the rows where it is needed.
///
/// # Errors
/// [`crate::error::Error::Arrow`] if a nested column breaks Arrow's own rules.
pub fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    let needed: Vec<usize> = batch.columns().iter().map(|column| needed_bytes(column)).collect();
    if kept_bytes(batch.columns()) <= 2 * needed.iter().sum::<usize>() + SLACK_BYTES {
        return Ok(batch);
    }
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, needed) in batch.columns().iter().zip(needed) {
        let is_loose = kept_bytes(std::slice::from_ref(column)) > 2 * needed;
        columns.push(if is_loose { copied(column)? } else { column.clone() });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

/// Bytes of all buffers that columns refer to, each counted once.
pub fn kept_bytes(columns: &[ArrayRef]) -> usize {
    let mut buffers = Vec::new();
    columns.iter().for_each(|column| list_buffers(&column.to_data(), &mut buffers));
    buffers.sort_unstable();
    buffers.dedup();
    buffers.iter().map(|(_, bytes)| bytes).sum()
}

/// Lists the address and the size of every allocation.
fn list_buffers(data: &ArrayData, list: &mut Vec<(usize, usize)>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    for buffer in data.buffers().iter().chain(nulls) {
        list.push((buffer.data_ptr().addr().get(), buffer.capacity()));
    }
    data.child_data().iter().for_each(|child| list_buffers(child, list));
}

/// Bytes that an exact copy of a batch takes, whatever its columns are slices of.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| needed_bytes(column)).sum()
}

/// Bytes that an exact copy of an array takes.
pub(crate) fn needed_bytes(array: &dyn Array) -> usize {
    let (row_count, bits) = (array.len(), array.len().div_ceil(8));
    let values = match (Physical::of(array.data_type()), array.data_type()) {
        (Some(Physical::Boolean), _) => bits,
        (Some(Physical::Native(native)), _) => native.width() * row_count,
        (Some(Physical::FixedSizeBinary(width)), _) => width * row_count,
        (Some(Physical::Bytes(form)), _) => needed_bytes_of_strings(array, form),
        (Some(Physical::Nested), DataType::List(_)) => needed_bytes_of_list::<i32>(array.as_list()),
        (Some(Physical::Nested), DataType::LargeList(_)) => needed_bytes_of_list::<i64>(array.as_list()),
        (Some(Physical::Nested), DataType::FixedSizeList(..)) => needed_bytes(array.as_fixed_size_list().values()),
        (Some(Physical::Nested), DataType::Struct(_)) => {
            array.as_struct().columns().iter().map(|column| needed_bytes(column)).sum()
        }
        (Some(Physical::Nested), DataType::Map(..)) => {
            let map = array.as_map();
            let (first, last) = (map.offsets()[0], map.offsets()[row_count]);
            let entries = map.entries().slice(usize_of(first), usize_of(last - first));
            size_of::<i32>() * (row_count + 1) + needed_bytes(&entries)
        }
        // No table stores such a column; what it keeps is what it needs.
        _ => array.get_buffer_memory_size(),
    };
    values + if array.nulls().is_some() { bits } else { 0 }
}

fn needed_bytes_of_strings(array: &dyn Array, form: BytesForm) -> usize {
    let offsets = match form {
        BytesForm::Utf8 | BytesForm::Binary => size_of::<i32>() * (array.len() + 1),
        BytesForm::LargeUtf8 | BytesForm::LargeBinary => size_of::<i64>() * (array.len() + 1),
        BytesForm::Utf8View => {
            return size_of::<u128>() * array.len() + array.as_string_view().total_buffer_bytes_used();
        }
        BytesForm::BinaryView => {
            return size_of::<u128>() * array.len() + array.as_binary_view().total_buffer_bytes_used();
        }
    };
    let mut values = 0;
    for_each_bytes(array, form, |_, value| values += value.len());
    offsets + values
}

fn needed_bytes_of_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> usize {
    let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
    let values = list.values().slice(first.as_usize(), (last - first).as_usize());
    size_of::<O>() * (list.len() + 1) + needed_bytes(&values)
}

/// An offset as an index; offsets of an array are never negative.
fn usize_of(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or_default()
}

/// An exact copy of an array that shares no memory with it.
///
/// # Errors
/// [`crate::error::Error::Arrow`] if a nested array breaks Arrow's own rules.
pub(crate) fn copied(array: &ArrayRef) -> Result<ArrayRef> {
    let data = array.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, data.len());
    copy.try_extend(0, 0, data.len())?;
    let mut copy = without_loose_views(make_array(copy.freeze()))?;
    copy.shrink_to_fit();
    Ok(copy)
}

/// Gives every view in an array, at any depth, a block of just the array's own strings.
fn without_loose_views(array: ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::List(_) => Arc::new(list_without_loose_views::<i32>(array.as_list())?),
        DataType::LargeList(_) => Arc::new(list_without_loose_views::<i64>(array.as_list())?),
        DataType::FixedSizeList(..) => {
            let row_count = array.len();
            let (field, size, values, nulls) = array.as_fixed_size_list().clone().into_parts();
            let values = without_loose_views(values)?;
            Arc::new(FixedSizeListArray::try_new_with_length(field, size, values, nulls, row_count)?)
        }
        DataType::Struct(_) => Arc::new(struct_without_loose_views(array.as_struct())?),
        DataType::Map(..) => {
            let (field, offsets, entries, nulls, ordered) = array.as_map().clone().into_parts();
            let entries = struct_without_loose_views(&entries)?;
            Arc::new(MapArray::try_new(field, offsets, entries, nulls, ordered)?)
        }
        _ => array,
    })
}

fn list_without_loose_views<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<GenericListArray<O>> {
    let (field, offsets, values, nulls) = list.clone().into_parts();
    Ok(GenericListArray::try_new(field, offsets, without_loose_views(values)?, nulls)?)
}

fn struct_without_loose_views(array: &StructArray) -> Result<StructArray> {
    let (fields, columns, nulls) = array.clone().into_parts();
    let columns = columns.into_iter().map(without_loose_views).collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields, columns, nulls, array.len())?)
}

#[cfg(test)]
mod tests;
