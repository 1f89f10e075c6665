//! Bulk loads through all their ways: in order, sorted in memory, spilled, in order until it breaks.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::error::{Error, Result};
use rustling_engine::load::run::{LoadOptions, LoadReport};
use rustling_engine::load::sink::OnConflict;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, rows, schema};

/// So little memory that a part is spilled every few thousand rows.
fn database() -> (MemoryDisk, Database) {
    let disk = MemoryDisk::new();
    let options = Options { background: false, memory_bytes: 1 << 20, memtable_bytes: 64 << 10, ..Options::default() };
    let db = Database::open(Arc::new(disk.clone()), options).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    (disk, db)
}

fn load(db: &Database, list: &[(i64, String)], on_conflict: OnConflict) -> Result<LoadReport> {
    let mut source = MemorySource::new(list.chunks(100).map(rows).collect());
    db.load("t", &mut source, &LoadOptions { on_conflict, ..LoadOptions::default() })
}

fn numbered(keys: impl IntoIterator<Item = i64>) -> Vec<(i64, String)> {
    keys.into_iter().enumerate().map(|(line, key)| (key, format!("line {}, {}", line + 1, "x".repeat(40)))).collect()
}

/// Inputs of 20,000 rows: name, keys, whether parts are spilled.
fn inputs() -> Vec<(&'static str, Vec<i64>, bool)> {
    let mut shuffled: Vec<i64> = (0..20_000).collect();
    shuffled.shuffle(&mut StdRng::seed_from_u64(3));
    let breaks: Vec<i64> = (0..15_000).chain((10_000..15_000).map(|key| key + 10_000)).chain([-1]).collect();
    let mut small_breaks: Vec<i64> = (0..300).collect();
    small_breaks.swap(10, 20);
    vec![
        ("in order", (0..20_000).collect(), false),
        ("shuffled", shuffled, true),
        ("in order until the last row", breaks, true),
        ("backwards", (0..20_000).rev().collect(), true),
        ("a few, out of order", small_breaks, false),
    ]
}

/// Nothing is left in the staging folder, and every file of the table is named.
fn check_tidy(disk: &MemoryDisk, db: &Database) {
    assert_eq!(disk.list(path::STAGING).unwrap(), Vec::<String>::new());
    let table = &db.report().tables[0];
    let named = table.runs.len() * 2 + table.deletion_files.len();
    let folder = path::table(db.report().tables[0].id);
    let found = disk.list(&folder).map_or(0, |names| names.iter().filter(|name| !name.ends_with(".del")).count());
    assert_eq!(found, named);
}

#[test]
fn every_way_of_loading_gives_the_same_rows() {
    for (name, keys, spilled) in inputs() {
        for on_conflict in [OnConflict::Error, OnConflict::Update, OnConflict::Skip] {
            let (disk, db) = database();
            let list = numbered(keys.clone());
            let report = load(&db, &list, on_conflict).unwrap();
            assert_eq!((report.rows_read, report.rows_loaded), (list.len() as u64, list.len() as u64), "{name}");
            assert_eq!(report.spills > 0, spilled, "{name}: {report:?}");
            let want: BTreeMap<i64, String> = list.into_iter().collect();
            assert_eq!(contents(&db).unwrap()["t"], want, "{name}");
            check_tidy(&disk, &db);
        }
    }
}

#[test]
fn of_rows_with_one_key_the_policy_chooses_by_the_order_of_the_input() {
    for (name, keys, _) in inputs() {
        // A key from the first part comes again in the middle and at the end.
        let key = keys[5];
        let middle = keys.len() / 2;
        let repeated: Vec<i64> =
            keys[..middle].iter().copied().chain([key]).chain(keys[middle..].iter().copied()).chain([key]).collect();
        let list = numbered(repeated.clone());
        let (disk, db) = database();
        let error = load(&db, &list, OnConflict::Error).unwrap_err();
        let Error::DuplicateInLoad { first, second, .. } = &error else { panic!("{name}: {error}") };
        let lines = [6, middle as u64 + 1, repeated.len() as u64];
        assert!(first.line == lines[0] && lines[1..].contains(&second.line), "{name}: {error}");
        assert!(contents(&db).unwrap()["t"].is_empty(), "{name}");
        check_tidy(&disk, &db);

        load(&db, &list, OnConflict::Update).unwrap();
        assert_eq!(contents(&db).unwrap()["t"][&key], list[list.len() - 1].1, "{name}");
        let (_, db) = database();
        let report = load(&db, &list, OnConflict::Skip).unwrap();
        assert_eq!(contents(&db).unwrap()["t"][&key], list[5].1, "{name}");
        assert_eq!(report.rows_skipped, 2, "{name}");
    }
}

#[test]
fn rows_that_are_stored_are_refused_skipped_or_replaced() {
    for (name, keys, _) in inputs() {
        let list = numbered(keys.clone());
        let key = keys[keys.len() / 2];
        let stored = || {
            let (disk, db) = database();
            db.write(WriteBatch::new().upsert("t", rows(&[(key, "stored".to_owned())]))).unwrap();
            (disk, db)
        };
        let (disk, db) = stored();
        let error = load(&db, &list, OnConflict::Error).unwrap_err();
        let Error::DuplicateOfStored { origin, stored: row, .. } = &error else { panic!("{name}: {error}") };
        assert_eq!(
            (origin.line, row.as_str()),
            (keys.len() as u64 / 2 + 1, format!("k={key}, v=stored").as_str()),
            "{name}"
        );
        assert_eq!(contents(&db).unwrap()["t"].len(), 1, "{name}");
        check_tidy(&disk, &db);
        assert_eq!(load(&db, &list, OnConflict::Skip).unwrap().rows_skipped, 1, "{name}");
        assert_eq!(contents(&db).unwrap()["t"][&key], "stored", "{name}");
        load(&db, &list, OnConflict::Update).unwrap();
        assert_eq!(contents(&db).unwrap()["t"], list.into_iter().collect(), "{name}");
        check_tidy(&disk, &db);
    }
}
