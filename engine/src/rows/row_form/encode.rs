//! Batches to rows as bytes.
//!
//! In: batches of one schema. Out: one byte string per row, in row order, all in one buffer.
//! Invariants: a row's bytes are a function of its values alone; a batch costs a few allocations, a row none, nested
//! columns excepted. Bytes: FORMAT.md, "Row form".

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::rows::physical::{BytesForm, Fixed, Physical, for_each_bytes, native_values, with_native};
use crate::rows::row_form::cell;

/// Bits of a length in each of its bytes.
pub(super) const LENGTH_BITS: u32 = 7;
/// Says that a length goes on in the next byte.
pub(super) const LENGTH_GOES_ON: u8 = 1 << LENGTH_BITS;

/// Turns rows of one schema into bytes and back.
#[derive(Clone, Debug)]
pub struct RowForm {
    pub(super) schema: SchemaRef,
    pub(super) forms: Vec<Physical>,
}

/// Rows as bytes, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl EncodedRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all rows, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a row; panics if there are not so many rows.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl RowForm {
    /// The row form of the stored columns of a table.
    ///
    /// # Errors
    /// [`Error::UnsupportedType`] if a column cannot be stored; no table has such a column.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let forms = schema.fields().iter().map(|field| {
            let data_type = field.data_type();
            Physical::of(data_type)
                .ok_or_else(|| Error::UnsupportedType { column: field.name().clone(), data_type: data_type.clone() })
        });
        let forms = forms.collect::<Result<_>>()?;
        Ok(Self { schema, forms })
    }

    /// The columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of the null bitmap that every row starts with.
    pub(super) fn bitmap_bytes(&self) -> usize {
        self.forms.len().div_ceil(8)
    }

    /// The rows of a batch of the schema.
    ///
    /// # Errors
    /// [`Error::Arrow`] if the batch does not have the schema's columns.
    pub fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows> {
        self.check(batch)?;
        let mut columns = Vec::with_capacity(self.forms.len());
        for (form, column) in self.forms.iter().zip(batch.columns()) {
            columns.push(match form {
                Physical::Nested => (Physical::Bytes(BytesForm::LargeBinary), cell::encode(column)?),
                other => (*other, column.clone()),
            });
        }
        let mut total = 0;
        let mut ends = Vec::with_capacity(batch.num_rows());
        for length in self.lengths(&columns, batch.num_rows()) {
            ends.push(total + self.bitmap_bytes());
            total += length;
        }
        let mut rows = EncodedRows { bytes: vec![0; total], ends };
        self.put_nulls(&columns, &mut rows);
        columns.iter().for_each(|(form, column)| put_column(*form, column, &mut rows));
        Ok(rows)
    }

    /// Whether a batch has the schema's columns; names and metadata are the table's, types and NULLs count.
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.schema_ref() != &self.schema {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)?;
        }
        Ok(())
    }

    /// Bytes of each row.
    fn lengths(&self, columns: &[(Physical, ArrayRef)], row_count: usize) -> Vec<usize> {
        let mut lengths = vec![self.bitmap_bytes(); row_count];
        for (form, column) in columns {
            let is_valid = validity(column);
            let mut add_fixed = |width: usize| {
                lengths.iter_mut().enumerate().filter(|(row, _)| is_valid(*row)).for_each(|(_, length)| {
                    *length += width;
                });
            };
            match form {
                Physical::Boolean => add_fixed(1),
                Physical::Native(native) => add_fixed(native.width()),
                Physical::FixedSizeBinary(width) => add_fixed(*width),
                Physical::Bytes(form) => for_each_bytes(column, *form, |row, value| {
                    if is_valid(row) {
                        lengths[row] += length_bytes(value.len()) + value.len();
                    }
                }),
                Physical::Nested => {}
            }
        }
        lengths
    }

    /// Sets the null bits. `ends` are behind the bitmaps.
    fn put_nulls(&self, columns: &[(Physical, ArrayRef)], rows: &mut EncodedRows) {
        for (index, (_, column)) in columns.iter().enumerate() {
            let Some(nulls) = column.nulls() else { continue };
            for row in (0..column.len()).filter(|row| nulls.is_null(*row)) {
                let bitmap = rows.ends[row] - self.bitmap_bytes();
                rows.bytes[bitmap + index / 8] |= 1 << (index % 8);
            }
        }
    }
}

/// Tells which rows of a column are not NULL.
fn validity(column: &ArrayRef) -> impl Fn(usize) -> bool {
    let nulls = column.nulls();
    move |row| nulls.is_none_or(|nulls| nulls.is_valid(row))
}

/// Bytes of a length as LEB128.
fn length_bytes(length: usize) -> usize {
    let bits = (usize::BITS - length.leading_zeros()).max(1);
    bits.div_ceil(LENGTH_BITS) as usize
}

/// Appends a column's values to the rows, whose `ends` move on.
fn put_column(form: Physical, column: &ArrayRef, rows: &mut EncodedRows) {
    let is_valid = validity(column);
    match form {
        Physical::Boolean => {
            let values = column.as_boolean().values().iter().enumerate();
            values.filter(|(row, _)| is_valid(*row)).for_each(|(row, value)| put(rows, row, &[u8::from(value)]));
        }
        Physical::Native(native) => with_native!(native, T => {
            let values = native_values::<T>(column);
            for (row, value) in values.iter().enumerate().filter(|(row, _)| is_valid(*row)) {
                put(rows, row, T::from_raw(*value).to_little().as_ref());
            }
        }),
        Physical::FixedSizeBinary(_) => {
            let array = column.as_fixed_size_binary();
            (0..array.len()).filter(|row| is_valid(*row)).for_each(|row| put(rows, row, array.value(row)));
        }
        Physical::Bytes(form) => for_each_bytes(column, form, |row, value| {
            if is_valid(row) {
                put_length(rows, row, value.len());
                put(rows, row, value);
            }
        }),
        // Nested columns have become columns of cells.
        Physical::Nested => {}
    }
}

#[inline]
fn put(rows: &mut EncodedRows, row: usize, bytes: &[u8]) {
    let start = rows.ends[row];
    let end = start + bytes.len();
    rows.bytes[start..end].copy_from_slice(bytes);
    rows.ends[row] = end;
}

fn put_length(rows: &mut EncodedRows, row: usize, mut length: usize) {
    loop {
        let low = length.to_le_bytes()[0] & (LENGTH_GOES_ON - 1);
        length >>= LENGTH_BITS;
        if length == 0 {
            return put(rows, row, &[low]);
        }
        put(rows, row, &[low | LENGTH_GOES_ON]);
    }
}
