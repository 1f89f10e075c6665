//! How to scan a table: which runs are clean, which rows lie in memory alone, what must be merged.
//!
//! In: a snapshot. Out: a [`ScanPlan`], whose parts are disjoint in keys and together hold every row once.
//! Invariants: a run is clean only if nothing else in the snapshot, memtables and deleted keys included, lies within
//! its key bounds: then each of its rows is live, and any reader of Parquet may read it. What overlaps is merged;
//! a merge is cut into key intervals that can be read side by side.

use std::ops::{Bound, Range};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::error::Result;
use crate::memtable::table::VisibleChunk;
use crate::read::merge::Merge;
use crate::read::snapshot::{Scan, TableSnapshot, merged_batch_rows};
use crate::read::source::{KeyInterval, Source};
use crate::rows::change::DELETED;
use crate::version::run::Run;

/// A merge of fewer keys than this is not cut.
const MERGE_KEYS_MIN: u64 = 131_072;

/// How to scan a table.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// Runs all of whose rows are live, in key order.
    pub clean: Vec<Arc<Run>>,
    /// Live rows of memtables that overlap nothing: stored columns, each batch in key order.
    pub memory: Vec<RecordBatch>,
    /// Key intervals to merge, in key order within each overlap.
    pub merged: Vec<MergePart>,
}

/// One key interval of sources that overlap.
#[derive(Clone, Debug)]
pub struct MergePart {
    snapshot: TableSnapshot,
    sources: Vec<Source>,
}

/// Sources, or parts of sources, that lie in one interval of keys.
struct Overlap {
    /// Place of each in the order of sources, and the source.
    sources: Vec<(usize, Source)>,
}

impl ScanPlan {
    /// Plans a scan; a merge is cut into about `partitions` parts. Cost: memtable rows are sorted; of the runs only
    /// key bounds are looked at, and a few key blocks where a merge is cut.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn new(snapshot: &TableSnapshot, partitions: usize) -> Result<Self> {
        let mut plan = Self { clean: Vec::new(), memory: Vec::new(), merged: Vec::new() };
        let sources = Source::all(snapshot.table(), snapshot.seq())?;
        for overlap in overlaps(sources)? {
            match overlap.sources.as_slice() {
                [(_, Source::Rows(run, _))] => plan.clean.push(run.clone()),
                [(_, Source::Deleted(..))] => {}
                [(_, Source::Changes(chunk, keys))] => plan.memory.extend(live_rows(chunk, keys)?),
                _ => plan.merged.extend(cut(snapshot, overlap, partitions)?),
            }
        }
        Ok(plan)
    }

    /// Exact number of rows, if no merge is needed to know it.
    pub fn row_count(&self) -> Option<u64> {
        let clean: u64 = self.clean.iter().map(|run| run.rows()).sum();
        let memory: u64 = self.memory.iter().map(|batch| batch.num_rows() as u64).sum();
        self.merged.is_empty().then_some(clean + memory)
    }
}

impl MergePart {
    /// The live rows of the interval in key order, projected to some stored columns (by index, ascending).
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn open(&self, projection: &[usize]) -> Result<Scan> {
        let batch_rows = merged_batch_rows(self.sources.len());
        let open = |source: &Source| source.clone().open(projection, batch_rows);
        let cursors = self.sources.iter().map(open).collect::<Result<_>>()?;
        Ok(Scan::new(Merge::new(cursors, self.snapshot.merge_options(projection)?)))
    }

    /// More rows than it has, or as many.
    pub fn row_count_max(&self) -> u64 {
        let rows = self.sources.iter().filter(|source| !matches!(source, Source::Deleted(..)));
        rows.map(Source::len).sum()
    }

    /// Number of sources that are merged.
    pub fn fan_in(&self) -> usize {
        self.sources.len()
    }
}

/// Groups runs whose key bounds overlap, directly or through others, and adds to each group, and to each gap between
/// two, the keys of memtables and the deleted keys that lie in it. In key order.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
fn overlaps(sources: Vec<Source>) -> Result<Vec<Overlap>> {
    let (rows, others): (Vec<_>, Vec<_>) =
        sources.into_iter().enumerate().partition(|(_, source)| matches!(source, Source::Rows(..)));
    let groups = run_groups(rows);
    let mut overlaps = Vec::with_capacity(2 * groups.len() + 1);
    let mut start = Bound::Unbounded;
    for (min, max, rows) in groups {
        let gap = KeyInterval { start, end: Bound::Excluded(min.clone()) };
        overlaps.push(Overlap { sources: parts(&others, &gap)? });
        let group = KeyInterval { start: Bound::Included(min), end: Bound::Included(max.clone()) };
        let mut sources = parts(&others, &group)?;
        sources.extend(rows);
        sources.sort_by_key(|(place, _)| *place);
        overlaps.push(Overlap { sources });
        start = Bound::Excluded(max);
    }
    overlaps.push(Overlap { sources: parts(&others, &KeyInterval { start, end: Bound::Unbounded })? });
    overlaps.retain(|overlap| !overlap.sources.is_empty());
    Ok(overlaps)
}

/// First key, last key and rows of runs that overlap, directly or through others; in key order.
type RunGroup = (Vec<u8>, Vec<u8>, Vec<(usize, Source)>);

fn run_groups(rows: Vec<(usize, Source)>) -> Vec<RunGroup> {
    let mut bounded: Vec<_> = (rows.into_iter())
        .filter_map(|(place, source)| {
            let Source::Rows(run, _) = &source else { return None };
            let range = run.meta().files.key_range.clone()?;
            Some((range.min, range.max, (place, source)))
        })
        .collect();
    bounded.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups: Vec<RunGroup> = Vec::new();
    for (min, max, source) in bounded {
        match groups.last_mut().filter(|(_, last, _)| min <= *last) {
            Some((_, last, sources)) => {
                *last = max.max(std::mem::take(last));
                sources.push(source);
            }
            None => groups.push((min, max, vec![source])),
        }
    }
    groups
}

/// The parts of some sources in an interval.
fn parts(sources: &[(usize, Source)], interval: &KeyInterval) -> Result<Vec<(usize, Source)>> {
    let mut parts = Vec::new();
    for (place, source) in sources {
        parts.extend(source.clone().within(interval)?.map(|part| (*place, part)));
    }
    Ok(parts)
}

/// The rows of a part of a chunk that no other source overlaps, in key order.
fn live_rows(chunk: &VisibleChunk, keys: &Range<usize>) -> Result<Option<RecordBatch>> {
    let rows: Vec<u32> = chunk.rows[keys.clone()].iter().copied().filter(|row| *row != DELETED).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let in_order = rows.len() == chunk.batch.num_rows() && rows.is_sorted();
    let batch = if in_order { chunk.batch.clone() } else { take_record_batch(&chunk.batch, &UInt32Array::from(rows))? };
    Ok(Some(batch))
}

/// Cuts an overlap into key intervals with about as many keys each, at keys of its largest source.
fn cut(snapshot: &TableSnapshot, overlap: Overlap, partitions: usize) -> Result<Vec<MergePart>> {
    let sources: Vec<Source> = overlap.sources.into_iter().map(|(_, source)| source).collect();
    let total: u64 = sources.iter().map(Source::len).sum();
    let parts = (total / MERGE_KEYS_MIN).clamp(1, partitions.max(1) as u64);
    let mut cuts = Vec::new();
    if let Some(largest) = sources.iter().max_by_key(|source| source.len()) {
        for part in 1..parts {
            cuts.push(largest.key_at(largest.len() * part / parts)?);
        }
    }
    let mut merged = Vec::new();
    for interval in KeyInterval::between(&cuts) {
        let mut within = Vec::new();
        for source in &sources {
            within.extend(source.clone().within(&interval)?);
        }
        if !within.is_empty() {
            merged.push(MergePart { snapshot: snapshot.clone(), sources: within });
        }
    }
    Ok(merged)
}
