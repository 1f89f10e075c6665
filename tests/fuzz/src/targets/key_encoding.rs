//! The key encoding: any bytes as keys, and any values as keys.
//!
//! In: a byte for the number of columns, one per column for its type, one more; if that is even, two keys' bytes, the
//! first behind its length (two bytes); if it is odd, values.
//! Promise: bytes are refused or decoded as values that are encoded as the same bytes; keys compare as their values do
//! column by column, by a comparator that shares no code with the encoding.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use arrow::array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int64Type,
    TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, LargeStringArray,
    PrimitiveArray, StringArray, StringViewArray,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Schema, TimeUnit, i256};
use rustling_engine::error::Result;
use rustling_engine::rows::key::KeyCodec;
use rustling_engine::rows::keys::Keys;
use rustling_engine::rows::schema::TableSchema;

use crate::input::Input;
use crate::targets::Seeds;

const COLUMNS_MAX: usize = 3;

fn types() -> [DataType; 20] {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Decimal128, Decimal256, FixedSizeBinary, Float16, Float32, Float64, Int8,
        Int16, Int64, LargeUtf8, Timestamp, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let at = Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    [
        Utf8,
        Boolean,
        Int8,
        Int16,
        Int64,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Decimal128(38, 10),
        Decimal256(76, 0),
        Date32,
        at,
        FixedSizeBinary(3),
        LargeUtf8,
        Utf8View,
        Binary,
        BinaryView,
    ]
}

/// A codec for every choice of up to three types.
fn codec(chosen: &[usize]) -> &'static KeyCodec {
    const COUNT: usize = 20;
    static CODECS: OnceLock<Vec<OnceLock<KeyCodec>>> = OnceLock::new();
    let place = chosen.iter().fold(0, |place, index| place * (COUNT + 1) + index + 1);
    let codecs = CODECS.get_or_init(|| (0..(COUNT + 1).pow(3)).map(|_| OnceLock::new()).collect());
    codecs[place].get_or_init(|| {
        let names = ["a", "b", "c"];
        let types = types();
        let fields = chosen.iter().zip(names).map(|(index, name)| Field::new(name, types[*index].clone(), false));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let codec =
            TableSchema::new("t", &schema, &names[..chosen.len()]).and_then(|schema| KeyCodec::new("t", &schema));
        codec.unwrap_or_else(|error| panic!("types that cannot be keys: {error}"))
    })
}

/// Decodes and compares keys.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let count = 1 + usize::from(input.byte()) % COLUMNS_MAX;
    let chosen: Vec<usize> = (0..count).map(|_| usize::from(input.byte()) % 20).collect();
    let codec = codec(&chosen);
    if input.byte().is_multiple_of(2) {
        bytes(codec, input);
    } else {
        values(codec, &chosen, input);
    }
}

/// Any bytes as two keys.
fn bytes(codec: &KeyCodec, mut input: Input<'_>) {
    let length = input.below(usize::MAX);
    let (first, second) = (input.piece(length), input.0);
    let decoded = [first, second].map(|key| {
        assert!(!codec.text(key).is_empty() || key.is_empty());
        // Keys of another width than the table's are what a damaged log has.
        let mut keys = Keys::new(None);
        keys.push(key);
        let columns = codec.decode(&keys).ok()?;
        let again = codec.encode(&columns).ok()?;
        assert_eq!(again.get(0), key, "a key has two forms");
        Some(columns)
    });
    if let [Some(a), Some(b)] = decoded {
        let typed = a.iter().zip(&b).map(|(a, b)| compare(a, 0, b, 0)).fold(Ordering::Equal, Ordering::then);
        assert_eq!(first.cmp(second), typed, "{a:?} against {b:?}");
    }
}

/// Any values as the keys of two rows.
fn values(codec: &KeyCodec, chosen: &[usize], mut input: Input<'_>) {
    let types = types();
    let columns: Vec<ArrayRef> = chosen.iter().map(|index| column(&types[*index], &mut input)).collect();
    let keys = codec.encode(&columns).unwrap_or_else(|error| panic!("values that cannot be keys: {error}"));
    let typed = columns.iter().map(|column| compare(column, 0, column, 1)).fold(Ordering::Equal, Ordering::then);
    assert_eq!(keys.get(0).cmp(keys.get(1)), typed, "{columns:?}");
    let decoded = codec.decode(&keys).unwrap_or_else(|damage| panic!("what was written cannot be read: {damage}"));
    for (column, decoded) in columns.iter().zip(&decoded) {
        for row in 0..2 {
            assert_eq!(compare(column, row, decoded, row), Ordering::Equal, "{column:?} is read as {decoded:?}");
        }
    }
    assert_eq!(codec.encode(&decoded).ok().as_ref(), Some(&keys));
}

/// Two values of a type.
fn column(data_type: &DataType, input: &mut Input<'_>) -> ArrayRef {
    fn text(input: &mut Input<'_>) -> [String; 2] {
        [0; 2].map(|_| {
            let length = usize::from(input.byte() % 24);
            String::from_utf8_lossy(input.piece(length)).into_owned()
        })
    }
    fn blobs<'a>(input: &mut Input<'a>) -> [&'a [u8]; 2] {
        [0; 2].map(|_| {
            let length = usize::from(input.byte() % 24);
            input.piece(length)
        })
    }
    fn numbers<T: ArrowPrimitiveType>(data_type: &DataType, values: [T::Native; 2]) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::from_iter_values(values).with_data_type(data_type.clone()))
    }
    macro_rules! numbers {
        ($kind:ty, $native:ty) => {
            numbers::<$kind>(data_type, [0; 2].map(|_| <$native>::from_le_bytes(input.array())))
        };
    }
    match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter_values(text(input))),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from_iter_values(text(input))),
        DataType::Utf8View => Arc::new(StringViewArray::from_iter_values(text(input))),
        DataType::Binary => Arc::new(BinaryArray::from_iter_values(blobs(input))),
        DataType::BinaryView => Arc::new(BinaryViewArray::from_iter_values(blobs(input))),
        DataType::Boolean => Arc::new(BooleanArray::from([0; 2].map(|_| input.byte() % 2 == 1).to_vec())),
        DataType::Int8 => numbers!(Int8Type, i8),
        DataType::Int16 => numbers!(Int16Type, i16),
        DataType::Int64 => numbers!(Int64Type, i64),
        DataType::UInt16 => numbers!(UInt16Type, u16),
        DataType::UInt32 => numbers!(UInt32Type, u32),
        DataType::UInt64 => numbers!(UInt64Type, u64),
        DataType::Float16 => numbers!(Float16Type, <Float16Type as ArrowPrimitiveType>::Native),
        DataType::Float32 => numbers!(Float32Type, f32),
        DataType::Float64 => numbers!(Float64Type, f64),
        DataType::Decimal128(..) => numbers!(Decimal128Type, i128),
        DataType::Decimal256(..) => numbers!(Decimal256Type, i256),
        DataType::Date32 => numbers!(Date32Type, i32),
        DataType::Timestamp(..) => numbers!(TimestampMicrosecondType, i64),
        _ => {
            let bytes: Vec<u8> = (0..6).map(|_| input.byte()).collect();
            let array = FixedSizeBinaryArray::try_new(3, bytes.into(), None);
            Arc::new(array.unwrap_or_else(|error| panic!("six bytes are two values: {error}")))
        }
    }
}

/// The order of two values by their types: NaN is greater than all numbers, all NaNs and both zeros are one.
fn compare(a: &ArrayRef, a_row: usize, b: &ArrayRef, b_row: usize) -> Ordering {
    macro_rules! numbers {
        ($kind:ty) => {
            a.as_primitive::<$kind>().value(a_row).cmp(&b.as_primitive::<$kind>().value(b_row))
        };
    }
    macro_rules! floats {
        ($kind:ty) => {{
            let (a, b) = (a.as_primitive::<$kind>().value(a_row), b.as_primitive::<$kind>().value(b_row));
            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }};
    }
    match a.data_type() {
        DataType::Utf8 => a.as_string::<i32>().value(a_row).cmp(b.as_string::<i32>().value(b_row)),
        DataType::LargeUtf8 => a.as_string::<i64>().value(a_row).cmp(b.as_string::<i64>().value(b_row)),
        DataType::Utf8View => a.as_string_view().value(a_row).cmp(b.as_string_view().value(b_row)),
        DataType::Binary => a.as_binary::<i32>().value(a_row).cmp(b.as_binary::<i32>().value(b_row)),
        DataType::BinaryView => a.as_binary_view().value(a_row).cmp(b.as_binary_view().value(b_row)),
        DataType::Boolean => a.as_boolean().value(a_row).cmp(&b.as_boolean().value(b_row)),
        DataType::Int8 => numbers!(Int8Type),
        DataType::Int16 => numbers!(Int16Type),
        DataType::Int64 => numbers!(Int64Type),
        DataType::UInt16 => numbers!(UInt16Type),
        DataType::UInt32 => numbers!(UInt32Type),
        DataType::UInt64 => numbers!(UInt64Type),
        DataType::Float16 => floats!(Float16Type),
        DataType::Float32 => floats!(Float32Type),
        DataType::Float64 => floats!(Float64Type),
        DataType::Decimal128(..) => numbers!(Decimal128Type),
        DataType::Decimal256(..) => numbers!(Decimal256Type),
        DataType::Date32 => numbers!(Date32Type),
        DataType::Timestamp(..) => numbers!(TimestampMicrosecondType),
        _ => a.as_fixed_size_binary().value(a_row).cmp(b.as_fixed_size_binary().value(b_row)),
    }
}

/// Keys and values of several types.
pub fn seeds() -> Result<Seeds> {
    let text = [&[1, 0, 4, 0, 14, 0][..], b"a\0\xffb\0\0", &[0x80, 0, 0, 0, 0, 0, 0, 7], b"a\0\xffb\0\0", &[0x7f; 8]];
    let floats = [&[2, 10, 9, 8, 0, 14, 0][..], &[0xbf, 0xf8, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xc0, 0]];
    let decimal = [&[1, 11, 12, 0, 48, 0][..], &[0x80; 96]];
    let values =
        [&[2, 0, 10, 19, 1, 3][..], b"a\0b\x02\xc3\xa9", &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0x80]];
    Ok(vec![
        ("text-and-number", text.concat()),
        ("floats", [&floats.concat()[..], &[0x80; 14]].concat()),
        ("decimals", decimal.concat()),
        ("values", [&values.concat()[..], b"\x05\0\xff\0\0a\x02\0\0"].concat()),
        ("every-number", vec![2, 2, 3, 7, 1, 0x80, 0x7f, 0, 0x80, 0xff, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("dates", vec![2, 13, 14, 15, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ])
}
