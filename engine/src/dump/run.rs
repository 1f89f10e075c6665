//! Shows the runs of the tables: which there are, what is in the files of one, and its keys.
//!
//! Invariants: every block of a shown file is compared with its checksum, so that damage is found with its place.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::config::KeptBytes;
use crate::damage::Damage;
use crate::deletion;
use crate::disk::api::Disk;
use crate::disk::path::{self, RunFile};
use crate::dump::found::{Found, Take, given, line};
use crate::dump::manifest::{newest, read};
use crate::error::{Error, Result};
use crate::id::{Digest, RunId};
use crate::rows::key::KeyCodec;
use crate::rows::schema::TableSchema;
use crate::sst::checksum::{BlockChecks, in_memory};
use crate::sst::key_index::reader::KeyIndex;
use crate::sst::meta::FileMeta;
use crate::sst::store::Store;
use crate::version::manifest::{Manifest, TableManifest};
use crate::version::run::{Run, RunMeta};

/// Keys that are read at once.
const KEYS_AT_ONCE: u64 = 8192;

/// Shows the runs of one table, or of all.
pub fn list_runs(disk: &dyn Disk, table: Option<&str>, take: &mut Take<'_>) -> ControlFlow<()> {
    let Some(manifest) = newest(disk, take)? else { return ControlFlow::Continue(()) };
    let Some(tables) = given(take, named(&manifest, table))? else { return ControlFlow::Continue(()) };
    for table in tables {
        let Some(decoded) = given(take, Decoded::new(table))? else { continue };
        line(take, format!("{} `{}`: {} runs", table.id, table.name, table.runs.len()))?;
        for run in &table.runs {
            line(take, format!("  {}", decoded.summary(run)))?;
        }
    }
    ControlFlow::Continue(())
}

/// Shows what is in the files of a run but for its rows, which any Parquet reader shows, and checks every byte.
pub fn dump_sst(disk: &dyn Disk, run: RunId, take: &mut Take<'_>) -> ControlFlow<()> {
    let Some((table, meta)) = find(disk, run, take)? else { return ControlFlow::Continue(()) };
    let Some(decoded) = given(take, Decoded::new(&table))? else { return ControlFlow::Continue(()) };
    line(take, format!("{} `{}`: {}", table.id, table.name, decoded.summary(&meta)))?;
    for (field, id) in decoded.schema.stored().fields().iter().zip(decoded.schema.column_ids()) {
        let null = if field.is_nullable() { "" } else { " not null" };
        line(take, format!("  {id} `{}`: {}{null}", field.name(), field.data_type()))?;
    }
    let path = |file| path::run(table.id, run, file);
    let index = given(take, KeyIndex::open(disk, path(RunFile::Keys), &meta.files))?;
    check_file(disk, &path(RunFile::Keys), meta.files.keys, None, take)?;
    let checksums = index.as_ref().and_then(|index| index.sst_checksums().ok());
    if let Some(bytes) = check_file(disk, &path(RunFile::Sst), meta.files.sst, checksums, take)?
        && let Some(metadata) = given(take, parquet_metadata(&path(RunFile::Sst), &bytes))?
    {
        (metadata.row_groups().iter().enumerate())
            .try_for_each(|(index, row_group)| show_row_group(index, row_group, take))?;
    }
    if let Some(deletes) = &meta.files.deletes {
        let checksums = index.as_ref().and_then(|index| index.deletes_checksums().ok());
        check_file(disk, &path(RunFile::Deletes), deletes.file, checksums, take)?;
    }
    show_dead(disk, &table, run, take)
}

/// Shows in which files it stands that rows of a run are dead, and checks all files of the table that say so.
fn show_dead(disk: &dyn Disk, table: &TableManifest, run: RunId, take: &mut Take<'_>) -> ControlFlow<()> {
    let Some(deletions) = &table.deletions else { return ControlFlow::Continue(()) };
    for file in &deletions.files {
        let Some(dead) = given(take, deletion::file::read(disk, table.id, file, &deletions.runs))? else { continue };
        let rows: u64 = dead.iter().filter(|(other, _)| *other == run).map(|(_, rows)| rows.len()).sum();
        line(take, format!("  {}: {rows} dead rows", path::run(table.id, file.id, RunFile::Deletions)))?;
    }
    given(take, deletion::file::read_all(disk, table.id, deletions)).map_continue(drop)
}

/// Shows the keys of a run, each with its row, and the keys it deletes from older runs.
pub fn dump_keys(disk: &Arc<dyn Disk>, run: RunId, take: &mut Take<'_>) -> ControlFlow<()> {
    let Some((table, meta)) = find(&**disk, run, take)? else { return ControlFlow::Continue(()) };
    let Some(decoded) = given(take, Decoded::new(&table))? else { return ControlFlow::Continue(()) };
    let open = Run::open(&Store::new(disk.clone(), KeptBytes::default()), table.id, &decoded.schema, meta);
    let Some(run) = given(take, open)? else { return ControlFlow::Continue(()) };
    let mut from = 0;
    while from < run.rows() {
        let to = run.rows().min(from + KEYS_AT_ONCE);
        if let Some(keys) = given(take, run.sst().key_index().read(from..to))? {
            for (row, key) in (from..to).zip(0..keys.len()) {
                line(take, format!("{row}\t{}", decoded.codec.text(keys.get(key))))?;
            }
        }
        from = to;
    }
    let Some(deleted) = given(take, run.deleted(&decoded.codec))? else { return ControlFlow::Continue(()) };
    (0..deleted.len()).try_for_each(|key| line(take, format!("deleted\t{}", decoded.codec.text(deleted.get(key)))))
}

/// A table of a manifest, its schema decoded.
struct Decoded {
    schema: Arc<TableSchema>,
    codec: KeyCodec,
}

impl Decoded {
    fn new(table: &TableManifest) -> Result<Self> {
        let schema = table.schema.schema(path::MANIFESTS, &table.name)?;
        let codec = KeyCodec::new(&table.name, &schema)?;
        Ok(Self { schema, codec })
    }

    fn summary(&self, run: &RunMeta) -> String {
        let RunMeta { files, min_seq, max_seq } = run;
        let keys = files.key_range.as_ref().map_or_else(String::new, |range| {
            format!(", keys {} to {}", self.codec.text(&range.min), self.codec.text(&range.max))
        });
        let deletes = files.deletes.as_ref().map_or(0, |deletes| deletes.count);
        let (id, rows, bytes) = (files.run, files.rows, files.total_bytes());
        format!("{id}: {rows} rows, {deletes} deleted keys, {bytes} bytes, {min_seq} to {max_seq}{keys}")
    }
}

/// One table, or all.
fn named<'a>(manifest: &'a Manifest, name: Option<&str>) -> Result<Vec<&'a TableManifest>> {
    let Some(name) = name else { return Ok(manifest.tables.iter().collect()) };
    let found: Vec<&TableManifest> = manifest.tables.iter().filter(|table| table.name == name).collect();
    if found.is_empty() {
        let known = manifest.tables.iter().map(|table| table.name.clone()).collect();
        return Err(Error::NoSuchTable { name: name.to_owned(), known });
    }
    Ok(found)
}

/// What the newest readable manifest says about a run.
fn find(disk: &dyn Disk, run: RunId, take: &mut Take<'_>) -> ControlFlow<(), Option<(TableManifest, RunMeta)>> {
    let Some(manifest) = newest(disk, take)? else { return ControlFlow::Continue(None) };
    for table in &manifest.tables {
        if let Some(meta) = table.runs.iter().find(|meta| meta.files.run == run) {
            return ControlFlow::Continue(Some((table.clone(), meta.clone())));
        }
    }
    take(Found::Damage(Error::NoSuchRun { run }))?;
    ControlFlow::Continue(None)
}

/// Compares a file with its length, its digest, and its blocks with their checksums; returns its bytes.
fn check_file(
    disk: &dyn Disk,
    path: &str,
    meta: FileMeta,
    checksums: Option<Arc<[u32]>>,
    take: &mut Take<'_>,
) -> ControlFlow<(), Option<Bytes>> {
    let Some(bytes) = given(take, read(disk, path))? else { return ControlFlow::Continue(None) };
    let found = bytes.len() as u64;
    if found != meta.bytes {
        take(Found::Damage(Error::corrupt(path, Damage::Length { expected: meta.bytes, found })))?;
        return ControlFlow::Continue(Some(bytes));
    }
    let digest = Digest::of(&bytes);
    if digest == meta.digest {
        line(take, format!("  {path}: {found} bytes, digest {digest}, intact"))?;
        return ControlFlow::Continue(Some(bytes));
    }
    take(Found::Damage(Error::corrupt(path, Damage::Digest { expected: meta.digest, found: digest })))?;
    if let Some(checks) = checksums.and_then(|checksums| BlockChecks::new(meta.bytes, checksums).ok()) {
        for block in checks.covering(&(0..meta.bytes)) {
            let span = checks.span(block);
            let verified = checks.verify(block, &bytes[in_memory(span.start)..in_memory(span.end)]);
            given(take, verified.map_err(|damage| Error::corrupt_at(path, span.start, damage)))?;
        }
    }
    ControlFlow::Continue(Some(bytes))
}

fn parquet_metadata(path: &str, bytes: &Bytes) -> Result<ParquetMetaData> {
    let parse = AssertUnwindSafe(|| ParquetMetaDataReader::new().parse_and_finish(bytes));
    let parsed = catch_unwind(parse).map_err(|_| Error::corrupt(path, Damage::DecoderPanic))?;
    parsed.map_err(|error| Error::corrupt(path, Damage::Parquet(error)))
}

fn show_row_group(index: usize, row_group: &RowGroupMetaData, take: &mut Take<'_>) -> ControlFlow<()> {
    let (rows, bytes) = (row_group.num_rows(), row_group.compressed_size());
    line(take, format!("  row group {index}: {rows} rows, {bytes} bytes"))?;
    for column in row_group.columns() {
        let encodings: Vec<String> = column.encodings().map(|encoding| encoding.to_string()).collect();
        line(
            take,
            format!(
                "    `{}`: {} bytes of {}, {}, {}",
                column.column_path().string(),
                column.compressed_size(),
                column.uncompressed_size(),
                column.compression(),
                encodings.join(" "),
            ),
        )?;
    }
    ControlFlow::Continue(())
}
