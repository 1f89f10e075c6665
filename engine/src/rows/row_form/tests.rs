//! Rows to bytes and back, and bytes that are no rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Int32Array, Int64Array,
    ListArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray, UInt16Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::{Damage, Error};
use crate::rows::canonical::kept_bytes;
use crate::rows::row_form::RowForm;
use crate::rows::samples;

fn batch(columns: Vec<ArrayRef>, nullable: bool) -> RecordBatch {
    let fields: Vec<Field> = (columns.iter().enumerate())
        .map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), nullable))
        .collect();
    let row_count = columns.first().map_or(3, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

fn form(batch: &RecordBatch) -> RowForm {
    RowForm::new(batch.schema()).unwrap()
}

/// Whether rows come back as they were, all at once and one by one.
fn check(batch: &RecordBatch, what: &str) {
    let form = form(batch);
    let rows = form.encode(batch).unwrap();
    assert_eq!(rows.len(), batch.num_rows(), "{what}");
    assert_eq!(&form.decode(rows.iter()).unwrap(), batch, "{what}");
    for row in 0..batch.num_rows().min(20) {
        let single = form.encode(&batch.slice(row, 1)).unwrap();
        assert_eq!(single.get(0), rows.get(row), "{what}: row {row}");
        assert_eq!(single.bytes(), rows.get(row), "{what}: row {row}");
    }
}

/// One column of every type.
fn every_column(rng: &mut StdRng, row_count: usize, nullable: bool) -> Vec<ArrayRef> {
    let types = samples::flat_types().into_iter().chain(samples::nested_types());
    types.map(|data_type| samples::column(rng, &data_type, row_count, nullable)).collect()
}

#[test]
fn rows_of_every_type_come_back() {
    let seed = 31;
    let mut rng = StdRng::seed_from_u64(seed);
    for nullable in [false, true] {
        for column in every_column(&mut rng, 300, nullable) {
            let what = format!("seed {seed}, {}", column.data_type());
            check(&batch(vec![column.clone()], nullable), &what);
            check(&batch(vec![column.slice(7, 100)], nullable), &format!("slice, {what}"));
            check(&batch(vec![column.slice(0, 0)], nullable), &format!("no rows, {what}"));
        }
        check(&batch(every_column(&mut rng, 50, nullable), nullable), &format!("seed {seed}, all types"));
    }
}

#[test]
fn rows_of_nulls_alone_come_back_and_take_the_bitmap_only() {
    let types = samples::flat_types().into_iter().chain(samples::nested_types());
    let columns: Vec<ArrayRef> = types.map(|data_type| arrow::array::new_null_array(&data_type, 2)).collect();
    let nulls = batch(columns, true);
    check(&nulls, "all NULL");
    assert_eq!(form(&nulls).encode(&nulls).unwrap().get(1).len(), nulls.num_columns().div_ceil(8));
}

#[test]
fn rows_without_columns_come_back() {
    let none = batch(Vec::new(), true);
    check(&none, "no columns");
    assert!(form(&none).encode(&none).unwrap().bytes().is_empty());
}

#[test]
fn the_bytes_of_a_row_are_those_of_the_format() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![-2])),
        Arc::new(BooleanArray::from(vec![None])),
        Arc::new(BooleanArray::from(vec![true])),
        Arc::new(StringArray::from(vec!["é"])),
        Arc::new(FixedSizeBinaryArray::try_from_iter([[7, 8]].iter()).unwrap()),
        Arc::new(BinaryArray::from_vec(vec![&[9; 200]])),
        Arc::new(Int64Array::from(vec![None])),
        Arc::new(Int64Array::from(vec![None])),
        Arc::new(Int64Array::from(vec![None])),
        Arc::new(UInt16Array::from(vec![0x0102])),
    ];
    let mut want = vec![0b1100_0010, 0b0000_0001, 0xfe, 0xff, 0xff, 0xff, 1, 2, 0xc3, 0xa9, 7, 8, 0xc8, 1];
    want.extend([9; 200]);
    want.extend([2, 1]);
    let batch = batch(columns, true);
    assert_eq!(form(&batch).encode(&batch).unwrap().get(0), want);
}

#[test]
fn decoded_strings_keep_no_more_memory_than_they_need() {
    let mut rng = StdRng::seed_from_u64(32);
    for column in every_column(&mut rng, 1, false) {
        let batch = batch(vec![column], false);
        let form = form(&batch);
        let rows = form.encode(&batch).unwrap();
        let decoded = form.decode(rows.iter()).unwrap();
        let bytes = kept_bytes(decoded.columns());
        assert!(bytes < 4096 + 4 * rows.bytes().len(), "{bytes} for {}", batch.column(0).data_type());
    }
}

#[test]
fn a_batch_of_other_columns_is_refused() {
    let numbers = batch(vec![Arc::new(Int32Array::from(vec![Some(1), None]))], true);
    let strict = batch(vec![Arc::new(Int32Array::from(vec![1]))], false);
    let texts = batch(vec![Arc::new(StringArray::from(vec!["a"]))], true);
    assert!(matches!(form(&texts).encode(&numbers), Err(Error::Arrow(_))));
    assert!(matches!(form(&strict).encode(&numbers), Err(Error::Arrow(_))));
    assert_eq!(form(&numbers).encode(&strict).unwrap().len(), 1);
}

#[test]
fn damage_is_named() {
    let check = |column: ArrayRef, nullable: bool, bytes: &[u8], want: &str| {
        let damage = form(&batch(vec![column], nullable)).decode([bytes].into_iter()).unwrap_err().to_string();
        assert!(damage.contains(want), "{damage}");
    };
    let number = || -> ArrayRef { Arc::new(Int32Array::from(vec![1])) };
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["a"])) };
    check(number(), true, &[], "`null bitmap` needs 1 bytes but only 0 are left");
    check(number(), true, &[2, 0, 0, 0, 0], "field `null bitmap` holds 2");
    check(number(), false, &[1], "field `null in a column without NULLs` holds 0");
    check(number(), true, &[0, 1, 2, 3], "`number` needs 4 bytes but only 3 are left");
    check(number(), true, &[1, 1], "field `bytes behind the row` holds 1");
    check(Arc::new(BooleanArray::from(vec![true])), true, &[0, 2], "field `boolean` holds 2");
    check(text(), true, &[0, 5, b'a'], "`value` needs 5 bytes but only 1 are left");
    check(text(), true, &[0, 1, 0xff], "arrow cannot decode it");
    check(text(), true, &[0, 0x81, 0, b'a'], "field `length`");
    check(text(), true, &[0, 0x80], "`length` needs 1 bytes but only 0 are left");
    let huge = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    check(text(), true, &huge, "`value` needs 18446744073709551615 bytes");
    let too_long = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
    check(text(), true, &too_long, "field `length`");
}

/// A row of a nested column whose cell is this IPC stream.
fn row_with_cell(cell: &[u8]) -> Vec<u8> {
    let mut row = vec![0];
    let mut length = cell.len();
    while length > 0x7f {
        row.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    row.push(u8::try_from(length).unwrap());
    row.extend(cell);
    row
}

fn lists(rows: &[&[i32]]) -> ArrayRef {
    let rows = rows.iter().map(|row| Some(row.iter().copied().map(Some)));
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
}

#[test]
fn a_cell_does_not_carry_the_strings_of_its_neighbours() {
    let words = StringViewArray::from_iter_values((0..1000).map(|row| format!("a string too long for a view {row}")));
    let field = Arc::new(Field::new("item", DataType::Utf8View, true));
    let lists = batch(vec![Arc::new(FixedSizeListArray::new(field, 1, Arc::new(words), None))], true);
    let rows = form(&lists).encode(&lists).unwrap();
    let longest = rows.iter().map(<[u8]>::len).max().unwrap();
    assert!(longest < 1000, "{longest} bytes");
}

#[test]
fn cells_that_are_no_cells_of_the_column_are_refused() {
    let list = batch(vec![lists(&[&[1; 1000]])], true);
    let form = form(&list);
    let check = |batch: &RecordBatch, options: IpcWriteOptions, want: &str| {
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options).unwrap();
        writer.write(batch).unwrap();
        let row = row_with_cell(&writer.into_inner().unwrap());
        match (form.decode([row.as_slice()].into_iter()), want) {
            (Ok(decoded), "") => assert_eq!(decoded.column(0), list.column(0)),
            (Ok(_), want) => panic!("no damage: {want}"),
            (Err(damage), want) => assert!(!want.is_empty() && damage.to_string().contains(want), "{damage}"),
        }
    };
    let plain = IpcWriteOptions::default;
    check(&list, plain(), "");
    let lz4 = plain().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    check(&list, lz4, "field `compression of a stream`");
    check(&batch(vec![lists(&[&[1], &[2]])], true), plain(), "row count of a stream is 2, expected 1");
    check(&batch(vec![lists(&[&[1]]); 2], true), plain(), "a stream has the columns");
    let other = Arc::new(Int32Array::from(vec![1]));
    check(&batch(vec![other], true), plain(), "a stream has the columns");
    let null = arrow::array::new_null_array(list.column(0).data_type(), 1);
    check(&batch(vec![null], true), plain(), "field `null in a nested cell`");
}

#[test]
fn a_cell_that_claims_gigabytes_is_refused_before_it_is_read() {
    let text = batch(vec![Arc::new(arrow::array::StringArray::from(vec!["x"]))], true);
    for batch in [text, batch(vec![lists(&[&[1]])], true)] {
        for claim in [1_u64 << 30, 1 << 31, 1 << 40, i64::MAX.cast_unsigned(), u64::MAX] {
            let mut row = vec![0];
            let mut length = claim;
            while length > 0x7f {
                row.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            row.push(u8::try_from(length).unwrap());
            row.extend(b"only so much");
            let refused = form(&batch).decode([row.as_slice()].into_iter());
            assert!(
                matches!(refused, Err(Damage::Truncated { needed, .. }) if needed == claim),
                "{claim}: {refused:?}"
            );
        }
    }
}

/// Rows of every type, small enough to try every change of a bit.
fn small_rows(seed: u64) -> (RowForm, RecordBatch, Vec<Vec<u8>>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let batch = batch(every_column(&mut rng, 2, true), true);
    let form = form(&batch);
    let rows = form.encode(&batch).unwrap().iter().map(Vec::from).collect();
    (form, batch, rows)
}

#[test]
fn a_row_cut_at_any_byte_is_refused() {
    let seed = 33;
    let (form, _, rows) = small_rows(seed);
    for row in &rows {
        for length in 0..row.len() {
            let decoded = form.decode([&row[..length]].into_iter());
            assert!(decoded.is_err(), "seed {seed}: {length} of {} bytes", row.len());
        }
    }
}

/// What is read from changed bytes must be a sound batch: every value can be shown and written again.
fn use_all(form: &RowForm, decoded: Result<RecordBatch, Damage>) {
    if let Ok(batch) = decoded {
        batch.columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
        form.encode(&batch).unwrap();
    }
}

#[test]
fn no_flipped_bit_of_a_row_panics() {
    let (form, _, rows) = small_rows(34);
    for row in &rows {
        let mut changed = row.clone();
        for bit in 0..row.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            use_all(&form, form.decode([changed.as_slice()].into_iter()));
            changed[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn no_mutation_of_rows_panics() {
    let seed = 35;
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..100 {
        let (form, _, rows) = small_rows(seed * 1000 + round);
        for _ in 0..100 {
            let mut row = rows[rng.random_range(0..rows.len())].clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..=row.len());
                match rng.random_range(0..4) {
                    0 => row.truncate(at),
                    1 => row.insert(at, rng.random()),
                    2 if at < row.len() => row[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                    3 if at < row.len() => drop(row.remove(at)),
                    _ => row.extend(rows[0].clone()),
                }
            }
            use_all(&form, form.decode([row.as_slice()].into_iter()));
        }
    }
}

#[test]
fn rows_of_several_batches_decode_together() {
    let (form, batch, rows) = small_rows(36);
    let twice = concat_batches(&batch.schema(), [&batch, &batch]).unwrap();
    let all: Vec<&[u8]> = rows.iter().chain(&rows).map(Vec::as_slice).collect();
    assert_eq!(form.decode(all.into_iter()).unwrap(), twice);
}

#[test]
fn a_type_that_no_table_stores_is_refused() {
    let schema = Schema::new(vec![Field::new("a", DataType::Null, true)]);
    assert!(matches!(RowForm::new(Arc::new(schema)), Err(Error::UnsupportedType { .. })));
}
