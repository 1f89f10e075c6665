//! Rows of memtables that nothing overlaps.
//!
//! In: batches of stored columns. Out: a stream per partition of the columns that are wanted.
//! Invariants: nothing is held twice; rows are copied as they are given, see [`Pieces`].

use std::fmt;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;

use crate::pieces::Pieces;
use crate::wanted::Wanted;

/// A partition has at least this many rows, if there are as many.
const PARTITION_ROWS_MIN: usize = 32_768;

/// Batches of stored columns, in partitions.
#[derive(Clone, Debug)]
pub struct MemoryRows {
    partitions: Vec<Vec<RecordBatch>>,
}

impl MemoryRows {
    /// Spreads batches evenly over at most `target` partitions.
    pub fn new(batches: Vec<RecordBatch>, target: usize) -> Self {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let count = rows.div_ceil(PARTITION_ROWS_MIN).clamp(1, target.max(1));
        let share = rows.div_ceil(count).max(1);
        let mut partitions: Vec<Vec<RecordBatch>> = vec![Vec::new()];
        let mut room = share;
        for batch in batches {
            let mut start = 0;
            while start < batch.num_rows() {
                if room == 0 {
                    partitions.push(Vec::new());
                    room = share;
                }
                let length = room.min(batch.num_rows() - start);
                if let Some(last) = partitions.last_mut() {
                    last.push(batch.slice(start, length));
                }
                (start, room) = (start + length, room - length);
            }
        }
        Self { partitions }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Rows of one partition, or of all.
    pub fn row_count(&self, partition: Option<usize>) -> usize {
        let all = self.partitions.iter().enumerate();
        let chosen = all.filter(|(index, _)| partition.is_none_or(|partition| partition == *index));
        chosen.flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).sum()
    }

    /// The rows of a partition.
    pub fn open(
        &self,
        partition: usize,
        wanted: &Wanted,
        metrics: &ExecutionPlanMetricsSet,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let baseline = BaselineMetrics::new(metrics, partition);
        let mut reading = Reading {
            batches: self.partitions[partition].clone().into_iter(),
            pieces: Pieces::new(context.session_config().batch_size()),
            room: wanted.fetch.unwrap_or(usize::MAX),
            wanted: wanted.clone(),
        };
        let rows = std::iter::from_fn(move || reading.next().transpose());
        let rows = rows.map(move |rows| rows.record_output(&baseline));
        Box::pin(RecordBatchStreamAdapter::new(wanted.schema.clone(), stream::iter(rows)))
    }
}

/// The reading of one partition.
struct Reading {
    batches: std::vec::IntoIter<RecordBatch>,
    pieces: Pieces,
    /// Rows that may still come.
    room: usize,
    wanted: Wanted,
}

impl Reading {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.room > 0 {
            if let Some(piece) = self.pieces.take(self.room)? {
                self.room -= piece.num_rows();
                return Ok(Some(self.wanted.retype(&piece)?));
            }
            let Some(batch) = self.batches.next() else { break };
            self.pieces.put(batch.project(&self.wanted.projection)?);
        }
        Ok(None)
    }
}

impl fmt::Display for MemoryRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows={}", self.row_count(None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn check(rows: &[i64], target: usize, expected: &[usize]) {
        let batch =
            |rows: i64| RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from_iter_values(0..rows)) as _)]);
        let memory = MemoryRows::new(rows.iter().map(|rows| batch(*rows).unwrap()).collect(), target);
        let found: Vec<usize> = (0..memory.partitions()).map(|index| memory.row_count(Some(index))).collect();
        assert_eq!(found, expected);
        assert_eq!(memory.row_count(None), expected.iter().sum::<usize>());
    }

    #[test]
    fn rows_are_spread_evenly_once_there_are_many() {
        check(&[1000, 1000], 4, &[2000]);
        check(&[100_000], 2, &[50_000, 50_000]);
        check(&[10, 65_526], 4, &[32_768, 32_768]);
        check(&[], 4, &[0]);
    }
}
