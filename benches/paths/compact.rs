//! Four runs of 250,000 rows that overlap become one.

use criterion::{BatchSize, Criterion, Throughput};
use rustling_db::WriteBatch;

use crate::data;

const RUNS: i64 = 4;
const ROWS: i64 = 250_000;

pub(crate) fn compact(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compact");
    group.sample_size(10);
    // Each run shares half of its keys with the one before.
    let runs: Vec<_> = (0..RUNS).map(|run| data::rows(run * ROWS / 2, run * ROWS / 2 + ROWS, true, 3)).collect();
    let bytes = runs.iter().map(data::bytes).sum();
    group.throughput(Throughput::ElementsAndBytes { elements: (RUNS * ROWS).unsigned_abs(), bytes });
    group.bench_function("4 runs of 250,000 rows", |bencher| {
        let filled = || {
            let (folder, db) = data::database(false);
            for rows in &runs {
                db.write(WriteBatch::new().upsert(data::TABLE, rows.clone())).expect("a write");
                db.flush(data::TABLE).expect("a flush");
            }
            (folder, db)
        };
        bencher.iter_batched(
            filled,
            |(folder, db)| {
                db.compact(data::TABLE).expect("a compaction");
                (folder, db)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
