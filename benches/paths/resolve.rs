//! Which rows of a table a run of 50,000 newer rows supersedes, nine of ten of them, drawn evenly: tables of two sizes.

use criterion::{Criterion, Throughput};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_db::WriteBatch;
use rustling_db::arrow::array::UInt32Array;
use rustling_db::arrow::compute::take_record_batch;
use rustling_db::engine::load::run::LoadOptions;
use rustling_db::engine::read::resolve::resolve;

use crate::data;

const KEYS: i64 = 50_000;
const LOADED_AT_ONCE: i64 = 500_000;

pub(crate) fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve");
    group.sample_size(10);
    // An order key and a line number.
    let bytes = KEYS.unsigned_abs() * 12;
    group.throughput(Throughput::ElementsAndBytes { elements: KEYS.unsigned_abs(), bytes });
    for millions in [1, 6] {
        let rows = millions * 1_000_000;
        let (_folder, db) = data::database(false);
        let parts = (0..rows / LOADED_AT_ONCE).map(|part| part * LOADED_AT_ONCE);
        let batches: Vec<_> = parts.map(|from| data::rows(from, from + LOADED_AT_ONCE, false, 7)).collect();
        db.load(data::TABLE, &mut data::Batches(batches.into_iter()), &LoadOptions::default()).expect("a load");
        let mut random = StdRng::seed_from_u64(8);
        for part in 0..10 {
            // A tenth of the keys lies behind the table, the others in it.
            let from = if part == 9 { rows } else { part * (rows / 10) };
            let drawn = data::rows(from, from + rows / 10, false, 9);
            let chosen = (0..KEYS / 10).map(|_| random.random_range(0..u32::try_from(rows / 10).unwrap_or(u32::MAX)));
            let chosen =
                take_record_batch(&drawn, &UInt32Array::from_iter_values(chosen)).expect("rows that are there");
            db.write(WriteBatch::new().upsert(data::TABLE, chosen)).expect("a write");
        }
        db.flush(data::TABLE).expect("a flush");
        let table = db.snapshot().table(data::TABLE).expect("the table");
        let (version, codec) = (&table.table().version, &table.table().codec);
        let (newer, older) = version.runs().split_at(1);
        group.bench_function(format!("50,000 keys in {millions},000,000"), |bencher| {
            bencher.iter(|| resolve(newer, older, codec).expect("keys that read"));
        });
    }
    group.finish();
}
