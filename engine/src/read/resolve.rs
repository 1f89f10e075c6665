//! Finds the rows of older runs that newer keys supersede.
//!
//! In: keys of a newer run, or of a chunk of a memtable; older runs. Out: positions of rows, by run.
//! Invariants: keys alone decide, never deletion vectors, so what is found here can be compared with those. Of one key
//! the newest of the older runs that knows it ends the search: what lies below is dead since that one came.
//! Cost: about a microsecond for each key and run that bounds and filter do not exclude, less where keys lie close.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::deletion::file::DeadRows;
use crate::deletion::vector::DeletionVector;
use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::id::{RunId, SeqNo, TableId};
use crate::read::probe::Probe;
use crate::read::source::KeyInterval;
use crate::rows::key::KeyCodec;
use crate::rows::keys::Keys;
use crate::seeded::{SeededFault, makes};
use crate::version::run::Run;
use crate::version::table::TableVersion;

/// Keys of a run that are looked up at once, at most.
const PROBED_KEYS: usize = 65_536;
/// Keys of a run that are looked up at once before it is known how long they are.
const FIRST_PROBED_KEYS: usize = 1024;
/// Bytes of keys of a run that are looked up at once, about, unless a single one has more.
const PROBED_BYTES: usize = 4 << 20;

/// The rows of `older` runs (newest first) that die when `newer` runs, which are disjoint in keys, come.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn resolve(newer: &[Arc<Run>], older: &[Arc<Run>], codec: &KeyCodec) -> Result<DeadRows> {
    let mut dead = BTreeMap::new();
    let within = interval_of(older);
    for run in newer {
        each_keys(run, &within, codec, |keys| find(keys, older, codec, &mut dead))?;
    }
    Ok(dead.into_iter().collect())
}

/// The dead rows of each of a table's runs, which come newest first: what deletion vectors must say.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn resolve_all(runs: &[Arc<Run>], codec: &KeyCodec) -> Result<Vec<DeletionVector>> {
    let mut dead: BTreeMap<RunId, DeletionVector> = BTreeMap::new();
    for (index, newer) in runs.iter().enumerate() {
        for (run, rows) in resolve(std::slice::from_ref(newer), &runs[index + 1..], codec)? {
            dead.entry(run).or_default().extend(&rows);
        }
    }
    Ok(runs.iter().map(|run| dead.remove(&run.id()).unwrap_or_default()).collect())
}

/// Compares what is known to be dead with what keys say, run by run.
///
/// # Errors
/// [`Error::Corrupt`], naming the first run for which they differ.
pub fn check_dead<'a>(
    table: TableId,
    runs: &[Arc<Run>],
    known: impl IntoIterator<Item = &'a DeletionVector>,
    by_keys: &[DeletionVector],
) -> Result<()> {
    for ((run, known), by_keys) in runs.iter().zip(known).zip(by_keys) {
        if known != by_keys && !makes(SeededFault::VectorsNotCompared) {
            let path = path::run(table, run.id(), RunFile::Deletions);
            let (expected, found) = (by_keys.len(), known.len());
            let damage = Damage::Disagreement { fact: "the number of dead rows of the run", expected, found };
            return Err(Error::corrupt(path, damage));
        }
    }
    Ok(())
}

/// The version that some runs make, its dead rows found by keys and in no file yet.
///
/// # Errors
/// [`Error::Corrupt`], of the file `named` if the runs cannot be those of one table; the disk's.
pub fn resolved_version(runs: Vec<Arc<Run>>, through: SeqNo, codec: &KeyCodec, named: &str) -> Result<TableVersion> {
    let version = |runs: Vec<Arc<Run>>, dead: Vec<DeletionVector>| {
        let runs = runs.into_iter().zip(dead.into_iter().map(Arc::new)).collect();
        TableVersion::new(runs, through).map_err(|damage| Error::corrupt(named, damage))
    };
    let nothing = runs.iter().map(|_| DeletionVector::default()).collect();
    let runs = version(runs, nothing)?.runs().to_vec();
    let dead = resolve_all(&runs, codec)?;
    Ok(version(runs, dead)?.unrecorded_all())
}

/// The rows of a run that have some of the ascending keys.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn rows_with_keys(keys: &Keys, run: &Run) -> Result<DeletionVector> {
    let mut rows = DeletionVector::default();
    run.sst().key_index().find_sorted(keys, |_, row| {
        rows.insert(row);
    })?;
    Ok(rows)
}

/// From the least key that one of some runs knows to the greatest.
pub fn interval_of(runs: &[Arc<Run>]) -> KeyInterval {
    let bounds = || runs.iter().filter_map(|run| run.key_bounds());
    match (bounds().map(|(min, _)| min).min(), bounds().map(|(_, max)| max).max()) {
        (Some(min), Some(max)) => {
            KeyInterval { start: Bound::Included(min.to_vec()), end: Bound::Included(max.to_vec()) }
        }
        _ => KeyInterval::NONE,
    }
}

/// Calls `visit` with all keys of an interval that a run knows, in ascending batches: those of its rows, then the
/// deleted ones. Cost: that of the keys in the interval, not of the run.
///
/// # Errors
/// Those of `visit`; [`crate::error::Error::Corrupt`]; the disk's.
pub fn each_keys(
    run: &Run,
    within: &KeyInterval,
    codec: &KeyCodec,
    mut visit: impl FnMut(&Keys) -> Result<()>,
) -> Result<()> {
    if !run.key_bounds().is_some_and(|bounds| within.touches(bounds)) {
        return Ok(());
    }
    let mut at_once = FIRST_PROBED_KEYS;
    if run.rows() > 0 {
        let mut left = within.rows(run.sst().key_index())?;
        while !left.is_empty() {
            let to = left.end.min(left.start + at_once as u64);
            let keys = run.sst().key_index().read(left.start..to)?;
            visit(&keys)?;
            (left.start, at_once) = (to, probed_keys(&keys));
        }
    }
    let deleted = run.deleted(codec)?;
    let mut left = deleted.within(within.bounds());
    while !left.is_empty() && !makes(SeededFault::DeletesKillNothing) {
        let to = left.end.min(left.start + at_once);
        let mut keys = Keys::new(deleted.width());
        keys.extend(&deleted, left.start..to);
        visit(&keys)?;
        (left.start, at_once) = (to, probed_keys(&keys));
    }
    Ok(())
}

/// How many keys as long as these are looked up at once.
fn probed_keys(keys: &Keys) -> usize {
    (PROBED_BYTES / (keys.size_bytes() / keys.len().max(1)).max(1)).clamp(1, PROBED_KEYS)
}

fn find(keys: &Keys, older: &[Arc<Run>], codec: &KeyCodec, dead: &mut BTreeMap<RunId, DeletionVector>) -> Result<()> {
    let mut probe = Probe::new(keys, (0..keys.len()).collect());
    for run in older {
        if probe.is_done() {
            break;
        }
        let mut rows = DeletionVector::default();
        probe.ask(run, codec, |_, row| {
            if let Some(row) = row {
                rows.insert(row);
            }
        })?;
        if !rows.is_empty() {
            dead.entry(run.id()).or_default().extend(&rows);
        }
    }
    Ok(())
}
