//! Durable upserts: one row, and 50,000 rows, per write.

use criterion::{BatchSize, Criterion, Throughput};
use rustling_db::WriteBatch;

use crate::data;

pub(crate) fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.sample_size(20);
    for rows in [1, 50_000] {
        let (_folder, db) = data::database(true);
        let batch = data::rows(0, rows, true, 1);
        group.throughput(Throughput::ElementsAndBytes { elements: rows.unsigned_abs(), bytes: data::bytes(&batch) });
        group.bench_function(format!("{rows} rows"), |bencher| {
            let prepare = || {
                let mut write = WriteBatch::new();
                write.upsert(data::TABLE, batch.clone());
                write
            };
            bencher.iter_batched(prepare, |write| db.write(&write).expect("a write"), BatchSize::SmallInput);
        });
        db.close().expect("closing");
    }
    group.finish();
}
