//! Rows and decoded values of runs, kept for the next lookup.
//!
//! In: a row of a file; a column of a file, a row. Out: the row in row form; the column's values in the rows around it.
//! Invariants: what is kept stays within its bytes. Runs never change and their ids are never given again, so it is never
//! stale. What is read once does not drive out what is read often.
//! How: keys that are looked up again and again lie anywhere, so what is kept for them is the row alone, in the fewest
//! bytes; for keys near by it is a piece, of so many rows that decoding it costs little more than finding the one row. In
//! a piece each column is by itself, so a lookup of some columns decodes those.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::sst::encoding::PAGE_ROWS;
use crate::sst::meta::FileId;

/// Rows of a piece: a part of a page, so that none has two of them, unless values are wide.
pub const PIECE_ROWS: usize = 512;
const _: () = assert!(PAGE_ROWS.is_multiple_of(PIECE_ROWS), "no piece lies in two pages");

/// Bytes of a piece of all columns that are wanted, about, from which on rows are so large that each is read by itself.
pub const PIECE_BYTES_MAX: usize = 128 << 10;

/// Bytes of a typical piece of a column, by which the cache is laid out.
const COLUMN_BYTES: usize = 4 << 10;

/// Bytes of a typical row, by which the cache is laid out.
const ROW_BYTES: usize = 256;

/// Rows for which it is laid out at most: room for all that could be kept takes longer to make than a database to open.
const ROWS: usize = 4096;

/// Bytes that a row takes beside its own, about: its id, twice, its counts and its place in the cache.
const ENTRY_BYTES: usize = 96;

/// The values of a column in the rows of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceId {
    /// The file.
    pub file: FileId,
    /// The column's index among the stored ones.
    pub column: usize,
    /// The piece has the rows from `PIECE_ROWS` times this on.
    pub piece: u64,
}

/// The piece that has a row.
pub fn piece_of(row: u64) -> u64 {
    row / PIECE_ROWS as u64
}

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

/// The pieces that are kept.
pub type Pieces = Cache<PieceId, ArrayRef, PieceBytes>;

/// No pieces yet, and at most so many bytes of them.
pub fn pieces(bytes: usize) -> Pieces {
    Cache::with_weighter(bytes / COLUMN_BYTES, bytes as u64, PieceBytes)
}

/// Bytes in memory of a piece.
#[derive(Clone, Debug)]
pub struct PieceBytes;

impl Weighter<PieceId, ArrayRef> for PieceBytes {
    fn weight(&self, _: &PieceId, values: &ArrayRef) -> u64 {
        (values.get_array_memory_size() + size_of::<PieceId>()) as u64
    }
}
