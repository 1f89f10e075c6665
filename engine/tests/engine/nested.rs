//! Columns of columns, as deep as they may be: what is accepted comes back from the log, from memory and from runs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::rows::schema::LEVELS_MAX;

use crate::fixture::small_options;

type Wrap = fn(ArrayRef) -> ArrayRef;

fn in_list(values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1]), values, None))
}

fn in_struct(values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("field", values.data_type().clone(), true));
    Arc::new(StructArray::new(vec![field].into(), vec![values], None))
}

/// A row whose second column has so many levels.
fn row(key: i64, wrap: Wrap, levels: usize) -> RecordBatch {
    let innermost: ArrayRef = Arc::new(Int64Array::from(vec![key]));
    let nested = (1..levels).fold(innermost, |values, _| wrap(values));
    let fields = vec![Field::new("k", DataType::Int64, false), Field::new("v", nested.data_type().clone(), true)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(Int64Array::from(vec![key])), nested]).unwrap()
}

fn found(db: &Database) -> RecordBatch {
    let table = db.snapshot().table("t").unwrap();
    let batches: Vec<RecordBatch> = table.scan(&KeyInterval::ALL, &[0, 1]).unwrap().map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// A table that was accepted made the database one that does not open, a few levels less one whose rows cannot be read.
#[test]
fn a_type_of_as_many_levels_as_there_may_be_comes_back() {
    for wrap in [in_list as Wrap, in_struct] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let mut db = Database::open(disk.clone(), small_options()).unwrap();
        let want: Vec<RecordBatch> = (0..3).map(|key| row(key, wrap, LEVELS_MAX)).collect();
        db.create_table("t", &want[0].schema(), &["k"]).unwrap();
        for (key, row) in want.iter().enumerate() {
            db.write(WriteBatch::new().upsert("t", row.clone())).unwrap();
            match key {
                0 => db.flush("t").unwrap(),
                // Out of the log.
                1 => {
                    drop(std::mem::replace(
                        &mut db,
                        Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap(),
                    ));
                    db = Database::open(disk.clone(), small_options()).unwrap();
                }
                _ => {}
            }
        }
        let want = concat_batches(&want[0].schema(), &want).unwrap();
        assert_eq!(found(&db).columns(), want.columns());
        db.flush("t").unwrap();
        db.close().unwrap();
        let db = Database::open(disk, small_options()).unwrap();
        assert_eq!(found(&db).columns(), want.columns());
    }
}

#[test]
fn a_type_of_more_levels_is_refused() {
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    for (wrap, levels) in [(in_list as Wrap, LEVELS_MAX + 1), (in_struct, LEVELS_MAX + 1), (in_list, 200)] {
        let refused = db.create_table("t", &row(1, wrap, levels).schema(), &["k"]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "column `v` is nested more than {LEVELS_MAX} levels deep, which cannot be stored; flatten it first"
            )
        );
        assert!(matches!(refused, Error::NestedTooDeep { .. }));
    }
}
