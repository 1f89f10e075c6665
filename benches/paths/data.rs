//! Seeded order lines for the benchmarks: one batch or many, in key order or shuffled.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustling_db::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use rustling_db::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rustling_db::engine::config::Options;
use rustling_db::engine::database::Database;
use rustling_db::engine::disk::local::LocalDisk;
use rustling_db::engine::error::Result;
use rustling_db::engine::source::{BatchSource, Lines, SourceBatch};
use tempfile::TempDir;

/// The table of the benchmarks.
pub(crate) const TABLE: &str = "lines";

/// Columns: an order key and a line number, which are the key, and six more.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("order", DataType::Int64, false),
        Field::new("line", DataType::Int32, false),
        Field::new("part", DataType::Int64, false),
        Field::new("quantity", DataType::Decimal128(15, 2), false),
        Field::new("price", DataType::Decimal128(15, 2), false),
        Field::new("shipped", DataType::Date32, false),
        Field::new("mode", DataType::Utf8, false),
        Field::new("comment", DataType::Utf8, false),
    ]))
}

/// Rows `from..to`, four lines an order; `shuffled` gives them in random order.
pub(crate) fn rows(from: i64, to: i64, shuffled: bool, seed: u64) -> RecordBatch {
    let mut random = StdRng::seed_from_u64(seed);
    let mut numbers: Vec<i64> = (from..to).collect();
    if shuffled {
        numbers.shuffle(&mut random);
    }
    let of = |value: fn(&mut StdRng, i64) -> i64, random: &mut StdRng| -> Vec<i64> {
        numbers.iter().map(|number| value(random, *number)).collect()
    };
    let decimal = |values: Vec<i64>| {
        let array = Decimal128Array::from_iter_values(values.into_iter().map(i128::from));
        Arc::new(array.with_precision_and_scale(15, 2).expect("a valid precision")) as ArrayRef
    };
    let narrow = |values: Vec<i64>| values.into_iter().map(|value| i32::try_from(value).unwrap_or(0));
    let modes = ["AIR", "MAIL", "RAIL", "SHIP", "TRUCK"];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(of(|_, number| number / 4, &mut random))),
        Arc::new(Int32Array::from_iter_values(narrow(of(|_, number| number % 4 + 1, &mut random)))),
        Arc::new(Int64Array::from(of(|random, _| random.random_range(0..200_000), &mut random))),
        decimal(of(|random, _| random.random_range(1..51) * 100, &mut random)),
        decimal(of(|random, _| random.random_range(90_000..10_500_000), &mut random)),
        Arc::new(Date32Array::from_iter_values(narrow(of(|random, _| random.random_range(8000..10_500), &mut random)))),
        Arc::new(StringArray::from_iter_values(numbers.iter().map(|_| modes[random.random_range(0..modes.len())]))),
        Arc::new(StringArray::from_iter_values(
            numbers
                .iter()
                .map(|number| format!("{:x} carefully final deposits", random.random_range(0..1 << 40) + number)),
        )),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns that fit")
}

/// Bytes of a batch in memory.
pub(crate) fn bytes(batch: &RecordBatch) -> u64 {
    batch.get_array_memory_size() as u64
}

/// An empty database in a temporary folder, without background threads unless asked for.
pub(crate) fn database(background: bool) -> (TempDir, Database) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = LocalDisk::open(&folder.path().join("db")).expect("a folder");
    // Large enough that only what is measured flushes or compacts.
    let options = Options {
        background,
        memory_bytes: 2 << 30,
        memtable_bytes: 512 << 20,
        compact_runs: usize::MAX,
        dead_percent: 100,
        ..Options::default()
    };
    let db = Database::open(Arc::new(disk), options).expect("a database");
    db.create_table(TABLE, &schema(), &["order", "line"]).expect("a table");
    (folder, db)
}

/// Batches as a source of a load.
pub(crate) struct Batches(pub(crate) std::vec::IntoIter<RecordBatch>);

impl BatchSource for Batches {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>> {
        let batch = self.0.next();
        Ok(batch.map(|batch| SourceBatch { batch, source: "rows".into(), lines: Lines::From(1) }))
    }
}
