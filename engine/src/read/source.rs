//! The sorted sources of a table: memtable chunks, runs, deleted keys.
//!
//! In: a snapshot. Out: its sources, newest first, whole or cut to a key range.
//! Invariants: of two sources that know a key, the one that comes first is right; a run's deleted keys come right
//! behind its rows.

use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::error::Result;
use crate::id::SeqNo;
use crate::memtable::visible::VisibleChunk;
use crate::read::cursor::Cursor;
use crate::rows::key::KeyCodec;
use crate::rows::keys::{KeyBounds, Keys};
use crate::sst::key_index::block::Rank;
use crate::sst::key_index::reader::KeyIndex;
use crate::version::run::Run;
use crate::version::view::TableView;

/// An interval of encoded keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInterval {
    /// Where it starts.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyInterval {
    /// All keys.
    pub const ALL: Self = Self { start: Bound::Unbounded, end: Bound::Unbounded };

    /// No key, and the one interval of which that can be said without a look at keys.
    pub const NONE: Self = Self { start: Bound::Excluded(Vec::new()), end: Bound::Excluded(Vec::new()) };

    /// The ranges that ascending `cuts` make of all keys: below the first, between two, from the last on.
    pub fn between(cuts: &[Vec<u8>]) -> Vec<Self> {
        let starts = std::iter::once(Bound::Unbounded).chain(cuts.iter().cloned().map(Bound::Included));
        let ends = cuts.iter().cloned().map(Bound::Excluded).chain(std::iter::once(Bound::Unbounded));
        starts.zip(ends).map(|(start, end)| Self { start, end }).collect()
    }

    /// Whether no key lies in it, whatever the keys are.
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }

    /// Whether a key from `min` to `max` may lie in it.
    pub fn touches(&self, (min, max): (&[u8], &[u8])) -> bool {
        let begins = match &self.start {
            Bound::Included(start) => **start <= *max,
            Bound::Excluded(start) => **start < *max,
            Bound::Unbounded => true,
        };
        begins
            && match &self.end {
                Bound::Included(end) => *min <= **end,
                Bound::Excluded(end) => *min < **end,
                Bound::Unbounded => true,
            }
    }

    /// Whether a cut that is a key divides it so that the part that comes first, from the end or from the start, may have
    /// a key: then what is left behind it is less.
    pub fn divides_at(&self, cut: &[u8], from_end: bool) -> bool {
        let first = if from_end { &self.end } else { &self.start };
        let is_beside = match first {
            Bound::Included(key) | Bound::Excluded(key) => **key == *cut,
            Bound::Unbounded => false,
        };
        !is_beside && self.touches((cut, cut))
    }

    /// Its bounds.
    pub fn bounds(&self) -> KeyBounds<'_> {
        (self.start.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice))
    }

    /// Positions of its keys among the rows of a run.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn rows(&self, index: &KeyIndex) -> Result<Range<u64>> {
        let through = |key: &[u8]| {
            index.rank(key).map(|rank| match rank {
                Rank::Found(at) => at + 1,
                Rank::Absent(at) => at,
            })
        };
        let start = match &self.start {
            Bound::Included(key) => index.lower_bound(key)?,
            Bound::Excluded(key) => through(key)?,
            Bound::Unbounded => 0,
        };
        let end = match &self.end {
            Bound::Included(key) => through(key)?,
            Bound::Excluded(key) => index.lower_bound(key)?,
            Bound::Unbounded => index.len(),
        };
        Ok(start..end.max(start))
    }
}

/// One sorted source, or the part of it in a key range.
#[derive(Clone, Debug)]
pub enum Source {
    /// Changes of a memtable.
    Changes(VisibleChunk, Range<usize>),
    /// Rows of a run.
    Rows(Arc<Run>, Range<u64>),
    /// Keys that a run deletes from older ones.
    Deleted(Arc<Keys>, Range<usize>),
}

impl Source {
    /// All sources of a table as of a sequence number, newest first.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn all(table: &TableView, seq: SeqNo) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        for chunk in visible_chunks(table, seq)? {
            let range = 0..chunk.keys.len();
            sources.push(Self::Changes(chunk, range));
        }
        for run in table.version.runs() {
            sources.extend(Self::of_run(run, &table.codec)?);
        }
        Ok(sources)
    }

    /// The sources of one run: its rows, then its deleted keys.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn of_run(run: &Arc<Run>, codec: &KeyCodec) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        if run.rows() > 0 {
            sources.push(Self::Rows(run.clone(), 0..run.rows()));
        }
        let deleted = run.deleted(codec)?;
        if !deleted.is_empty() {
            let range = 0..deleted.len();
            sources.push(Self::Deleted(deleted, range));
        }
        Ok(sources)
    }

    /// The part of it that lies in an interval of keys; `None` if there is nothing.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn within(self, interval: &KeyInterval) -> Result<Option<Self>> {
        let part = match self {
            Self::Changes(chunk, part) => {
                let positions = common(&part, &chunk.keys.within(interval.bounds()));
                Self::Changes(chunk, positions)
            }
            Self::Rows(run, part) => {
                let rows = common(&part, &interval.rows(run.sst().key_index())?);
                Self::Rows(run, rows)
            }
            Self::Deleted(keys, part) => {
                let positions = common(&part, &keys.within(interval.bounds()));
                Self::Deleted(keys, positions)
            }
        };
        Ok((!part.is_empty()).then_some(part))
    }

    /// Number of its keys.
    pub fn len(&self) -> u64 {
        match self {
            Self::Changes(_, range) | Self::Deleted(_, range) => range.len() as u64,
            Self::Rows(_, range) => range.end - range.start,
        }
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its key at a position counted from its first one.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn key_at(&self, position: u64) -> Result<Vec<u8>> {
        let of = |keys: &Keys, part: &Range<usize>| {
            usize::try_from(position).map(|at| keys.get(part.start + at).to_vec()).unwrap_or_default()
        };
        Ok(match self {
            Self::Changes(chunk, part) => of(&chunk.keys, part),
            Self::Deleted(keys, part) => of(keys, part),
            Self::Rows(run, part) => {
                let at = part.start + position;
                let keys = run.sst().key_index().read(at..at + 1)?;
                keys.first().map(<[u8]>::to_vec).unwrap_or_default()
            }
        })
    }

    /// A cursor on it, rows projected to some stored columns.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn open(self, projection: &[usize], batch_rows: usize) -> Result<Cursor> {
        match self {
            Self::Changes(chunk, range) => Cursor::changes(&chunk, range, projection),
            Self::Rows(run, range) => Cursor::run(run, range, projection, batch_rows),
            Self::Deleted(keys, range) => Ok(Cursor::deleted(keys, range)),
        }
    }
}

/// The changes in memory that are visible at a sequence number, newest chunk first.
///
/// # Errors
/// [`crate::error::Error::SnapshotTooOld`].
pub fn visible_chunks(table: &TableView, seq: SeqNo) -> Result<Vec<VisibleChunk>> {
    let mut chunks = Vec::new();
    for memtable in &table.memtables {
        chunks.extend(memtable.visible(seq)?);
    }
    Ok(chunks)
}

/// What two ranges have in common; empty if they have nothing.
fn common<T: Ord + Copy>(a: &Range<T>, b: &Range<T>) -> Range<T> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left behind a cut is less, or a range would not end.
    #[test]
    fn a_cut_divides_an_interval_only_inside_of_it() {
        let key = |text: &str| text.as_bytes().to_vec();
        let inner = KeyInterval { start: Bound::Included(key("c")), end: Bound::Excluded(key("g")) };
        let from = |from_end: bool| {
            let keys = ["b", "c", "d", "f", "g", "h"];
            keys.into_iter().filter(|cut| inner.divides_at(cut.as_bytes(), from_end)).collect::<Vec<_>>()
        };
        assert_eq!(from(false), ["d", "f"]);
        assert_eq!(from(true), ["c", "d", "f"]);
        assert!(KeyInterval::ALL.divides_at(b"a", false) && KeyInterval::ALL.divides_at(b"a", true));
    }
}
