//! A table as it was at one sequence number.
//!
//! In: a view and a sequence number. Out: single rows, rows of a key range in key order (merge-on-read).
//! Invariants: what a snapshot gives never changes, whatever is written, flushed or compacted meanwhile; the files it
//! needs stay on disk as long as it lives.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Mismatch, Result};
use crate::id::SeqNo;
use crate::memtable::visible::VisibleChunk;
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::source::{KeyInterval, Source, visible_chunks};
use crate::rows::schema::TableSchema;
use crate::version::view::TableView;

/// Rows of a batch that a scan gives, at most.
pub const SCAN_BATCH_ROWS: usize = 8192;

/// Rows of a batch of each of some sources that are merged: fewer, the more there are, since each holds one.
pub fn merged_batch_rows(sources: usize) -> usize {
    (4 * SCAN_BATCH_ROWS / sources.max(1)).clamp(SCAN_BATCH_ROWS / 16, SCAN_BATCH_ROWS)
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

    /// The changes in memory that it sees, newest chunk first.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub fn chunks(&self) -> Result<Vec<VisibleChunk>> {
        visible_chunks(&self.table, self.seq)
    }

    /// The row with a key, given as a batch of one row with the key columns in key order; the user's columns. Cost: a
    /// search in each memtable, and in each run whose key bounds and filter do not exclude the key, newest first.
    ///
    /// # Errors
    /// A key that does not fit the table; [`Error::Corrupt`]; the disk's.
    pub fn get(&self, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        let key = self.encode_key(key)?;
        let Some(stored) = self.get_stored(&key)? else { return Ok(None) };
        Ok(Some(RecordBatch::try_new(
            self.table.schema.user().clone(),
            stored.columns()[..self.table.schema.user().fields().len()].to_vec(),
        )?))
    }

    /// The row with an encoded key; stored columns.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the disk's.
    pub fn get_stored(&self, key: &[u8]) -> Result<Option<RecordBatch>> {
        for memtable in &self.table.memtables {
            if let Some(found) = memtable.get(key, self.seq)? {
                return Ok(found);
            }
        }
        for run in self.table.version.runs() {
            if !run.key_bounds().is_some_and(|(min, max)| min <= key && key <= max) {
                continue;
            }
            if let Some(position) = run.sst().key_index().find(key)? {
                let all: Vec<usize> = (0..self.table.schema.stored().fields().len()).collect();
                return run.sst().row(position, &all).map(Some);
            }
            if run.deleted(&self.table.codec)?.position(key).is_ok() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Rows in key order, by merging everything: the slow, obvious way to read a table, right in every state.
    /// `projection` names stored columns by index, ascending.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the disk's.
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
            equal: Equal::First,
            with_keys: false,
            key_width: self.table.codec.width(),
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

    /// A range of keys, its ends given as batches of one row with the key columns.
    ///
    /// # Errors
    /// A key that does not fit the table.
    pub fn key_range(&self, start: Bound<&RecordBatch>, end: Bound<&RecordBatch>) -> Result<KeyInterval> {
        let encode = |bound: Bound<&RecordBatch>| -> Result<Bound<Vec<u8>>> {
            Ok(match bound {
                Bound::Included(key) => Bound::Included(self.encode_key(key)?),
                Bound::Excluded(key) => Bound::Excluded(self.encode_key(key)?),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        Ok(KeyInterval { start: encode(start)?, end: encode(end)? })
    }

    /// The encoding of a key given as a batch of one row.
    fn encode_key(&self, key: &RecordBatch) -> Result<Vec<u8>> {
        let expected = self.table.schema.key_schema();
        let mismatch = |mismatch: Mismatch| Error::SchemaMismatch { table: self.table.name.to_string(), mismatch };
        if key.num_columns() != expected.fields().len() {
            let (expected, found) = (expected.fields().len(), key.num_columns());
            return Err(mismatch(Mismatch::ColumnCount { expected, found }));
        }
        for (field, column) in expected.fields().iter().zip(key.columns()) {
            if field.data_type() != column.data_type() {
                let (column, expected, found) =
                    (field.name().clone(), field.data_type().clone(), column.data_type().clone());
                return Err(mismatch(Mismatch::ColumnType { column, expected, found }));
            }
        }
        let keys = self.table.codec.encode(key.columns())?;
        keys.first().map(<[u8]>::to_vec).ok_or(Error::NoColumns)
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
