//! Decoded values of runs, kept for the next lookup near by.
//!
//! In: a column of a file, a row. Out: its values in the rows around it.
//! Invariants: what is kept stays within its bytes. Runs never change and their ids are never given again, so it is never
//! stale. What is read once does not drive out what is read often.
//! How: a piece has so many rows that decoding it costs little more than finding the one row, which is mostly
//! decompressing its page; each column is by itself, so a lookup of some columns decodes those.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::sst::encoding::PAGE_ROWS;
use crate::sst::meta::FileId;

/// Rows of a piece: a part of a page, so that none has two of them.
pub const PIECE_ROWS: usize = 512;
const _: () = assert!(PAGE_ROWS.is_multiple_of(PIECE_ROWS), "no piece lies in two pages");

/// Bytes of a piece, about, from which on rows are so large that each is read by itself.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a typical piece of a column, by which the cache is laid out.
const COLUMN_BYTES: usize = 4 << 10;

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

/// The rows of the piece that has a row, in a file with so many.
pub fn piece_of(row: u64, rows: u64) -> (u64, Range<u64>) {
    let piece = row / PIECE_ROWS as u64;
    let first = piece * PIECE_ROWS as u64;
    (piece, first..rows.min(first + PIECE_ROWS as u64))
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
