//! Rows out of single pages: those that were written.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, FixedSizeBinaryArray, Int64Array, PrimitiveArray,
    RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::compute::{cast, take, take_record_batch};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal128Type, Field, Fields, Float64Type, Int8Type, Int32Type, Int64Type, Schema,
    UInt16Type, UInt32Type, UInt64Type,
};
use parquet::basic::Encoding;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};

use crate::config::KeptBytes;
use crate::disk::api::Disk;
use crate::disk::path::RunFile;
use crate::rows::keys::Keys;
use crate::rows::schema::TableSchema;
use crate::sst::counts::ReadCounts;
use crate::sst::meta::{FileId, SstMeta};
use crate::sst::page::point_reader::PointReader;
use crate::sst::page::source::PageSource;
use crate::sst::store::Store;
use crate::sst::table_file::Access;
use crate::sst::tests::types::{Columns, flat_columns_of};
use crate::sst::tests::{RUN, Rows, TABLE, disk, encode_i64, encoder, lineitem, names, pool, sensors};
use crate::sst::writer::{Encoder, SstWriter};

const ROWS: usize = 30_000;

/// Every flat type, with so many different values, and so many of a hundred rows without one.
fn columns(random: &mut StdRng, distinct: i64, nulls: u32) -> Columns {
    let numbers: Int64Array = (0..ROWS)
        .map(|_| (!random.random_ratio(nulls, 100)).then(|| random.random_range(0..distinct) - distinct / 2))
        .collect();
    let text = |number: i64| "é".repeat(number.unsigned_abs() as usize % 40) + &number.to_string();
    let texts: ArrayRef = Arc::new(numbers.iter().map(|number| number.map(text)).collect::<StringArray>());
    let bytes = numbers.iter().map(|number| number.map(|number| [&number.to_be_bytes()[3..]].concat()));
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 5).unwrap();
    flat_columns_of(&numbers, &texts, Arc::new(fixed))
}

/// Numbers of any bits, and what is at the ends.
fn extremes(random: &mut StdRng) -> Columns {
    fn any<T: ArrowPrimitiveType>(ends: &[T::Native], mut draw: impl FnMut() -> T::Native) -> ArrayRef {
        let values = (0..ROWS).map(|row| if row % 5 == 0 { ends[row / 5 % ends.len()] } else { draw() });
        Arc::new(PrimitiveArray::<T>::from_iter_values(values))
    }
    let mut columns = Columns::new();
    let mut add = |array: ArrayRef| columns.push((columns.len().to_string(), array));
    add(any::<Int32Type>(&[i32::MIN, i32::MAX, 0, -1], || random.random()));
    add(any::<UInt32Type>(&[0, u32::MAX], || random.random()));
    add(any::<Int64Type>(&[i64::MIN, i64::MAX, 0, -1], || random.random()));
    add(any::<UInt64Type>(&[0, u64::MAX], || random.random()));
    add(any::<Int8Type>(&[i8::MIN, i8::MAX], || random.random()));
    add(any::<UInt16Type>(&[0, u16::MAX], || random.random()));
    let floats = [f64::NAN, -0.0, 0.0, f64::INFINITY, f64::MIN, f64::from_bits(0xfff8_0000_0000_0001)];
    add(any::<Float64Type>(&floats, || f64::from_bits(random.random())));
    for (precision, scale) in [(1, 0), (10, 2), (19, 2), (37, 0), (38, 0)] {
        let limit = 10_i128.pow(u32::from(precision)) - 1;
        let decimals = any::<Decimal128Type>(&[limit, -limit, 0, -1], || random.random_range(-limit..=limit));
        add(cast(&decimals, &DataType::Decimal128(precision, scale)).unwrap());
    }
    let small = any::<Decimal32Type>(&[9, -9], || random.random_range(-9..=9));
    add(cast(&small, &DataType::Decimal32(2, 0)).unwrap());
    add(cast(&small, &DataType::Decimal64(1, 0)).unwrap());
    add(cast(&small, &DataType::Decimal64(5, 0)).unwrap());
    let texts: StringArray =
        (0..ROWS).map(|row| Some("x".repeat([0, 0, 1, 3000][row % 4 * usize::from(row % 50 < 8)]))).collect();
    add(Arc::new(texts));
    columns
}

/// The columns behind a key that ascends, which have a value in every row if those do.
fn table(columns: Columns) -> Rows {
    let count = columns[0].1.len();
    let key: ArrayRef = Arc::new((0..count as i64).collect::<Int64Array>());
    let columns: Columns = [("key".to_owned(), key)].into_iter().chain(columns).collect();
    let fields =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), array.null_count() > 0));
    let schema = Arc::new(TableSchema::new("t", &Schema::new(fields.collect::<Vec<_>>()), &["key"]).unwrap());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.stored().clone(), arrays).unwrap();
    let keys = (0..count as i64).flat_map(encode_i64).collect();
    Rows { schema, keys: Keys::from_fixed(8, keys), batch }
}

/// Positions of many kinds.
fn positions(random: &mut StdRng, count: usize) -> Vec<u64> {
    let length = [1, 1, 2, 20, 400][random.random_range(0..5)];
    let start = random.random_range(0..=count - length);
    let mut positions: Vec<u64> = match random.random_range(0..2) {
        0 => (start..start + length).map(|row| row as u64).collect(),
        _ => sample(random, count, length).into_iter().map(|row| row as u64).collect(),
    };
    positions.sort_unstable();
    positions
}

fn write(rows: &Rows, disk: &Arc<dyn Disk>, row_group_bytes: usize) -> SstMeta {
    let encoder = Encoder { row_group_bytes, ..encoder(pool(2)) };
    let mut writer = SstWriter::create(disk.clone(), TABLE, RUN, rows.schema.clone(), encoder).unwrap();
    writer.append(&rows.keys, &rows.batch).unwrap();
    writer.finish().unwrap()
}

/// Compares rows out of single pages with those that were written, in row groups of at most so many bytes.
fn compare(seed: u64, rows: &Rows, row_group_bytes: usize) {
    let random = &mut StdRng::seed_from_u64(seed);
    let disk = disk();
    let meta = write(rows, &disk, row_group_bytes);
    let store =
        Store::new(disk, KeptBytes { footers: 1 << 20, rows: 0, pages: [0, 1 << 20][random.random_range(0..2)] });
    let sst = rows.open_in(&store, &meta).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let id = FileId { table: TABLE, run: RUN, file: RunFile::Sst };
    let source = PageSource { file: sst.sst(), id, kept: store.pages() };
    let reader = PointReader { source, metadata: &metadata, schema: rows.batch.schema_ref() };
    let all: Vec<usize> = (0..rows.batch.num_columns()).collect();
    for _ in 0..30 {
        let positions = positions(random, rows.batch.num_rows());
        let read = reader.read(&positions, &all, &mut ReadCounts::default()).unwrap();
        for (read, written) in read.into_iter().zip(rows.batch.columns()) {
            let read =
                read.unwrap_or_else(|| panic!("{} is left to Parquet's reader, seed {seed}", written.data_type()));
            let want = take(written, &UInt64Array::from(positions.clone()), None).unwrap();
            assert_eq!(&bits_of(&read), &bits_of(&want), "{positions:?}, seed {seed}");
            read.to_data().validate_full().unwrap();
        }
    }
}

/// Floats by their bits, so that each is equal to itself alone.
fn bits_of(array: &ArrayRef) -> ArrayRef {
    match array.as_primitive_opt::<Float64Type>() {
        Some(floats) => Arc::new(floats.unary::<_, UInt64Type>(f64::to_bits)),
        None => array.clone(),
    }
}

#[test]
fn every_flat_type_comes_out_of_its_pages() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for (distinct, nulls) in [(1, 0), (60, 0), (60, 30), (1 << 36, 0), (1 << 36, 10), (5000, 99), (1, 100)] {
        let rows = table(columns(&mut random, distinct, nulls));
        for row_group_bytes in [64 << 20, 1 << 20] {
            compare(seed, &rows, row_group_bytes);
        }
    }
    compare(seed, &table(extremes(&mut random)), 1 << 20);
}

/// Texts that are stored with what they share with the one before.
#[test]
fn keys_of_texts_come_out_of_their_pages() {
    for rows in [names(20_000), sensors(20_000)] {
        compare(rand::random(), &rows, 64 << 20);
    }
}

/// The first rows decide for a dictionary, which becomes too large in the same row group.
#[test]
fn a_column_whose_dictionary_became_too_large_comes_out_of_its_pages() {
    const COUNT: i64 = 131_000;
    let number = |row: i64| if row < 66_000 { row % 100 } else { row << 20 };
    let numbers: Decimal128Array = (0..COUNT).map(|row| Some(i128::from(number(row)))).collect();
    let text = |row: i64| (row % 9 != 0).then(|| format!("text {}", number(row)));
    let texts: StringArray = (0..COUNT).map(text).collect();
    let rows = table(vec![("number".to_owned(), Arc::new(numbers)), ("text".to_owned(), Arc::new(texts))]);
    let disk = disk();
    let sst = rows.open(&disk, &write(&rows, &disk, 64 << 20)).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let found: Vec<Encoding> = metadata.row_group(0).column(2).encodings().collect();
    let both = [Encoding::RLE_DICTIONARY, Encoding::DELTA_LENGTH_BYTE_ARRAY];
    assert!(both.iter().all(|encoding| found.contains(encoding)), "{found:?}");
    compare(rand::random(), &rows, 64 << 20);
}

/// Parquet's reader has the nested column, whose leaves stand before those of the flat one.
#[test]
fn a_flat_column_behind_a_nested_one_is_that_column() {
    let numbers: ArrayRef = Arc::new((0..9000).collect::<Int64Array>());
    let twice: ArrayRef = Arc::new((0..9000).map(|row| 2 * row).collect::<Int64Array>());
    let members: Fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, false)).to_vec().into();
    let pairs = StructArray::new(members, vec![twice.clone(), numbers.clone()], None);
    let thrice: ArrayRef = Arc::new((0..9000).map(|row| 3 * row).collect::<Int64Array>());
    let rows = table(vec![("pair".to_owned(), Arc::new(pairs)), ("flat".to_owned(), thrice)]);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 9000, None)).unwrap();
    for positions in [vec![0], vec![7, 4100, 8999]] {
        for projection in [&[0, 1, 2][..], &[1], &[2], &[1, 2]] {
            let found = sst.rows_at(&positions, projection, Access::Keys, &mut ReadCounts::default()).unwrap();
            let want = take_record_batch(&rows.batch, &UInt64Array::from(positions.clone())).unwrap();
            assert_eq!(found, want.project(projection).unwrap());
        }
    }
}

/// A block is read the first time, and seen in the mapped file from then on.
#[test]
fn what_is_seen_of_a_file_is_what_is_read_of_it() {
    let rows = lineitem(20_000);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 20_000, None)).unwrap();
    let (file, end) = (sst.sst(), sst.sst().file_bytes());
    for range in [5..900, 65_000..66_000, 0..end, 5..900, end..end, end - 3..end] {
        assert_eq!(file.view(range.clone()).unwrap(), file.read(range).unwrap());
    }
    for bad in [end..end + 1, 5..u64::MAX, end + 1..end + 1] {
        assert!(file.view(bad).is_err());
    }
}
