//! Every type that can be stored comes back as itself.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray, Int32Builder, Int64Array, ListArray,
    MapBuilder, RecordBatch, StringBuilder, StringViewArray, StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, TimeUnit};

use crate::rows::keys::Keys;
use crate::rows::schema::TableSchema;
use crate::sst::tests::round_trip::read;
use crate::sst::tests::{Rows, disk, encode_i64};

pub(super) type Columns = Vec<(String, ArrayRef)>;

fn texts(count: usize) -> ArrayRef {
    let text = |row: usize| (!row.is_multiple_of(7)).then(|| format!("text of row {row}"));
    Arc::new((0..count).map(text).collect::<StringViewArray>())
}

fn flat_columns(count: usize) -> Columns {
    let numbers = (0..count as i64).map(|row| (row % 5 != 0).then_some(row % 100)).collect::<Int64Array>();
    let bytes = (0..count).map(|row| (row % 3 != 0).then_some([row as u8; 5]));
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 5).unwrap();
    flat_columns_of(&numbers, &texts(count), Arc::new(fixed))
}

/// Numbers as every type that they can be cast to, texts as every type of texts and bytes.
pub(super) fn flat_columns_of(numbers: &Int64Array, texts: &ArrayRef, fixed: ArrayRef) -> Columns {
    use DataType::*;
    let zone = Some("+02:00".into());
    let number_types = [
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
        Boolean,
        Date32,
        Date64,
        Decimal32(9, 2),
        Decimal64(18, 3),
        Decimal128(9, 2),
        Decimal128(18, 2),
        Decimal128(38, 4),
        Decimal256(76, 4),
        Decimal256(10, 0),
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Second, zone.clone()),
        Timestamp(TimeUnit::Millisecond, zone.clone()),
        Timestamp(TimeUnit::Microsecond, None),
        Timestamp(TimeUnit::Nanosecond, zone),
    ];
    let number = |data_type: &DataType| {
        cast(numbers, data_type).or_else(|_| cast(&cast(numbers, &Int32).unwrap(), data_type)).unwrap()
    };
    let mut columns: Columns =
        number_types.iter().map(|data_type| (data_type.to_string(), number(data_type))).collect();
    for data_type in [Utf8, LargeUtf8, Utf8View, Binary, LargeBinary, BinaryView] {
        columns.push((data_type.to_string(), cast(texts, &data_type).unwrap()));
    }
    columns.push(("fixed".to_owned(), fixed));
    columns
}

fn nested_columns(count: usize) -> Columns {
    let mut columns = Columns::new();
    let metadata = HashMap::from([("unit".to_owned(), "mm".to_owned())]);
    let members: Fields = vec![
        Field::new("a", DataType::Int64, false).with_metadata(metadata),
        Field::new("b", DataType::Utf8View, true),
    ]
    .into();
    let numbers: ArrayRef = Arc::new((0..count as i64).collect::<Int64Array>());
    let structs: ArrayRef = Arc::new(StructArray::new(members.clone(), vec![numbers, texts(count)], None));
    columns.push(("struct".to_owned(), structs.clone()));
    let item = Arc::new(Field::new("item", DataType::Struct(members), false));
    let lengths = OffsetBuffer::from_lengths((0..count).map(|row| usize::from(row % 2 == 0) * 2));
    let values = structs.slice(0, *lengths.last().unwrap() as usize);
    columns.push(("list".to_owned(), Arc::new(ListArray::new(item.clone(), lengths, values, None))));
    columns.push(("large list".to_owned(), new_null_array(&DataType::LargeList(item), count)));
    let item = Arc::new(Field::new("x", DataType::Utf8, true));
    let values = cast(&texts(count), &DataType::Utf8).unwrap();
    columns.push(("fixed list".to_owned(), Arc::new(FixedSizeListArray::new(item, 1, values, None))));
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..count {
        map.keys().append_value(format!("k{row}"));
        map.values().append_option((row % 3 != 0).then_some(row as i32));
        map.append(true).unwrap();
    }
    columns.push(("map".to_owned(), Arc::new(map.finish())));
    columns
}

fn all_types(count: usize) -> (Schema, Vec<ArrayRef>) {
    let columns: Columns = flat_columns(count).into_iter().chain(nested_columns(count)).collect();
    let fields = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true));
    let metadata = HashMap::from([("of".to_owned(), "table".to_owned())]);
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata);
    (schema, columns.into_iter().map(|(_, array)| array).collect())
}

#[test]
fn every_type_comes_back_as_itself() {
    let (schema, mut columns) = all_types(3_000);
    let schema = Arc::new(TableSchema::new("t", &schema, &["Int64"]).unwrap());
    // The key must ascend.
    columns[3] = Arc::new((0..3_000).collect::<Int64Array>());
    let batch = RecordBatch::try_new(schema.stored().clone(), columns).unwrap();
    let keys =
        batch.column(3).as_primitive::<Int64Type>().values().iter().flat_map(|value| encode_i64(*value)).collect();
    let rows = Rows { schema: schema.clone(), keys: Keys::from_fixed(8, keys), batch };
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 1_000, None)).unwrap();
    let all: Vec<usize> = (0..rows.batch.num_columns()).collect();
    let found = read(&sst, 0..3_000, &all, 700);
    assert_eq!(found.schema(), *schema.stored());
    for (found, want) in found.columns().iter().zip(rows.batch.columns()) {
        assert_eq!(found, want, "{}", want.data_type());
    }
}
