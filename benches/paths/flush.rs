//! One memtable of 500,000 shuffled rows, written in 10 batches, becomes a run.

use criterion::{BatchSize, Criterion, Throughput};
use rustling_db::WriteBatch;

use crate::data;

const ROWS: i64 = 500_000;

pub(crate) fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10);
    let batches: Vec<_> = (0..10).map(|part| data::rows(part * ROWS / 10, (part + 1) * ROWS / 10, true, 2)).collect();
    let bytes = batches.iter().map(data::bytes).sum();
    group.throughput(Throughput::ElementsAndBytes { elements: ROWS.unsigned_abs(), bytes });
    group.bench_function("500,000 rows", |bencher| {
        let filled = || {
            let (folder, db) = data::database(false);
            for batch in &batches {
                db.write(WriteBatch::new().upsert(data::TABLE, batch.clone())).expect("a write");
            }
            (folder, db)
        };
        bencher.iter_batched(
            filled,
            |(folder, db)| {
                db.flush(data::TABLE).expect("a flush");
                (folder, db)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
