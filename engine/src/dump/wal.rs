//! Shows the records of the log.
//!
//! In: the segments that are there. Out: each record with its place, and the keys it changes.
//! Invariants: a record is shown if its checksum holds, wherever it lies; bytes that are no record are reported with
//! their place, and as a torn tail only where opening would take them for one.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::damage::Damage;
use crate::disk::api::{Disk, at};
use crate::disk::path;
use crate::dump::found::{Found, Take, given, line};
use crate::dump::manifest::newest;
use crate::error::{Error, Result};
use crate::id::{TableId, WalId};
use crate::rows::key::KeyCodec;
use crate::rows::schema::TableSchema;
use crate::version::manifest::Manifest;
use crate::wal::body::{RawChanges, read_changes, read_manifest_body, read_sealed_body};
use crate::wal::intact::{intact_behind, intact_records};
use crate::wal::log::LogEnd;
use crate::wal::record::{Frame, RecordKind, SEGMENT_HEADER_BYTES, check_segment_header, read_frame, zeros_from};
use crate::wal::replay::{later_segment, read_segment};

/// Keys of one record that are shown.
const KEYS_SHOWN: usize = 100;

/// Shows the log, segment by segment.
pub fn dump_wal(disk: &dyn Disk, take: &mut Take<'_>) -> ControlFlow<()> {
    let manifest = newest(disk, take)?;
    let found = segments(disk);
    if let (None, Err(Error::Io { source, .. })) = (&manifest, &found)
        && source.kind() == ErrorKind::NotFound
    {
        // There is no database, which was said.
        return ControlFlow::Continue(());
    }
    let Some(mut ids) = given(take, found)? else { return ControlFlow::Continue(()) };
    ids.sort_unstable();
    let log = Log { tables: tables(manifest.as_ref()), manifest };
    for id in ids {
        let later = given(take, later_segment(disk, id))?;
        log.segment(disk, id, later == Some(None), take)?;
    }
    ControlFlow::Continue(())
}

fn segments(disk: &dyn Disk) -> Result<Vec<WalId>> {
    let names = disk.list(path::WAL).map_err(at("list", path::WAL))?;
    Ok(names.iter().filter_map(|name| path::parse_wal(name)).collect())
}

/// What is known of a table, to decode its changes.
struct Table {
    name: String,
    schema: Arc<TableSchema>,
    codec: KeyCodec,
}

fn tables(manifest: Option<&Manifest>) -> BTreeMap<TableId, Table> {
    let mut tables = BTreeMap::new();
    for table in manifest.into_iter().flat_map(|manifest| &manifest.tables) {
        let Ok(schema) = table.schema.schema(path::MANIFESTS, &table.name) else { continue };
        let Ok(codec) = KeyCodec::new(&table.name, &schema) else { continue };
        tables.insert(table.id, Table { name: table.name.clone(), schema, codec });
    }
    tables
}

struct Log {
    manifest: Option<Manifest>,
    tables: BTreeMap<TableId, Table>,
}

impl Log {
    fn segment(&self, disk: &dyn Disk, id: WalId, is_last: bool, take: &mut Take<'_>) -> ControlFlow<()> {
        let path = path::wal(id);
        let Some(bytes) = given(take, read_segment(disk, &path))? else { return ControlFlow::Continue(()) };
        line(take, format!("{path}: {} bytes", bytes.len()))?;
        if let Some(manifest) = &self.manifest {
            given(take, check_segment_header(&path, &bytes, id, manifest.database.0))?;
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        let written = zeros_from(&bytes);
        while offset < written {
            match read_frame(&bytes, id, offset) {
                Ok(frame) => {
                    self.record(&path, offset, &frame, take)?;
                    offset = frame.end;
                }
                Err(damage) if is_last && self.is_torn(&bytes, LogEnd { segment: id, length: offset }) => {
                    let torn = written - offset;
                    line(take, format!("  byte {offset}: {torn} bytes that were never acknowledged ({damage})"))?;
                    break;
                }
                Err(damage) => {
                    take(Found::Damage(Error::corrupt_at(&*path, offset, damage)))?;
                    let Some((next, _)) = intact_records(&bytes, id, offset + 1).next() else { break };
                    line(take, format!("  byte {next}: the next intact record"))?;
                    offset = next;
                }
            }
        }
        self.zeros(&path, offset.max(written), bytes.len() as u64, is_last, take)
    }

    /// What is behind the last record: space that was reserved, which only the last segment has.
    fn zeros(&self, path: &str, offset: u64, end: u64, is_last: bool, take: &mut Take<'_>) -> ControlFlow<()> {
        match end.saturating_sub(offset) {
            0 => ControlFlow::Continue(()),
            bytes if is_last => line(take, format!("  byte {offset}: {bytes} bytes are reserved")),
            bytes => {
                let damage = Damage::Field { field: "bytes behind the last record", value: bytes };
                take(Found::Damage(Error::corrupt_at(path, offset, damage)))
            }
        }
    }

    fn record(&self, path: &str, offset: u64, frame: &Frame<'_>, take: &mut Take<'_>) -> ControlFlow<()> {
        let corrupt = |damage| Error::corrupt_at(path, offset, damage);
        let head = format!("  byte {offset}: {} bytes, sync group at {}", frame.end - offset, frame.group_start);
        match frame.kind {
            RecordKind::Write => {
                line(take, format!("{head}, write at {}", frame.seq))?;
                let Some(parts) = given(take, read_changes(frame.body).map_err(corrupt))? else {
                    return ControlFlow::Continue(());
                };
                parts.iter().try_for_each(|part| self.changes(part, &corrupt, take))
            }
            RecordKind::Manifest => match read_manifest_body(frame.body) {
                Ok((id, digest)) => line(take, format!("{head}, {id} was committed with digest {digest}")),
                Err(damage) => take(Found::Damage(corrupt(damage))),
            },
            RecordKind::Sealed => match read_sealed_body(frame.body) {
                Ok(next) => line(take, format!("{head}, the log goes on in {}", path::wal(next))),
                Err(damage) => take(Found::Damage(corrupt(damage))),
            },
        }
    }

    fn changes(
        &self,
        part: &RawChanges<'_>,
        corrupt: &dyn Fn(Damage) -> Error,
        take: &mut Take<'_>,
    ) -> ControlFlow<()> {
        let Some(table) = self.tables.get(&part.table) else {
            return line(take, format!("    {}: no manifest names it", part.table));
        };
        let changes = part.decode(&table.schema, &table.codec).map_err(corrupt);
        let Some(changes) = given(take, changes)? else { return ControlFlow::Continue(()) };
        let (all, rows) = (changes.keys.len(), changes.batch.num_rows());
        line(take, format!("    {} `{}`: {rows} rows, {} deleted keys", part.table, table.name, all - rows))?;
        for index in 0..all.min(KEYS_SHOWN) {
            let what = if changes.is_deleted(index) { "delete" } else { "write " };
            line(take, format!("      {what} {}", table.codec.text(changes.keys.get(index))))?;
        }
        if all > KEYS_SHOWN {
            line(take, format!("      and {} more", all - KEYS_SHOWN))?;
        }
        ControlFlow::Continue(())
    }

    /// Whether opening takes the bytes from a place on, which are no record, for a tail to cut off.
    fn is_torn(&self, bytes: &[u8], place: LogEnd) -> bool {
        let was_durable = self.manifest.as_ref().is_some_and(|manifest| place < manifest.wal_end);
        !was_durable && intact_behind(bytes, place.segment, place.length).is_none()
    }
}
