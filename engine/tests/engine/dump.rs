//! Dumps of a sound database find nothing wrong; of a damaged one they name the damage, whatever byte it hit.

use std::ops::ControlFlow;
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::dump::{Found, dump_keys, dump_manifest, dump_sst, dump_wal};
use rustling_engine::id::{RunId, WalId};
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::version::manifest::Manifest;
use rustling_engine::wal::intact::intact_records;
use rustling_engine::wal::record::{SEGMENT_HEADER_BYTES, segment_header};

use crate::fixture::{keys, rows, schema, small_options};

/// Bytes between two flips in one file: each flip is a dump of everything.
const STRIDE: usize = 13;

/// Writes a database with two runs, deleted keys, and a log; returns its runs.
fn build(disk: &Arc<dyn Disk>) -> Vec<RunId> {
    let db = Database::open(disk.clone(), small_options()).unwrap();
    db.create_table("a", &schema(), &["k"]).unwrap();
    for first in [0, 5] {
        let list: Vec<(i64, String)> = (first..first + 10).map(|key| (key, format!("value {key}"))).collect();
        db.write(WriteBatch::new().upsert("a", rows(&list))).unwrap();
        db.write(WriteBatch::new().delete("a", keys(&[first, first + 1]))).unwrap();
        db.flush("a").unwrap();
    }
    db.write(WriteBatch::new().upsert("a", rows(&[(77, "in the log".to_owned())]))).unwrap();
    let runs = db.report().tables[0].runs.iter().map(|run| run.id).collect();
    db.close().unwrap();
    runs
}

/// The files of a database with their bytes.
fn files(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec!["manifest".to_owned(), "wal".to_owned()];
    folders.extend(disk.list("tables").unwrap().iter().map(|name| format!("tables/{name}")));
    let paths = folders
        .iter()
        .flat_map(|folder| disk.list(folder).unwrap().into_iter().map(move |name| format!("{folder}/{name}")));
    paths.map(|path| (path.clone(), disk.open(&path).unwrap().map().unwrap().to_vec())).collect()
}

fn disk_of(files: &[(String, Vec<u8>)]) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        let (folder, _) = path.rsplit_once('/').unwrap();
        disk.create_dir(folder).unwrap();
        disk.create(path).unwrap().append(bytes).unwrap();
    }
    Arc::new(disk)
}

/// Lines and damage of all dumps.
fn dump(disk: &Arc<dyn Disk>, runs: &[RunId]) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut damage) = (Vec::new(), Vec::new());
    let mut take = |found: Found| {
        match found {
            Found::Line(text) => lines.push(text),
            Found::Damage(error) => damage.push(error.to_string()),
        }
        ControlFlow::Continue(())
    };
    let _ = dump_manifest(&**disk, &mut take);
    let _ = dump_wal(&**disk, &mut take);
    for run in runs {
        let _ = dump_sst(&**disk, *run, &mut take);
        let _ = dump_keys(disk, *run, &mut take);
    }
    (lines, damage)
}

#[test]
fn a_sound_database_is_shown_without_damage() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let runs = build(&disk);
    let before = files(&*disk);
    let (lines, damage) = dump(&disk, &runs);
    assert_eq!(damage, Vec::<String>::new());
    for part in ["      write  77", "deleted\t6", "  row group 0: 8 rows, "] {
        assert!(lines.iter().any(|line| line.starts_with(part)), "{part}: {lines:#?}");
    }
    assert_eq!(files(&*disk), before, "nothing is changed");
}

#[test]
fn zeros_behind_the_last_record_are_reserved_space_and_behind_a_sealed_one_damage() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = Database::open(disk.clone(), small_options()).unwrap();
    db.create_table("a", &schema(), &["k"]).unwrap();
    for key in 0..12 {
        db.write(WriteBatch::new().upsert("a", rows(&[(key, format!("value {key}"))]))).unwrap();
    }
    drop(db);
    let (lines, damage) = dump(&disk, &[]);
    assert_eq!(damage, Vec::<String>::new());
    assert!(lines.last().unwrap().ends_with("bytes are reserved"), "{lines:#?}");
    let sealed = path::wal(WalId(1));
    let length = disk.open(&sealed).unwrap().len();
    disk.append(&sealed, length).unwrap().append(&[0; 8]).unwrap();
    let (_, damage) = dump(&disk, &[]);
    assert!(matches!(&*damage, [text] if text.starts_with(&sealed)), "{damage:?}");
}

/// Power failed before the record that seals a segment was durable, and behind the next segment's header.
#[test]
fn a_torn_tail_before_a_segment_that_was_only_begun_is_no_damage() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = Database::open(disk.clone(), small_options()).unwrap();
    db.create_table("a", &schema(), &["k"]).unwrap();
    db.write(WriteBatch::new().upsert("a", rows(&[(1, "one".to_owned())]))).unwrap();
    drop(db);
    let mut torn = files(&*disk);
    let (_, log) = torn.iter_mut().find(|(path, _)| *path == path::wal(WalId(1))).unwrap();
    let end = intact_records(log, WalId(1), SEGMENT_HEADER_BYTES).last().unwrap().1.end;
    log.truncate(usize::try_from(end).unwrap());
    log.extend([7; 10]);
    let (_, manifest) = torn.iter().find(|(path, _)| path.starts_with(path::MANIFESTS)).unwrap();
    let id = path::parse_manifest(&disk.list(path::MANIFESTS).unwrap()[0]).unwrap();
    let database = Manifest::decode("manifest", id, manifest).unwrap().database.0;
    torn.push((path::wal(WalId(2)), segment_header(WalId(2), database)));
    let (lines, damage) = dump(&disk_of(&torn), &[]);
    assert_eq!(damage, Vec::<String>::new());
    assert!(lines.iter().any(|line| line.contains("10 bytes that were never acknowledged")), "{lines:#?}");
    assert!(Database::open(disk_of(&torn), small_options()).unwrap().open_report().torn.is_some());
}

#[test]
fn every_flipped_byte_is_found_and_nothing_panics() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let runs = build(&disk);
    let sound = files(&*disk);
    let mut flips = 0;
    for (index, (path, bytes)) in sound.iter().enumerate() {
        for byte in (0..bytes.len()).step_by(STRIDE) {
            let mut damaged = sound.clone();
            damaged[index].1[byte] ^= 1 << (byte % 8);
            let (_, damage) = dump(&disk_of(&damaged), &runs);
            assert!(damage.iter().any(|text| text.starts_with(path.as_str())), "{path}, byte {byte}: {damage:?}");
            flips += 1;
        }
    }
    assert!(flips > 100, "{flips}");
}

#[test]
fn a_file_that_is_cut_off_or_gone_is_named() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let runs = build(&disk);
    let sound = files(&*disk);
    for (index, (path, bytes)) in sound.iter().enumerate() {
        let mut cut = sound.clone();
        cut[index].1.truncate(bytes.len() / 2);
        let (_, damage) = dump(&disk_of(&cut), &runs);
        assert!(damage.iter().any(|text| text.contains(path.as_str())), "{path} cut: {damage:?}");
        if path.starts_with("tables/") {
            let mut gone = sound.clone();
            gone.remove(index);
            let (_, damage) = dump(&disk_of(&gone), &runs);
            assert!(damage.iter().any(|text| text.contains(path.as_str())), "{path} gone: {damage:?}");
        }
    }
}
