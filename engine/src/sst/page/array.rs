//! Parquet's values as an Arrow array.
//!
//! In: the values of the rows that have one, which rows those are, the type. Out: the array.
//! Invariants: the array is what Parquet's reader makes of the same values. Every type that is not nested can be one.

use std::ops::Range;
use std::str::from_utf8;
use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BinaryArray, BooleanArray, GenericByteViewArray, GenericByteViewBuilder, LargeBinaryArray,
    LargeStringArray, StringArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType};
use parquet::basic::Type;

use crate::sst::page::values::Values;

/// Bytes of a value that a view has in itself.
const INLINE_BYTES: usize = 12;

/// How the bytes of a value become those in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// The first so many: small numbers are stored in four bytes, or eight.
    First(usize),
    /// So many, with the sign of a little-endian number of fewer.
    Wider(usize),
    /// So many, with the sign of a big-endian number of fewer, or as many.
    Reversed(usize),
}

/// Whether values of a physical type, of `stored` bytes if they all have as many, become arrays of a type here.
pub(super) fn is_direct(data_type: &DataType, physical: Type, stored: usize) -> bool {
    let is_bytes = matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    );
    match physical {
        Type::BOOLEAN => *data_type == DataType::Boolean,
        Type::BYTE_ARRAY => is_bytes,
        _ => width(data_type, physical, stored).is_some(),
    }
}

fn width(data_type: &DataType, physical: Type, stored: usize) -> Option<Width> {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256, FixedSizeBinary, Float16};
    let kept = match data_type {
        FixedSizeBinary(bytes) => usize::try_from(*bytes).ok()?,
        other => other.primitive_width()?,
    };
    match (physical, data_type) {
        _ if stored == 0 => None,
        (Type::FIXED_LEN_BYTE_ARRAY, Float16 | FixedSizeBinary(_)) => (kept == stored).then_some(Width::First(kept)),
        (Type::FIXED_LEN_BYTE_ARRAY, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..)) => {
            (kept >= stored).then_some(Width::Reversed(kept))
        }
        (Type::FIXED_LEN_BYTE_ARRAY, _) => None,
        _ => Some(if kept <= stored { Width::First(kept) } else { Width::Wider(kept) }),
    }
}

/// The array of rows, of which `valid` says whether they have a value, if not all have one.
pub(super) fn array(
    data_type: &DataType,
    physical: Type,
    values: Values,
    rows: usize,
    valid: Option<&[bool]>,
) -> Option<ArrayRef> {
    let nulls = valid.map(NullBuffer::from).filter(|nulls| nulls.null_count() > 0);
    match values {
        Values::Bits(bits) => {
            let bits: Vec<Option<bool>> = spread(bits.into_iter(), rows, valid).collect();
            Some(Arc::new(BooleanArray::from(bits)))
        }
        Values::Fixed(stored, bytes) => {
            let width = width(data_type, physical, stored)?;
            let buffer = match width {
                Width::First(kept) if kept == stored && nulls.is_none() => bytes,
                _ => resized(width, stored, &bytes, rows, valid)?,
            };
            let data = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls).align_buffers(true);
            Some(make_array(data.add_buffer(Buffer::from_vec(buffer)).build().ok()?))
        }
        Values::Bytes(ends, bytes) => byte_arrays(data_type, &bytes, spread(pieces(&ends), rows, valid)),
    }
}

/// A value or none for each row.
fn spread<T>(
    mut values: impl Iterator<Item = T>,
    rows: usize,
    valid: Option<&[bool]>,
) -> impl Iterator<Item = Option<T>> {
    (0..rows).map(move |row| if valid.is_none_or(|valid| valid[row]) { values.next() } else { None })
}

/// The bytes that values have in memory; zeros for rows that have none.
fn resized(width: Width, stored: usize, bytes: &[u8], rows: usize, valid: Option<&[bool]>) -> Option<Vec<u8>> {
    let (Width::First(kept) | Width::Wider(kept) | Width::Reversed(kept)) = width;
    let missing = kept.saturating_sub(stored);
    let mut buffer = Vec::with_capacity(rows.checked_mul(kept)?);
    for value in spread(bytes.chunks_exact(stored), rows, valid) {
        let Some(value) = value else {
            buffer.resize(buffer.len() + kept, 0);
            continue;
        };
        match width {
            Width::First(kept) => buffer.extend_from_slice(value.get(..kept)?),
            Width::Wider(_) => match (<[u8; 8]>::try_from(value), kept) {
                // How decimals are stored mostly.
                (Ok(value), 16) => buffer.extend_from_slice(&i128::from(i64::from_le_bytes(value)).to_le_bytes()),
                _ => {
                    buffer.extend_from_slice(value);
                    buffer.resize(buffer.len() + missing, sign(*value.last()?));
                }
            },
            Width::Reversed(_) => {
                buffer.extend(value.iter().rev());
                buffer.resize(buffer.len() + missing, sign(*value.first()?));
            }
        }
    }
    Some(buffer)
}

/// What stands in all bytes above the highest one of a number.
fn sign(highest: u8) -> u8 {
    if highest & 0x80 == 0 { 0 } else { u8::MAX }
}

/// Where byte arrays are that end at some places.
fn pieces(ends: &[usize]) -> impl Iterator<Item = Range<usize>> {
    std::iter::once(&0).chain(ends).zip(ends).map(|(start, end)| *start..*end)
}

fn byte_arrays(
    data_type: &DataType,
    bytes: &[u8],
    pieces: impl Iterator<Item = Option<Range<usize>>>,
) -> Option<ArrayRef> {
    let value = |piece: Option<Range<usize>>| piece.map(|piece| &bytes[piece]);
    Some(match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter(texts(bytes, pieces)?)),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(texts(bytes, pieces)?)),
        DataType::Utf8View => Arc::new(views::<StringViewType>(&texts(bytes, pieces)?)),
        DataType::Binary => Arc::new(BinaryArray::from_iter(pieces.map(value))),
        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(pieces.map(value))),
        DataType::BinaryView => Arc::new(views::<BinaryViewType>(&pieces.map(value).collect::<Vec<_>>())),
        _ => return None,
    })
}

/// The texts that bytes are made of. All of them together are a text if each is one; then each is one if it begins and
/// ends where characters do.
fn texts(bytes: &[u8], pieces: impl Iterator<Item = Option<Range<usize>>>) -> Option<Vec<Option<&str>>> {
    let all = from_utf8(bytes).ok()?;
    let text = |piece: Option<Range<usize>>| piece.map_or(Some(None), |piece| all.get(piece).map(Some));
    pieces.map(text).collect()
}

/// Views into one buffer of just the bytes that they need.
fn views<'a, T: ByteViewType>(values: &[Option<&'a T::Native>]) -> GenericByteViewArray<T>
where
    &'a T::Native: AsRef<T::Native>,
{
    let lengths = values.iter().flatten().map(|value| AsRef::<[u8]>::as_ref(*value).len());
    let bytes: usize = lengths.filter(|length| *length > INLINE_BYTES).sum();
    let block = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
    let mut builder = GenericByteViewBuilder::with_capacity(values.len()).with_fixed_block_size(block);
    values.iter().for_each(|value| builder.append_option(*value));
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_two_texts_share_is_in_neither() {
        let of = |ends: &[usize]| texts("aéb".as_bytes(), spread(pieces(ends), 3, Some(&[true, false, true])));
        assert_eq!(of(&[1, 4]), Some(vec![Some("a"), None, Some("éb")]));
        assert_eq!(of(&[3, 4]), Some(vec![Some("aé"), None, Some("b")]));
        assert_eq!(of(&[2, 4]), None);
        assert_eq!(texts(b"a\xff", [Some(0..1), Some(1..2)].into_iter()), None);
    }
}
