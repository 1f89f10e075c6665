//! Bytes of keys against the typed values, compared by a comparator of the tests' own.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::types::*;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, i256};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::{Damage, Error};
use crate::rows::canonical::canonicalize_keys;
use crate::rows::key::{KEY_BYTES_MAX, KeyCodec};
use crate::rows::keys::Keys;
use crate::rows::samples;
use crate::rows::schema::TableSchema;

/// The schema of a table whose columns are all in its key, in their order.
fn schema(types: &[DataType]) -> TableSchema {
    let names: Vec<String> = (0..types.len()).map(|index| format!("k{index}")).collect();
    let fields: Vec<Field> =
        names.iter().zip(types).map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect();
    let key: Vec<&str> = names.iter().map(String::as_str).collect();
    TableSchema::new("t", &Schema::new(fields), &key).unwrap()
}

fn codec(types: &[DataType]) -> KeyCodec {
    KeyCodec::new("t", &schema(types)).unwrap()
}

fn codec_of(columns: &[ArrayRef]) -> KeyCodec {
    codec(&columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>())
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A typed value, taken from an array without any code of the codec.
#[derive(Debug)]
enum Value {
    Integer(i128),
    Wide(i256),
    Float(f64),
    Bytes(Vec<u8>),
}

impl Value {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Wide(a), Self::Wide(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(b).unwrap(),
                (a, b) => a.cmp(&b),
            },
            _ => panic!("values of one column have one type"),
        }
    }
}

fn value(array: &dyn Array, row: usize) -> Value {
    macro_rules! integer {
        ($kind:ty) => {
            Value::Integer(array.as_primitive::<$kind>().value(row).into())
        };
    }
    match array.data_type() {
        DataType::Boolean => Value::Integer(array.as_boolean().value(row).into()),
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Date32 => integer!(Date32Type),
        DataType::Date64 => integer!(Date64Type),
        DataType::Time32(TimeUnit::Second) => integer!(Time32SecondType),
        DataType::Time32(_) => integer!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => integer!(Time64MicrosecondType),
        DataType::Time64(_) => integer!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => integer!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => integer!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integer!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => integer!(TimestampNanosecondType),
        DataType::Decimal32(..) => integer!(Decimal32Type),
        DataType::Decimal64(..) => integer!(Decimal64Type),
        DataType::Decimal128(..) => integer!(Decimal128Type),
        DataType::Decimal256(..) => Value::Wide(array.as_primitive::<Decimal256Type>().value(row)),
        DataType::Float16 => Value::Float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Bytes(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Value::Bytes(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Value::Bytes(array.as_string_view().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::LargeBinary => Value::Bytes(array.as_binary::<i64>().value(row).into()),
        DataType::BinaryView => Value::Bytes(array.as_binary_view().value(row).into()),
        DataType::FixedSizeBinary(_) => Value::Bytes(array.as_fixed_size_binary().value(row).into()),
        other => panic!("no key column is {other}"),
    }
}

fn compare_rows(columns: &[ArrayRef], a: usize, b: usize) -> Ordering {
    let orders = columns.iter().map(|column| value(column, a).compare(&value(column, b)));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Whether bytes order as values do, and come back as the values they were made of.
fn check(columns: &[ArrayRef], what: &str) {
    let schema = schema(&columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>());
    let codec = KeyCodec::new("t", &schema).unwrap();
    let keys = codec.encode(columns).unwrap();
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| compare_rows(columns, *a, *b));
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        assert_eq!(
            keys.get(a).cmp(keys.get(b)),
            compare_rows(columns, a, b),
            "{what}: rows {a} and {b}, {} and {}",
            codec.text(keys.get(a)),
            codec.text(keys.get(b))
        );
    }
    let batch = RecordBatch::try_new(schema.stored().clone(), columns.to_vec()).unwrap();
    let canonical = canonicalize_keys(&schema, batch).unwrap();
    assert_eq!(codec.decode(&keys).unwrap(), canonical.columns(), "{what}");
    assert_eq!(codec.encode_batch(&canonical).unwrap(), keys, "{what}");
    match codec.width() {
        Some(width) => assert_eq!(keys, Keys::from_fixed(width, keys.iter().flatten().copied().collect()), "{what}"),
        None => assert_eq!(keys.width(), None, "{what}"),
    }
}

#[test]
fn every_type_orders_as_bytes_as_it_orders_as_values() {
    let seed = 17;
    let mut rng = StdRng::seed_from_u64(seed);
    for data_type in samples::flat_types() {
        let column = samples::column(&mut rng, &data_type, 400, false);
        check(std::slice::from_ref(&column), &format!("seed {seed}, {data_type}"));
        check(&[column.slice(13, 300)], &format!("seed {seed}, slice of {data_type}"));
        check(&[column.slice(0, 0)], &format!("seed {seed}, no rows of {data_type}"));
    }
}

#[test]
fn keys_of_several_columns_order_column_by_column() {
    let seed = 18;
    let mut rng = StdRng::seed_from_u64(seed);
    let types = samples::flat_types();
    for round in 0..300 {
        let columns: Vec<ArrayRef> = (0..rng.random_range(2..5))
            .map(|_| {
                let data_type = &types[rng.random_range(0..types.len())];
                samples::column(&mut rng, data_type, 60, false)
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|column| column.data_type().to_string()).collect();
        check(&columns, &format!("seed {seed}, round {round}, {names:?}"));
    }
}

#[test]
fn a_prefix_comes_before_the_longer_string_in_any_place() {
    let list = ["", "\0", "\0\0", "\0\u{1}", "\u{1}", "a", "a\0", "a\0\0", "a\0b", "a\u{1}", "ab", "aÿ", "b"];
    let mut columns: [Vec<&str>; 2] = Default::default();
    for first in list {
        for second in list {
            columns[0].push(first);
            columns[1].push(second);
        }
    }
    let columns = columns.map(|column| strings(&column));
    check(&columns, "strings");
    let keys = codec_of(&columns).encode(&columns).unwrap();
    assert_eq!(keys.first_disorder(), None, "the list is ascending in both places");
    let bytes = |column: &ArrayRef| -> ArrayRef {
        let mut values: Vec<Vec<u8>> = column.as_string::<i32>().iter().flatten().map(Vec::from).collect();
        values.iter_mut().flatten().for_each(|byte| *byte = if *byte == b'b' { 0xff } else { *byte });
        Arc::new(BinaryArray::from_iter_values(values))
    };
    check(&[bytes(&columns[0]), columns[1].clone(), bytes(&columns[1])], "bytes");
}

#[test]
fn all_nans_are_one_key_behind_infinity_and_both_zeros_are_one() {
    let quiet = f64::from_bits(0x7ff8_0000_0000_0000);
    let nans = [0x7ff0_0000_0000_0001, 0xfff8_0000_0000_0000, u64::MAX, quiet.to_bits()].map(f64::from_bits);
    let column: ArrayRef = Arc::new(Float64Array::from_iter_values(nans.into_iter().chain([
        f64::INFINITY,
        -0.0,
        0.0,
        -f64::MIN_POSITIVE,
        f64::NEG_INFINITY,
    ])));
    let codec = codec(&[DataType::Float64]);
    let keys = codec.encode(&[column]).unwrap();
    assert!((0..4).all(|row| keys.get(row) == keys.get(0)));
    assert!(keys.get(0) > keys.get(4) && keys.get(4) > keys.get(5));
    assert_eq!(keys.get(5), keys.get(6));
    assert!(keys.get(6) > keys.get(7) && keys.get(7) > keys.get(8));
    let decoded = codec.decode(&keys).unwrap();
    let bits: Vec<u64> = decoded[0].as_primitive::<Float64Type>().iter().flatten().map(f64::to_bits).collect();
    assert_eq!(bits[..4], [quiet.to_bits(); 4]);
    assert_eq!(bits[5], 0);
}

#[test]
fn the_bytes_of_a_key_are_those_of_the_format() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![-2])),
        Arc::new(BooleanArray::from(vec![true])),
        strings(&["a\0b"]),
        Arc::new(Float64Array::from(vec![-1.5])),
        Arc::new(Decimal128Array::from(vec![258]).with_precision_and_scale(20, 2).unwrap()),
        Arc::new(BinaryArray::from_vec(vec![&[0, 0xff]])),
    ];
    let mut want = vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    want.push(1);
    want.extend([b'a', 0, 0xff, b'b', 0, 0]);
    want.extend([0x40, 0x07, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    want.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    want.extend([0, 0xff]);
    assert_eq!(codec_of(&columns).encode(&columns).unwrap().get(0), want);
}

#[test]
fn a_null_is_refused_with_its_column_and_row() {
    let columns: Vec<ArrayRef> =
        vec![strings(&["a", "b", "c"]), Arc::new(Int32Array::from(vec![Some(1), Some(2), None]))];
    match codec_of(&columns).encode(&columns) {
        Err(Error::NullValue { table, column, row: 2, key: true }) => {
            assert_eq!((table.as_str(), column.as_str()), ("t", "k1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_may_have_65535_bytes_and_no_more() {
    let check = |columns: &[ArrayRef], want: Option<(usize, usize)>| match (codec_of(columns).encode(columns), want) {
        (Ok(_), None) => {}
        (Err(Error::KeyTooLong { row, bytes, limit: KEY_BYTES_MAX }), Some(want)) => assert_eq!((row, bytes), want),
        (other, want) => panic!("{other:?}, {want:?}"),
    };
    let text = |length: usize| strings(&["", &"a".repeat(length)]);
    check(&[text(65_535)], None);
    check(&[text(65_536)], Some((1, 65_536)));
    check(&[text(65_533), strings(&["", ""])], None);
    check(&[text(65_533), strings(&["", "a"])], Some((1, 65_536)));
    check(&[strings(&[&"\0".repeat(32_767)]), strings(&[""])], Some((0, 65_536)));
    let fixed = |length: i32, rows: usize| {
        let zeros = Buffer::from(vec![0; rows * usize::try_from(length).unwrap()]);
        Arc::new(FixedSizeBinaryArray::new(length, zeros, None)) as ArrayRef
    };
    check(&[fixed(65_535, 1)], None);
    check(&[fixed(65_536, 1)], Some((0, 65_536)));
    check(&[fixed(65_536, 2)], Some((0, 65_536)));
    check(&[fixed(65_537, 1)], Some((0, 65_537)));
    check(&[fixed(65_537, 0)], None);
}

#[test]
fn columns_that_are_not_the_key_are_refused() {
    let codec = codec(&[DataType::Int32, DataType::Utf8]);
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let error = codec.encode(std::slice::from_ref(&number)).unwrap_err();
    assert_eq!(error.to_string(), "the batch does not fit table `t`: it has 1 columns, the table has 2");
    let error = codec.encode(&[number.clone(), number]).unwrap_err();
    assert!(error.to_string().ends_with("column `k1` has type Int32, the table has Utf8"), "{error}");
}

#[test]
fn bytes_that_are_no_key_are_refused() {
    let check = |types: &[DataType], bytes: &[u8], want: &str| {
        let mut keys = Keys::new(None);
        keys.push(bytes);
        let damage = codec(types).decode(&keys).unwrap_err().to_string();
        assert!(damage.contains(want), "{damage}");
    };
    use DataType::{Boolean, Float64, Int32, Utf8};
    check(&[Int32], &[0; 3], "`key` needs 4 bytes but only 3 are left");
    check(&[Int32], &[0; 5], "field `bytes behind the key` holds 1");
    check(&[Boolean], &[2], "field `boolean of a key` holds 2");
    let nan = "field `float of a key` holds 9223372036854775807";
    check(&[Float64], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], nan);
    check(&[Float64], &[0xff; 8], "field `float of a key`");
    check(&[Utf8, Int32], b"abc", "`key` needs 2 bytes but only 0 are left");
    check(&[Utf8, Int32], b"abc\0", "`key` needs 2 bytes but only 1 are left");
    check(&[Utf8, Int32], b"abc\0\x01", "field `escape in a key` holds 1");
    check(&[Utf8], &[0xff], "arrow cannot decode it");
}

#[test]
fn any_bytes_are_refused_or_are_the_bytes_of_the_key_they_decode_to() {
    let seed = 19;
    let mut rng = StdRng::seed_from_u64(seed);
    let types = samples::flat_types();
    let mut decoded_count = 0;
    for round in 0..10_000 {
        let key: Vec<DataType> =
            (0..rng.random_range(1..4)).map(|_| types[rng.random_range(0..types.len())].clone()).collect();
        let codec = codec(&key);
        let columns: Vec<ArrayRef> =
            key.iter().map(|data_type| samples::column(&mut rng, data_type, 1, false)).collect();
        let mut bytes = codec.encode(&columns).unwrap().get(0).to_vec();
        for _ in 0..rng.random_range(0..3) {
            match bytes.len() {
                0 => bytes.push(rng.random()),
                length if rng.random_ratio(1, 3) => bytes.truncate(rng.random_range(0..length)),
                length => bytes[rng.random_range(0..length)] = [0, 1, 0xff, rng.random()][rng.random_range(0..4)],
            }
        }
        let mut keys = Keys::new(None);
        keys.push(&bytes);
        let _ = codec.text(&bytes);
        if let Ok(columns) = codec.decode(&keys) {
            decoded_count += 1;
            let again = codec.encode(&columns).unwrap();
            assert_eq!(again.get(0), bytes, "seed {seed}, round {round}, {key:?}");
        }
    }
    assert!(decoded_count > 1000, "seed {seed}: only {decoded_count} mutations were keys");
}

#[test]
fn text_is_what_a_person_would_write() {
    let check = |columns: &[ArrayRef], want: &str| {
        let codec = codec_of(columns);
        let keys = codec.encode(columns).unwrap();
        assert_eq!(codec.text(keys.get(0)), want);
    };
    let number: ArrayRef = Arc::new(Int64Array::from(vec![17]));
    check(std::slice::from_ref(&number), "17");
    check(&[number.clone(), strings(&["abc"])], "(17, 'abc')");
    check(&[strings(&["it's\n"])], "'it''s\\n'");
    check(&[strings(&[&"x".repeat(200)])], &format!("'{}…'", "x".repeat(120)));
    check(&[Arc::new(Date32Array::from(vec![19_000]))], "2022-01-08");
    let price = Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap();
    check(&[Arc::new(price), Arc::new(BooleanArray::from(vec![true]))], "(123.45, true)");
    let time = || TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]);
    check(&[Arc::new(time())], "2023-11-14T22:13:20");
    check(&[Arc::new(time().with_timezone("+01:00"))], "2023-11-14T23:13:20+01:00");
    check(&[Arc::new(time().with_timezone("Mars/Olympus"))], "2023-11-14T22:13:20Z");
    check(&[Arc::new(LargeStringArray::from(vec!["it's"]))], "'it''s'");
    check(&[Arc::new(StringViewArray::from(vec!["it's"]))], "'it''s'");
    check(&[Arc::new(BinaryArray::from_vec(vec![&[1, 0xff]]))], "01ff");
    assert_eq!(codec(&[DataType::Int64]).text(&[1, 2, 3]), "0x010203");
    assert_eq!(codec(&[DataType::Int64]).text(&[7; 60]), format!("0x{}", "07".repeat(60)));
    assert_eq!(codec(&[DataType::Int64]).text(&[7; 61]), format!("0x{}…", "07".repeat(60)));
    assert!(matches!(codec(&[DataType::Int64]).decode(&Keys::from_fixed(1, vec![1])), Err(Damage::Truncated { .. })));
}
