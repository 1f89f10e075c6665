//! Encoded keys to key columns.
//!
//! In: keys, untrusted. Out: columns of the key's exact types, in key order.
//! Invariants: only bytes that [`KeyCodec::encode`] writes are read: what is decoded encodes to the same bytes.
//! Bytes: FORMAT.md, "Keys".

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, FixedSizeBinaryArray};
use arrow::buffer::{BooleanBuffer, Buffer};

use crate::error::Damage;
use crate::rows::key::codec::{KeyCodec, KeyColumn, KeyForm};
use crate::rows::key::order::Ordered;
use crate::rows::keys::Keys;
use crate::rows::physical::{ByteStrings, BytesForm, native_array, with_native};

/// Name of a key in damage reports.
const FIELD: &str = "key";

impl KeyCodec {
    /// The key columns of keys, in key order.
    ///
    /// # Errors
    /// What is wrong with bytes that are no keys of this table; the caller knows where they came from.
    pub fn decode(&self, keys: &Keys) -> Result<Vec<ArrayRef>, Damage> {
        let mut rests: Vec<&[u8]> = keys.iter().collect();
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|column| column.decode(&mut rests)).collect::<Result<_, _>>()?;
        match rests.iter().find(|rest| !rest.is_empty()) {
            Some(rest) => Err(Damage::Field { field: "bytes behind the key", value: rest.len() as u64 }),
            None => Ok(columns),
        }
    }
}

impl KeyColumn {
    /// Takes this column's bytes from the front of each key.
    fn decode(&self, rests: &mut [&[u8]]) -> Result<ArrayRef, Damage> {
        match self.form {
            KeyForm::Boolean => {
                let values: Vec<bool> = rests.iter_mut().map(boolean).collect::<Result<_, _>>()?;
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(values), None)))
            }
            KeyForm::Native(native) => with_native!(native, T => {
                let values = rests.iter_mut().map(number::<T>).collect::<Result<Vec<_>, _>>()?;
                native_array::<T>(&self.data_type, values, None).map_err(Damage::Arrow)
            }),
            KeyForm::FixedSizeBinary(width) => {
                let values: Vec<&[u8]> = rests.iter_mut().map(|rest| take(rest, width)).collect::<Result<_, _>>()?;
                let width = i32::try_from(width).unwrap_or(i32::MAX);
                let array = FixedSizeBinaryArray::try_new(width, Buffer::from_vec(values.concat()), None);
                Ok(Arc::new(array.map_err(Damage::Arrow)?))
            }
            KeyForm::Last(form) => byte_strings(rests, form, |strings, rest| {
                strings.extend(std::mem::take(rest));
                Ok(())
            }),
            KeyForm::Escaped(form) => byte_strings(rests, form, unescape),
        }
    }
}

/// The next `width` bytes.
fn take<'a>(rest: &mut &'a [u8], width: usize) -> Result<&'a [u8], Damage> {
    let Some((taken, left)) = rest.split_at_checked(width) else {
        return Err(truncated(width, rest.len()));
    };
    *rest = left;
    Ok(taken)
}

fn truncated(needed: usize, available: usize) -> Damage {
    Damage::Truncated { field: FIELD, needed: needed as u64, available: available as u64 }
}

fn boolean(rest: &mut &[u8]) -> Result<bool, Damage> {
    match take(rest, 1)? {
        [0] => Ok(false),
        [1] => Ok(true),
        other => Err(Damage::Field { field: "boolean of a key", value: leading(other) }),
    }
}

fn number<T: Ordered>(rest: &mut &[u8]) -> Result<T::Raw, Damage> {
    let bytes = take(rest, size_of::<T>())?;
    T::from_ordered(bytes).map(T::raw).ok_or(Damage::Field { field: "float of a key", value: leading(bytes) })
}

/// The first bytes as a number, for a report.
fn leading(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn byte_strings(
    rests: &mut [&[u8]],
    form: BytesForm,
    take_string: impl Fn(&mut ByteStrings, &mut &[u8]) -> Result<(), Damage>,
) -> Result<ArrayRef, Damage> {
    let mut strings = ByteStrings::with_capacity(rests.len());
    for rest in rests {
        take_string(&mut strings, rest)?;
        strings.end();
    }
    strings.finish(form, None).map_err(Damage::Arrow)
}

/// Takes an escaped string with its end mark.
fn unescape(strings: &mut ByteStrings, rest: &mut &[u8]) -> Result<(), Damage> {
    loop {
        let zero = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        strings.extend(take(rest, zero)?);
        match take(rest, 2)? {
            [_, 0x00] => return Ok(()),
            [_, 0xff] => strings.extend(&[0]),
            mark => {
                return Err(Damage::Field { field: "escape in a key", value: leading(mark) });
            }
        }
    }
}
