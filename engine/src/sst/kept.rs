//! Rows of runs, kept for the next lookup.
//!
//! In: a row of a file. Out: the row in row form.
//! Invariants: what is kept stays within its bytes. Runs never change and their ids are never given again, so it is never
//! stale. What is read once does not drive out what is read often.
//! How: keys that are looked up again and again lie anywhere, so what is kept for them is the row alone, in the fewest
//! bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::sst::meta::FileId;

/// Bytes of a typical row, by which the cache is laid out.
const ROW_BYTES: usize = 256;

/// Rows for which it is laid out at most: room for all that could be kept takes longer to make than a database to open.
const ROWS: usize = 4096;

/// Bytes that a row takes beside its own, about: its id, twice, its counts and its place in the cache.
const ENTRY_BYTES: usize = 96;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowId {
    /// The file.
    pub file: FileId,
    /// Its position there.
    pub row: u64,
}

/// A row in row form.
pub type KeptRow = Arc<[u8]>;

/// The rows that are kept.
pub type KeptRows = Cache<RowId, KeptRow, RowBytes>;

/// No rows yet, and at most so many bytes of them.
pub fn kept_rows(bytes: usize) -> KeptRows {
    Cache::with_weighter((bytes / ROW_BYTES).min(ROWS), bytes as u64, RowBytes)
}

/// Bytes in memory of a row.
#[derive(Clone, Debug)]
pub struct RowBytes;

impl Weighter<RowId, KeptRow> for RowBytes {
    fn weight(&self, _: &RowId, row: &KeptRow) -> u64 {
        (row.len() + ENTRY_BYTES) as u64
    }
}
