//! The memtable: chunks of changes in sequence order.
//!
//! In: [`SortedChanges`] of one table, applied by one writer in sequence order. Out: the newest visible change of a
//! key, and all visible changes as sorted chunks, newest first.
//! Invariants: a chunk's sequence numbers are all higher than those of the chunks before it, so the newest chunk that
//! knows a key has its newest change. Large changes are kept as they arrived, as a chunk of their own; small ones go
//! to a [`RowChunk`] until it is full. A frozen memtable never changes.

use std::sync::{Arc, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::id::SeqNo;
use crate::memtable::chunk::ChunkView;
use crate::memtable::row_chunk::RowChunk;
use crate::memtable::visible::{VisibleChanges, VisibleChunk};
use crate::rows::change::{ROW_FORM_ROWS_MAX, SortedChanges};
use crate::rows::row_form::RowForm;
use crate::rows::schema::TableSchema;
use crate::seeded::{SeededFault, makes};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A row chunk with this many changes is full.
const ROW_CHUNK_ROWS_MAX: usize = 65_536;
/// A row chunk with this many bytes is full: with those of one more batch it is read as arrays of less than 2 GiB.
const ROW_CHUNK_BYTES_MAX: usize = 256 << 20;

/// Some changes with consecutive sequence numbers.
#[derive(Clone, Debug)]
enum Chunk {
    /// Small changes, added one after the other.
    Rows { first: SeqNo, chunk: Arc<RowChunk>, sealed_at: Option<SeqNo> },
    /// One large change.
    Columns { seq: SeqNo, changes: VisibleChunk },
}

/// Changes to one table that are in no run yet.
#[derive(Debug)]
pub struct Memtable {
    form: RowForm,
    key_width: Option<usize>,
    /// Oldest first.
    chunks: RwLock<Vec<Chunk>>,
    size_bytes: AtomicUsize,
    changes: AtomicU64,
    /// Set when its changes were given up, to the limit in bytes that was exceeded.
    expired: OnceLock<usize>,
    /// First and last sequence number; 0 where there is none yet.
    first_seq: AtomicU64,
    last_seq: AtomicU64,
}

impl Memtable {
    /// A memtable without changes.
    ///
    /// # Errors
    /// None in practice: the schema was checked when the table was made.
    pub fn new(schema: &TableSchema, key_width: Option<usize>) -> Result<Self> {
        Ok(Self {
            form: RowForm::new(schema.stored().clone())?,
            key_width,
            chunks: RwLock::new(Vec::new()),
            size_bytes: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            expired: OnceLock::new(),
            first_seq: AtomicU64::new(0),
            last_seq: AtomicU64::new(0),
        })
    }

    /// Bytes in memory, about.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Changes, those included that newer ones supersede.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Gives its changes up, which are in runs by now, because snapshots that need them keep more than `limit` bytes.
    /// Who reads them from now on gets [`Error::SnapshotTooOld`].
    pub fn expire(&self, limit: usize) {
        let _ = self.expired.set(limit);
        self.chunks.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Refuses to read for a snapshot at `seq` if changes that it sees were given up.
    fn check_kept(&self, seq: SeqNo) -> Result<()> {
        match self.expired.get() {
            Some(limit) if self.seq_range().is_some_and(|(first, _)| first <= seq) => {
                Err(Error::SnapshotTooOld { seq, bytes: self.size_bytes(), limit: *limit })
            }
            _ => Ok(()),
        }
    }

    /// First and last sequence number of its changes; `None` if there are none.
    pub fn seq_range(&self) -> Option<(SeqNo, SeqNo)> {
        let first = self.first_seq.load(Ordering::Acquire);
        (first != 0).then(|| (SeqNo(first), SeqNo(self.last_seq.load(Ordering::Acquire))))
    }

    /// Applies changes at a sequence number higher than all before. Only the writer calls this.
    ///
    /// # Errors
    /// Arrow's, where a row cannot be encoded; then nothing of the change is visible to anyone.
    pub fn apply(&self, seq: SeqNo, changes: SortedChanges) -> Result<()> {
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        let count = changes.keys.len() as u64;
        if changes.keys.len() > ROW_FORM_ROWS_MAX {
            seal_last(&mut chunks, seq);
            self.size_bytes.fetch_add(changes.size_bytes(), Ordering::Relaxed);
            chunks.push(Chunk::Columns { seq, changes: VisibleChanges::new(changes) });
        } else {
            let chunk = self.open_row_chunk(&mut chunks, seq);
            let before = chunk.size_bytes();
            chunk.insert(seq, &changes)?;
            self.size_bytes.fetch_add(chunk.size_bytes() - before, Ordering::Relaxed);
        }
        self.changes.fetch_add(count, Ordering::Relaxed);
        let _ = self.first_seq.compare_exchange(0, seq.0, Ordering::Release, Ordering::Relaxed);
        self.last_seq.store(seq.0, Ordering::Release);
        Ok(())
    }

    /// The row chunk that takes the next small change.
    fn open_row_chunk(&self, chunks: &mut Vec<Chunk>, seq: SeqNo) -> Arc<RowChunk> {
        match chunks.last() {
            Some(Chunk::Rows { chunk, sealed_at: None, .. })
                if chunk.changes() < ROW_CHUNK_ROWS_MAX && chunk.size_bytes() < ROW_CHUNK_BYTES_MAX =>
            {
                chunk.clone()
            }
            _ => {
                seal_last(chunks, seq);
                let chunk = Arc::new(RowChunk::new(self.form.clone(), self.key_width));
                chunks.push(Chunk::Rows { first: seq, chunk: chunk.clone(), sealed_at: None });
                chunk
            }
        }
    }

    /// Notes that nothing is added any more, so that its chunks are sorted once and not per reader.
    pub fn freeze(&self) {
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        seal_last(&mut chunks, SeqNo(self.last_seq.load(Ordering::Acquire)));
    }

    /// The chunks with changes at or below `seq`, newest first; within a chunk each key counts once, across chunks not.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub fn chunks(&self, seq: SeqNo) -> Result<Vec<ChunkView>> {
        let seq = if makes(SeededFault::SnapshotSeesLater) { SeqNo::MAX } else { seq };
        // Taken before the look, so that what is taken is whole where nothing was given up.
        let chunks = self.newest_first();
        self.check_kept(seq)?;
        let seen = chunks.filter_map(|chunk| match chunk {
            Chunk::Columns { seq: at, changes } if at <= seq => Some(ChunkView::Sorted(at, changes)),
            Chunk::Rows { first, chunk, sealed_at } if first <= seq => {
                let is_complete = sealed_at.is_some_and(|sealed_at| sealed_at <= seq);
                Some(ChunkView::Growing { chunk, seq, is_complete })
            }
            Chunk::Rows { .. } | Chunk::Columns { .. } => None,
        });
        Ok(seen.collect())
    }

    /// All changes at or below `seq`, newest chunk first; within a chunk each key once, across chunks not.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub fn visible(&self, seq: SeqNo) -> Result<Vec<VisibleChunk>> {
        let mut visible = Vec::new();
        for chunk in self.chunks(seq)? {
            visible.push(chunk.all()?);
        }
        visible.retain(|changes| !changes.keys.is_empty());
        Ok(visible)
    }

    /// The form of the rows that [`Change::Row`](crate::memtable::visible::Change::Row) has.
    pub fn form(&self) -> &RowForm {
        &self.form
    }

    /// Bytes on the heap, about, of what its keys are known to supersede in runs; they are not in [`Memtable::size_bytes`].
    pub fn superseded_bytes(&self) -> usize {
        let bytes = self.newest_first().map(|chunk| match chunk {
            Chunk::Rows { chunk, .. } => chunk.superseded_bytes(),
            Chunk::Columns { changes, .. } => changes.superseded_bytes(),
        });
        bytes.sum()
    }

    fn newest_first(&self) -> impl Iterator<Item = Chunk> {
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner).clone();
        chunks.into_iter().rev()
    }
}

/// Notes that the last chunk is complete for everyone who sees sequence number `seq`.
fn seal_last(chunks: &mut [Chunk], seq: SeqNo) {
    if let Some(Chunk::Rows { sealed_at, .. }) = chunks.last_mut()
        && sealed_at.is_none()
    {
        *sealed_at = Some(seq);
    }
}
