//! Rows by key: single ones out of what is kept, out of pages and out of the memtable; absent ones; many; ranges.

use std::ops::Bound;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_db::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use rustling_db::engine::load::run::LoadOptions;
use rustling_db::engine::read::snapshot::TableSnapshot;
use rustling_db::engine::sst::counts::ReadCounts;
use rustling_db::{KeyOrder, WriteBatch};

use crate::data;

const ROWS: i64 = 1_000_000;
/// Keys of a call that asks for many.
const MANY: i64 = 10_000;

fn keys(orders: impl Iterator<Item = i64>, line: i32) -> RecordBatch {
    let orders = Int64Array::from_iter_values(orders);
    let lines = Arc::new(Int32Array::from(vec![line; orders.len()])) as ArrayRef;
    RecordBatch::try_from_iter([("order", Arc::new(orders) as ArrayRef), ("line", lines)]).expect("keys")
}

pub(crate) fn get(criterion: &mut Criterion) {
    let (_folder, db) = data::database(false);
    let mut source = data::Batches(vec![data::rows(0, ROWS, false, 5)].into_iter());
    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
    db.write(WriteBatch::new().upsert(data::TABLE, data::rows(ROWS, ROWS + 1000, false, 5))).expect("a write");
    let table = db.snapshot().table(data::TABLE).expect("the table");
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    for (name, orders, line) in [
        ("kept", 0..5000, 1),
        ("in a run", 0..ROWS / 4, 1),
        ("in the memtable", ROWS / 4..ROWS / 4 + 250, 1),
        ("absent", 0..ROWS / 4, 9),
    ] {
        let mut random = StdRng::seed_from_u64(6);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let key = keys(std::iter::once(random.random_range(orders.clone())), line);
                table.get(&key).expect("a lookup")
            });
        });
    }
    group.finish();
    many(criterion, &table);
    ranges(criterion, &table);
}

fn many(criterion: &mut Criterion, table: &TableSnapshot) {
    let mut random = StdRng::seed_from_u64(7);
    let all = table.user_projection();
    let mut group = criterion.benchmark_group("get many");
    group.throughput(Throughput::Elements(MANY.unsigned_abs()));
    let anywhere = keys((0..MANY).map(|_| random.random_range(0..ROWS / 4)), 1);
    group.bench_function("where they are", |bencher| {
        bencher.iter(|| table.contains_many(&anywhere, &mut ReadCounts::default()).expect("a lookup"));
    });
    let kept = keys((0..MANY).map(|_| random.random_range(0..3000)), 1);
    group.bench_function("kept", |bencher| {
        bencher.iter(|| table.get_many(&kept, &all, &mut ReadCounts::default()).expect("a lookup"));
    });
    group.finish();
}

fn ranges(criterion: &mut Criterion, table: &TableSnapshot) {
    let mut group = criterion.benchmark_group("range");
    for (rows, orders) in [(400, 100), (40_000, 10_000)] {
        group.throughput(Throughput::Elements(rows));
        for order in [KeyOrder::Ascending, KeyOrder::Descending] {
            let mut random = StdRng::seed_from_u64(8);
            let id = BenchmarkId::new(format!("{order:?}"), rows);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let first = random.random_range(0..ROWS / 4 - orders);
                    let bound = |at: i64| keys(std::iter::once(at), 1).project(&[0]).expect("a prefix");
                    let (start, end) = (bound(first), bound(first + orders));
                    let interval = table.key_range(Bound::Included(&start), Bound::Excluded(&end)).expect("bounds");
                    let rows = table.range(&interval, &table.user_projection(), order, None).expect("a range");
                    rows.map(|batch| batch.expect("rows").num_rows()).sum::<usize>()
                });
            });
        }
    }
    group.finish();
}
