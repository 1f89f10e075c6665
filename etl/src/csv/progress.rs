//! How far a load has come, for a progress line.
//!
//! In: counts from the thread that reads and the one that takes the batches. Out: [`Progress`], readable at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a source has been read. The figures only grow.
#[derive(Debug)]
pub struct Progress {
    bytes_read: AtomicU64,
    bytes_total: Option<u64>,
    rows: AtomicU64,
}

impl Progress {
    pub(crate) fn new(bytes_total: Option<u64>) -> Self {
        Self { bytes_read: AtomicU64::new(0), bytes_total, rows: AtomicU64::new(0) }
    }

    /// Bytes read from the files; ahead of the rows by what is being parsed.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Bytes of all files when they were opened; `None` if one of them is a pipe.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Rows handed out.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
}
