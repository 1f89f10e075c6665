//! The operator that reads ranges of keys in their order.
//!
//! In: a table with a key at one sequence number, ranges, an order, a condition. Out: the rows for which it holds in that
//! order, one partition.
//! Invariants: ranges are ascending and have nothing in common, so one after the other they are in order, too; the order
//! is what the operator says of itself. Each step is asked for, and made on a blocking thread; none is made ahead, and no
//! thread waits for who asks: so any number of these may be merged.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::future::ready;
use futures::{TryStreamExt, stream};
use rustling_engine::read::key_range::{KeyOrder, KeyRange};
use rustling_engine::read::source::KeyInterval;

use crate::blocking::{blocking, joined};
use crate::error::external;
use crate::key_ranges::KeyRanges;
use crate::key_read::{KeyMetrics, KeyRead};
use crate::pieces::Pieces;

/// Reads ranges of keys in order.
#[derive(Clone, Debug)]
pub struct KeyRangeExec {
    ranges: KeyRanges,
    order: KeyOrder,
    read: KeyRead,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl KeyRangeExec {
    /// Reads ranges in an order; what that takes is counted in `metrics`.
    ///
    /// # Errors
    /// DataFusion's, for a condition that is none.
    pub fn new(ranges: KeyRanges, order: KeyOrder, read: KeyRead, metrics: ExecutionPlanMetricsSet) -> Result<Self> {
        let properties = read.properties(Some(order))?;
        Ok(Self { ranges, order, read, properties, metrics })
    }

    /// The same ranges with something else of their rows.
    fn with_read(&self, read: KeyRead) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(self.ranges.clone(), self.order, read, ExecutionPlanMetricsSet::new())?))
    }
}

impl DisplayAs for KeyRangeExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ranges, keys) = (self.ranges.ranges.len(), self.ranges.keys_max);
        let order = match self.order {
            KeyOrder::Ascending => "",
            KeyOrder::Descending => ", descending",
        };
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                let key = self.read.table.snapshot.schema().key_names().join(", ");
                write!(f, "KeyRangeExec: key=[{key}], ranges={ranges}, keys<={keys}{order}, {}", self.read)
            }
            DisplayFormatType::TreeRender => writeln!(f, "ranges={ranges}, keys<={keys}{order}"),
        }
    }
}

impl ExecutionPlan for KeyRangeExec {
    fn name(&self) -> &'static str {
        "KeyRangeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.read.predicate.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            return Ok(self);
        }
        Err(DataFusionError::Internal("KeyRangeExec has no inputs".to_owned()))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return Err(DataFusionError::Internal(format!("partition {partition} of ranges, which have one")));
        }
        let reading = Reading {
            ranges: self.ranges.ranges.clone(),
            opened: 0,
            open: None,
            order: self.order,
            read: self.read.clone(),
            pieces: Pieces::new(context.session_config().batch_size()),
            room: self.read.fetch.unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            counts: KeyMetrics::new(&self.metrics, "ranges"),
        };
        let steps = stream::try_unfold(reading, |reading| async {
            let step = blocking(move || reading.step()).await;
            step.map_err(joined)?
        });
        // Each step by itself can be given up.
        let rows = steps.try_filter(|rows| ready(rows.num_rows() > 0));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(self.read.statistics(self.ranges.keys_max))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        self.with_read(self.read.with_fetch(limit)).ok()
    }

    fn fetch(&self) -> Option<usize> {
        self.read.fetch
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        self.read.with_projection(projection.expr())?.map(|read| self.with_read(read)).transpose()
    }

    /// Conditions are asked here, so that a limit stops the reading as soon as it is met.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        if phase != FilterPushdownPhase::Pre || result.parent_filters.is_empty() || self.read.fetch.is_some() {
            return Ok(FilterPushdownPropagation::if_all(result));
        }
        let read = self.read.with_filters(result.parent_filters.iter().map(|filter| filter.filter.clone()))?;
        let taken =
            FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::Yes; result.parent_filters.len()]);
        Ok(taken.with_updated_node(self.with_read(read)?))
    }
}

/// What is left to read.
struct Reading {
    ranges: Arc<[KeyInterval]>,
    /// Ranges that were opened.
    opened: usize,
    open: Option<OpenRange>,
    order: KeyOrder,
    read: KeyRead,
    /// What was read and is not given yet.
    pieces: Pieces,
    /// Rows that may still come.
    room: usize,
    baseline: BaselineMetrics,
    counts: KeyMetrics,
}

/// A range that is read, and where what that takes is counted in the end.
struct OpenRange {
    rows: KeyRange,
    counts: KeyMetrics,
}

impl Drop for OpenRange {
    fn drop(&mut self) {
        self.counts.add(self.rows.counts());
    }
}

impl Reading {
    /// The next rows for which the condition holds, of some that were read, and what is left then; nothing if nothing is
    /// left.
    fn step(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let time = self.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        while self.room > 0 {
            if let Some(rows) = self.pieces.take(usize::MAX)? {
                let rows = self.read.apply(&rows)?;
                let rows = rows.slice(0, rows.num_rows().min(self.room));
                self.room -= rows.num_rows();
                return Ok(Some((rows.record_output(&self.baseline), self)));
            }
            let Some(open) = &mut self.open else {
                if self.opened == self.ranges.len() {
                    break;
                }
                self.open = Some(self.next_range()?);
                self.opened += 1;
                continue;
            };
            let Some(rows) = open.rows.next().transpose().map_err(external)? else {
                self.open = None;
                continue;
            };
            self.counts.rows_found.add(rows.num_rows());
            self.pieces.put(rows);
        }
        Ok(None)
    }

    fn next_range(&self) -> Result<OpenRange> {
        let range = match self.order {
            KeyOrder::Ascending => &self.ranges[self.opened],
            KeyOrder::Descending => &self.ranges[self.ranges.len() - 1 - self.opened],
        };
        // How many rows have to be read is known only where all of them are given.
        let limit = self.read.fetch.filter(|_| self.read.predicate.is_none()).map(|_| self.room);
        let rows = self.read.table.snapshot.range(range, &self.read.stored, self.order, limit).map_err(external)?;
        self.counts.asked.add(1);
        Ok(OpenRange { rows, counts: self.counts.clone() })
    }
}
