//! One sorted input of a merge, read block by block.
//!
//! In: memtable chunks, runs, deleted keys, spilled rows. Out: keys in order, and the batches that their rows lie in.
//! Invariants: keys ascend over all blocks of a cursor (strictly, but for spilled rows, where equal keys keep the
//! order of the input); a cursor that is not exhausted stands on a key. One that is asleep stands on a key from which on
//! its rows begin; it reads nothing, and holds nothing, until a merge gets there.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::deletion::vector::DeletionVector;
use crate::error::{Damage, Error, Result};
use crate::memtable::visible::VisibleChunk;
use crate::rows::canonical::kept_bytes;
use crate::rows::change::DELETED;
use crate::rows::keys::{HeadedKey, Keys};
use crate::sst::rows::SstRows;
use crate::version::run::Run;

/// Rows with their keys, which ascend.
#[derive(Debug)]
pub struct KeyedBatch {
    keys: Keys,
    batch: RecordBatch,
    rows: BlockRows,
}

impl KeyedBatch {
    /// All rows of a batch, and the key of each.
    pub fn all(keys: Keys, batch: RecordBatch) -> Self {
        Self { keys, batch, rows: BlockRows::Same }
    }
}

/// Batches in key order with their encoded keys.
pub trait KeyedBatches: Send {
    /// The next batch and its keys; `None` behind the last one.
    ///
    /// # Errors
    /// Whatever reading meets.
    fn next_keyed(&mut self) -> Result<Option<KeyedBatch>>;
}

/// What a cursor reads from.
enum Input {
    /// Everything is in the first block.
    Done,
    /// The rows of a run, not begun.
    Asleep(Asleep),
    /// More blocks follow.
    Batches(Box<dyn KeyedBatches>),
}

/// A run that is not read yet.
struct Asleep {
    run: Arc<Run>,
    dead: Arc<DeletionVector>,
    projection: Vec<usize>,
    batch_rows: usize,
}

/// How the rows of the current block are found.
#[derive(Debug)]
enum BlockRows {
    /// Key `i` belongs to row `i` of the batch.
    Same,
    /// Key `i` belongs to the row with this number; the batch has others, too.
    Listed(Vec<u32>),
    /// Key `i` is that of change `i` behind the given one, and belongs to its row, or is deleted.
    Mapped(VisibleChunk, usize),
    /// All keys are deleted.
    Deleted,
}

/// A position in one sorted input.
pub struct Cursor {
    input: Input,
    keys: Arc<Keys>,
    rows: BlockRows,
    batch: Option<Arc<RecordBatch>>,
    at: usize,
    end: usize,
    /// Bytes in memory of a row of the current block, on average.
    row_bytes: usize,
    /// Counts the blocks, so that the merge knows when the batch is another one.
    block: u64,
}

impl Cursor {
    /// The changes of a memtable chunk whose keys lie at `range`, rows projected to some stored columns.
    ///
    /// # Errors
    /// Arrow's, for a projection that does not fit.
    pub fn changes(chunk: &VisibleChunk, range: Range<usize>, projection: &[usize]) -> Result<Self> {
        let batch = Arc::new(chunk.batch.project(projection)?);
        // Sharing the chunk's keys would need a second reference type; a copy of 12-byte keys is cheap. But of no more
        // than the range: many parts of a scan are open beside each other.
        let mut keys = Keys::new(chunk.keys.width());
        keys.extend(&chunk.keys, range.clone());
        let (rows, row_bytes) = (BlockRows::Mapped(chunk.clone(), range.start), row_bytes(&batch));
        let (keys, batch, end) = (Arc::new(keys), Some(batch), range.len());
        Ok(Self { input: Input::Done, keys, rows, batch, at: 0, end, row_bytes, block: 0 })
    }

    /// Deleted keys at `range`.
    pub fn deleted(keys: Arc<Keys>, range: Range<usize>) -> Self {
        let (at, end) = (range.start, range.end);
        Self { input: Input::Done, keys, rows: BlockRows::Deleted, batch: None, at, end, row_bytes: 0, block: 0 }
    }

    /// Batches that come one after the other.
    ///
    /// # Errors
    /// Whatever reading the first batch meets.
    pub fn batches(batches: Box<dyn KeyedBatches>) -> Result<Self> {
        let mut cursor = Self {
            input: Input::Batches(batches),
            keys: Arc::new(Keys::new(None)),
            rows: BlockRows::Same,
            batch: None,
            at: 0,
            end: 0,
            row_bytes: 0,
            block: 0,
        };
        cursor.next_block()?;
        Ok(cursor)
    }

    /// The rows of a run at `range`, projected to some stored columns.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`], or the disk's.
    pub fn run(run: Arc<Run>, range: Range<u64>, projection: &[usize], batch_rows: usize) -> Result<Self> {
        if range == (0..run.rows()) {
            return Self::live_rows(run, Arc::default(), projection, batch_rows);
        }
        let rows = run.sst().rows(range.clone(), projection, batch_rows)?;
        Self::batches(Box::new(RunBatches { run, rows, at: range.start, dead: Arc::default() }))
    }

    /// The rows of a run that are not dead, projected to some stored columns.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`], or the disk's.
    pub fn live_rows(
        run: Arc<Run>,
        dead: Arc<DeletionVector>,
        projection: &[usize],
        batch_rows: usize,
    ) -> Result<Self> {
        // What the manifest says is no key yet, so it has no width.
        let mut first = Keys::new(None);
        let end = usize::from(run.meta().files.key_range.is_some());
        run.meta().files.key_range.iter().for_each(|keys| first.push(&keys.min));
        let mut cursor = Self::deleted(Arc::new(first), 0..end);
        cursor.input = Input::Asleep(Asleep { run, dead, projection: projection.to_vec(), batch_rows });
        Ok(cursor)
    }

    /// Begins to read if it has not; `true` then, and it may stand on a higher key, or on none.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`], or the disk's.
    pub fn wake(&mut self) -> Result<bool> {
        let Input::Asleep(Asleep { run, dead, projection, batch_rows }) = &self.input else { return Ok(false) };
        let (run, dead, first) = (run.clone(), dead.clone(), self.keys.clone());
        let rows = run.sst().rows(0..run.rows(), projection, *batch_rows)?;
        *self = Self::batches(Box::new(RunBatches { run: run.clone(), rows, at: 0, dead }))?;
        // A merge relies on what the manifest said.
        if !self.is_exhausted() && self.key() < first.get(0) {
            return Err(Error::corrupt(run.sst().sst().path(), Damage::KeyOrder { row: 0 }));
        }
        Ok(true)
    }

    /// Whether there is a key left.
    pub fn is_exhausted(&self) -> bool {
        self.at >= self.end
    }

    /// The key it stands on; panics if exhausted.
    pub fn key(&self) -> &[u8] {
        self.keys.get(self.at)
    }

    /// As [`Cursor::key`], with its head.
    pub fn headed(&self) -> HeadedKey<'_> {
        self.keys.headed(self.at)
    }

    /// Number of the current block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Bytes in memory of a row of the current block, on average.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The batch of the current block; `None` where all keys are deleted.
    pub fn batch(&self) -> Option<&Arc<RecordBatch>> {
        self.batch.as_ref()
    }

    /// Row of the current block's batch for the key at `index`, or `None` if it is deleted.
    pub fn row(&self, index: usize) -> Option<usize> {
        match &self.rows {
            BlockRows::Same => Some(index),
            BlockRows::Listed(rows) => Some(rows[index] as usize),
            BlockRows::Mapped(chunk, start) => {
                Some(chunk.rows[start + index]).filter(|row| *row != DELETED).map(|row| row as usize)
            }
            BlockRows::Deleted => None,
        }
    }

    /// The keys of the current block.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Where it stands in the current block.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The positions from here on, in this block, with keys below `bound`.
    pub fn below(&self, bound: Option<HeadedKey<'_>>) -> Range<usize> {
        let end = bound.map_or(self.end, |bound| match self.keys.gallop(self.at, bound) {
            Ok(index) | Err(index) => index.min(self.end),
        });
        self.at..end
    }

    /// Goes to a position of the current block, or to the next block if that is its end.
    ///
    /// # Errors
    /// Whatever reading the next block meets.
    pub fn advance_to(&mut self, at: usize) -> Result<()> {
        self.at = at;
        if self.at == self.end { self.next_block() } else { Ok(()) }
    }

    fn next_block(&mut self) -> Result<()> {
        let Input::Batches(batches) = &mut self.input else { return Ok(()) };
        while let Some(KeyedBatch { keys, batch, rows }) = batches.next_keyed()? {
            if keys.is_empty() {
                continue;
            }
            (self.at, self.end, self.rows) = (0, keys.len(), rows);
            self.keys = Arc::new(keys);
            self.row_bytes = row_bytes(&batch);
            self.batch = Some(Arc::new(batch));
            self.block += 1;
            return Ok(());
        }
        (self.input, self.batch) = (Input::Done, None);
        Ok(())
    }
}

/// Bytes in memory of a row, on average.
fn row_bytes(batch: &RecordBatch) -> usize {
    kept_bytes(batch.columns()) / batch.num_rows().max(1)
}

/// The rows of a run with the keys of its key index.
struct RunBatches {
    run: Arc<Run>,
    rows: SstRows,
    at: u64,
    /// Rows to leave out.
    dead: Arc<DeletionVector>,
}

impl KeyedBatches for RunBatches {
    fn next_keyed(&mut self) -> Result<Option<KeyedBatch>> {
        let Some(batch) = self.rows.next().transpose()? else { return Ok(None) };
        let end = self.at + batch.num_rows() as u64;
        let rows = self.at..end;
        let keys = self.run.sst().key_index().read(rows.clone())?;
        self.at = end;
        if self.dead.count_in(&rows) == 0 {
            return Ok(Some(KeyedBatch::all(keys, batch)));
        }
        let live = self.dead.live(rows);
        let kept: Vec<u32> = live.set_indices().filter_map(|index| u32::try_from(index).ok()).collect();
        let keys = keys.take(&kept);
        // Whoever merges copies what it picks: a copy before that pays only where it gives much memory back.
        if kept.len() >= batch.num_rows() / 2 {
            return Ok(Some(KeyedBatch { keys, batch, rows: BlockRows::Listed(kept) }));
        }
        Ok(Some(KeyedBatch::all(keys, filter_record_batch(&batch, &BooleanArray::new(live, None))?)))
    }
}
