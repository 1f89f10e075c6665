//! Small writes: an ordered, concurrent map from (key, sequence number) to a row in row form.
//!
//! In: changes of a few rows each, applied by one writer in sequence order. Out: single rows, and the newest visible
//! change of every key as [`SortedChanges`].
//! Invariants: readers of a chunk and its writer never wait for each other (for the memtable's list of chunks they do,
//! while a batch is added); entries are never changed or removed; of one key the
//! newest change comes first. One-row batches are never kept: a row costs its bytes and an entry, not sixteen arrays.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::OnceLock;

use crossbeam_skiplist::SkipMap;

use crate::error::{Error, Result};
use crate::id::SeqNo;
use crate::memtable::visible::{Change, VisibleChanges, VisibleChunk};
use crate::rows::change::{DELETED, SortedChanges};
use crate::rows::keys::{KeyBounds, Keys};
use crate::rows::row_form::RowForm;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that an entry costs beside its key and its row, about.
const ENTRY_BYTES: usize = 96;

/// A key and when it was changed; the newest change of a key sorts first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Box<[u8]>,
    seq: Reverse<SeqNo>,
}

/// Small changes to one table.
#[derive(Debug)]
pub struct RowChunk {
    form: RowForm,
    key_width: Option<usize>,
    /// `None` is a deletion.
    entries: SkipMap<Entry, Option<Box<[u8]>>>,
    size_bytes: AtomicUsize,
    /// The newest change of every key, once nothing is added any more.
    sealed: OnceLock<VisibleChunk>,
}

impl RowChunk {
    /// A chunk without changes, for rows of this form and keys of this width.
    pub fn new(form: RowForm, key_width: Option<usize>) -> Self {
        let (entries, size_bytes) = (SkipMap::new(), AtomicUsize::new(0));
        Self { form, key_width, entries, size_bytes, sealed: OnceLock::new() }
    }

    /// Bytes on the heap, about, of what its keys are known to supersede in runs.
    pub fn superseded_bytes(&self) -> usize {
        self.sealed.get().map_or(0, |changes| changes.superseded_bytes())
    }

    /// Number of changes, superseded ones included.
    pub fn changes(&self) -> usize {
        self.entries.len()
    }

    /// Bytes in memory, about.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Adds changes at a sequence number that is higher than all before.
    ///
    /// # Errors
    /// Arrow's, where a row cannot be encoded.
    pub fn insert(&self, seq: SeqNo, changes: &SortedChanges) -> Result<()> {
        let made;
        let rows = match &changes.encoded {
            Some(rows) => rows,
            None => {
                made = self.form.encode(&changes.batch)?;
                &made
            }
        };
        for (index, key) in changes.keys.iter().enumerate() {
            let row: Option<Box<[u8]>> = match changes.rows[index] {
                DELETED => None,
                row => Some(Box::from(rows.get(row as usize))),
            };
            let bytes = key.len() + row.as_ref().map_or(0, |row| row.len()) + ENTRY_BYTES;
            self.size_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.entries.insert(Entry { key: key.into(), seq: Reverse(seq) }, row);
        }
        Ok(())
    }

    /// The newest change of a key at or below `seq` and above `after`.
    pub fn find(&self, key: &[u8], after: SeqNo, seq: SeqNo) -> Option<Change> {
        let from = Entry { key: key.into(), seq: Reverse(seq) };
        let entry = self.entries.lower_bound(Bound::Included(&from))?;
        (*entry.key().key == *key && entry.key().seq.0 > after)
            .then(|| entry.value().as_ref().map_or(Change::Deleted, |row| Change::Row(row.clone())))
    }

    /// The key before which, or behind which if `from_end`, `count` keys with changes at or below `seq` lie in an
    /// interval. O(changes on the way): a key that was changed often counts once, or a step through keys would not get
    /// past it.
    pub fn nth_key(&self, bounds: KeyBounds<'_>, seq: SeqNo, count: usize, from_end: bool) -> Option<Vec<u8>> {
        let mut seen = self.entries.range(entries(bounds)).filter(|entry| entry.key().seq.0 <= seq);
        let mut next = || if from_end { seen.next_back() } else { seen.next() };
        let mut at = next()?;
        for _ in 0..count {
            let before = at;
            at = loop {
                let entry = next()?;
                if entry.key().key != before.key().key {
                    break entry;
                }
            };
        }
        Some(at.key().key.to_vec())
    }

    /// The newest change of every key of an interval at or below `seq`. O(changes in it).
    ///
    /// # Errors
    /// [`Error::Arrow`] never in practice: the rows were encoded by the same form.
    pub fn sorted(&self, bounds: KeyBounds<'_>, seq: SeqNo) -> Result<SortedChanges> {
        let mut keys = Keys::new(self.key_width);
        let mut rows = Vec::new();
        let mut encoded = Vec::new();
        let mut before: Option<Box<[u8]>> = None;
        for entry in self.entries.range(entries(bounds)).filter(|entry| entry.key().seq.0 <= seq) {
            if before.as_ref() == Some(&entry.key().key) {
                continue;
            }
            before = Some(entry.key().key.clone());
            keys.push(&entry.key().key);
            if entry.value().is_some() {
                rows.push(u32::try_from(encoded.len()).unwrap_or(DELETED));
                encoded.push(entry);
            } else {
                rows.push(DELETED);
            }
        }
        let encoded: Vec<&[u8]> = encoded.iter().filter_map(|entry| entry.value().as_deref()).collect();
        let batch = self.form.decode(encoded.into_iter()).map_err(|damage| Error::corrupt("memory", damage))?;
        Ok(SortedChanges { keys, rows, batch, encoded: None })
    }

    /// As [`RowChunk::sorted`] of a chunk to which nothing is added any more, at or behind its last change; computed
    /// once.
    ///
    /// # Errors
    /// As [`RowChunk::sorted`].
    pub fn sorted_sealed(&self) -> Result<VisibleChunk> {
        if let Some(sorted) = self.sealed.get() {
            return Ok(sorted.clone());
        }
        let sorted = self.sorted((Bound::Unbounded, Bound::Unbounded), SeqNo::MAX)?;
        Ok(self.sealed.get_or_init(|| VisibleChanges::new(sorted)).clone())
    }
}

/// The entries of an interval of keys: those of a key come newest first.
fn entries((start, end): KeyBounds<'_>) -> (Bound<Entry>, Bound<Entry>) {
    let newest = |key: &[u8]| Entry { key: key.into(), seq: Reverse(SeqNo::MAX) };
    let oldest = |key: &[u8]| Entry { key: key.into(), seq: Reverse(SeqNo::NONE) };
    let start = match start {
        Bound::Included(key) => Bound::Included(newest(key)),
        Bound::Excluded(key) => Bound::Excluded(oldest(key)),
        Bound::Unbounded => Bound::Unbounded,
    };
    let end = match end {
        Bound::Included(key) => Bound::Included(oldest(key)),
        Bound::Excluded(key) => Bound::Excluded(newest(key)),
        Bound::Unbounded => Bound::Unbounded,
    };
    (start, end)
}
