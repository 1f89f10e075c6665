//! Memory before and after, and equal values.

use arrow::array::{Float32Array, Float64Array, Int64Array, StringArray, StringViewArray, UInt32Array};
use arrow::datatypes::{Field, Schema};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::rows::samples;

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<Field> = (columns.iter().enumerate())
        .map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn same_memory(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.to_data().ptr_eq(&b.to_data())
}

/// Whether a batch keeps far more than it needs, and is equal and small after compaction.
fn check_loose(loose: &RecordBatch, what: &str) {
    let before = kept_bytes(loose.columns());
    let compacted = compact(loose.clone()).unwrap();
    assert_eq!(&compacted, loose, "{what}");
    let needed: usize = loose.columns().iter().map(|column| needed_bytes(column)).sum();
    let after = kept_bytes(compacted.columns());
    assert!(before > 2 * needed + SLACK_BYTES, "{what}: {before} bytes for {needed} are not loose");
    assert!(after <= 2 * needed + SLACK_BYTES, "{what}: {before} bytes before, {after} after, {needed} needed");
}

#[test]
fn slices_of_large_columns_of_every_type_are_copied() {
    let seed = 21;
    let mut rng = StdRng::seed_from_u64(seed);
    for data_type in samples::flat_types().into_iter().chain(samples::nested_types()) {
        for nullable in [false, true] {
            let column = samples::column(&mut rng, &data_type, 60_000, nullable);
            for length in [0, 1, 100] {
                let what = format!("seed {seed}, {length} rows of {data_type}");
                check_loose(&batch(vec![column.slice(31_013, length)]), &what);
            }
        }
    }
}

#[test]
fn views_taken_out_of_large_buffers_are_copied() {
    let words: Vec<String> = (0..50_000).map(|row| format!("a string too long for a view {row}")).collect();
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(&words));
    let few = UInt32Array::from_iter_values((0..500).map(|row| row * 97));
    let taken = arrow::compute::take(&views, &few, None).unwrap();
    assert!(kept_bytes(std::slice::from_ref(&taken)) > 1_000_000);
    check_loose(&batch(vec![taken.clone()]), "views");
    let field = Arc::new(Field::new("item", DataType::Utf8View, true));
    let lists = FixedSizeListArray::new(field, 2, taken, None);
    let fields = vec![Field::new("l", lists.data_type().clone(), true)].into();
    let structs: ArrayRef = Arc::new(StructArray::new(fields, vec![Arc::new(lists)], None));
    check_loose(&batch(vec![structs]), "views in lists in structs");
}

#[test]
fn a_batch_that_fits_its_memory_is_not_copied() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..10_000).map(|row| row.to_string())));
    let whole = batch(vec![numbers, words]);
    for kept in [whole.clone(), whole.slice(2_000, 6_000), whole.slice(0, 0).project(&[]).unwrap()] {
        let compacted = compact(kept.clone()).unwrap();
        assert!(kept.columns().iter().zip(compacted.columns()).all(|(a, b)| same_memory(a, b)));
    }
}

#[test]
fn only_the_loose_columns_are_copied() {
    let tight: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let loose = Int64Array::from_iter_values(0..100_000).slice(5, 100);
    let batch = batch(vec![tight, Arc::new(loose)]);
    let compacted = compact(batch.clone()).unwrap();
    assert!(same_memory(batch.column(0), compacted.column(0)));
    assert!(!same_memory(batch.column(1), compacted.column(1)));
}

#[test]
fn columns_that_share_one_buffer_are_counted_once() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let parts: Vec<ArrayRef> = (0..10).map(|part| numbers.slice(part * 1_000, 1_000)).collect();
    assert_eq!(kept_bytes(&parts), 80_000);
    let whole = batch(parts);
    assert!(same_memory(whole.column(3), compact(whole.clone()).unwrap().column(3)));
    check_loose(&whole.slice(0, 10), "slices of one buffer");
}

#[test]
fn floats_become_canonical_in_the_key_and_nowhere_else() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, f64::from_bits(u64::MAX), 1.5]));
    let small: ArrayRef = Arc::new(Float32Array::from(vec![f32::from_bits(0xffc0_0001), -0.0, -1.0]));
    let halves = native_array::<Half>(&DataType::Float16, vec![0x8000, 0x7c01, 0x3c00], None).unwrap();
    let batch = batch(vec![floats.clone(), small, halves, floats]);
    let schema = TableSchema::new("t", &batch.schema(), &["c2", "c1", "c0"]).unwrap();
    let batch = RecordBatch::try_new(schema.stored().clone(), batch.columns().to_vec()).unwrap();
    let canonical = canonicalize_keys(&schema, batch.clone()).unwrap();
    let bits = |index: usize| -> Vec<u64> {
        native_values::<f64>(canonical.column(index)).iter().map(|value| value.to_bits()).collect()
    };
    assert_eq!(bits(0), [0, 0x7ff8_0000_0000_0000, 1.5f64.to_bits()]);
    assert_eq!(bits(3), [1 << 63, u64::MAX, 1.5f64.to_bits()]);
    let small: Vec<u32> = native_values::<f32>(canonical.column(1)).iter().map(|value| value.to_bits()).collect();
    assert_eq!(small, [0x7fc0_0000, 0, (-1.0f32).to_bits()]);
    assert_eq!(native_values::<Half>(canonical.column(2)).to_vec(), [0, 0x7e00, 0x3c00]);
    let again = canonicalize_keys(&schema, canonical.clone()).unwrap();
    assert!(canonical.columns().iter().zip(again.columns()).all(|(a, b)| same_memory(a, b)));
}
