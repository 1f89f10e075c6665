//! Rows as bytes to batches.
//!
//! In: rows, untrusted. Out: a batch of the schema, built column by column.
//! Invariants: no bytes make it panic, or take more memory than they and the schema imply; a row has one form, so
//! unused bits, long lengths and bytes behind the last column are refused. Bytes: FORMAT.md, "Row form".

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::Field;

use crate::error::Damage;
use crate::rows::physical::{ByteStrings, BytesForm, Fixed, Physical, native_array, with_native};
use crate::rows::row_form::cell;
use crate::rows::row_form::encode::{LENGTH_BITS, LENGTH_GOES_ON, RowForm};

impl RowForm {
    /// The batch of some rows.
    ///
    /// # Errors
    /// What is wrong with bytes that are no rows of the schema; the caller knows where they came from.
    pub fn decode<'a>(&self, rows: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<RecordBatch, Damage> {
        let mut rows: Vec<Row<'a>> = rows.map(|bytes| self.start(bytes)).collect::<Result<_, _>>()?;
        let mut columns = Vec::with_capacity(self.forms.len());
        for (index, form) in self.forms.iter().enumerate() {
            columns.push(decode_column(*form, self.schema.field(index), index, &mut rows)?);
        }
        if let Some(row) = rows.iter().find(|row| !row.rest.is_empty()) {
            return Err(Damage::Field { field: "bytes behind the row", value: row.rest.len() as u64 });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(Damage::Arrow)
    }

    /// Some columns of some rows; `projection` holds their ascending indexes. What lies behind them is not looked at.
    ///
    /// # Errors
    /// As [`RowForm::decode`].
    pub fn decode_columns<'a>(
        &self,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
        projection: &[usize],
    ) -> Result<RecordBatch, Damage> {
        if projection.len() == self.forms.len() {
            return self.decode(rows);
        }
        let mut rows: Vec<Row<'a>> = rows.map(|bytes| self.start(bytes)).collect::<Result<_, _>>()?;
        let mut columns = Vec::with_capacity(projection.len());
        let end = projection.last().map_or(0, |last| last + 1);
        for (index, form) in self.forms.iter().enumerate().take(end) {
            if projection.binary_search(&index).is_ok() {
                columns.push(decode_column(*form, self.schema.field(index), index, &mut rows)?);
            } else {
                (rows.iter_mut().filter(|row| !row.is_null(index))).try_for_each(|row| row.skip(*form))?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::new(self.schema.project(projection).map_err(Damage::Arrow)?);
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(Damage::Arrow)
    }

    /// Takes the null bitmap off a row.
    fn start<'a>(&self, bytes: &'a [u8]) -> Result<Row<'a>, Damage> {
        let mut row = Row { nulls: &[], rest: bytes };
        row.nulls = row.take(self.bitmap_bytes(), "null bitmap")?;
        let used = self.forms.len() % 8;
        match row.nulls.last() {
            Some(last) if used > 0 && last >> used != 0 => {
                Err(Damage::Field { field: "null bitmap", value: u64::from(*last) })
            }
            _ => Ok(row),
        }
    }
}

/// What is left of a row.
struct Row<'a> {
    nulls: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Row<'a> {
    fn is_null(&self, column: usize) -> bool {
        self.nulls.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }

    fn take(&mut self, needed: usize, field: &'static str) -> Result<&'a [u8], Damage> {
        let Some((taken, rest)) = self.rest.split_at_checked(needed) else {
            let available = self.rest.len() as u64;
            return Err(Damage::Truncated { field, needed: needed as u64, available });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn boolean(&mut self) -> Result<bool, Damage> {
        match self.take(1, "boolean")? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(Damage::Field { field: "boolean", value: other.iter().copied().map(u64::from).sum() }),
        }
    }

    fn number<T: Fixed>(&mut self) -> Result<T::Raw, Damage> {
        let width = size_of::<T>();
        let bytes = self.take(width, "number")?;
        T::from_little(bytes).map(T::raw).ok_or(Damage::Field { field: "number", value: width as u64 })
    }

    /// Passes over a value of a form.
    fn skip(&mut self, form: Physical) -> Result<(), Damage> {
        match form {
            Physical::Boolean => self.take(1, "boolean"),
            Physical::Native(native) => self.take(native.width(), "number"),
            Physical::FixedSizeBinary(width) => self.take(width, "value"),
            Physical::Bytes(_) | Physical::Nested => self.byte_string(),
        }
        .map(drop)
    }

    /// A byte string with its length before it.
    fn byte_string(&mut self) -> Result<&'a [u8], Damage> {
        let length = self.length()?;
        let needed = usize::try_from(length);
        needed.map_err(|_| Damage::Field { field: "length", value: length }).and_then(|n| self.take(n, "value"))
    }

    /// A length as LEB128, in as few bytes as it takes.
    fn length(&mut self) -> Result<u64, Damage> {
        let mut length = 0;
        for shift in (0..u64::BITS).step_by(LENGTH_BITS as usize) {
            let &[byte] = self.take(1, "length")? else {
                break;
            };
            let low = u64::from(byte & (LENGTH_GOES_ON - 1));
            if low << shift >> shift != low || (byte == 0 && shift > 0) {
                return Err(Damage::Field { field: "length", value: length });
            }
            length |= low << shift;
            if byte & LENGTH_GOES_ON == 0 {
                return Ok(length);
            }
        }
        Err(Damage::Field { field: "length", value: length })
    }
}

/// Takes one column's values off all rows.
fn decode_column(form: Physical, field: &Field, index: usize, rows: &mut [Row<'_>]) -> Result<ArrayRef, Damage> {
    let nulls = nulls(rows, index);
    if nulls.is_some() && !field.is_nullable() {
        return Err(Damage::Field { field: "null in a column without NULLs", value: index as u64 });
    }
    let present = |row: &mut Row<'_>| !row.is_null(index);
    match form {
        Physical::Boolean => {
            let values = rows.iter_mut().map(|row| if present(row) { row.boolean() } else { Ok(false) });
            let values = values.collect::<Result<Vec<bool>, Damage>>()?;
            Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)))
        }
        Physical::Native(native) => with_native!(native, T => {
            let values = rows.iter_mut().map(|row| if present(row) { row.number::<T>() } else { Ok(Default::default()) });
            let values = values.collect::<Result<Vec<_>, Damage>>()?;
            native_array::<T>(field.data_type(), values, nulls).map_err(Damage::Arrow)
        }),
        Physical::FixedSizeBinary(width) => decode_fixed_size_binary(width, nulls, rows, index),
        Physical::Bytes(form) => decode_byte_strings(form, nulls, rows, index),
        Physical::Nested => {
            let cells = decode_byte_strings(BytesForm::LargeBinary, nulls, rows, index)?;
            cell::decode(cells.as_binary::<i64>().iter(), field.data_type())
        }
    }
}

/// Which rows have a value in a column; `None` if all have.
fn nulls(rows: &[Row<'_>], column: usize) -> Option<NullBuffer> {
    let any = rows.iter().any(|row| row.is_null(column));
    any.then(|| BooleanBuffer::collect_bool(rows.len(), |row| !rows[row].is_null(column)).into())
}

fn decode_fixed_size_binary(
    width: usize,
    nulls: Option<NullBuffer>,
    rows: &mut [Row<'_>],
    column: usize,
) -> Result<ArrayRef, Damage> {
    let mut values = Vec::new();
    for row in rows {
        if row.is_null(column) {
            values.resize(values.len() + width, 0);
        } else {
            values.extend_from_slice(row.take(width, "value")?);
        }
    }
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    let array = FixedSizeBinaryArray::try_new(width, Buffer::from_vec(values), nulls);
    Ok(Arc::new(array.map_err(Damage::Arrow)?))
}

fn decode_byte_strings(
    form: BytesForm,
    nulls: Option<NullBuffer>,
    rows: &mut [Row<'_>],
    column: usize,
) -> Result<ArrayRef, Damage> {
    let mut strings = ByteStrings::with_capacity(rows.len());
    for row in rows {
        if !row.is_null(column) {
            strings.extend(row.byte_string()?);
        }
        strings.end();
    }
    strings.finish(form, nulls).map_err(Damage::Arrow)
}
