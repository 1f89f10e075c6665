//! A bulk load of 1,000,000 rows into an empty table: in key order, and shuffled.

use criterion::{BatchSize, Criterion, Throughput};
use rustling_db::arrow::array::RecordBatch;
use rustling_db::engine::load::run::LoadOptions;

use crate::data;

const ROWS: i64 = 1_000_000;
const BATCH_ROWS: usize = 8192;

fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(BATCH_ROWS);
    starts.map(|start| batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start))).collect()
}

pub(crate) fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for (name, shuffled) in [("in order", false), ("shuffled", true)] {
        let rows = data::rows(0, ROWS, shuffled, 4);
        let batches = split(&rows);
        group.throughput(Throughput::ElementsAndBytes { elements: ROWS.unsigned_abs(), bytes: data::bytes(&rows) });
        group.bench_function(name, |bencher| {
            let prepare = || (data::database(false), data::Batches(batches.clone().into_iter()));
            bencher.iter_batched(
                prepare,
                |((folder, db), mut source)| {
                    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
                    (folder, db)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}
