//! Parquet's values as an Arrow array.
//!
//! In: the values of the rows that have one, which rows those are, the type. Out: the array.
//! Invariants: the array is what Parquet's reader makes of the same values. Every type that is not nested can be one.

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
        Values::Bytes(ends, bytes) => {
            let mut start = 0;
            let values = ends.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]);
            byte_arrays(data_type, spread(values, rows, valid))
        }
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
            Width::Wider(_) => {
                buffer.extend_from_slice(value);
                buffer.resize(buffer.len() + missing, sign(*value.last()?));
            }
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

fn byte_arrays<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> Option<ArrayRef> {
    let values: Vec<Option<&[u8]>> = values.collect();
    let texts =
        || -> Option<Vec<Option<&str>>> { values.iter().map(|value| value.map(from_utf8).transpose().ok()).collect() };
    Some(match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter(texts()?)),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter(texts()?)),
        DataType::Utf8View => Arc::new(views::<StringViewType>(&texts()?)),
        DataType::Binary => Arc::new(BinaryArray::from_iter(values)),
        DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(values)),
        DataType::BinaryView => Arc::new(views::<BinaryViewType>(&values)),
        _ => return None,
    })
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
