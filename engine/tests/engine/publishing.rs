//! What a commit of the manifest changes, and what it leaves alone; which memtables are frozen for the next one.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::disk::sim::{Effect, Failure, Fault, Operation, SimDisk};
use rustling_engine::error::{Damage, Error};
use rustling_engine::id::{Digest, ManifestId, SeqNo, WalId};
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::version::manifest::Manifest;
use rustling_engine::wal::intact::intact_records;
use rustling_engine::wal::record::{RecordKind, SEGMENT_HEADER_BYTES};

use crate::fixture::{contents, keys, rows, schema, small_options};
use crate::hooked::{Call, HookedDisk};

fn open(disk: &Arc<dyn Disk>) -> Database {
    Database::open(disk.clone(), small_options()).unwrap()
}

fn write(db: &Database, table: &str, key: i64) -> SeqNo {
    db.write(WriteBatch::new().upsert(table, rows(&[(key, "x".repeat(100))]))).unwrap()
}

fn bytes(disk: &Arc<dyn Disk>, path: &str) -> Vec<u8> {
    disk.open(path).unwrap().map().unwrap().to_vec()
}

fn newest(disk: &Arc<dyn Disk>) -> ManifestId {
    disk.list(path::MANIFESTS).unwrap().iter().filter_map(|name| path::parse_manifest(name)).max().unwrap()
}

fn manifest(disk: &Arc<dyn Disk>) -> Manifest {
    let id = newest(disk);
    Manifest::decode("manifest", id, &bytes(disk, &path::manifest(id))).unwrap()
}

/// The names in the folder of table 1.
fn files(disk: &Arc<dyn Disk>) -> Vec<String> {
    disk.list("tables/0000000001").unwrap_or_default()
}

/// A manifest gets its name, but the disk says that it does not, and then that it cannot be read.
#[test]
fn a_manifest_that_cannot_be_read_back_is_in_doubt_and_what_it_names_stays() {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (failing, inside) = (Arc::new(AtomicBool::new(false)), memory.clone());
    let fails = failing.clone();
    let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), move |call, path| {
        if !fails.load(Ordering::Relaxed) || !path.starts_with("manifest/") {
            return Ok(());
        }
        if call == Call::Change {
            let id = path::parse_manifest(path.trim_start_matches("manifest/")).unwrap();
            inside.link(&path::staging(&format!("manifest-{}", id.0)), path)?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }));
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    write(&db, "t", 1);
    failing.store(true, Ordering::Relaxed);
    let refused = db.flush("t").unwrap_err();
    assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
    failing.store(false, Ordering::Relaxed);
    drop(db);
    let db = open(&memory);
    assert_eq!(contents(&db).unwrap()["t"].len(), 1);
    assert_eq!(db.report().tables[0].runs.len(), 1);
}

/// Kinds and sequence numbers of the records of the log. Of those that are no writes the number is the highest before,
/// which this checks.
fn seqs_of_the_log(disk: &Arc<dyn Disk>) -> Vec<(RecordKind, SeqNo)> {
    let mut seqs = Vec::new();
    let mut ids: Vec<WalId> = disk.list(path::WAL).unwrap().iter().filter_map(|name| path::parse_wal(name)).collect();
    ids.sort_unstable();
    for id in ids {
        let bytes = bytes(disk, &path::wal(id));
        seqs.extend(intact_records(&bytes, id, SEGMENT_HEADER_BYTES).map(|(_, record)| (record.kind, record.seq)));
    }
    for pair in seqs.windows(2) {
        let expected = if pair[1].0 == RecordKind::Write { pair[0].1.next() } else { pair[0].1 };
        assert_eq!(pair[1].1, expected, "{seqs:?}");
    }
    seqs
}

#[test]
fn opening_what_this_version_wrote_commits_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    write(&db, "t", 1);
    db.close().unwrap();
    let before = newest(&disk);
    drop(db);
    let db = open(&disk);
    assert_eq!(newest(&disk), before);
    assert_eq!(contents(&db).unwrap()["t"].len(), 1);
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
fn every_manifest_names_the_digest_of_the_one_before() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    for table in ["a", "b", "c"] {
        let before = manifest(&disk).encode().unwrap();
        db.create_table(table, &schema(), &["k"]).unwrap();
        assert_eq!(manifest(&disk).previous, Digest::of(&before), "{table}");
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

#[test]
fn small_writes_fill_space_that_was_reserved_in_the_log_and_large_ones_extend_it() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = Options { wal_segment_bytes: 1 << 20, ..small_options() };
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    let length = || disk.open(&path::wal(WalId(1))).unwrap().len();
    let reserved = length();
    for key in 0..100 {
        write(&db, "t", key);
    }
    let end = db.report().wal_end.length;
    assert!(end > 100 * 100 && reserved == length(), "{end}: {reserved}, {}", length());
    let large = "x".repeat(1 << 16);
    db.write(WriteBatch::new().upsert("t", rows(&[(100, large.clone())]))).unwrap();
    assert_eq!(length(), db.report().wal_end.length, "a large one");
    write(&db, "t", 101);
    let before = contents(&db).unwrap();
    drop(db);
    let db = Database::open(disk.clone(), options).unwrap();
    assert!(db.open_report().torn.is_none(), "{}", db.open_report());
    assert_eq!(contents(&db).unwrap(), before);
    assert_eq!((before["t"].len(), &before["t"][&100]), (102, &large));
}

#[test]
fn a_segment_for_which_there_was_no_space_to_reserve_takes_no_more_than_its_records() {
    let (full, broken) = (Failure::Kind(io::ErrorKind::StorageFull), Failure::Errno(5));
    let faults = [(full, Effect::Short), (full, Effect::Before), (broken, Effect::After)];
    for (failure, effect) in faults {
        let run = |sim: &SimDisk| {
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let options = Options { wal_segment_bytes: 1 << 20, ..small_options() };
            let db = Database::open(disk.clone(), options).unwrap();
            db.create_table("t", &schema(), &["k"]).unwrap();
            for key in 0..3 {
                write(&db, "t", key);
            }
            (db.report().wal_end.length, disk.open(&path::wal(WalId(1))).unwrap().len())
        };
        let reserves = |sim: &SimDisk| {
            let calls = sim.calls().into_iter().enumerate();
            calls.filter(|(_, call)| call.operation == Operation::Reserve).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let sound = SimDisk::new();
        let (end, length) = run(&sound);
        assert!(length > end, "{length} bytes, {end} of them records");
        let sim = SimDisk::new();
        sim.fail_at(reserves(&sound)[0], Fault { failure, effect });
        assert_eq!(run(&sim), (end, end), "{failure:?}, {effect:?}");
        assert_eq!(reserves(&sim), reserves(&sound), "it is tried once");
    }
}

#[test]
fn nothing_is_left_of_what_a_compaction_or_a_drop_replaced() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    for _ in 0..3 {
        write(&db, "t", 1);
        db.write(WriteBatch::new().delete("t", keys(&[2]))).unwrap();
        db.flush("t").unwrap();
    }
    assert_eq!(files(&disk).len(), 3 * 2 + 2 + 2, "runs, deleted keys, dead rows: {:?}", files(&disk));
    db.compact("t").unwrap();
    assert_eq!(files(&disk).len(), 2, "{:?}", files(&disk));
    db.drop_table("t").unwrap();
    assert_eq!(files(&disk), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_what_a_commit_that_failed_wrote() {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), move |call, path| {
        let refused = call == Call::Change && path.starts_with("manifest/") && full.load(Ordering::Relaxed);
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }));
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    write(&db, "t", 1);
    db.flush("t").unwrap();
    write(&db, "t", 1);
    let before = files(&memory);
    is_full.store(true, Ordering::Relaxed);
    db.flush("t").unwrap_err();
    assert_eq!(files(&memory), before);
    is_full.store(false, Ordering::Relaxed);
    db.flush("t").unwrap();
    let is_dead_rows = |name: &&String| path::parse_run(name).is_some_and(|(_, file)| file == RunFile::Deletions);
    assert_eq!(files(&memory).iter().filter(is_dead_rows).count(), 1);
}

#[test]
fn a_batch_without_changes_is_not_committed() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    let last = write(&db, "t", 1);
    let before = db.report();
    assert_eq!(db.write(&WriteBatch::new()).unwrap(), last);
    assert_eq!(db.write(WriteBatch::new().upsert("t", rows(&[]))).unwrap(), last);
    assert_eq!(db.report(), before);
}

/// Whoever wins the name of a manifest has committed, whatever the other one wrote.
#[test]
fn a_manifest_that_somebody_else_wrote_is_not_taken_for_ones_own() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 3] = [|bytes| bytes[40] ^= 1, |bytes| bytes.truncate(60), |bytes| bytes.push(b' ')];
    for change in changes {
        let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let other = memory.clone();
        let is_armed = Arc::new(AtomicBool::new(false));
        let armed = is_armed.clone();
        let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), move |call, path| {
            if call == Call::Change && path.starts_with("manifest/") && armed.swap(false, Ordering::Relaxed) {
                let staged = other.list(path::STAGING)?.into_iter().find(|name| name.starts_with("manifest-")).unwrap();
                let mut found = bytes(&other, &path::staging(&staged));
                change(&mut found);
                other.create(path)?.append(&found)?;
            }
            Ok(())
        }));
        let db = open(&disk);
        db.create_table("t", &schema(), &["k"]).unwrap();
        write(&db, "t", 1);
        is_armed.store(true, Ordering::Relaxed);
        db.flush("t").unwrap_err();
        assert!(!is_armed.load(Ordering::Relaxed));
        assert_eq!(db.report().tables[0].runs, []);
    }
}

#[test]
fn a_manifest_that_the_log_had_no_room_for_is_told_to_it_by_the_next_commit() {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(memory.clone(), move |call, path| {
        let refused = call == Call::Append && path.starts_with("wal/") && full.load(Ordering::Relaxed);
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }));
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    write(&db, "t", 1);
    let before = newest(&memory);
    let older = bytes(&memory, &path::manifest(before));
    is_full.store(true, Ordering::Relaxed);
    db.flush("t").unwrap();
    is_full.store(false, Ordering::Relaxed);
    let after = newest(&memory);
    assert!(after > before && memory.list(path::MANIFESTS).unwrap().len() == 2, "the one before stays until then");
    let written = write(&db, "t", 2);
    assert!(seqs_of_the_log(&memory).contains(&(RecordKind::Manifest, written)));
    // The process dies, and somebody brings the older manifest back in place of the newest.
    std::mem::forget(db);
    let image = copy(&memory);
    image.remove(&path::manifest(after)).unwrap();
    let _ = image.remove(&path::manifest(before));
    image.create(&path::manifest(before)).unwrap().append(&older).unwrap();
    let refused = Database::open(image, small_options()).unwrap_err();
    let expected = path::manifest(after);
    let is_missed = matches!(&refused, Error::Corrupt { path, damage: Damage::Missing, .. } if *path == expected);
    assert!(is_missed, "{refused}");
}

#[test]
fn a_memtable_is_frozen_when_it_is_full_and_not_before() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("t", &schema(), &["k"]).unwrap();
    let memtables = |db: &Database| db.report().tables[0].memtables;
    for key in 0..10 {
        write(&db, "t", key);
    }
    assert_eq!(memtables(&db), 1);
    for key in 10..50 {
        write(&db, "t", key);
    }
    let frozen = memtables(&db);
    assert!((2..6).contains(&frozen), "{frozen} memtables of 4 KiB");
    // As many when the log is read back.
    std::mem::forget(db);
    let again = memtables(&open(&copy(&disk)));
    assert!(again.abs_diff(frozen) <= 1 && again >= 2, "{again} memtables");
}

/// The files of a database whose process died.
fn copy(disk: &Arc<dyn Disk>) -> Arc<dyn Disk> {
    let image: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    for folder in ["manifest", "wal", "tables", "tables/0000000001", "staging"] {
        image.create_dir(folder).unwrap();
        for name in disk.list(folder).unwrap_or_default().iter().filter(|name| path::parse_table(name).is_none()) {
            let path = format!("{folder}/{name}");
            image.create(&path).unwrap().append(&bytes(disk, &path)).unwrap();
        }
    }
    image
}

#[test]
fn a_log_that_grew_too_long_freezes_the_table_that_needs_its_start() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = Options { memtable_bytes: 1 << 20, wal_bytes: 4000, ..small_options() };
    let db = Database::open(disk, options).unwrap();
    for table in ["a", "b"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
    }
    write(&db, "a", 1);
    let memtables = || -> Vec<usize> { db.report().tables.iter().map(|table| table.memtables).collect() };
    for key in 0..10 {
        write(&db, "b", key);
        assert!(db.report().wal_bytes < 4000 && memtables() == [1, 1], "{:?}", memtables());
    }
    for key in 10..40 {
        write(&db, "b", key);
    }
    // And no other one, as long as that one is not flushed.
    assert!(db.report().wal_bytes > 4000 && memtables() == [2, 1], "{:?}", memtables());
}

#[test]
fn the_folder_of_a_dropped_table_goes_when_the_database_opens() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    for table in ["gone", "kept"] {
        db.create_table(table, &schema(), &["k"]).unwrap();
        write(&db, table, 1);
        db.flush(table).unwrap();
    }
    db.drop_table("gone").unwrap();
    db.close().unwrap();
    drop(db);
    let db = open(&disk);
    assert_eq!(disk.list(path::TABLES).unwrap().len(), 1);
    assert_eq!(contents(&db).unwrap()["kept"].len(), 1);
}

#[test]
fn a_group_is_no_larger_than_a_batch_may_be() {
    let db = Database::open(Arc::new(MemoryDisk::new()), Options { memory_bytes: 1 << 20, ..small_options() }).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    let mut batch = WriteBatch::new();
    batch.upsert("t", rows(&[(1, "x".repeat(100_000))]));
    let refused = db.write_group(&vec![batch; 12]).unwrap_err();
    assert!(matches!(refused, Error::BatchTooLarge { .. }), "{refused}");
    assert_eq!(contents(&db).unwrap()["t"].len(), 0);
}

#[test]
fn rows_of_a_log_that_is_read_back_keep_their_row_ids() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk);
    db.create_table("keyless", &schema(), &[]).unwrap();
    let insert = |db: &Database, key: i64| {
        db.write(WriteBatch::new().insert("keyless", rows(&[(key, "row".to_owned())]))).unwrap();
    };
    (0..3).for_each(|key| insert(&db, key));
    std::mem::forget(db);
    let db = open(&copy(&disk));
    (3..6).for_each(|key| insert(&db, key));
    assert_eq!(contents(&db).unwrap()["keyless"].len(), 6);
}

/// What a folder without a manifest may hold: the first segment of a log, as long as nothing is in it.
#[test]
fn a_log_without_its_manifest_is_damage_unless_it_is_as_new() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let header = {
        drop(Database::open(disk.clone(), Options { wal_segment_bytes: 1 << 20, ..small_options() }).unwrap());
        bytes(&disk, &path::wal(WalId(1)))[..40].to_vec()
    };
    let with_record = [&header[..], &[1]].concat();
    for (id, content, opens) in [(1, &header, true), (1, &with_record, false), (2, &header, false)] {
        let image: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        ["manifest", "wal", "tables", "staging"].iter().for_each(|folder| image.create_dir(folder).unwrap());
        image.create(&path::wal(WalId(id))).unwrap().append(content).unwrap();
        let opened = Database::open(image, small_options());
        assert_eq!(opened.is_ok(), opens, "segment {id}, {} bytes", content.len());
    }
}
