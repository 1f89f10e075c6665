//! What reading by key took.

use std::ops::AddAssign;

/// Counts of one or several reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Times that a run was not asked for a key because its filter said no.
    pub keys_denied: u64,
    /// Rows that were kept from an earlier read.
    pub rows_kept: u64,
    /// Pieces of columns, of some hundred rows each, that were kept from an earlier read.
    pub pieces_kept: u64,
    /// Pieces of columns of which rows were decoded.
    pub pieces_decoded: u64,
}

impl AddAssign for ReadCounts {
    fn add_assign(&mut self, more: Self) {
        self.keys_denied += more.keys_denied;
        self.rows_kept += more.rows_kept;
        self.pieces_kept += more.pieces_kept;
        self.pieces_decoded += more.pieces_decoded;
    }
}
