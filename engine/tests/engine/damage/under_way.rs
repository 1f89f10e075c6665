//! Files that rot while the database is open: found when they are read next, and nothing made of them is published.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustling_engine::database::Database;
use rustling_engine::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::disk::sim::SimDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;

use rustling_engine::report::TableReport;

use crate::damage::oracle::{Oracle, check_model};
use crate::damage::reference::{Reference, Scale, kind, options};
use crate::fixture::{MemorySource, rows};

/// A disk whose files may change under those who have them open.
#[derive(Clone, Debug)]
struct RottingDisk {
    disk: SimDisk,
    /// By path the byte that is another one now.
    rot: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[derive(Debug)]
struct RottingFile {
    disk: RottingDisk,
    path: String,
    file: Arc<dyn ReadFile>,
}

impl RottingDisk {
    fn new(reference: &Reference) -> Self {
        Self { disk: reference.image.clone().into_disk(), rot: Arc::default() }
    }

    fn rot(&self, path: &str, byte: u64) {
        self.rot.lock().unwrap().insert(path.to_owned(), byte);
    }

    fn open_database(&self, scale: Scale) -> Database {
        Database::open(Arc::new(self.clone()), options(scale)).unwrap()
    }

    /// All files and their bytes, but for what is left in staging, which the next opening sweeps.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let image = self.disk.killed_image(self.disk.boundaries());
        let files = image.files().filter(|(path, _)| !path.starts_with("staging/"));
        files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
    }
}

impl ReadFile for RottingFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)?;
        if let Some(byte) = self.disk.rot.lock().unwrap().get(&self.path)
            && let Some(place) =
                byte.checked_sub(offset).and_then(|place| buffer.get_mut(usize::try_from(place).unwrap()))
        {
            *place ^= 4;
        }
        Ok(())
    }

    /// What is mapped is what was there when it was mapped.
    fn map(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(self.len()).unwrap()];
        self.read_at(0, &mut bytes)?;
        Ok(bytes.into())
    }
}

impl Disk for RottingDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        self.disk.create(path)
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        self.disk.append(path, length)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        let file = self.disk.open(path)?;
        Ok(Arc::new(RottingFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(path)
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

fn names(error: &Error, path: &str) -> bool {
    matches!(error, Error::Corrupt { path: named, .. } if named == path)
}

/// Files of rows and of deleted keys, with their lengths: those that are read when they are needed, not mapped.
fn read_in_parts(reference: &Reference) -> Vec<(String, u64)> {
    let files = reference.image.files().filter(|(path, _)| matches!(kind(path), "sst" | "del"));
    files.map(|(path, bytes)| (path.to_owned(), bytes.len() as u64)).collect()
}

/// Folder of the table that compaction and loads are tried on.
const PLAIN: &str = "tables/0000000001/";

#[test]
fn what_rots_before_it_is_first_read_is_found() {
    let Oracle { reference, unread, .. } = Oracle::new(Reference::closed(Scale::Small));
    let mut found = 0;
    for (path, length) in read_in_parts(&reference) {
        for byte in (0..length).step_by(61) {
            let disk = RottingDisk::new(&reference);
            let db = disk.open_database(Scale::Small);
            disk.rot(&path, byte);
            match check_model(&db, &reference.model) {
                Err(text) => {
                    assert!(text.starts_with(&path), "{path}, byte {byte}: {text}");
                    found += 1;
                }
                // Nobody reads the SST of a run without rows.
                Ok(()) => assert!(unread.contains(&path), "{path}, byte {byte}"),
            }
        }
    }
    assert!(found > 100, "{found}");
}

/// Runs the work with a file that rotted before or after everything was read once: it names the file, and nothing is
/// published, changed or left behind.
fn refuses(path: &str, byte: u64, read_before: bool, work: &dyn Fn(&Database) -> Result<(), Error>) {
    let reference = Reference::closed(Scale::Small);
    let disk = RottingDisk::new(&reference);
    let db = disk.open_database(Scale::Small);
    db.flush("plain").unwrap();
    // What the flush looked up is forgotten.
    db.close().unwrap();
    let db = disk.open_database(Scale::Small);
    if read_before {
        check_model(&db, &reference.model).unwrap();
    }
    let (files, report) = (disk.files(), db.report());
    disk.rot(path, byte);
    let context = format!("{path}, byte {byte}, read before: {read_before}");
    match work(&db) {
        Err(error) => assert!(names(&error, path), "{context}: {error}"),
        Ok(()) => panic!("{context}: no error"),
    }
    assert_eq!(disk.files(), files, "{context}: the folder was changed");
    assert_eq!((db.report().manifest, db.report().tables), (report.manifest, report.tables), "{context}");
    // The damage stops nobody else: other work goes on, and once the file is whole again so does this.
    disk.rot.lock().unwrap().clear();
    db.flush("pairs").unwrap();
    work(&db).unwrap_or_else(|error| panic!("{context}: {error}"));
    check_model(&db, &reference.model).unwrap();
}

/// The first table, its memtable flushed.
fn flushed(reference: &Reference) -> TableReport {
    let db = RottingDisk::new(reference).open_database(Scale::Small);
    db.flush("plain").unwrap();
    db.report().tables.swap_remove(0)
}

#[test]
fn a_compaction_of_what_rotted_publishes_nothing() {
    let Oracle { reference, unread, .. } = Oracle::new(Reference::closed(Scale::Small));
    let (table, mut tried) = (flushed(&reference), 0);
    // Nothing of a run without live rows goes into the result.
    let dead = table.runs.iter().filter(|run| run.rows == run.dead_rows);
    let dead: Vec<String> = dead.map(|run| path::run(table.id, run.id, RunFile::Sst)).collect();
    for (path, length) in read_in_parts(&reference) {
        if !path.starts_with(PLAIN) || unread.contains(&path) || dead.contains(&path) {
            continue;
        }
        for byte in [4, length / 2, length - 1] {
            // Also what was read, and found to be right, when it was still whole.
            for read_before in [false, true] {
                refuses(&path, byte, read_before, &|db| db.compact("plain"));
                tried += 1;
            }
        }
    }
    assert!(tried >= 18, "{tried}");
}

/// A load that leaves out the keys that are there asks for deleted keys of older runs.
#[test]
fn a_load_that_meets_what_rotted_publishes_nothing() {
    let reference = Reference::closed(Scale::Small);
    let table = flushed(&reference);
    let newest = table.runs.iter().find(|run| run.deletes > 0).unwrap().id;
    let deletes = path::run(table.id, newest, RunFile::Deletes);
    let skip = |db: &Database| {
        let there: Vec<(i64, String)> =
            reference.model.plain.iter().take(3).map(|(key, _)| (*key, "other".to_owned())).collect();
        let options = LoadOptions { on_conflict: OnConflict::Skip, ..LoadOptions::default() };
        db.load("plain", &mut MemorySource::new(vec![rows(&there)]), &options).map(drop)
    };
    refuses(&deletes, 300, false, &skip);
}

/// Key indexes are mapped when the database opens; blocks that were not looked at then are looked at before use.
#[test]
fn a_block_of_a_key_index_that_opening_did_not_need_is_checked_before_use() {
    let reference = Reference::closed(Scale::Large);
    let (path, bytes) =
        reference.image.files().filter(|(path, _)| kind(path) == "keys").max_by_key(|(_, bytes)| bytes.len()).unwrap();
    assert!(bytes.len() > 65_536, "{} bytes in {path}", bytes.len());
    let disk = RottingDisk::new(&reference);
    disk.rot(path, 1000);
    let db = disk.open_database(Scale::Large);
    let text = check_model(&db, &reference.model).unwrap_err();
    assert!(text.starts_with(&format!("{path} at byte 0: checksum")), "{text}");
    let files = disk.files();
    let error = db.compact("pairs").unwrap_err();
    assert!(names(&error, path), "{error}");
    let kept = files.iter().filter(|(path, _)| matches!(kind(path), "sst" | "del" | "keys"));
    let now = disk.files();
    assert!(kept.into_iter().all(|file| now.contains(file)), "inputs are gone");
}
