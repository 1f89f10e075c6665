//! Where the rows with some keys are.
//!
//! In: a snapshot, ascending keys. Out: for each key the place of its row, if it has one.
//! Invariants: sources are asked newest first and a key is asked no more once one of them knew it; keys decide alone,
//! never deletion vectors.

use crate::error::Result;
use crate::id::SeqNo;
use crate::memtable::visible::{Change, VisibleChunk};
use crate::read::probe::Probe;
use crate::read::snapshot::TableSnapshot;
use crate::rows::keys::Keys;
use crate::seeded::{SeededFault, makes};
use crate::sst::counts::ReadCounts;
use crate::sst::key_index::reader::Found;

/// Where a row is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a run of the version, at a position.
    Run(usize, u64),
    /// In the batch of some changes in memory.
    Changes(VisibleChunk, u32),
    /// Nowhere else: a small write, in row form.
    Here(Box<[u8]>),
}

/// For each of the ascending, different `keys` where its newest row is, if its newest change above `after` is a row.
/// With [`SeqNo::NONE`]: where it is in the table.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn locate(
    snapshot: &TableSnapshot,
    keys: &Keys,
    after: SeqNo,
    counts: &mut ReadCounts,
) -> Result<Vec<Option<Place>>> {
    let mut places: Vec<Option<Place>> = vec![None; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    for memtable in &snapshot.table().memtables {
        if memtable.seq_range().is_none_or(|(_, last)| last <= after) {
            continue;
        }
        for chunk in memtable.chunks(snapshot.seq())? {
            open.retain(|index| {
                let Some(change) = chunk.find(keys.get(*index), after) else { return true };
                places[*index] = match change {
                    Change::Row(row) => Some(Place::Here(row)),
                    Change::RowOf(changes, row) => Some(Place::Changes(changes, row)),
                    Change::Deleted => None,
                };
                false
            });
        }
    }
    let mut probe = Probe::new(keys, open);
    let runs = snapshot.table().version.runs().iter().enumerate();
    for (index, run) in runs.filter(|(_, run)| run.meta().max_seq > after) {
        if probe.is_done() {
            break;
        }
        let denied = probe.ask(run, &snapshot.table().codec, |key, row| {
            places[key] = row.map(|row| Place::Run(index, row));
        })?;
        counts.keys_denied += denied;
    }
    Ok(places)
}

/// As [`locate`], of one key in the whole table.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn locate_one(snapshot: &TableSnapshot, key: &[u8], counts: &mut ReadCounts) -> Result<Option<Place>> {
    for memtable in &snapshot.table().memtables {
        for chunk in memtable.chunks(snapshot.seq())? {
            match chunk.find(key, SeqNo::NONE) {
                Some(Change::Row(row)) => return Ok(Some(Place::Here(row))),
                Some(Change::RowOf(changes, row)) => return Ok(Some(Place::Changes(changes, row))),
                Some(Change::Deleted) => return Ok(None),
                None => {}
            }
        }
    }
    for (index, run) in snapshot.table().version.runs().iter().enumerate() {
        if !run.key_bounds().is_some_and(|(min, max)| min <= key && key <= max) {
            continue;
        }
        match run.sst().key_index().find(key)? {
            Found::Row(row) => return Ok(Some(Place::Run(index, row))),
            Found::Denied => counts.keys_denied += 1,
            Found::Absent => {}
        }
        if run.deleted(&snapshot.table().codec)?.position(key).is_ok() && !makes(SeededFault::LookupSkipsDeleted) {
            return Ok(None);
        }
    }
    Ok(None)
}

/// For each of the ascending, different `keys` whether its newest change above `after` is a row.
///
/// # Errors
/// As [`locate`].
pub fn contains(snapshot: &TableSnapshot, keys: &Keys, after: SeqNo) -> Result<Vec<bool>> {
    let places = locate(snapshot, keys, after, &mut ReadCounts::default())?;
    Ok(places.iter().map(Option::is_some).collect())
}
