//! The manifest: one file that names everything a committed state consists of.
//!
//! In: a [`Manifest`]; bytes of a manifest file. Out: bytes; a checked [`Manifest`].
//! Invariants: manifest `N` is created if absent and never changed; it holds the digest of `N - 1`. A manifest of a
//! newer format, or with a feature this version does not know, is refused by name and never overwritten.
//! Bytes: FORMAT.md, "Manifest".

use std::sync::Arc;

use arrow::ipc::convert::IpcSchemaEncoder;
use serde::{Deserialize, Serialize};

use crate::deletion::file::DeletionsManifest;
use crate::error::{Damage, Error, Result};
use crate::id::{ColumnId, Digest, ManifestId, NUMBER_LIMIT, RunId, SchemaId, SeqNo, TableId, WalId};
use crate::rows::ipc::read_schema;
use crate::rows::schema::{TableSchema, check_table_name};
use crate::sst::meta::SstMeta;
use crate::version::history::History;
use crate::version::run::RunMeta;
use crate::wal::log::LogEnd;

/// Newest format this version reads and the one it writes.
pub const FORMAT: u32 = 2;
/// How errors name the state in memory.
pub const CURRENT_MANIFEST: &str = "manifest";
/// First bytes of the file; the checksum of the text follows as 8 hexadecimal digits and a line end.
const HEADER: &str = "rustling manifest crc32c ";
const HEADER_BYTES: usize = HEADER.len() + 9;

/// A committed state of a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of all files of the database.
    pub format: u32,
    /// Features that a reader must know.
    pub features: Vec<String>,
    /// Its number.
    pub id: ManifestId,
    /// Random number that tells this commit from any other.
    pub commit: Digest,
    /// Digest of the manifest before, zero for the first.
    pub previous: Digest,
    /// Random number of the database.
    pub database: Digest,
    /// How long files that nobody needs are kept for readers elsewhere.
    pub retention_seconds: u64,
    /// Next table id.
    pub next_table: TableId,
    /// Next run id.
    pub next_run: RunId,
    /// Highest sequence number given out when it was written, or higher than any before it.
    pub last_seq: SeqNo,
    /// Oldest WAL segment that is needed.
    pub wal_floor: WalId,
    /// Where the durable WAL ended when it was written; the WAL never ends before.
    pub wal_end: LogEnd,
    /// The tables, ascending by id.
    pub tables: Vec<TableManifest>,
}

/// A table in a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableManifest {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// Its columns and key.
    pub schema: SchemaManifest,
    /// Every change up to here is in the runs.
    pub flushed_through: SeqNo,
    /// The next row id of a table without a key, or lower.
    pub next_row_id: i64,
    /// Its runs.
    pub runs: Vec<RunMeta>,
    /// Which of their rows are dead; format 1 does not say.
    #[serde(default)]
    pub deletions: Option<DeletionsManifest>,
    /// What was written for it; nothing, or not known, if it is not there.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub history: History,
}

impl TableManifest {
    /// Ids of the files of its deletion vectors.
    pub fn deletion_files(&self) -> impl Iterator<Item = RunId> {
        self.deletions.iter().flat_map(|deletions| deletions.files.iter().map(|file| file.id))
    }
}

/// A schema in a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaManifest {
    /// Which state of the table's schema.
    pub id: SchemaId,
    /// Ids of the stored columns.
    pub column_ids: Vec<ColumnId>,
    /// Names of the key columns; empty for a table without a key.
    pub key: Vec<String>,
    /// The user's columns: an Arrow IPC `Schema` (a FlatBuffer) in hexadecimal.
    pub arrow: String,
}

impl SchemaManifest {
    /// Describes a schema.
    pub fn new(schema: &TableSchema) -> Self {
        let message = IpcSchemaEncoder::new().schema_to_fb(schema.user());
        let key = if schema.has_key() { schema.key_names() } else { Vec::new() };
        Self {
            id: schema.id(),
            column_ids: schema.column_ids().to_vec(),
            key: key.into_iter().map(str::to_owned).collect(),
            arrow: hex::encode(message.finished_data()),
        }
    }

    /// The schema it describes, checked again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes are no Arrow schema, or one that no table can have.
    pub fn schema(&self, path: &str, table: &str) -> Result<Arc<TableSchema>> {
        let bytes = hex::decode(&self.arrow).map_err(|_| {
            let value = self.arrow.len() as u64;
            Error::corrupt(path, Damage::Field { field: "arrow", value })
        })?;
        let arrow = read_schema(&bytes).map_err(|damage| Error::corrupt(path, damage))?;
        let key: Vec<&str> = self.key.iter().map(String::as_str).collect();
        TableSchema::with_ids(table, self.id, &arrow, &key, self.column_ids.clone())
            .map(Arc::new)
            .map_err(|refused| Error::corrupt(path, Damage::Refused(Box::new(refused))))
    }
}

impl Manifest {
    /// The bytes of its file.
    ///
    /// # Errors
    /// None in practice.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Error::corrupt(CURRENT_MANIFEST, Damage::Json(error)))?;
        let mut bytes = format!("{HEADER}{:08x}\n", crc32c::crc32c(&text)).into_bytes();
        bytes.extend_from_slice(&text);
        Ok(bytes)
    }

    /// Reads and checks a manifest file.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::FormatTooNew`]; [`Error::UnknownFeature`].
    pub fn decode(path: &str, id: ManifestId, bytes: &[u8]) -> Result<Self> {
        let text = check_header(path, bytes)?;
        let json = |error| Error::corrupt(path, Damage::Json(error));
        let version: FormatFields = serde_json::from_slice(text).map_err(json)?;
        if version.format > FORMAT {
            return Err(Error::FormatTooNew { path: path.to_owned(), found: version.format, supported: FORMAT });
        }
        if version.format == 0 {
            return Err(Error::corrupt(path, Damage::Field { field: "format", value: 0 }));
        }
        if let Some(feature) = version.features.into_iter().next() {
            return Err(Error::UnknownFeature { path: path.to_owned(), feature });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(json)?;
        manifest.check(path, id)?;
        Ok(manifest)
    }

    fn check(&self, path: &str, id: ManifestId) -> Result<()> {
        let corrupt = |damage| Error::corrupt(path, damage);
        self.check_numbers(id).map_err(corrupt)?;
        let mut names = std::collections::HashSet::new();
        let mut last = TableId(0);
        for table in &self.tables {
            if table.id <= last || table.id >= self.next_table || !names.insert(&table.name) {
                return Err(corrupt(Damage::Field { field: "table id", value: table.id.0 }));
            }
            check_table_name(&table.name).map_err(|refused| corrupt(Damage::Refused(Box::new(refused))))?;
            self.check_table(table).map_err(corrupt)?;
            last = table.id;
        }
        Ok(())
    }

    /// Whether one can go on from its numbers.
    fn check_numbers(&self, id: ManifestId) -> Result<(), Damage> {
        if self.id != id {
            return Err(Damage::Disagreement { fact: "the manifest's number", expected: id.0, found: self.id.0 });
        }
        let numbers = [
            ("id", self.id.0, 1),
            ("next_table", self.next_table.0, 1),
            ("next_run", self.next_run.0, 1),
            ("last_seq", self.last_seq.0, 0),
            ("wal_floor", self.wal_floor.0, 1),
            ("wal_end", self.wal_end.segment.0, self.wal_floor.0),
            ("length", self.wal_end.length, 0),
        ];
        match numbers.into_iter().find(|(_, value, least)| !(*least..NUMBER_LIMIT).contains(value)) {
            Some((field, value, _)) => Err(Damage::Field { field, value }),
            None => Ok(()),
        }
    }

    fn check_table(&self, table: &TableManifest) -> Result<(), Damage> {
        let next_row_id = table.next_row_id.cast_unsigned();
        if !(1..NUMBER_LIMIT).contains(&next_row_id) {
            return Err(Damage::Field { field: "next_row_id", value: next_row_id });
        }
        if table.flushed_through > self.last_seq {
            return Err(Damage::Field { field: "flushed_through", value: table.flushed_through.0 });
        }
        self.check_deletions(table)?;
        table.runs.iter().try_for_each(|run| self.check_run(run))
    }

    /// Whether it says of every run how many rows are dead, in files that can be.
    fn check_deletions(&self, table: &TableManifest) -> Result<(), Damage> {
        let Some(deletions) = &table.deletions else {
            let missing = Damage::Field { field: "deletions", value: table.id.0 };
            return if self.format == 1 { Ok(()) } else { Err(missing) };
        };
        let runs = table.runs.iter().map(|run| (run.files.run, run.files.rows));
        let counts = deletions.runs.iter().map(|count| count.run);
        if !counts.eq(runs.clone().map(|(run, _)| run)) {
            return Err(Damage::Field { field: "deletions", value: table.id.0 });
        }
        if let Some((count, _)) = deletions.runs.iter().zip(runs).find(|(count, (_, rows))| count.rows > *rows) {
            return Err(Damage::Field { field: "dead rows", value: count.rows });
        }
        match deletions.files.iter().find(|file| file.id >= self.next_run || file.bytes >= NUMBER_LIMIT) {
            Some(file) => Err(Damage::Field { field: "deletion file", value: file.id.0 }),
            None => Ok(()),
        }
    }

    fn check_run(&self, run: &RunMeta) -> Result<(), Damage> {
        let SstMeta { rows, key_range, deletes, sst, keys, .. } = &run.files;
        let mut ranges = key_range.iter().chain(deletes.as_ref().map(|deletes| &deletes.key_range));
        let wrong = run.files.run >= self.next_run
            || run.min_seq > run.max_seq
            || deletes.as_ref().is_some_and(|deletes| deletes.count == 0)
            || ranges.any(|range| range.min > range.max);
        if wrong {
            return Err(Damage::Field { field: "run", value: run.files.run.0 });
        }
        let deletes = deletes.iter().flat_map(|deletes| [("count", deletes.count), ("bytes", deletes.file.bytes)]);
        let mut numbers = [("rows", *rows), ("bytes", sst.bytes), ("bytes", keys.bytes)].into_iter().chain(deletes);
        match numbers.find(|(_, value)| *value >= NUMBER_LIMIT) {
            Some((field, value)) => Err(Damage::Field { field, value }),
            None => Ok(()),
        }
    }
}

/// The fields that every format has.
#[derive(Deserialize)]
struct FormatFields {
    format: u32,
    features: Vec<String>,
}

/// Checks header and checksum; returns the text.
fn check_header<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let Some((header, text)) = bytes.split_at_checked(HEADER_BYTES) else {
        let (needed, available) = (HEADER_BYTES as u64, bytes.len() as u64);
        return Err(Error::corrupt_at(path, 0, Damage::Truncated { field: "header", needed, available }));
    };
    let found = crc32c::crc32c(text);
    let expected = format!("{HEADER}{found:08x}\n");
    if header == expected.as_bytes() {
        return Ok(text);
    }
    let written = header.get(HEADER.len()..HEADER_BYTES - 1).and_then(|digits| std::str::from_utf8(digits).ok());
    match written.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(expected) if header.starts_with(HEADER.as_bytes()) && expected != found => {
            Err(Error::corrupt(path, Damage::Checksum { expected, found }))
        }
        _ => Err(Error::corrupt_at(path, 0, Damage::Magic { expected: *b"rustling", found: first_eight(header) })),
    }
}

fn first_eight(bytes: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    eight
}
