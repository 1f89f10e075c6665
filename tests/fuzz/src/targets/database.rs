//! A whole database: any content of any of its files behind checksums and digests that match up to the manifest.
//!
//! In: a byte of choices (1: dump; 2: write and flush; 4: compact; 8: open again; 16: delete by a condition), the length of the manifest's edits
//! (one byte) and those, as [`crate::targets::manifest`] takes them; then edits of files: which file (one byte), what to
//! do (one), where (two), an operand.
//! Promise: opening, scanning, getting, ranges, writing, deleting, flushing, compacting and dumping end with an answer or with a typed
//! error, and nothing panics. Whether the answer is right is not asked: who can forge a digest can forge a row.

use std::sync::{Arc, OnceLock};

use arrow::array::{BooleanArray, RecordBatch};
use rustling_engine::database::Database;
use rustling_engine::delete_where::RowPredicate;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::dump::{Found, dump_keys, dump_manifest, dump_sst, dump_wal, list_runs};
use rustling_engine::error::{Error, ErrorKind, Result};
use rustling_engine::id::{Digest, ManifestId, RunId, TableId, WalId};
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::sst::meta::{FileMeta, SstMeta};
use rustling_engine::version::manifest::Manifest;

use crate::corpus::DATABASE;
use crate::input::Input;
use crate::seal::{self, Companions};
use crate::tables::{database, keys, options, rows, tables, write_many, write_some};
use crate::targets::Seeds;
use crate::targets::manifest::{edit, values};
use crate::targets::wal::{get, put};

const DUMP: u8 = 1;
const WRITE: u8 = 2;
const COMPACT: u8 = 4;
const OPEN_AGAIN: u8 = 8;
const DELETE: u8 = 16;

/// More rows than any of these tables can have.
const ROWS_MAX: usize = 1_000_000;

/// A condition that holds for every row.
struct AllRows;

impl RowPredicate for AllRows {
    fn columns(&self) -> &[usize] {
        &[]
    }

    fn wants(&mut self, rows: &RecordBatch) -> Result<BooleanArray> {
        Ok(BooleanArray::from(vec![true; rows.num_rows()]))
    }
}

/// Files by their paths.
pub type Image = Vec<(String, Vec<u8>)>;

/// Opens a changed database and does everything to it.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let disk = changed(good(), input);
    if choices & DUMP != 0 {
        dump(&disk);
    }
    let Some(db) = tolerated(Database::open(disk.clone(), options()), "open") else { return };
    for name in db.snapshot().table_names() {
        read(&db, &name);
        if choices & WRITE != 0 {
            write(&db, &name);
            tolerated(db.flush(&name), "flush");
        }
        if choices & DELETE != 0 {
            tolerated(db.delete_where(&name, &mut AllRows), "delete where");
        }
        if choices & COMPACT != 0 {
            tolerated(db.compact(&name), "compact");
        }
        if choices & (WRITE | DELETE | COMPACT) != 0 {
            read(&db, &name);
        }
    }
    if tolerated(db.close(), "close").is_some() && choices & OPEN_AGAIN != 0 {
        drop(db);
        tolerated(Database::open(disk, options()), "open again");
    }
}

/// A good database, changed as the input behind its choices says, and sealed.
pub fn changed(good: &Image, mut input: Input<'_>) -> Arc<dyn Disk> {
    let length = usize::from(input.byte());
    let manifest_edits = Input(input.piece(length));
    let mut image = good.clone();
    while !input.0.is_empty() {
        change(&mut image, &mut input);
    }
    seal_all(&mut image, good, manifest_edits);
    let disk = MemoryDisk::new();
    for folder in [path::STAGING, path::TABLES, path::WAL] {
        let _ = disk.create_dir(folder);
    }
    image.iter().for_each(|(path, content)| put(&disk, path, content));
    Arc::new(disk)
}

/// The value, if there is one; an error must be about damage, or follow from it.
pub fn tolerated<T>(result: Result<T>, what: &str) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    assert!(!error.to_string().is_empty());
    let refused = matches!(error, Error::FormatTooNew { .. } | Error::UnknownFeature { .. });
    let kinds = [ErrorKind::Corrupt, ErrorKind::Poisoned, ErrorKind::Conflict];
    assert!(refused || kinds.contains(&error.kind()), "{what}: bytes on disk gave the error `{error}`");
    None
}

fn change(image: &mut Image, input: &mut Input<'_>) {
    let index = usize::from(input.byte()) % image.len();
    let content = &mut image[index].1;
    match input.byte() % 4 {
        0 if !content.is_empty() => drop(content.remove(input.below(content.len()))),
        1 => content.insert(input.below(content.len() + 1), input.byte()),
        2 => content.truncate(input.below(content.len() + 1)),
        _ => input.change(content),
    }
}

/// Gives all files checksums and digests that match.
fn seal_all(image: &mut Image, good: &Image, manifest_edits: Input<'_>) {
    let (place, mut manifest) = decoded(good);
    for table in &mut manifest.tables {
        for run in &mut table.runs {
            seal_run(image, table.id, &mut run.files);
        }
    }
    let bytes = manifest.encode().unwrap_or_else(|error| panic!("a manifest that cannot be written: {error}"));
    let text = text_of(&bytes);
    let text = String::from_utf8_lossy(&text);
    let text = edit(&text, &values(&text), manifest_edits);
    image[place].1 = seal::manifest(&text);
    let announced = Some((manifest.id.0, Digest::of(&image[place].1)));
    for (path, content) in image.iter_mut().filter(|(path, _)| path.starts_with(path::WAL)) {
        // The segment is not asked for under another name.
        let id =
            path.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(".wal").parse().unwrap_or(1_u64);
        content.resize(content.len().max(40), 0);
        content[8..16].copy_from_slice(&id.to_le_bytes());
        content[16..32].copy_from_slice(&manifest.database.0.to_le_bytes());
        seal::wal(content, announced);
    }
}

/// The manifest of a good image, and where it is.
fn decoded(good: &Image) -> (usize, Manifest) {
    let place = good.iter().position(|(path, _)| path.starts_with(path::MANIFESTS)).unwrap_or(0);
    let (path, bytes) = &good[place];
    let id = path.rsplit('/').next().and_then(path::parse_manifest).unwrap_or(ManifestId(1));
    let manifest = Manifest::decode("manifest", id, bytes);
    (place, manifest.unwrap_or_else(|error| panic!("the corpus is damaged: {error}")))
}

fn seal_run(image: &mut Image, table: TableId, meta: &mut SstMeta) {
    let content = |file| {
        let path = path::run(table, meta.run, file);
        image.iter().find(|(other, _)| *other == path).map(|(_, content)| content.clone()).unwrap_or_default()
    };
    let (sst, deletes, mut keys) = (content(RunFile::Sst), content(RunFile::Deletes), content(RunFile::Keys));
    meta.footer_checksum = seal::key_index(&mut keys, Some(Companions { sst: &sst, deletes: &deletes }));
    let file = |bytes: &[u8]| FileMeta { bytes: bytes.len() as u64, digest: Digest::of(bytes) };
    (meta.sst, meta.keys) = (file(&sst), file(&keys));
    if let Some(meta) = &mut meta.deletes {
        meta.file = file(&deletes);
    }
    let path = path::run(table, meta.run, RunFile::Keys);
    if let Some((_, content)) = image.iter_mut().find(|(other, _)| *other == path) {
        *content = keys;
    }
}

fn read(db: &Database, name: &str) {
    let Some(table) = tolerated(db.snapshot().table(name), "table") else { return };
    let all: Vec<usize> = (0..table.schema().stored().fields().len()).collect();
    let Some(scan) = tolerated(table.scan(&KeyInterval::ALL, &all), "scan") else { return };
    let mut first = None;
    for batch in scan {
        let Some(batch) = tolerated(batch, "batch") else { break };
        first.get_or_insert(batch);
    }
    let Some(batch) = first.filter(|batch| batch.num_rows() > 0 && table.schema().has_key()) else { return };
    let row = batch.slice(0, 1).project(table.schema().key());
    let row = row.unwrap_or_else(|error| panic!("a scan without key columns: {error}"));
    tolerated(table.get(&row), "get");
    for order in [KeyOrder::Ascending, KeyOrder::Descending] {
        let Some(range) = tolerated(table.range(&KeyInterval::ALL, &all, order, None), "range") else { continue };
        let mut rows = 0;
        for batch in range {
            let Some(batch) = tolerated(batch, "batch of a range") else { break };
            rows += batch.num_rows();
            assert!(rows < ROWS_MAX, "a range that does not end");
        }
    }
}

/// Writes rows, if the table has still the columns of one of ours.
fn write(db: &Database, name: &str) {
    let Some(table) = tolerated(db.snapshot().table(name), "table") else { return };
    let Some(known) = tables().iter().find(|known| known.schema.user() == table.schema().user()) else { return };
    let new = rows(known.name, 3..8, "written");
    let mut batch = WriteBatch::new();
    if table.schema().has_key() {
        batch.upsert(name, new.clone());
        if known.schema.key() == table.schema().key() {
            batch.delete(name, keys(known, &new.slice(0, 1)));
        }
    } else {
        batch.insert(name, new);
    }
    tolerated(db.write(&batch), "write");
}

/// Shows everything there is; damage is shown, too.
fn dump(disk: &Arc<dyn Disk>) {
    let mut take = |found: Found| {
        if let Found::Damage(error) = found {
            assert!(!error.to_string().is_empty());
        }
        std::ops::ControlFlow::Continue(())
    };
    let _ = dump_manifest(&**disk, &mut take);
    let _ = dump_wal(&**disk, &mut take);
    let _ = list_runs(&**disk, None, &mut take);
    for run in 1..5 {
        let _ = dump_sst(&**disk, RunId(run), &mut take);
        let _ = dump_keys(disk, RunId(run), &mut take);
    }
}

/// The good database.
fn good() -> &'static Image {
    static GOOD: OnceLock<Image> = OnceLock::new();
    GOOD.get_or_init(|| files(DATABASE))
}

/// The files in the bytes of an image.
fn files(bytes: &[u8]) -> Image {
    let mut rest = Input(bytes);
    let mut image = Vec::new();
    while !rest.0.is_empty() {
        let mut part = || {
            let length = u32::from_le_bytes(rest.array()) as usize;
            rest.piece(length).to_vec()
        };
        image.push((String::from_utf8_lossy(&part()).into_owned(), part()));
    }
    image
}

/// The text of the manifest in the bytes of an image.
pub fn manifest_text(image: &[u8]) -> Vec<u8> {
    let files = files(image);
    let manifest = files.iter().find(|(path, _)| path.starts_with(path::MANIFESTS));
    manifest.map_or_else(Vec::new, |(_, content)| text_of(content))
}

/// The text behind a manifest's header line.
fn text_of(content: &[u8]) -> Vec<u8> {
    let end = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |end| end + 1);
    content[end..].to_vec()
}

/// The bytes that [`good`] reads: runs with and without deleted keys of all tables, a log with rows in both forms.
///
/// # Errors
/// The engine's.
pub fn image() -> Result<Vec<u8>> {
    let disk = database(|db| {
        write_some(db, "a")?;
        ["numbers", "typed"].into_iter().try_for_each(|table| db.flush(table))?;
        write_some(db, "a")?;
        ["numbers", "notes"].into_iter().try_for_each(|table| db.flush(table))?;
        write_some(db, "b")?;
        write_many(db)
    })?;
    let mut bytes = Vec::new();
    for (path, content) in image_of(&*disk) {
        for part in [path.as_bytes(), &content] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Ok(bytes)
}

/// The files of a closed database with one segment of the log: the newest manifest, the log, the runs.
pub fn image_of(disk: &dyn Disk) -> Image {
    let names = |folder: &str| disk.list(folder).unwrap_or_default();
    let mut paths: Vec<String> =
        names(path::MANIFESTS).iter().map(|name| format!("{}/{name}", path::MANIFESTS)).collect();
    paths.drain(..paths.len() - 1);
    paths.push(path::wal(WalId(1)));
    for table in names(path::TABLES) {
        let folder = format!("{}/{table}", path::TABLES);
        paths.extend(names(&folder).iter().map(|name| format!("{folder}/{name}")));
    }
    paths.into_iter().map(|path| (path.clone(), get(disk, &path))).collect()
}

/// Edits of each kind, of each file.
pub fn seeds() -> Result<Seeds> {
    let files = |what: u8| (0..14).flat_map(|file| [file, 3, 40 + file * 9, 0, what, 7, 0, 0, 0]).collect::<Vec<u8>>();
    let one = |choices: u8, file: u8, what: u8, at: u8| vec![choices, 0, file, what, at, 0, 1, 1];
    Ok(vec![
        ("everything", vec![15, 0]),
        ("manifest", vec![0, 5, 9, 0, 2, 3, 1]),
        ("wide", [&[DUMP, 0], &*files(3)].concat()),
        ("bits", [&[WRITE, 0], &*files(1)].concat()),
        ("log", one(WRITE | OPEN_AGAIN, 1, 3, 90)),
        ("rows", one(COMPACT, 2, 3, 200)),
        ("keys", one(0, 4, 1, 60)),
        ("both", [&[COMPACT, 6, 30, 0, 0, 9, 9, 9][..], &one(0, 3, 0, 100)[2..]].concat()),
    ])
}
