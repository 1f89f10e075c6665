//! Many sorted inputs as one.
//!
//! In: cursors, the ones that win first. Out: blocks of rows in key order.
//! Invariants: with [`Equal::First`] each key comes out once, as the first cursor that knows it has it, or not at all
//! if that says it is deleted: merge-on-read. With [`Equal::All`] rows with one key come out in cursor order.
//! How: the cursors are in a binary heap by (key, rank). The one on top gives all its keys below the next one's key
//! at once, found by galloping, so inputs that hardly overlap are copied in long stretches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use rayon::ThreadPool;

use crate::error::Result;
use crate::read::cursor::Cursor;
use crate::rows::interleave::interleave;
use crate::rows::keys::{Head, Keys};
use crate::seeded::{SeededFault, makes};

/// Rows of a block that is written to a run or a spill.
const BLOCK_ROWS: usize = 8192;
/// Bytes of a block, about, where there is memory for them.
pub const BLOCK_BYTES: usize = 4 << 20;

/// What becomes of rows with equal keys in several inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equal {
    /// The first cursor's change counts.
    First,
    /// All rows come out.
    All,
}

/// How to merge.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// Schema of the rows that the cursors give.
    pub schema: SchemaRef,
    /// Rows of a block, at most.
    pub batch_rows: usize,
    /// Bytes of a block, about, unless a single row has more.
    pub block_bytes: usize,
    /// What becomes of equal keys.
    pub equal: Equal,
    /// Whether blocks carry keys and deleted keys; a scan needs neither.
    pub with_keys: bool,
    /// Common width of the keys.
    pub key_width: Option<usize>,
    /// Where columns are copied side by side; without it they are copied by the thread that asks.
    pub pool: Option<Arc<ThreadPool>>,
}

impl MergeOptions {
    /// Blocks with keys and deleted keys, for whoever writes them.
    pub fn keyed(schema: SchemaRef, key_width: Option<usize>, equal: Equal) -> Self {
        let (batch_rows, block_bytes) = (BLOCK_ROWS, BLOCK_BYTES);
        Self { schema, batch_rows, block_bytes, equal, with_keys: true, key_width, pool: None }
    }
}

/// Rows in key order.
#[derive(Debug)]
pub struct MergeBlock {
    /// The rows.
    pub batch: RecordBatch,
    /// Their keys, if asked for.
    pub keys: Keys,
    /// Keys that come out deleted, if asked for; they lie between the keys of this block and the last one.
    pub deleted: Keys,
}

/// The merge of some cursors.
pub struct Merge {
    cursors: Vec<Cursor>,
    /// Indexes of the cursors that are not exhausted; the smallest (key, index) on top.
    heap: Vec<usize>,
    /// For each cursor in the heap the head of the key that it stands on.
    heads: Vec<Head>,
    options: MergeOptions,
    block: BlockBuilder,
}

/// The block being gathered.
struct BlockBuilder {
    buffers: Vec<Arc<RecordBatch>>,
    /// For each cursor the block it was in and the buffer that is.
    buffer_of: Vec<Option<(u64, usize)>>,
    picks: Vec<(usize, usize)>,
    /// Bytes of the rows picked.
    bytes: usize,
    /// Bytes of batches that no cursor stands on any more and of which rows were picked, perhaps only a few.
    passed_bytes: usize,
    keys: Keys,
    deleted: Keys,
}

impl BlockBuilder {
    /// A block for the rows of some cursors, about as many as `rows`.
    fn new(cursors: usize, key_width: Option<usize>, rows: usize) -> Self {
        let (keys, deleted) = (Keys::new(key_width), Keys::new(key_width));
        Self {
            buffers: Vec::new(),
            buffer_of: vec![None; cursors],
            picks: Vec::with_capacity(rows),
            bytes: 0,
            passed_bytes: 0,
            keys,
            deleted,
        }
    }

    /// Index of the buffer that holds a cursor's current batch.
    fn buffer(&mut self, index: usize, cursor: &Cursor) -> usize {
        if let Some((block, buffer)) = self.buffer_of[index]
            && block == cursor.block()
        {
            return buffer;
        }
        if self.buffer_of[index].is_some() {
            self.passed_bytes += cursor.row_bytes() * cursor.batch().map_or(0, |batch| batch.num_rows());
        }
        let buffer = self.buffers.len();
        self.buffers.extend(cursor.batch().cloned());
        self.buffer_of[index] = Some((cursor.block(), buffer));
        buffer
    }
}

impl Merge {
    /// Merges cursors; of equal keys the one of the cursor that is given first comes first.
    pub fn new(cursors: Vec<Cursor>, options: MergeOptions) -> Self {
        let heap: Vec<usize> = (0..cursors.len()).filter(|index| !cursors[*index].is_exhausted()).collect();
        let block = BlockBuilder::new(cursors.len(), options.key_width, 0);
        let mut heads = vec![0; cursors.len()];
        heap.iter().for_each(|index| heads[*index] = cursors[*index].headed().head);
        let mut merge = Self { cursors, heap, heads, options, block };
        for position in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(position);
        }
        merge
    }

    /// The next block; `None` at the end. A block may hold deleted keys only.
    ///
    /// # Errors
    /// Whatever reading meets.
    pub fn next_block(&mut self) -> Result<Option<MergeBlock>> {
        while !self.heap.is_empty() && self.room(0) > 0 {
            self.step()?;
        }
        if self.block.picks.is_empty() && self.block.deleted.is_empty() {
            return Ok(None);
        }
        let next = BlockBuilder::new(self.cursors.len(), self.options.key_width, self.block.picks.len());
        let block = std::mem::replace(&mut self.block, next);
        let batch = gather(&self.options, &block.buffers, &block.picks)?;
        Ok(Some(MergeBlock { batch, keys: block.keys, deleted: block.deleted }))
    }

    /// How many rows of some bytes the block still takes.
    fn room(&self, row_bytes: usize) -> usize {
        let block = &self.block;
        let rows = self.options.batch_rows.saturating_sub(block.picks.len() + block.deleted.len());
        let bytes = self.options.block_bytes.saturating_sub(block.bytes);
        let is_full = bytes == 0 || block.passed_bytes > self.options.block_bytes;
        if is_full { 0 } else { rows.min(bytes / row_bytes.max(1)) }
    }

    /// Takes the keys of the top cursor that come before all others; then settles a key that others have as well.
    fn step(&mut self) -> Result<()> {
        let top = self.heap[0];
        if self.cursors[top].wake()? {
            self.settle_top();
            return Ok(());
        }
        let next = self.runner_up();
        let cursor = &self.cursors[top];
        let mut range = cursor.below(next.map(|next| self.cursors[next].headed()));
        let tied = range.is_empty();
        if tied {
            range = cursor.at()..cursor.at() + 1;
        }
        let room = self.room(cursor.row_bytes());
        range.end = range.end.min(range.start + room.max(1));
        if tied && self.options.equal == Equal::First {
            return self.settle(top);
        }
        self.pick(top, range.clone());
        self.cursors[top].advance_to(range.end)?;
        self.settle_top();
        Ok(())
    }

    /// Takes the top cursor's change of a key and passes the key by in all others.
    fn settle(&mut self, top: usize) -> Result<()> {
        let at = self.cursors[top].at();
        self.pick(top, at..at + 1);
        let key = self.cursors[top].key().to_vec();
        while let Some(index) = self.heap.first().copied() {
            if self.cursors[index].key() != key {
                break;
            }
            if self.cursors[index].wake()? {
                self.settle_top();
                continue;
            }
            let next = self.cursors[index].at() + 1;
            self.cursors[index].advance_to(next)?;
            self.settle_top();
        }
        Ok(())
    }

    fn pick(&mut self, index: usize, range: std::ops::Range<usize>) {
        let cursor = &self.cursors[index];
        self.block.bytes += range.len() * cursor.row_bytes();
        for at in range {
            match cursor.row(at) {
                Some(row) => {
                    let buffer = self.block.buffer(index, cursor);
                    self.block.picks.push((buffer, row));
                    if self.options.with_keys {
                        self.block.keys.push(cursor.keys().get(at));
                    }
                }
                None if self.options.with_keys => self.block.deleted.push(cursor.keys().get(at)),
                None => {}
            }
        }
    }

    /// The cursor that comes after the one on top.
    fn runner_up(&self) -> Option<usize> {
        match (self.heap.get(1), self.heap.get(2)) {
            (Some(left), Some(right)) => Some(if self.less(*left, *right) { *left } else { *right }),
            (left, _) => left.copied(),
        }
    }

    fn less(&self, a: usize, b: usize) -> bool {
        let (first, second) = if makes(SeededFault::MergePrefersOlder) { (b, a) } else { (a, b) };
        let heads = self.heads[a].cmp(&self.heads[b]);
        heads.then_with(|| self.cursors[a].key().cmp(self.cursors[b].key())).then(first.cmp(&second)).is_lt()
    }

    /// Restores the heap after the cursor on top moved.
    fn settle_top(&mut self) {
        let top = self.heap[0];
        if self.cursors[top].is_exhausted() {
            self.heap.swap_remove(0);
        } else {
            self.heads[top] = self.cursors[top].headed().head;
        }
        if !self.heap.is_empty() {
            self.sift_down(0);
        }
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let mut least = position;
            for child in [2 * position + 1, 2 * position + 2] {
                if child < self.heap.len() && self.less(self.heap[child], self.heap[least]) {
                    least = child;
                }
            }
            if least == position {
                return;
            }
            self.heap.swap(position, least);
            position = least;
        }
    }
}

/// The picked rows as one batch; without a copy where they lie together already.
fn gather(options: &MergeOptions, buffers: &[Arc<RecordBatch>], picks: &[(usize, usize)]) -> Result<RecordBatch> {
    let Some((buffer, first)) = picks.first().copied() else {
        return Ok(RecordBatch::new_empty(options.schema.clone()));
    };
    if picks.iter().enumerate().all(|(index, pick)| *pick == (buffer, first + index)) {
        return Ok(buffers[buffer].slice(first, picks.len()));
    }
    let buffers: Vec<&RecordBatch> = buffers.iter().map(AsRef::as_ref).collect();
    interleave(&options.schema, &buffers, picks, options.pool.as_deref())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::Schema;

    use crate::read::cursor::{KeyedBatch, KeyedBatches};

    use super::*;

    #[test]
    fn a_block_has_no_more_entries_than_it_may_be_they_rows_or_deleted_keys() {
        let mut keys = Keys::new(Some(8));
        (0..20_000_u64).for_each(|key| keys.push(&key.to_be_bytes()));
        let cursors = vec![Cursor::deleted(Arc::new(keys), 0..20_000)];
        let options = MergeOptions::keyed(Arc::new(Schema::empty()), Some(8), Equal::First);
        let mut merge = Merge::new(cursors, options);
        let mut sizes = Vec::new();
        while let Some(block) = merge.next_block().unwrap() {
            sizes.push(block.deleted.len());
        }
        assert_eq!(sizes, [BLOCK_ROWS, BLOCK_ROWS, 20_000 - 2 * BLOCK_ROWS]);
    }

    /// One batch.
    struct Once(Option<KeyedBatch>);

    impl KeyedBatches for Once {
        fn next_keyed(&mut self) -> Result<Option<KeyedBatch>> {
            Ok(self.0.take())
        }
    }

    #[test]
    fn a_block_has_no_more_bytes_than_it_may_unless_a_single_row_has() {
        let mut keys = Keys::new(Some(8));
        (0..100_u64).for_each(|key| keys.push(&key.to_be_bytes()));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|_| "x".repeat(1 << 10))));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        for (block_bytes, rows) in [(10 << 10, 10), (100, 1)] {
            let cursor = Cursor::batches(Box::new(Once(Some(KeyedBatch::all(keys.clone(), batch.clone()))))).unwrap();
            let options = MergeOptions::keyed(batch.schema(), Some(8), Equal::All);
            let mut merge = Merge::new(vec![cursor], MergeOptions { block_bytes, ..options });
            let mut sizes = Vec::new();
            while let Some(block) = merge.next_block().unwrap() {
                sizes.push(block.batch.num_rows());
            }
            assert_eq!(sizes.iter().sum::<usize>(), 100, "{block_bytes}");
            assert!(sizes.iter().all(|size| *size <= rows) && sizes[0] > rows / 2, "{block_bytes}: {sizes:?}");
        }
    }
}
