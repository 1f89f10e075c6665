//! Key columns to encoded keys.
//!
//! In: columns of the key's exact types, of one length. Out: one key per row, in row order.
//! Invariants: no key holds a NULL or is longer than [`KEY_BYTES_MAX`]. A column is encoded in one typed loop; a
//! batch costs a few allocations, a row none. Bytes: FORMAT.md, "Keys".

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};

use crate::error::{Error, Mismatch, Result};
use crate::rows::key::codec::{KEY_BYTES_MAX, KeyCodec, KeyColumn, KeyForm};
use crate::rows::key::order::Ordered;
use crate::rows::keys::Keys;
use crate::rows::physical::{for_each_bytes, native_values, with_native};

/// Stands between a value and the next column; a zero byte of the value is followed by [`ESCAPE`] instead.
const END_MARK: [u8; 2] = [0, 0];
/// Follows a zero byte of a value.
const ESCAPE: u8 = 0xff;

impl KeyCodec {
    /// Encodes key columns, given in key order.
    ///
    /// # Errors
    /// [`Error::NullValue`], [`Error::KeyTooLong`]; [`Error::SchemaMismatch`] if these are not the key columns.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Keys> {
        let row_count = self.check(columns)?;
        match self.width {
            Some(width) => self.encode_fixed(columns, row_count, width),
            None => self.encode_variable(columns, row_count),
        }
    }

    /// Encodes the key columns of a batch of stored columns.
    ///
    /// # Errors
    /// As [`KeyCodec::encode`].
    pub fn encode_batch(&self, batch: &RecordBatch) -> Result<Keys> {
        if batch.num_columns() != self.stored_count {
            return Err(self.column_count(self.stored_count, batch.num_columns()));
        }
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|column| batch.column(column.stored_index).clone()).collect();
        self.encode(&columns)
    }

    /// The number of rows, if these columns are a key.
    fn check(&self, columns: &[ArrayRef]) -> Result<usize> {
        if columns.len() != self.columns.len() {
            return Err(self.column_count(self.columns.len(), columns.len()));
        }
        let row_count = columns.first().map_or(0, |array| array.len());
        for (column, array) in self.columns.iter().zip(columns) {
            assert_eq!(array.len(), row_count, "the columns of a key have one length");
            if *array.data_type() != column.data_type {
                let mismatch = Mismatch::ColumnType {
                    column: column.name.clone(),
                    expected: column.data_type.clone(),
                    found: array.data_type().clone(),
                };
                return Err(Error::SchemaMismatch { table: self.table.clone(), mismatch });
            }
            if array.null_count() > 0 {
                return Err(self.null_value(column, array));
            }
        }
        Ok(row_count)
    }

    fn column_count(&self, expected: usize, found: usize) -> Error {
        let mismatch = Mismatch::ColumnCount { expected, found };
        Error::SchemaMismatch { table: self.table.clone(), mismatch }
    }

    fn null_value(&self, column: &KeyColumn, array: &ArrayRef) -> Error {
        let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or_default();
        Error::NullValue { table: self.table.clone(), column: column.name.clone(), row, key: true }
    }

    fn encode_fixed(&self, columns: &[ArrayRef], row_count: usize, width: usize) -> Result<Keys> {
        if width > KEY_BYTES_MAX && row_count > 0 {
            return Err(Error::KeyTooLong { row: 0, bytes: width, limit: KEY_BYTES_MAX });
        }
        let mut keys = Strided { bytes: vec![0; width * row_count], stride: width, at: 0 };
        for (column, array) in self.columns.iter().zip(columns) {
            put_fixed(column.form, array, &mut keys);
            keys.at += column.form.width().unwrap_or_default();
        }
        Ok(Keys::from_fixed(width, keys.bytes))
    }

    fn encode_variable(&self, columns: &[ArrayRef], row_count: usize) -> Result<Keys> {
        let lengths = self.lengths(columns, row_count);
        if let Some(row) = lengths.iter().position(|length| *length > KEY_BYTES_MAX) {
            return Err(Error::KeyTooLong { row, bytes: lengths[row], limit: KEY_BYTES_MAX });
        }
        let mut total = 0;
        let mut starts = Vec::with_capacity(row_count);
        for length in lengths {
            starts.push(total);
            total += length;
        }
        let mut keys = Scattered { bytes: vec![0; total], ends: starts };
        for (column, array) in self.columns.iter().zip(columns) {
            match column.form {
                KeyForm::Last(form) => for_each_bytes(array, form, |row, value| keys.put(row, value)),
                KeyForm::Escaped(form) => {
                    for_each_bytes(array, form, |row, value| put_escaped(row, value, &mut keys));
                }
                fixed => put_fixed(fixed, array, &mut keys),
            }
        }
        Ok(Keys::from_ends(keys.bytes, keys.ends))
    }

    /// Bytes of each key.
    fn lengths(&self, columns: &[ArrayRef], row_count: usize) -> Vec<usize> {
        let fixed: usize = self.columns.iter().filter_map(|column| column.form.width()).sum();
        let mut lengths = vec![fixed; row_count];
        for (column, array) in self.columns.iter().zip(columns) {
            match column.form {
                KeyForm::Last(form) => for_each_bytes(array, form, |row, value| lengths[row] += value.len()),
                KeyForm::Escaped(form) => for_each_bytes(array, form, |row, value| {
                    let zeros = value.iter().filter(|byte| **byte == 0).count();
                    lengths[row] += value.len() + zeros + END_MARK.len();
                }),
                KeyForm::Boolean | KeyForm::Native(_) | KeyForm::FixedSizeBinary(_) => {}
            }
        }
        lengths
    }
}

/// Takes the next bytes of each row's key.
trait Slots {
    fn put(&mut self, row: usize, bytes: &[u8]);
}

/// Keys of one width; every row is at the same byte of its key.
struct Strided {
    bytes: Vec<u8>,
    stride: usize,
    at: usize,
}

impl Slots for Strided {
    #[inline]
    fn put(&mut self, row: usize, bytes: &[u8]) {
        let start = row * self.stride + self.at;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// Keys of different widths; each row is written up to a byte of its own.
struct Scattered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Slots for Scattered {
    #[inline]
    fn put(&mut self, row: usize, bytes: &[u8]) {
        let start = self.ends[row];
        let end = start + bytes.len();
        self.bytes[start..end].copy_from_slice(bytes);
        self.ends[row] = end;
    }
}

/// Puts a column of one width; byte strings of any length are not its business.
fn put_fixed(form: KeyForm, array: &ArrayRef, slots: &mut impl Slots) {
    match form {
        KeyForm::Boolean => {
            let values = array.as_boolean().values();
            values.iter().enumerate().for_each(|(row, value)| slots.put(row, &[u8::from(value)]));
        }
        KeyForm::Native(native) => with_native!(native, T => put_native::<T>(array, slots)),
        KeyForm::FixedSizeBinary(width) => {
            let values = array.as_fixed_size_binary().value_data();
            values.chunks_exact(width).enumerate().for_each(|(row, value)| slots.put(row, value));
        }
        KeyForm::Last(_) | KeyForm::Escaped(_) => {}
    }
}

fn put_native<T: Ordered>(array: &ArrayRef, slots: &mut impl Slots) {
    for (row, value) in native_values::<T>(array).iter().enumerate() {
        slots.put(row, T::from_raw(*value).to_ordered().as_ref());
    }
}

fn put_escaped(row: usize, value: &[u8], slots: &mut impl Slots) {
    for part in value.split_inclusive(|byte| *byte == 0) {
        slots.put(row, part);
        if part.ends_with(&[0]) {
            slots.put(row, &[ESCAPE]);
        }
    }
    slots.put(row, &END_MARK);
}
