//! The rows of a key range in key order, either way.
//!
//! In: a snapshot, an interval of keys, columns, an order, a limit. Out: batches.
//! Invariants: keys alone decide which row is the newest, never deletion vectors. Who stops early has read little: a step
//! takes a part of the interval in which no source has more than so many keys, few at first, and only the rows that win
//! are read. What a step reads of all runs stays within [`STEP_BYTES`], about, unless a row of each has more; rows of
//! memtables are in memory as it is.
//! How: where a step ends is the nearest of the keys that lie so many keys away in their sources, so that going either
//! way takes the same few lines; there is no other state than what is left of the interval.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::error::{Damage, Error, Result};
use crate::memtable::chunk::ChunkView;
use crate::memtable::visible::VisibleChunk;
use crate::read::fetch::fetch;
use crate::read::locate::Place;
use crate::read::snapshot::{SCAN_BATCH_ROWS, TableSnapshot};
use crate::read::source::KeyInterval;
use crate::rows::change::DELETED;
use crate::rows::keys::{HeadedKey, Keys};
use crate::seeded::{SeededFault, makes};
use crate::sst::counts::ReadCounts;
use crate::sst::table_file::Access;
use crate::version::run::Run;

/// Keys of a source that the first step takes, at least.
const STEP_KEYS_MIN: usize = 64;
/// Keys of a source that the first step takes if no limit says how many rows are wanted: a short range is one step, which
/// goes once through its pages.
const STEP_KEYS_UNLIMITED: usize = 512;
/// Keys of a source that a step takes, at most: so many that a page is seldom decoded for more than one step.
const STEP_KEYS_MAX: usize = 65_536;
/// How much more each step takes than the one before.
const STEP_GROWTH: usize = 8;
/// Bytes of the rows that runs give to a step, about.
const STEP_BYTES: usize = 16 << 20;

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// The least key first.
    Ascending,
    /// The greatest key first.
    Descending,
}

/// What knows keys.
#[derive(Debug)]
enum KeySource {
    /// A chunk in memory.
    Chunk(ChunkView),
    /// The rows of a run, by its index in the version, and the bytes of one of them with its key, about.
    Rows(usize, Arc<Run>, usize),
    /// The keys that a run deletes.
    Deleted(Arc<Keys>),
}

/// The keys of a source in a part of the interval, and what they stand for.
enum PartKeys {
    Chunk(VisibleChunk, Range<usize>),
    Rows { run: usize, first: u64, keys: Keys },
    Deleted(Arc<Keys>, Range<usize>),
}

/// Rows in key order, as batches of the user's columns that are wanted.
#[derive(Debug)]
pub struct KeyRange {
    snapshot: TableSnapshot,
    /// Newest first.
    sources: Vec<KeySource>,
    /// What is left of the interval.
    left: Option<KeyInterval>,
    projection: Vec<usize>,
    order: KeyOrder,
    /// Rows that may still come.
    room: usize,
    step_keys: usize,
    step_keys_max: usize,
    /// Rows that were read and not given yet.
    ready: Option<RecordBatch>,
    counts: ReadCounts,
}

impl KeyRange {
    /// The rows of an interval.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; [`crate::error::Error::SnapshotTooOld`]; the disk's.
    pub fn new(
        snapshot: &TableSnapshot,
        interval: &KeyInterval,
        projection: &[usize],
        order: KeyOrder,
        limit: Option<usize>,
    ) -> Result<Self> {
        let sources = sources(snapshot, interval, projection)?;
        let room = limit.unwrap_or(usize::MAX);
        let row_bytes = sources.iter().map(KeySource::row_bytes).max().unwrap_or(0).max(1);
        let step_keys_max = (STEP_BYTES / row_bytes).clamp(1, STEP_KEYS_MAX);
        // Some keys more than rows are wanted: others may be superseded.
        let step_keys = limit.map_or(STEP_KEYS_UNLIMITED, |limit| limit.saturating_add(limit / 4).max(STEP_KEYS_MIN));
        Ok(Self {
            snapshot: snapshot.clone(),
            sources,
            left: (room > 0 && !interval.is_empty()).then(|| interval.clone()),
            projection: projection.to_vec(),
            order,
            room,
            step_keys: step_keys.min(step_keys_max),
            step_keys_max,
            ready: None,
            counts: ReadCounts::default(),
        })
    }

    /// What reading took so far.
    pub fn counts(&self) -> ReadCounts {
        self.counts
    }

    /// Reads the next part of the interval; `None` if nothing is left.
    fn step(&mut self) -> Result<Option<RecordBatch>> {
        let Some(left) = self.left.take() else { return Ok(None) };
        let (part, rest) = self.cut_within(left)?;
        let mut places = self.places(&part)?;
        if self.order == KeyOrder::Descending {
            places.reverse();
        }
        places.truncate(self.room);
        self.room -= places.len();
        self.left = rest.filter(|_| self.room > 0 && !makes(SeededFault::RangeEndsEarly));
        self.step_keys = self.step_keys.saturating_mul(STEP_GROWTH).min(self.step_keys_max);
        fetch(&self.snapshot, &places, &self.projection, Access::Range, &mut self.counts).map(Some)
    }

    /// As [`KeyRange::cut`]; where the parts that runs have of it are too much together, of fewer keys.
    fn cut_within(&mut self, left: KeyInterval) -> Result<(KeyInterval, Option<KeyInterval>)> {
        let row_bytes: usize = self.sources.iter().map(KeySource::row_bytes).sum();
        // What each of them has at most; most lie beside each other, and have no part of most steps.
        while self.step_keys > 1 && self.step_keys.saturating_mul(row_bytes) > STEP_BYTES {
            let (part, rest) = self.cut(left.clone())?;
            let mut bytes = 0;
            for source in &self.sources {
                bytes += source.part_bytes(&part)?;
            }
            if bytes <= STEP_BYTES {
                return Ok((part, rest));
            }
            self.step_keys = (self.step_keys / bytes.div_ceil(STEP_BYTES)).max(1);
        }
        self.cut(left)
    }

    /// The part of the interval that comes next, and what is left behind it.
    fn cut(&self, left: KeyInterval) -> Result<(KeyInterval, Option<KeyInterval>)> {
        let from_end = self.order == KeyOrder::Descending;
        let mut cuts = Vec::new();
        for source in &self.sources {
            cuts.extend(source.nth_key(&left, self.step_keys, from_end)?);
        }
        let cut = if from_end { cuts.into_iter().max() } else { cuts.into_iter().min() };
        let Some(cut) = cut else { return Ok((left, None)) };
        let KeyInterval { start, end } = left;
        Ok(if from_end {
            let part = KeyInterval { start: Bound::Excluded(cut.clone()), end };
            (part, Some(KeyInterval { start, end: Bound::Included(cut) }))
        } else {
            let part = KeyInterval { start, end: Bound::Excluded(cut.clone()) };
            (part, Some(KeyInterval { start: Bound::Included(cut), end }))
        })
    }

    /// Where the newest rows of a part are, in ascending order of their keys.
    fn places(&self, part: &KeyInterval) -> Result<Vec<Place>> {
        let mut parts = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let keys = source.keys(part)?;
            if keys.len() > 0 {
                parts.push(keys);
            }
        }
        if makes(SeededFault::RangePrefersOlder) {
            parts.reverse();
        }
        // On top the least key, of equal ones the newest.
        let mut heap: BinaryHeap<Reverse<(HeadedKey<'_>, usize, usize)>> =
            parts.iter().enumerate().map(|(rank, part)| Reverse((part.headed(0), rank, 0))).collect();
        let (mut places, mut last) = (Vec::with_capacity(parts.iter().map(PartKeys::len).sum()), None);
        while let Some(Reverse((key, rank, at))) = heap.pop() {
            let part = &parts[rank];
            let first = at + usize::from(last == Some(key));
            // All that come before the keys of the others.
            let end = heap.peek().map_or(part.len(), |Reverse((other, ..))| part.before(at + 1, *other));
            part.add_places(first..end, &mut places);
            last = Some(part.headed(end - 1));
            if end < part.len() {
                heap.push(Reverse((part.headed(end), rank, end)));
            }
        }
        Ok(places)
    }
}

impl Iterator for KeyRange {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.take() {
                let rows = ready.num_rows().min(SCAN_BATCH_ROWS);
                if rows < ready.num_rows() {
                    self.ready = Some(ready.slice(rows, ready.num_rows() - rows));
                }
                return Some(Ok(ready.slice(0, rows)));
            }
            match self.step() {
                Ok(None) => return None,
                Ok(Some(batch)) => self.ready = Some(batch).filter(|batch| batch.num_rows() > 0),
                Err(error) => {
                    self.left = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The sources that may know keys of an interval, newest first.
fn sources(snapshot: &TableSnapshot, interval: &KeyInterval, projection: &[usize]) -> Result<Vec<KeySource>> {
    let table = snapshot.table();
    let mut sources = Vec::new();
    for memtable in &table.memtables {
        sources.extend(memtable.chunks(snapshot.seq())?.into_iter().map(KeySource::Chunk));
    }
    for (index, run) in table.version.runs().iter().enumerate() {
        if !run.key_bounds().is_some_and(|bounds| interval.touches(bounds)) {
            continue;
        }
        if run.rows() > 0 {
            let key_bytes = run.meta().files.keys.bytes / run.rows();
            let row_bytes = run.sst().row_bytes(projection)? + usize::try_from(key_bytes).unwrap_or(0);
            sources.push(KeySource::Rows(index, run.clone(), row_bytes));
        }
        let deleted = run.deleted(&table.codec)?;
        if !deleted.is_empty() {
            sources.push(KeySource::Deleted(deleted));
        }
    }
    Ok(sources)
}

impl KeySource {
    /// Bytes that are read of a row, about.
    fn row_bytes(&self) -> usize {
        match self {
            Self::Rows(_, _, row_bytes) => *row_bytes,
            Self::Chunk(_) | Self::Deleted(_) => 0,
        }
    }

    /// Bytes that are read of its rows in a part, about, if all of them win.
    fn part_bytes(&self, part: &KeyInterval) -> Result<usize> {
        let Self::Rows(_, run, row_bytes) = self else { return Ok(0) };
        let rows = part.rows(run.sst().key_index())?;
        Ok(usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX).saturating_mul(*row_bytes))
    }

    /// A key before which, or behind which if `from_end`, so many of its keys lie in an interval.
    fn nth_key(&self, interval: &KeyInterval, count: usize, from_end: bool) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Chunk(chunk) => chunk.nth_key(interval.bounds(), count, from_end),
            Self::Deleted(keys) => {
                let positions = keys.within(interval.bounds());
                Ok(keys.nth(&positions, count, from_end).map(<[u8]>::to_vec))
            }
            Self::Rows(_, run, _) => {
                let mut rows = interval.rows(run.sst().key_index())?;
                let row = if from_end { rows.nth_back(count) } else { rows.nth(count) };
                let Some(row) = row else { return Ok(None) };
                let key = run.sst().key_index().read(row..row + 1)?.get(0).to_vec();
                if !interval.divides_at(&key, from_end) {
                    // Keys that do not ascend, though their checksums match: who went on from here would not end.
                    return Err(Error::corrupt(run.sst().key_index().path(), Damage::KeyOrder { row }));
                }
                Ok(Some(key))
            }
        }
    }

    /// Its keys in a part.
    fn keys(&self, part: &KeyInterval) -> Result<PartKeys> {
        Ok(match self {
            Self::Chunk(chunk) => {
                let (changes, positions) = chunk.within(part.bounds())?;
                PartKeys::Chunk(changes, positions)
            }
            Self::Deleted(keys) => PartKeys::Deleted(keys.clone(), keys.within(part.bounds())),
            Self::Rows(run, files, _) => {
                let rows = part.rows(files.sst().key_index())?;
                PartKeys::Rows { run: *run, first: rows.start, keys: files.sst().key_index().read(rows)? }
            }
        })
    }
}

impl PartKeys {
    /// Keys, and which of them are its own.
    fn keys(&self) -> (&Keys, Range<usize>) {
        match self {
            Self::Chunk(changes, positions) => (&changes.keys, positions.clone()),
            Self::Deleted(keys, positions) => (keys, positions.clone()),
            Self::Rows { keys, .. } => (keys, 0..keys.len()),
        }
    }

    fn len(&self) -> usize {
        self.keys().1.len()
    }

    fn headed(&self, at: usize) -> HeadedKey<'_> {
        let (keys, positions) = self.keys();
        keys.headed(positions.start + at)
    }

    /// How many of its keys are less than another, which is greater than those before `from`.
    fn before(&self, from: usize, key: HeadedKey<'_>) -> usize {
        let (keys, positions) = self.keys();
        let (Ok(place) | Err(place)) = keys.gallop(positions.start + from, key);
        place.min(positions.end) - positions.start
    }

    /// Adds where the rows of some of its keys are, those that are not deleted.
    fn add_places(&self, keys: Range<usize>, places: &mut Vec<Place>) {
        match self {
            Self::Chunk(changes, positions) => {
                let rows = keys.map(|at| changes.rows[positions.start + at]).filter(|row| *row != DELETED);
                places.extend(rows.map(|row| Place::Changes(changes.clone(), row)));
            }
            Self::Rows { run, first, .. } => places.extend(keys.map(|at| Place::Run(*run, first + at as u64))),
            Self::Deleted(..) => {}
        }
    }
}
