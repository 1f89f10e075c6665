//! Changes in memory that overlap, merged by the engine.
//!
//! In: merge parts. Out: a stream per partition of the columns that are wanted.
//! Invariants: the engine reads on a blocking thread, a few batches ahead of who asks; it starts with the first poll
//! and stops when nobody asks any more. Only wanted columns are read.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput, Time};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use futures::{StreamExt, stream};
use rustling_engine::read::plan::MergePart;
use tokio::sync::mpsc::Sender;

use crate::error::external;
use crate::wanted::Wanted;

/// Batches that wait between the engine and who asks.
const BATCHES_AHEAD: usize = 3;

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
        let reading = Reading {
            parts: self.partitions[partition].clone(),
            stored,
            columns,
            wanted: wanted.clone(),
            batch_rows: context.session_config().batch_size(),
            baseline: BaselineMetrics::new(metrics, partition),
            merge_time: MetricBuilder::new(metrics).subset_time("merge_time", partition),
        };
        let schema = wanted.schema.clone();
        let start = stream::once(async move { reading.start() }).flatten();
        Box::pin(RecordBatchStreamAdapter::new(schema, start))
    }
}

impl fmt::Display for MergeRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = || self.partitions.iter().flatten();
        let fan_in = parts().map(|part| part.fan_in()).max().unwrap_or(0);
        write!(f, "parts={}, fan_in={fan_in}, rows<={}", parts().count(), self.row_count_max(None))
    }
}

/// The reading of one partition.
struct Reading {
    parts: Vec<Arc<MergePart>>,
    /// The columns to read, ascending, each once.
    stored: Vec<usize>,
    /// Where in them the wanted columns are.
    columns: Vec<usize>,
    wanted: Wanted,
    batch_rows: usize,
    baseline: BaselineMetrics,
    merge_time: Time,
}

impl Reading {
    fn start(self) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.wanted.schema.clone(), BATCHES_AHEAD);
        let output = builder.tx();
        builder.spawn_blocking(move || self.run(&output));
        builder.build()
    }

    /// Reads until everything is read, enough is read, or nobody listens.
    fn run(self, output: &Sender<Result<RecordBatch>>) -> Result<()> {
        let mut room = self.wanted.fetch.unwrap_or(usize::MAX);
        for part in &self.parts {
            let time = self.merge_time.timer();
            let mut scan = part.open(&self.stored).map_err(external)?;
            time.done();
            loop {
                let time = self.merge_time.timer();
                let Some(batch) = scan.next().transpose().map_err(external)? else { break };
                time.done();
                let batch = self.wanted.retype(&batch, &self.columns)?;
                let batch = batch.slice(0, batch.num_rows().min(room));
                room -= batch.num_rows();
                if !self.send(&batch, output) || room == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Hands a batch on in pieces of the session's batch size; `false` if nobody listens.
    fn send(&self, batch: &RecordBatch, output: &Sender<Result<RecordBatch>>) -> bool {
        let mut start = 0;
        while start < batch.num_rows() {
            let piece = batch.slice(start, self.batch_rows.min(batch.num_rows() - start));
            start += piece.num_rows();
            if output.blocking_send(Ok(piece.record_output(&self.baseline))).is_err() {
                return false;
            }
        }
        true
    }
}
