//! The operator that reads rows by their keys.
//!
//! In: a table with a key at one sequence number, keys, a condition. Out: the rows that are there and for which it holds,
//! one partition.
//! Invariants: no key is asked for twice. The rows come in the order of the keys as they are given, of which nothing is
//! promised. Some keys are looked up at a time, on a blocking thread, so a limit spares the rest.

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
use rustling_engine::rows::canonical::kept_bytes;
use rustling_engine::sst::counts::ReadCounts;

use crate::blocking::{blocking, joined};
use crate::error::external;
use crate::key_read::{KeyMetrics, KeyRead};
use crate::keyed_table::names;

/// Keys of the first step, which tells how long rows are.
const FIRST_KEYS: usize = 32;
/// Bytes of the rows of a step, about.
const STEP_BYTES: usize = 4 << 20;
/// How much more a step takes than the one before, at most.
const STEP_GROWTH: usize = 8;

/// Reads rows by their keys.
#[derive(Clone, Debug)]
pub struct KeyLookupExec {
    /// The key columns of the rows to read.
    keys: RecordBatch,
    read: KeyRead,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl KeyLookupExec {
    /// Reads the rows with some keys, none of which comes twice; what that takes is counted in `metrics`.
    ///
    /// # Errors
    /// DataFusion's, for a condition that is none.
    pub fn new(keys: RecordBatch, read: KeyRead, metrics: ExecutionPlanMetricsSet) -> Result<Self> {
        let properties = read.properties(None)?;
        Ok(Self { keys, read, properties, metrics })
    }

    /// The same keys with something else of their rows.
    fn with_read(&self, read: KeyRead) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(self.keys.clone(), read, ExecutionPlanMetricsSet::new())?))
    }
}

impl DisplayAs for KeyLookupExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.num_rows();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "KeyLookupExec: key=[{}], keys={keys}, {}", names(&self.keys.schema()), self.read)
            }
            DisplayFormatType::TreeRender => writeln!(f, "keys={keys}"),
        }
    }
}

impl ExecutionPlan for KeyLookupExec {
    fn name(&self) -> &'static str {
        "KeyLookupExec"
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
        Err(DataFusionError::Internal("KeyLookupExec has no inputs".to_owned()))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return Err(DataFusionError::Internal(format!("partition {partition} of a lookup, which has one")));
        }
        let lookup = Lookup {
            keys: self.keys.clone(),
            read: self.read.clone(),
            batch_rows: context.session_config().batch_size().max(1),
            at_once: FIRST_KEYS.min(context.session_config().batch_size().max(1)),
            row_bytes: None,
            room: self.read.fetch.unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            counts: KeyMetrics::new(&self.metrics, "keys"),
        };
        let rows = stream::try_unfold(lookup, |lookup| async {
            let step = blocking(move || lookup.step()).await;
            step.map_err(joined)?
        });
        // Each step by itself can be given up.
        let rows = rows.try_filter(|rows: &RecordBatch| ready(rows.num_rows() > 0));
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(self.read.statistics(self.keys.num_rows() as u64))
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

    /// Conditions are asked here: with few rows, an operator of their own costs more than they do.
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

/// What is left to look up.
struct Lookup {
    keys: RecordBatch,
    read: KeyRead,
    batch_rows: usize,
    /// Keys of the next step: few before it is known how long rows are.
    at_once: usize,
    /// Bytes of a row of the run whose rows are largest, about, once somebody asked.
    row_bytes: Option<usize>,
    /// Rows that may still come.
    room: usize,
    baseline: BaselineMetrics,
    counts: KeyMetrics,
}

impl Lookup {
    /// The next rows for which the condition holds, of some that were looked up, and what is left then; nothing if nothing
    /// is left.
    fn step(mut self) -> Result<Option<(RecordBatch, Self)>> {
        if self.keys.num_rows() == 0 || self.room == 0 {
            return Ok(None);
        }
        let time = self.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        let taken = self.keys.num_rows().min(self.at_once);
        let keys = self.keys.slice(0, taken);
        self.keys = self.keys.slice(taken, self.keys.num_rows() - taken);
        let mut counts = ReadCounts::default();
        let snapshot = &self.read.table.snapshot;
        let found = snapshot.get_many(&keys, &self.read.stored, &mut counts).map_err(external)?;
        self.counts.asked.add(taken);
        self.counts.rows_found.add(found.rows.num_rows());
        self.counts.add(counts);
        if self.keys.num_rows() > 0 {
            self.at_once = self.next_step(&found.rows)?;
        }
        let rows = self.read.apply(&found.rows)?;
        let rows = rows.slice(0, rows.num_rows().min(self.room));
        self.room -= rows.num_rows();
        Ok(Some((rows.record_output(&self.baseline), self)))
    }

    /// Keys of the next step, by how long rows were in this one and how long they are in the runs; some times as many as
    /// in this one at most, for those that come may be longer.
    fn next_step(&mut self, found: &RecordBatch) -> Result<usize> {
        let in_runs = match self.row_bytes {
            Some(known) => known,
            None => self.read.table.snapshot.row_bytes_max(&self.read.stored).map_err(external)?,
        };
        self.row_bytes = Some(in_runs);
        let row_bytes = in_runs.max(kept_bytes(found.columns()) / found.num_rows().max(1));
        let fitting = STEP_BYTES / row_bytes.max(1);
        Ok(fitting.min(self.at_once.saturating_mul(STEP_GROWTH)).clamp(1, self.batch_rows))
    }
}
