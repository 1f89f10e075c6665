//! One chunk of a memtable as it is at a sequence number.
//!
//! In: a chunk, a sequence number. Out: the newest change of a key, the changes of some keys in key order.
//! Invariants: whoever asks for a few keys of a chunk that still grows pays for those, not for all of it; a chunk to
//! which nothing is added any more is sorted once and shared.

use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::error::Result;
use crate::id::SeqNo;
use crate::memtable::row_chunk::RowChunk;
use crate::memtable::visible::{Change, VisibleChanges, VisibleChunk};
use crate::rows::keys::KeyBounds;

/// What a reader sees of a chunk.
#[derive(Clone, Debug)]
pub enum ChunkView {
    /// Changes that are sorted, all made at one sequence number.
    Sorted(SeqNo, VisibleChunk),
    /// Small changes in their map; those above the sequence number are not seen, and `is_complete` says whether none
    /// is or will be.
    Growing {
        /// The map.
        chunk: Arc<RowChunk>,
        /// What is seen.
        seq: SeqNo,
        /// Whether all of it is seen for good.
        is_complete: bool,
    },
}

impl ChunkView {
    /// The newest change of a key above `after`.
    pub fn find(&self, key: &[u8], after: SeqNo) -> Option<Change> {
        match self {
            Self::Growing { chunk, seq, .. } => chunk.find(key, after, *seq),
            Self::Sorted(at, changes) if after < *at => changes.keys.position(key).ok().map(|index| {
                if changes.is_deleted(index) {
                    Change::Deleted
                } else {
                    Change::RowOf(changes.clone(), changes.rows[index])
                }
            }),
            Self::Sorted(..) => None,
        }
    }

    /// All changes, each key once.
    ///
    /// # Errors
    /// As [`RowChunk::sorted`].
    pub fn all(&self) -> Result<VisibleChunk> {
        match self {
            Self::Sorted(_, changes) => Ok(changes.clone()),
            Self::Growing { chunk, is_complete: true, .. } => chunk.sorted_sealed(),
            Self::Growing { chunk, seq, .. } => {
                Ok(VisibleChanges::new(chunk.sorted((Bound::Unbounded, Bound::Unbounded), *seq)?))
            }
        }
    }

    /// Changes among which those of an interval of keys are at the positions given.
    ///
    /// # Errors
    /// As [`RowChunk::sorted`].
    pub fn within(&self, bounds: KeyBounds<'_>) -> Result<(VisibleChunk, Range<usize>)> {
        if let Self::Growing { chunk, seq, is_complete: false } = self {
            let changes = VisibleChanges::new(chunk.sorted(bounds, *seq)?);
            let all = 0..changes.keys.len();
            return Ok((changes, all));
        }
        let changes = self.all()?;
        let positions = changes.keys.within(bounds);
        Ok((changes, positions))
    }

    /// A key of the interval before which, or behind which if `from_end`, `count` changes lie in it; `None` if it has
    /// not so many.
    ///
    /// # Errors
    /// As [`RowChunk::sorted`].
    pub fn nth_key(&self, bounds: KeyBounds<'_>, count: usize, from_end: bool) -> Result<Option<Vec<u8>>> {
        if let Self::Growing { chunk, seq, is_complete: false } = self {
            return Ok(chunk.nth_key(bounds, *seq, count, from_end));
        }
        let (changes, positions) = self.within(bounds)?;
        Ok(changes.keys.nth(&positions, count, from_end).map(<[u8]>::to_vec))
    }

    /// Number of its changes, superseded ones included.
    pub fn len(&self) -> usize {
        match self {
            Self::Sorted(_, changes) => changes.keys.len(),
            Self::Growing { chunk, .. } => chunk.changes(),
        }
    }

    /// Whether it has no changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
