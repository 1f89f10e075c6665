//! The rows at some places.
//!
//! In: a snapshot, places in the order in which their rows are wanted. Out: one batch of the user's columns.
//! Invariants: the rows come in the order of the places, one for each. Each run is read once, at ascending positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::interleave_record_batch;

use crate::error::{Error, Result};
use crate::memtable::visible::VisibleChunk;
use crate::read::locate::Place;
use crate::read::snapshot::TableSnapshot;
use crate::sst::counts::ReadCounts;
use crate::sst::table_file::Access;

/// The rows at `places`, projected to some of the user's columns (by index, ascending).
///
/// # Errors
/// [`Error::Corrupt`]; the disk's.
pub fn fetch(
    snapshot: &TableSnapshot,
    places: &[Place],
    projection: &[usize],
    access: Access,
    counts: &mut ReadCounts,
) -> Result<RecordBatch> {
    let user = snapshot.schema().user();
    let schema =
        if projection.len() == user.fields().len() { user.clone() } else { Arc::new(user.project(projection)?) };
    if places.is_empty() || projection.is_empty() {
        let columns = schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        return Ok(RecordBatch::try_new_with_options(schema, columns, &options)?);
    }
    let mut parts = Parts { batches: Vec::new(), picks: vec![(0, 0); places.len()] };
    parts.add_runs(places, |run, rows| {
        snapshot.table().version.runs()[run].sst().rows_at(rows, projection, access, counts)
    })?;
    parts.add_memory(snapshot, places, projection)?;
    let in_order = parts.picks.iter().copied().eq((0..places.len()).map(|row| (0, row)));
    let rows = match &*parts.batches {
        [batch] if in_order && batch.num_rows() == places.len() => batch.clone(),
        batches => interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &parts.picks)?,
    };
    Ok(RecordBatch::try_new(schema, rows.columns().to_vec())?)
}

/// Batches, and for each row that is wanted the batch and its row there.
struct Parts {
    batches: Vec<RecordBatch>,
    picks: Vec<(usize, usize)>,
}

impl Parts {
    /// Adds what `read` gives of each run at ascending positions.
    fn add_runs(&mut self, places: &[Place], mut read: impl FnMut(usize, &[u64]) -> Result<RecordBatch>) -> Result<()> {
        let mut wanted: BTreeMap<usize, Vec<(u64, usize)>> = BTreeMap::new();
        for (index, place) in places.iter().enumerate() {
            if let Place::Run(run, row) = place {
                wanted.entry(*run).or_default().push((*row, index));
            }
        }
        for (run, mut wanted) in wanted {
            wanted.sort_unstable();
            let mut rows: Vec<u64> = Vec::with_capacity(wanted.len());
            for (row, index) in wanted {
                if rows.last() != Some(&row) {
                    rows.push(row);
                }
                self.picks[index] = (self.batches.len(), rows.len() - 1);
            }
            self.batches.push(read(run, &rows)?);
        }
        Ok(())
    }

    /// Adds rows in memory.
    fn add_memory(&mut self, snapshot: &TableSnapshot, places: &[Place], projection: &[usize]) -> Result<()> {
        let mut chunks: Vec<(&VisibleChunk, usize)> = Vec::new();
        let mut small: Vec<&[u8]> = Vec::new();
        let mut small_at = Vec::new();
        for (index, place) in places.iter().enumerate() {
            match place {
                Place::Run(..) => {}
                Place::Changes(changes, row) => {
                    let known = chunks.iter().find(|(chunk, _)| Arc::ptr_eq(chunk, changes)).map(|(_, batch)| *batch);
                    let batch = known.unwrap_or(self.batches.len());
                    if known.is_none() {
                        chunks.push((changes, batch));
                        self.batches.push(changes.batch.project(projection)?);
                    }
                    self.picks[index] = (batch, *row as usize);
                }
                Place::Here(row) => {
                    small.push(row);
                    small_at.push(index);
                }
            }
        }
        if !small.is_empty() {
            let decoded = snapshot.table().active().form().decode_columns(small.into_iter(), projection);
            small_at.iter().enumerate().for_each(|(row, index)| self.picks[*index] = (self.batches.len(), row));
            self.batches.push(decoded.map_err(|damage| Error::corrupt("memory", damage))?);
        }
        Ok(())
    }
}
