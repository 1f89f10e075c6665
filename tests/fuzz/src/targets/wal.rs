//! The log: segments with any bytes, and any records behind checksums that match.
//!
//! In: a byte of choices (1: seal the records; 2: two segments, cut at the next two bytes; 4: the next two bytes are
//! where a manifest says that the log ends), then the bytes of one or two segments.
//! Promise: replay gives errors of damage or the whole log; what it decodes keeps the invariants of changes, and is
//! written and read again as the same changes.

use std::sync::Arc;

use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::error::{Damage, Result};
use rustling_engine::id::{SeqNo, WalId};
use rustling_engine::rows::change::{SortedChanges, TableChanges};
use rustling_engine::rows::keys::Keys;
use rustling_engine::wal::body::{RawChanges, read_changes, write_changes};
use rustling_engine::wal::log::LogEnd;
use rustling_engine::wal::replay::{RecordPlace, replay};

use crate::input::Input;
use crate::seal::{self, number};
use crate::tables::{Table, database, table_of, write_many, write_some};
use crate::targets::{Seeds, unless_corrupt};

const SEAL: u8 = 1;
const TWO_SEGMENTS: u8 = 2;
const KNOWN_END: u8 = 4;

/// Reads a log.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let known_length = (choices & KNOWN_END != 0).then(|| u64::from(u16::from_le_bytes(input.array())));
    let cut = (choices & TWO_SEGMENTS != 0).then(|| input.below(usize::MAX));
    let (first, second) = input.0.split_at(cut.unwrap_or(input.0.len()).min(input.0.len()));
    let (floor, found_database) =
        (WalId(number(first, 8)), u128::from_le_bytes(Input(first.get(16..).unwrap_or_default()).array()));
    let disk = MemoryDisk::new();
    let mut bytes = 0;
    for (id, content) in [(floor, Some(first)), (WalId(floor.0.wrapping_add(1)), cut.map(|_| second))] {
        let Some(content) = content else { continue };
        let mut content = content.to_vec();
        if choices & SEAL != 0 {
            seal::wal(&mut content, None);
        }
        bytes += content.len() as u64;
        put(&disk, &path::wal(id), &content);
    }
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let known_end = known_length.map(|length| LogEnd { segment: floor, length });
    let mut last = SeqNo::NONE;
    let mut visit = |place: RecordPlace<'_>, seq: SeqNo, parts: &[RawChanges<'_>]| {
        assert!(seq > last && place.offset < bytes);
        last = seq;
        parts.iter().try_for_each(|part| check_part(place, part))
    };
    let replayed = replay(&disk, found_database, floor, known_end, &mut visit);
    let Some(replayed) = unless_corrupt(replayed, "replay") else { return };
    assert!(replayed.end.length <= bytes && replayed.last_seq >= last);
    assert!(known_end.is_none_or(|known| replayed.end >= known));
    if let Some(torn) = replayed.torn {
        assert!(torn.bytes > 0 && torn.offset == replayed.end.length && torn.offset + torn.bytes <= bytes);
    }
}

fn check_part(place: RecordPlace<'_>, part: &RawChanges<'_>) -> Result<()> {
    let table = table_of(part.table);
    let changes = decode(table, part).map_err(|damage| place.corrupt(damage))?;
    check_changes(&changes);
    let live = changes.rows.len();
    let written = TableChanges { table: part.table, changes, absent: Keys::new(None) };
    let mut again = Vec::new();
    write_changes(&mut again, &table.schema, &written)?;
    let parts = read_changes(&again).map_err(|damage| place.corrupt(damage));
    let parts = parts.unwrap_or_else(|error| panic!("what was written cannot be read: {error}"));
    assert_eq!(parts.len(), 1);
    match decode(table, &parts[0]) {
        Ok(changes) => {
            assert_eq!(changes.rows.len(), live);
            assert_eq!(changes.keys, written.changes.keys);
            assert_eq!(changes.batch, written.changes.batch);
        }
        other => panic!("what was written cannot be read: {other:?}"),
    }
    Ok(())
}

fn decode(table: &Table, part: &RawChanges<'_>) -> Result<SortedChanges, Damage> {
    part.decode(&table.schema, &table.codec)
}

fn check_changes(changes: &SortedChanges) {
    assert_eq!(changes.keys.first_disorder(), None);
    assert_eq!(changes.keys.len(), changes.rows.len());
    let mut seen = vec![false; changes.batch.num_rows()];
    for index in (0..changes.rows.len()).filter(|index| !changes.is_deleted(*index)) {
        let row = changes.rows[index] as usize;
        assert!(!std::mem::replace(&mut seen[row], true), "a row has one key");
    }
}

/// Puts a file on a disk that has not got it.
pub(super) fn put(disk: &dyn Disk, path: &str, content: &[u8]) {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let put = || {
        disk.create_dir(folder)?;
        disk.create(path)?.append(content)
    };
    put().unwrap_or_else(|error| panic!("memory refuses {path}: {error}"));
}

/// The bytes of a file.
pub(super) fn get(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let get = || disk.open(path)?.map();
    get().unwrap_or_else(|error| panic!("memory refuses {path}: {error}")).to_vec()
}

/// Logs with small and with large writes, as they are and to be sealed.
pub fn seeds() -> Result<Seeds> {
    let small = get(&*database(|db| write_some(db, "a"))?, &path::wal(WalId(1)));
    let large = get(&*database(write_many)?, &path::wal(WalId(1)));
    let with = |choices: &[u8], parts: &[&[u8]]| [choices, &parts.concat()].concat();
    let mut next = small.clone();
    next[8] = 2;
    let cut = u16::try_from(small.len()).unwrap_or(u16::MAX).to_le_bytes();
    Ok(vec![
        ("small", with(&[0], &[&small])),
        ("small-sealed", with(&[SEAL], &[&small])),
        ("small-known-end", with(&[SEAL | KNOWN_END, cut[0], cut[1]], &[&small])),
        ("two-segments", with(&[SEAL | TWO_SEGMENTS, cut[0], cut[1]], &[&small, &next[..40]])),
        ("large-sealed", with(&[SEAL], &[&large])),
    ])
}
