//! Compactions that cannot merge all runs at once: neighbours in age go first, and deleted keys stay until the oldest.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{Rows, contents, keys, rows, schema};

/// Bytes of a value: a merge with 1 MiB of memory holds a few of them.
const VALUE: usize = 10 << 10;

/// Some batches of changes, each flushed by itself.
fn flush_changes(db: &Database, random: &mut StdRng, model: &mut Rows, flushes: usize) {
    for flush in 0..flushes {
        let changed: BTreeMap<i64, String> = (0..6)
            .map(|_| random.random_range(0..40))
            .map(|key| (key, format!("{flush} ").repeat(VALUE / 2)))
            .collect();
        let deleted: Vec<i64> =
            (0..3).map(|_| random.random_range(0..40)).filter(|key| !changed.contains_key(key)).collect();
        let list: Vec<(i64, String)> = changed.clone().into_iter().collect();
        db.write(WriteBatch::new().upsert("t", rows(&list)).delete("t", keys(&deleted))).unwrap();
        db.flush("t").unwrap();
        model.retain(|key, _| !deleted.contains(key));
        model.extend(changed);
    }
}

#[test]
fn runs_that_take_too_much_memory_together_are_compacted_neighbours_first() {
    for seed in 0..8 {
        let options = Options { background: false, ..Options::with_memory(1 << 20) };
        let db = Database::open(Arc::new(MemoryDisk::new()), options).unwrap();
        db.create_table("t", &schema(), &["k"]).unwrap();
        let (mut random, mut model) = (StdRng::seed_from_u64(seed), Rows::new());
        for round in 0..2 {
            flush_changes(&db, &mut random, &mut model, 12);
            let before = db.report().compactions;
            db.compact("t").unwrap();
            let compactions = db.report().compactions - before;
            assert!(compactions > 2, "seed {seed}, round {round}: {compactions} compactions of 12 runs");
            assert_eq!(contents(&db).unwrap()["t"], model, "seed {seed}, round {round}");
            let runs = db.snapshot().table("t").unwrap().table().version.runs().to_vec();
            let rows: u64 = runs.iter().map(|run| run.rows()).sum();
            assert_eq!(rows, model.len() as u64, "seed {seed}, round {round}: each key once");
            assert!(runs.iter().all(|run| run.meta().files.deletes.is_none()), "seed {seed}, round {round}");
            assert_eq!(db.report().tables[0].dead_rows(), 0, "seed {seed}, round {round}");
        }
    }
}
