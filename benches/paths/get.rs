//! Single rows by key, from runs and from the memtable, and keys that are absent.

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_db::WriteBatch;
use rustling_db::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use rustling_db::engine::load::run::LoadOptions;

use crate::data;

const ROWS: i64 = 1_000_000;

fn key(order: i64, line: i32) -> RecordBatch {
    let order = Arc::new(Int64Array::from(vec![order])) as ArrayRef;
    let line = Arc::new(Int32Array::from(vec![line])) as ArrayRef;
    RecordBatch::try_from_iter([("order", order), ("line", line)]).expect("a key")
}

pub(crate) fn get(criterion: &mut Criterion) {
    let (_folder, db) = data::database(false);
    let mut source = data::Batches(vec![data::rows(0, ROWS, false, 5)].into_iter());
    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
    db.write(WriteBatch::new().upsert(data::TABLE, data::rows(ROWS, ROWS + 1000, false, 5))).expect("a write");
    let table = db.snapshot().table(data::TABLE).expect("the table");
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    for (name, orders, line) in
        [("in a run", 0..ROWS / 4, 1), ("in the memtable", ROWS / 4..ROWS / 4 + 250, 1), ("absent", 0..ROWS / 4, 9)]
    {
        let mut random = StdRng::seed_from_u64(6);
        group.bench_function(name, |bencher| {
            bencher.iter(|| table.get(&key(random.random_range(orders.clone()), line)).expect("a lookup"));
        });
    }
    group.finish();
}
