//! Random columns of every type a table stores, for the tests of the codecs.
//!
//! In: a seeded generator. Out: arrays with many edge values and many repetitions.

use std::convert::identity;
use std::sync::Arc;

use arrow::array::builder::{
    BinaryBuilder, BinaryViewBuilder, FixedSizeBinaryBuilder, LargeBinaryBuilder, LargeStringBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, i256};
use rand::Rng;
use rand::rngs::StdRng;

use crate::rows::physical::{Half, Native, Physical, native_array};

/// Every type that a key column can have, with zones, scales and units.
pub(crate) fn flat_types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
    ];
    types.extend([Decimal32(9, 2), Decimal64(18, 3), Decimal128(38, 10), Decimal256(76, 0)]);
    types.extend([FixedSizeBinary(1), FixedSizeBinary(16), Time32(TimeUnit::Second), Time32(TimeUnit::Millisecond)]);
    types.extend([Time64(TimeUnit::Microsecond), Time64(TimeUnit::Nanosecond)]);
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("Europe/Berlin".into())));
    }
    types
}

/// Some types of columns in columns.
pub(crate) fn nested_types() -> Vec<DataType> {
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let pair = DataType::Struct(Fields::from(vec![
        Field::new("a", DataType::Utf8View, true),
        Field::new("b", DataType::Decimal128(20, 3), false),
    ]));
    let entries =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Float64, true)]);
    let tagged = Field::new("item", DataType::Int16, true).with_metadata([("unit".into(), "mm".into())].into());
    vec![
        DataType::List(item(DataType::Int32)),
        DataType::List(Arc::new(tagged)),
        DataType::LargeList(item(DataType::Utf8View)),
        DataType::FixedSizeList(item(DataType::Boolean), 3),
        pair.clone(),
        DataType::List(item(pair)),
        DataType::Struct(Fields::from(vec![Field::new("l", DataType::List(item(DataType::BinaryView)), true)])),
        DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false),
    ]
}

/// Random rows of a type; one in four is NULL if `nullable`.
pub(crate) fn column(rng: &mut StdRng, data_type: &DataType, row_count: usize, nullable: bool) -> ArrayRef {
    let nulls = nullable
        .then(|| NullBuffer::from_iter((0..row_count).map(|_| rng.random_ratio(3, 4))))
        .filter(|nulls| nulls.null_count() > 0);
    match Physical::of(data_type).unwrap() {
        Physical::Boolean => {
            let values: Vec<bool> = (0..row_count).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        Physical::Native(native) => numbers(rng, native, data_type, row_count, nulls),
        Physical::FixedSizeBinary(_) | Physical::Bytes(_) => strings(rng, data_type, row_count, nulls.as_ref()),
        Physical::Nested => nested(rng, data_type, row_count, nulls),
    }
}

fn numbers(
    rng: &mut StdRng,
    native: Native,
    data_type: &DataType,
    row_count: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    macro_rules! numbers {
        ($number:ty, $one:expr) => {
            native_array::<$number>(data_type, (0..row_count).map(|_| $one).collect(), nulls).unwrap()
        };
    }
    macro_rules! integers {
        ($number:ty) => {
            numbers!(
                $number,
                match rng.random_range(0..9) {
                    0 => <$number>::MIN,
                    1 => <$number>::MAX,
                    2 => 0,
                    3 => <$number>::MIN.wrapping_sub(1) / 2,
                    4 => 1,
                    5 => (0 as $number).wrapping_sub(1),
                    6 => <$number>::MAX / 2 + 1,
                    _ => rng.random(),
                }
            )
        };
    }
    // Both zeros, a NaN with a payload and both infinities among any bits.
    macro_rules! floats {
        ($number:ty, $from_bits:expr, $special:expr) => {
            numbers!($number, {
                let special = $special.get(rng.random_range(0..8)).copied();
                $from_bits(special.unwrap_or_else(|| rng.random()))
            })
        };
    }
    match native {
        Native::I8 => integers!(i8),
        Native::I16 => integers!(i16),
        Native::I32 => integers!(i32),
        Native::I64 => integers!(i64),
        Native::I128 => integers!(i128),
        Native::U8 => integers!(u8),
        Native::U16 => integers!(u16),
        Native::U32 => integers!(u32),
        Native::U64 => integers!(u64),
        Native::I256 => numbers!(
            i256,
            match rng.random_range(0..6) {
                0 => i256::MIN,
                1 => i256::MAX,
                2 => i256::ZERO,
                3 => i256::MINUS_ONE,
                _ => i256::from_parts(rng.random(), rng.random()),
            }
        ),
        Native::F16 => floats!(Half, identity, [0x8000, 0, 0xfe01, 0x7c00, 0xfc00]),
        Native::F32 => {
            floats!(f32, f32::from_bits, [1 << 31, 0, 0xffc0_0001, 0x7f80_0000, 0xff80_0000])
        }
        Native::F64 => {
            floats!(f64, f64::from_bits, [1 << 63, 0, (0x7ff << 52) + 1, 0x7ff << 52, 0xfff << 52])
        }
    }
}

/// Short strings of few characters, among them those that the key encoding escapes, and some long ones.
fn text(rng: &mut StdRng) -> String {
    let length = if rng.random_ratio(1, 10) { rng.random_range(0..300) } else { rng.random_range(0..5) };
    (0..length).map(|_| ['\0', '\u{1}', 'a', 'b', 'ÿ', '\u{10ffff}'][rng.random_range(0..6)]).collect()
}

fn bytes(rng: &mut StdRng, width: Option<usize>) -> Vec<u8> {
    let length = width.unwrap_or_else(|| rng.random_range(0..20));
    (0..length).map(|_| [0, 1, b'a', 0xfe, 0xff][rng.random_range(0..5)]).collect()
}

fn strings(rng: &mut StdRng, data_type: &DataType, row_count: usize, nulls: Option<&NullBuffer>) -> ArrayRef {
    let is_null = |row| nulls.is_some_and(|nulls| nulls.is_null(row));
    macro_rules! strings {
        ($builder:expr, $one:expr) => {{
            let mut builder = $builder;
            for row in 0..row_count {
                let value = $one;
                if is_null(row) { builder.append_null() } else { builder.append_value(value) }
            }
            Arc::new(builder.finish())
        }};
    }
    match data_type {
        DataType::Utf8 => strings!(StringBuilder::new(), text(rng)),
        DataType::LargeUtf8 => strings!(LargeStringBuilder::new(), text(rng)),
        DataType::Utf8View => strings!(StringViewBuilder::new(), text(rng)),
        DataType::Binary => strings!(BinaryBuilder::new(), bytes(rng, None)),
        DataType::LargeBinary => strings!(LargeBinaryBuilder::new(), bytes(rng, None)),
        DataType::BinaryView => strings!(BinaryViewBuilder::new(), bytes(rng, None)),
        DataType::FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for row in 0..row_count {
                let value = bytes(rng, usize::try_from(*width).ok());
                if is_null(row) { builder.append_null() } else { builder.append_value(value).unwrap() }
            }
            Arc::new(builder.finish())
        }
        other => panic!("{other} holds no strings"),
    }
}

fn nested(rng: &mut StdRng, data_type: &DataType, row_count: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    match data_type {
        DataType::List(field) => Arc::new(list::<i32>(rng, field, row_count, nulls)),
        DataType::LargeList(field) => Arc::new(list::<i64>(rng, field, row_count, nulls)),
        DataType::FixedSizeList(field, size) => {
            let count = row_count * usize::try_from(*size).unwrap();
            let values = column(rng, field.data_type(), count, field.is_nullable());
            Arc::new(FixedSizeListArray::new(field.clone(), *size, values, nulls))
        }
        DataType::Struct(fields) => {
            let columns =
                fields.iter().map(|field| column(rng, field.data_type(), row_count, field.is_nullable())).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        DataType::Map(field, ordered) => {
            let offsets = offsets::<i32>(rng, row_count);
            let entries = column(rng, field.data_type(), last(&offsets), false);
            let entries = entries.as_any().downcast_ref::<StructArray>().unwrap().clone();
            Arc::new(MapArray::new(field.clone(), offsets, entries, nulls, *ordered))
        }
        other => panic!("{other} is not nested"),
    }
}

fn list<O: OffsetSizeTrait>(
    rng: &mut StdRng,
    field: &Arc<Field>,
    row_count: usize,
    nulls: Option<NullBuffer>,
) -> GenericListArray<O> {
    let offsets = offsets::<O>(rng, row_count);
    let values = column(rng, field.data_type(), last(&offsets), field.is_nullable());
    GenericListArray::new(field.clone(), offsets, values, nulls)
}

fn offsets<O: OffsetSizeTrait>(rng: &mut StdRng, row_count: usize) -> OffsetBuffer<O> {
    OffsetBuffer::from_lengths((0..row_count).map(|_| rng.random_range(0..4)))
}

fn last<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> usize {
    offsets.last().unwrap().as_usize()
}
