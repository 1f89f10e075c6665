//! Changes in memory that overlap, merged by the engine.
//!
//! In: merge parts. Out: a stream per partition of the columns that are wanted.
//! Invariants: the engine reads on a blocking thread, a batch ahead of who asks, and no thread waits for who asks: many
//! streams that nobody polls hold none up. It starts with the first poll and stops when nobody asks any more. Only
//! wanted columns are read.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use rustling_engine::read::plan::MergePart;
use rustling_engine::read::snapshot::Scan;

use crate::blocking::{blocking, joined};
use crate::error::external;
use crate::pieces::Pieces;
use crate::wanted::Wanted;

/// Merge parts, in partitions.
#[derive(Clone, Debug)]
pub struct MergeRows {
    partitions: Vec<Vec<Arc<MergePart>>>,
}

impl MergeRows {
    /// Spreads parts over at most `target` partitions, the larger ones first, each to where the fewest rows are.
    pub fn new(parts: Vec<MergePart>, target: usize) -> Self {
        let mut parts: Vec<Arc<MergePart>> = parts.into_iter().map(Arc::new).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.row_count_max()));
        let count = parts.len().clamp(1, target.max(1));
        let mut partitions: Vec<(u64, Vec<Arc<MergePart>>)> = vec![(0, Vec::new()); count];
        for part in parts {
            if let Some((rows, partition)) = partitions.iter_mut().min_by_key(|(rows, _)| *rows) {
                *rows += part.row_count_max();
                partition.push(part);
            }
        }
        Self { partitions: partitions.into_iter().map(|(_, parts)| parts).collect() }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Rows of one partition, or of all, at most.
    pub fn row_count_max(&self, partition: Option<usize>) -> usize {
        let all = self.partitions.iter().enumerate();
        let chosen = all.filter(|(index, _)| partition.is_none_or(|partition| partition == *index));
        let rows: u64 = chosen.flat_map(|(_, parts)| parts).map(|part| part.row_count_max()).sum();
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    /// The rows of a partition.
    pub fn open(
        &self,
        partition: usize,
        wanted: &Wanted,
        metrics: &ExecutionPlanMetricsSet,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        let (stored, columns) = wanted.stored();
        let mut parts = self.partitions[partition].clone();
        parts.reverse();
        let reading = Reading {
            parts,
            scan: None,
            pieces: Pieces::new(context.session_config().batch_size()),
            stored,
            columns,
            wanted: wanted.clone(),
            room: wanted.fetch.unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(metrics, partition),
            merge_time: MetricBuilder::new(metrics).subset_time("merge_time", partition),
        };
        let start = stream::once(async move { stream::try_unfold(begin(reading), next) }).flatten();
        Box::pin(RecordBatchStreamAdapter::new(wanted.schema.clone(), start))
    }
}

impl fmt::Display for MergeRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = || self.partitions.iter().flatten();
        let fan_in = parts().map(|part| part.fan_in()).max().unwrap_or(0);
        write!(f, "parts={}, fan_in={fan_in}, rows<={}", parts().count(), self.row_count_max(None))
    }
}

/// The next batch, if there is one, and what is read then.
type Step = Result<Option<(RecordBatch, Reading)>>;

/// Begins to read the next batch, on a thread that is free again once it is read.
fn begin(reading: Reading) -> BoxFuture<'static, Step> {
    let read = blocking(move || reading.step());
    async { read.await.map_err(joined)? }.boxed()
}

/// Hands a batch on while the next one is read.
async fn next(step: BoxFuture<'static, Step>) -> Result<Option<(RecordBatch, BoxFuture<'static, Step>)>> {
    Ok(step.await?.map(|(batch, reading)| (batch, begin(reading))))
}

/// The reading of one partition.
struct Reading {
    /// Parts that are not begun, the next one last.
    parts: Vec<Arc<MergePart>>,
    /// The part that is being read.
    scan: Option<Scan>,
    /// What was read and is not given yet.
    pieces: Pieces,
    /// The columns to read, ascending, each once.
    stored: Vec<usize>,
    /// Where in them the wanted columns are.
    columns: Vec<usize>,
    wanted: Wanted,
    /// Rows that may still come.
    room: usize,
    baseline: BaselineMetrics,
    merge_time: Time,
}

impl Reading {
    /// The next batch, of the session's batch size at most, until everything is read or enough is.
    fn step(mut self) -> Step {
        while self.room > 0 {
            if let Some(piece) = self.pieces.take(self.room)? {
                self.room -= piece.num_rows();
                return Ok(Some((self.wanted.retype(&piece)?.record_output(&self.baseline), self)));
            }
            let Some(batch) = self.read()? else { break };
            self.pieces.put(batch);
        }
        Ok(None)
    }

    /// The next rows of the engine.
    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let time = self.merge_time.clone();
        let _timer = time.timer();
        loop {
            let scan = match (&mut self.scan, self.parts.pop()) {
                (Some(scan), next) => {
                    self.parts.extend(next);
                    scan
                }
                (None, Some(part)) => self.scan.insert(part.open(&self.stored).map_err(external)?),
                (None, None) => return Ok(None),
            };
            match scan.next().transpose().map_err(external)? {
                Some(batch) => return Ok(Some(batch.project(&self.columns)?)),
                None => self.scan = None,
            }
        }
    }
}
