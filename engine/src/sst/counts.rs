//! What reading by key took.

use std::ops::AddAssign;

/// Counts of one or several reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Times that a run was not asked for a key because its filter said no.
    pub keys_denied: u64,
    /// Rows that were kept from an earlier read.
    pub rows_kept: u64,
    /// Pages of columns that were kept from an earlier read.
    pub pages_kept: u64,
    /// Pages of columns that were read.
    pub pages_read: u64,
}

impl AddAssign for ReadCounts {
    fn add_assign(&mut self, more: Self) {
        self.keys_denied += more.keys_denied;
        self.rows_kept += more.rows_kept;
        self.pages_kept += more.pages_kept;
        self.pages_read += more.pages_read;
    }
}
