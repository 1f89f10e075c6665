//! What a commit of the manifest changes, and what it leaves alone.

use std::collections::HashSet;
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::id::SeqNo;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::version::manifest::Manifest;

use crate::fixture::{contents, rows, schema, small_options};

fn open(disk: &Arc<dyn Disk>) -> Database {
    Database::open(disk.clone(), small_options()).unwrap()
}

fn write(db: &Database, table: &str, key: i64) -> SeqNo {
    db.write(WriteBatch::new().upsert(table, rows(&[(key, "x".repeat(100))]))).unwrap()
}

fn manifest(disk: &Arc<dyn Disk>) -> Manifest {
    let names = disk.list(path::MANIFESTS).unwrap();
    let name = names.iter().max().unwrap();
    let file = disk.open(&format!("{}/{name}", path::MANIFESTS)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    Manifest::decode(name, path::parse_manifest(name).unwrap(), &bytes).unwrap()
}

#[test]
fn dropping_a_table_leaves_the_others() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    for table in ["a", "b", "c"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
        write(&db, table, 1);
    }
    db.flush("b").unwrap();
    db.drop_table("a").unwrap();
    db.drop_table("b").unwrap();
    db.close().unwrap();
    drop(db);
    let found = contents(&open(&disk)).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(found["c"].len(), 1);
}

#[test]
fn manifests_and_openings_use_up_no_sequence_numbers() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    let first = write(&db, "t", 1);
    db.flush("t").unwrap();
    assert_eq!(manifest(&disk).last_seq, first);
    db.close().unwrap();
    drop(db);
    let db = open(&disk);
    assert_eq!(write(&db, "t", 2), first.next());
}

#[test]
fn a_flush_gives_up_the_log_that_only_its_rows_needed() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    for key in 0..20 {
        write(&db, "t", key);
    }
    assert!(disk.list(path::WAL).unwrap().len() > 3);
    db.flush("t").unwrap();
    assert_eq!(disk.list(path::WAL).unwrap().len(), 1, "the segment that is written to");
    assert_eq!(manifest(&disk).wal_floor, manifest(&disk).wal_end.segment);
}

#[test]
fn every_manifest_has_a_commit_number_of_its_own() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    let mut seen = HashSet::from([manifest(&disk).commit.0]);
    for table in ["a", "b", "c"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
        assert!(seen.insert(manifest(&disk).commit.0), "{table}");
    }
}

#[test]
fn the_log_of_a_closed_database_ends_where_its_manifest_says() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    write(&db, "t", 1);
    db.close().unwrap();
    let end = manifest(&disk).wal_end;
    assert_eq!(disk.open(&path::wal(end.segment)).unwrap().len(), end.length);
}
