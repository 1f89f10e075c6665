//! Batches in pieces.
//!
//! In: batches of any size, parts of larger ones among them. Out: their rows in order, in batches of no more than so many
//! rows, and about so many bytes.
//! Invariants: a piece keeps hardly more memory than its rows take. Operators that keep batches, such as sorts, count the
//! buffers of each as if nobody shared them; so one large batch in a hundred slices would be counted a hundred times.

use arrow::array::RecordBatch;
use datafusion::error::Result;
use rustling_engine::rows::canonical::{batch_bytes, compact};

use crate::error::external;

/// Bytes of a piece, about, unless a single row has more.
const PIECE_BYTES: usize = 1 << 20;

/// What is left of a batch that is given in pieces.
#[derive(Debug)]
pub struct Pieces {
    rows_max: usize,
    left: Option<RecordBatch>,
}

impl Pieces {
    /// Pieces of no more than so many rows; of nothing yet.
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max: rows_max.max(1), left: None }
    }

    /// Gives what comes next, once nothing is left.
    pub fn put(&mut self, batch: RecordBatch) {
        self.left = Some(batch).filter(|batch| batch.num_rows() > 0);
    }

    /// The next piece, of `room` rows at most; `None` if nothing is left. Cost: a copy of its rows, if it was a part of
    /// something larger.
    ///
    /// # Errors
    /// Arrow's, for nested columns that break its rules.
    pub fn take(&mut self, room: usize) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.left.take().filter(|_| room > 0) else { return Ok(None) };
        let first = batch.slice(0, batch.num_rows().min(self.rows_max).min(room));
        let fitting = (PIECE_BYTES * first.num_rows() / batch_bytes(&first).max(1)).max(1);
        let count = first.num_rows().min(fitting);
        self.left = Some(batch.slice(count, batch.num_rows() - count)).filter(|left| left.num_rows() > 0);
        Ok(Some(compact(first.slice(0, count)).map_err(external)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use rustling_engine::rows::canonical::{SLACK_BYTES, kept_bytes};

    use super::*;

    fn rows_of_pieces(row_bytes: usize, rows: usize, room: usize) -> Vec<usize> {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|_| "x".repeat(row_bytes))));
        let mut pieces = Pieces::new(1000);
        pieces.put(RecordBatch::try_from_iter([("a", texts)]).unwrap());
        let mut found = Vec::new();
        while let Some(piece) = pieces.take(room - found.iter().sum::<usize>()).unwrap() {
            assert!(kept_bytes(piece.columns()) <= 2 * batch_bytes(&piece) + SLACK_BYTES);
            found.push(piece.num_rows());
        }
        found
    }

    #[test]
    fn pieces_are_of_so_many_rows_and_bytes_and_keep_no_more() {
        assert_eq!(rows_of_pieces(10, 2500, usize::MAX), [1000, 1000, 500]);
        assert_eq!(rows_of_pieces(10, 2500, 1200), [1000, 200]);
        assert_eq!(rows_of_pieces((1 << 20) / 100, 250, usize::MAX), [99, 99, 52]);
        assert_eq!(rows_of_pieces(2 << 20, 3, usize::MAX), [1, 1, 1]);
        assert_eq!(rows_of_pieces(10, 0, usize::MAX), [0; 0]);
    }
}
