//! How to scan a table: which rows of its runs are live, which rows lie in memory alone.
//!
//! In: a snapshot. Out: a [`ScanPlan`], whose parts are disjoint in keys and together hold every row once.
//! Invariants: every key of a memtable that the snapshot sees is looked up in every run before a plan is there, so the
//! rows of a run but for its dead ones are live, and any reader of Parquet may read them. Only rows in memory are merged;
//! a merge is cut into key intervals that can be read side by side.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};

use crate::deletion::vector::DeletionVector;
use crate::error::Result;
use crate::memtable::visible::VisibleChunk;
use crate::read::merge::Merge;
use crate::read::resolve::rows_with_keys;
use crate::read::snapshot::{SCAN_BATCH_ROWS, Scan, TableSnapshot, merged_batch_rows};
use crate::read::source::{KeyInterval, Source};
use crate::rows::change::DELETED;
use crate::seeded::{SeededFault, makes};
use crate::version::run::Run;

/// A merge of fewer keys than this is not cut.
const MERGE_KEYS_MIN: u64 = 131_072;

/// How to scan a table.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// The runs that have live rows, newest first.
    pub runs: Vec<LiveRun>,
    /// Number of runs without a live row.
    pub skipped: usize,
    /// Number of keys in memory that were looked up in runs for this plan.
    pub resolved_keys: u64,
    /// Live rows of memtables that overlap nothing in memory: stored columns, each batch in key order.
    pub memory: Vec<RecordBatch>,
    /// Key intervals of memtables to merge, in key order within each overlap.
    pub merged: Vec<MergePart>,
}

/// A run and its dead rows, of which it has others.
#[derive(Clone, Debug)]
pub struct LiveRun {
    /// The run.
    pub run: Arc<Run>,
    /// Its dead rows.
    pub dead: Arc<DeletionVector>,
}

impl LiveRun {
    /// Number of its live rows.
    pub fn live_rows(&self) -> u64 {
        self.run.rows() - self.dead.len()
    }

    /// Its live rows in key order, projected to some stored columns (by index, ascending).
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn open(&self, projection: &[usize], batch_rows: usize) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let (dead, mut at) = (self.dead.clone(), 0);
        let rows = self.run.sst().rows(0..self.run.rows(), projection, batch_rows)?;
        Ok(rows.map(move |batch| {
            let batch = batch?;
            let rows = at..at + batch.num_rows() as u64;
            at = rows.end;
            Ok(filter_record_batch(&batch, &BooleanArray::new(dead.live(rows), None))?)
        }))
    }

    /// Whether all of its rows are live.
    pub fn is_clean(&self) -> bool {
        self.dead.is_empty()
    }
}

/// One key interval of chunks that overlap.
#[derive(Clone, Debug)]
pub struct MergePart {
    snapshot: TableSnapshot,
    sources: Vec<Source>,
}

impl ScanPlan {
    /// Plans a scan; a merge is cut into about `partitions` parts. Cost: changes in the active memtable are sorted; keys
    /// in memory are looked up in the runs, those of a frozen chunk once for each run.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn new(snapshot: &TableSnapshot, partitions: usize) -> Result<Self> {
        let chunks = snapshot.chunks()?;
        let mut plan = Self { runs: Vec::new(), skipped: 0, resolved_keys: 0, memory: Vec::new(), merged: Vec::new() };
        let version = &snapshot.table().version;
        for (run, dead) in version.runs().iter().zip(version.dead()) {
            let dead = plan.all_dead(run, dead, &chunks)?;
            let live = LiveRun { run: run.clone(), dead };
            if live.live_rows() > 0 {
                plan.runs.push(live);
            } else if run.rows() > 0 {
                plan.skipped += 1;
            }
        }
        for overlap in overlaps(chunks) {
            match overlap.as_slice() {
                [chunk] => plan.memory.extend(live_rows(chunk, &(0..chunk.keys.len()))?),
                _ => plan.merged.extend(cut(snapshot, overlap, partitions)?),
            }
        }
        Ok(plan)
    }

    /// The dead rows of a run, those that changes in memory supersede among them.
    fn all_dead(
        &mut self,
        run: &Arc<Run>,
        dead: &Arc<DeletionVector>,
        chunks: &[VisibleChunk],
    ) -> Result<Arc<DeletionVector>> {
        let mut all = dead.clone();
        let chunks = if makes(SeededFault::MemoryNotResolved) { &[][..] } else { chunks };
        for chunk in chunks {
            let (rows, is_new) = chunk.superseded_in(run.id(), || rows_with_keys(&chunk.keys, run))?;
            if is_new {
                self.resolved_keys += chunk.keys.len() as u64;
            }
            if !rows.is_empty() {
                Arc::make_mut(&mut all).extend(&rows);
            }
        }
        Ok(all)
    }

    /// The rows, projected to some stored columns (by index, ascending), in no order.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn open(&self, projection: &[usize]) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let runs = self.runs.iter().map(|run| run.open(projection, SCAN_BATCH_ROWS)).collect::<Result<Vec<_>>>()?;
        let merged = self.merged.iter().map(|part| part.open(projection)).collect::<Result<Vec<_>>>()?;
        let memory = self.memory.iter().map(|batch| Ok(batch.project(projection)?)).collect::<Vec<_>>();
        Ok(runs.into_iter().flatten().chain(memory).chain(merged.into_iter().flatten()))
    }

    /// Exact number of rows, if no merge is needed to know it.
    pub fn row_count(&self) -> Option<u64> {
        let runs: u64 = self.runs.iter().map(LiveRun::live_rows).sum();
        let memory: u64 = self.memory.iter().map(|batch| batch.num_rows() as u64).sum();
        self.merged.is_empty().then_some(runs + memory)
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
        self.sources.iter().map(Source::len).sum()
    }

    /// Number of sources that are merged.
    pub fn fan_in(&self) -> usize {
        self.sources.len()
    }
}

/// Chunks that overlap: their last key, and each with its place among all.
struct Overlap {
    last: Vec<u8>,
    chunks: Vec<(usize, VisibleChunk)>,
}

/// Groups chunks, which come newest first, whose key bounds overlap, directly or through others; newest first within a
/// group.
fn overlaps(chunks: Vec<VisibleChunk>) -> Vec<Vec<VisibleChunk>> {
    let bounds = |chunk: &VisibleChunk| Some((chunk.keys.first()?.to_vec(), chunk.keys.last()?.to_vec()));
    let mut bounded: Vec<_> = (chunks.into_iter().enumerate())
        .filter_map(|(place, chunk)| bounds(&chunk).map(|(min, max)| (min, max, place, chunk)))
        .collect();
    bounded.sort_by(|a, b| a.0.cmp(&b.0));
    let mut overlaps: Vec<Overlap> = Vec::new();
    for (min, max, place, chunk) in bounded {
        match overlaps.last_mut().filter(|overlap| min <= overlap.last) {
            Some(overlap) => {
                overlap.last = max.max(std::mem::take(&mut overlap.last));
                overlap.chunks.push((place, chunk));
            }
            None => overlaps.push(Overlap { last: max, chunks: vec![(place, chunk)] }),
        }
    }
    let in_order = |mut overlap: Overlap| {
        overlap.chunks.sort_by_key(|(place, _)| *place);
        overlap.chunks.into_iter().map(|(_, chunk)| chunk).collect()
    };
    overlaps.into_iter().map(in_order).collect()
}

/// The rows of a part of a chunk that no other one overlaps, in key order.
fn live_rows(chunk: &VisibleChunk, keys: &Range<usize>) -> Result<Option<RecordBatch>> {
    let rows: Vec<u32> = chunk.rows[keys.clone()].iter().copied().filter(|row| *row != DELETED).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let in_order = rows.len() == chunk.batch.num_rows() && rows.is_sorted();
    let batch = if in_order { chunk.batch.clone() } else { take_record_batch(&chunk.batch, &UInt32Array::from(rows))? };
    Ok(Some(batch))
}

/// Cuts chunks that overlap into key intervals with about as many keys each, at keys of the largest one.
fn cut(snapshot: &TableSnapshot, chunks: Vec<VisibleChunk>, partitions: usize) -> Result<Vec<MergePart>> {
    let source = |chunk: VisibleChunk| {
        let all = 0..chunk.keys.len();
        Source::Changes(chunk, all)
    };
    let sources: Vec<Source> = chunks.into_iter().map(source).collect();
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
