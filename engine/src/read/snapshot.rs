//! A table as it was at one sequence number.
//!
//! In: a view and a sequence number. Out: its parts; rows of a key range in key order (merge-on-read). What it answers by
//! key is in [`crate::read::lookup`].
//! Invariants: what a snapshot gives never changes, whatever is written, flushed or compacted meanwhile; the files it
//! needs stay on disk as long as it lives.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::id::SeqNo;
use crate::memtable::visible::VisibleChunk;
use crate::read::merge::{BLOCK_BYTES, Equal, Merge, MergeOptions};
use crate::read::source::{KeyInterval, Source, visible_chunks};
use crate::rows::schema::TableSchema;
use crate::version::view::TableView;

/// Rows of a batch that a scan gives, at most.
pub const SCAN_BATCH_ROWS: usize = 8192;

/// Rows of a batch of each of some sources that are merged, at least.
pub const MERGED_BATCH_ROWS_MIN: usize = SCAN_BATCH_ROWS / 16;

/// Rows of a batch of each of some sources that are merged: fewer, the more there are, since each holds one.
pub fn merged_batch_rows(sources: usize) -> usize {
    (4 * SCAN_BATCH_ROWS / sources.max(1)).clamp(MERGED_BATCH_ROWS_MIN, SCAN_BATCH_ROWS)
}

/// A table at one sequence number. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    table: Arc<TableView>,
    seq: SeqNo,
}

impl TableSnapshot {
    /// The table of a view, as of a sequence number that the view has applied.
    pub fn new(table: Arc<TableView>, seq: SeqNo) -> Self {
        Self { table, seq }
    }

    /// The table.
    pub fn table(&self) -> &Arc<TableView> {
        &self.table
    }

    /// Its columns and key.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.table.schema
    }

    /// The sequence number it shows.
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// Bytes in memory of a row of some columns, about, in the run where rows are largest; 1 where there is none. Cost: a
    /// look at the footer of every run.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn row_bytes_max(&self, projection: &[usize]) -> Result<usize> {
        let mut row_bytes = 1;
        for run in self.table.version.runs().iter().filter(|run| run.rows() > 0) {
            row_bytes = row_bytes.max(run.sst().row_bytes(projection)?);
        }
        Ok(row_bytes)
    }

    /// The changes in memory that it sees, newest chunk first.
    ///
    /// # Errors
    /// [`crate::error::Error::SnapshotTooOld`].
    pub fn chunks(&self) -> Result<Vec<VisibleChunk>> {
        visible_chunks(&self.table, self.seq)
    }

    /// Rows in key order, by merging everything: the slow, obvious way to read a table, right in every state.
    /// `projection` names stored columns by index, ascending.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn scan(&self, range: &KeyInterval, projection: &[usize]) -> Result<Scan> {
        let mut parts = Vec::new();
        for source in Source::all(&self.table, self.seq)? {
            parts.extend(source.within(range)?);
        }
        let batch_rows = merged_batch_rows(parts.len());
        let cursors = parts.into_iter().map(|part| part.open(projection, batch_rows)).collect::<Result<_>>()?;
        Ok(Scan::new(Merge::new(cursors, self.merge_options(projection)?)))
    }

    /// How a scan of some stored columns merges.
    ///
    /// # Errors
    /// Arrow's, for a projection that does not fit.
    pub fn merge_options(&self, projection: &[usize]) -> Result<MergeOptions> {
        Ok(MergeOptions {
            schema: self.projected(projection)?,
            batch_rows: SCAN_BATCH_ROWS,
            block_bytes: BLOCK_BYTES,
            equal: Equal::First,
            with_keys: false,
            key_width: self.table.codec.width(),
            pool: None,
        })
    }

    /// Schema of some stored columns.
    ///
    /// # Errors
    /// Arrow's, for a projection that does not fit.
    pub fn projected(&self, projection: &[usize]) -> Result<SchemaRef> {
        Ok(Arc::new(self.table.schema.stored().project(projection)?))
    }

    /// Indexes of the user's columns among the stored ones.
    pub fn user_projection(&self) -> Vec<usize> {
        (0..self.table.schema.user().fields().len()).collect()
    }
}

/// Rows in key order; see [`TableSnapshot::scan`].
pub struct Scan {
    merge: Merge,
}

impl Scan {
    /// The rows of a merge.
    pub fn new(merge: Merge) -> Self {
        Self { merge }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.merge.next_block().map(|block| block.map(|block| block.batch)).transpose()
    }
}
