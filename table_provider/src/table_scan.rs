//! The scan of a table with a key, as long as it may still become another one.
//!
//! In: the plan that scans the table, or reads the keys that a condition leaves. Out: the same rows; and, where an order
//! by the key is asked for, or a join turns out to want few keys, a plan that reads by key instead.
//! Invariants: it changes nothing by itself: whatever is pushed down passes through, whatever is told of the rows is what
//! the plan below tells. Conditions that end here are asked below it, so that an order that is asked for above them
//! arrives. A plan below that has a limit is never replaced: what is left out is decided there. Once everything was
//! pushed down it goes, unless it waits for what a join learns.
//! How a join tells: it gives its other side's keys as a filter, which changes while the query runs, before it asks for
//! the first row. So with the first row that is asked for, for all partitions together, the filter is looked at, once.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions, apply_expression_roots,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::{EmptyRecordBatchStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream, SortOrderPushdownResult,
};
use futures::{TryStreamExt, stream};
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::source::KeyInterval;
use tokio::sync::OnceCell;

use crate::blocking::{blocking, joined};
use crate::key_lookup::KeyLookupExec;
use crate::key_range::KeyRangeExec;
use crate::key_ranges::KeyRanges;
use crate::key_read::KeyRead;
use crate::key_set::KeySet;
use crate::keyed_table::KeyAccess;
use crate::scan_shape::{ScanShape, filtered};

/// How the plan below reads.
#[derive(Clone, Debug)]
pub enum Reads {
    /// Everything, in no order.
    Everything,
    /// Some keys.
    Keys,
    /// Ranges of keys, in ascending order.
    Ranges(KeyRanges),
}

/// Scans a table with a key.
#[derive(Clone, Debug)]
pub struct TableScanExec {
    input: Arc<dyn ExecutionPlan>,
    reads: Reads,
    shape: ScanShape,
    /// Conditions over its columns that are known only while the query runs.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    /// The plan that takes the place of `input`, if one does, once that is known.
    chosen: Arc<OnceCell<Option<Arc<dyn ExecutionPlan>>>>,
    metrics: ExecutionPlanMetricsSet,
}

impl TableScanExec {
    /// A scan that `input` does, and what it gives.
    pub fn new(input: Arc<dyn ExecutionPlan>, reads: Reads, shape: ScanShape) -> Self {
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, reads, shape, dynamic: Vec::new(), chosen: Arc::default(), metrics }
    }

    /// It with another plan below. What was chosen, and measured, is the old one's.
    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        let fresh = Self::new(input, self.reads.clone(), self.shape.clone());
        Self { dynamic: self.dynamic.clone(), ..fresh }
    }

    /// The rows in an order of the key, and of what is asked for behind it; nothing if that takes more than reading them as
    /// they are.
    fn in_order(&self, order: KeyOrder, behind: &[PhysicalSortExpr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let ranges = match &self.reads {
            Reads::Ranges(ranges) => ranges.clone(),
            Reads::Keys => return Ok(None),
            Reads::Everything => match self.ranges()? {
                Some(ranges) => ranges,
                None => return Ok(None),
            },
        };
        let behind = self.shape.unprojected(behind)?;
        let source = |read: KeyRead| {
            KeyRangeExec::new(ranges, order, read.with_order_behind_key(behind), ExecutionPlanMetricsSet::new())
        };
        self.shape.over(source).map(Some)
    }

    /// Ranges in which most rows are wanted. Nothing if a condition may leave few rows of them: then reading all in order
    /// to find the first few of these would be slow.
    fn ranges(&self) -> Result<Option<KeyRanges>> {
        let (table, mut keys) = (&self.shape.table, KeySet::All);
        let columns = table.all_key_columns();
        for filter in &self.shape.filters {
            let left = columns.keys_where(filter);
            if left == KeySet::All {
                return Ok(None);
            }
            keys = keys.and(left);
        }
        let ranges = match keys {
            KeySet::All => Some(vec![KeyInterval::ALL]),
            KeySet::Boxes(boxes) => table.exact_ranges(&boxes)?,
        };
        Ok(ranges.map(|ranges| KeyRanges { ranges: ranges.into(), keys_max: table.keys_max }))
    }

    /// The plan that takes the place of the one below, if what is known now leaves few keys.
    async fn chosen(&self) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let choose = async || {
            let columns = self.shape.key_columns();
            let keys = self.dynamic.iter().fold(KeySet::All, |keys, filter| keys.and(columns.keys_where(filter)));
            let table = self.shape.table.clone();
            let access = blocking(move || table.access(&keys)).await;
            let access = access.map_err(joined)??;
            let chosen = self.reading(access)?;
            MetricBuilder::new(&self.metrics).counter("by_key", 0).add(usize::from(chosen.is_some()));
            Ok(chosen)
        };
        self.chosen.get_or_try_init(choose).await.cloned()
    }

    fn reading(&self, access: KeyAccess) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let metrics = self.metrics.clone();
        let plan = match access {
            KeyAccess::Scan => return Ok(None),
            KeyAccess::Nothing => Arc::new(EmptyExec::new(self.schema())),
            KeyAccess::Lookup(keys) => self.shape.over(|read| KeyLookupExec::new(keys, read, metrics))?,
            KeyAccess::Ranges(ranges) => {
                self.shape.over(|read| KeyRangeExec::new(ranges, KeyOrder::Ascending, read, metrics))?
            }
        };
        Ok(Some(plan))
    }
}

/// Whether a plan stops after some rows.
fn has_limit(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.fetch().is_some() || plan.children().into_iter().any(has_limit)
}

/// Whether a condition may change while the query runs.
fn is_dynamic(filter: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    filter.exists(|expr| Ok(expr.is::<DynamicFilterPhysicalExpr>()))
}

impl DisplayAs for TableScanExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.shape.table.snapshot.schema().key_names().join(", ");
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "TableScanExec: key=[{key}], dynamic_filters={}", self.dynamic.len())
            }
            DisplayFormatType::TreeRender => writeln!(f, "key=[{key}]"),
        }
    }
}

impl ExecutionPlan for TableScanExec {
    fn name(&self) -> &'static str {
        "TableScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Sorts stay above, so that they are asked for here.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(&self.dynamic, f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(self.with_input(input))),
            _ => Err(DataFusionError::Internal("TableScanExec has one input".to_owned())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    /// What a join learned in an earlier round says nothing about the next one, and the join does not tell again.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { dynamic: Vec::new(), ..self.with_input(self.input.clone()) }))
    }

    fn repartitioned(&self, target: usize, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let input = self.input.repartitioned(target, config)?;
        Ok(input.map(|input| Arc::new(self.with_input(input)) as _))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.dynamic.is_empty() {
            return self.input.execute(partition, context);
        }
        let (scan, schema) = (self.clone(), self.schema());
        let start = async move {
            match scan.chosen().await? {
                None => scan.input.execute(partition, context),
                Some(plan) if partition == 0 => plan.execute(0, context),
                Some(_) => Ok(Box::pin(EmptyRecordBatchStream::new(scan.schema())) as _),
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(start).try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(inputs.first().cloned().unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.schema()))))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let below = ProjectionExec::try_new(projection.expr().iter().cloned(), self.input.clone())?;
        let Some(input) = self.input.try_swapping_with_projection(&below)? else { return Ok(None) };
        if !self.dynamic.is_empty() {
            return Ok(None);
        }
        let shape = self.shape.with_projection(projection.projection_expr())?;
        Ok(Some(Arc::new(Self { shape, ..self.with_input(input) })))
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        match phase {
            FilterPushdownPhase::Pre => self.take_filters(result),
            FilterPushdownPhase::Post => self.take_dynamic_filters(result),
        }
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if let Some((order, behind)) = self.shape.key_order(order)
            && !has_limit(&self.input)
            && let Some(inner) = self.in_order(order, behind)?
        {
            return Ok(SortOrderPushdownResult::Exact { inner });
        }
        self.input.try_pushdown_sort(order)?.try_map(|input| Ok(Arc::new(self.with_input(input)) as _))
    }
}

impl TableScanExec {
    /// Has conditions that the plan below does not ask asked on top of that.
    fn take_filters(&self, result: ChildPushdownResult) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters = || result.parent_filters.iter();
        let Ok(shape) = self.shape.with_filters(filters().map(|filter| &filter.filter)) else {
            return Ok(FilterPushdownPropagation::if_all(result));
        };
        let left = filters().filter(|filter| matches!(filter.all(), PushedDown::No));
        let left: Vec<Arc<dyn PhysicalExpr>> = left.map(|filter| filter.filter.clone()).collect();
        let input = match left.is_empty() {
            true => self.input.clone(),
            false => filtered(self.input.clone(), left, self.shape.batch_rows)?,
        };
        let taken = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::Yes; filters().count()]);
        Ok(taken.with_updated_node(Arc::new(Self { shape, ..self.with_input(input) })))
    }

    /// Keeps the conditions that may turn out to leave few keys; without one it is done.
    fn take_dynamic_filters(
        &self,
        result: ChildPushdownResult,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let mut dynamic = Vec::new();
        if matches!(self.reads, Reads::Everything) && !has_limit(&self.input) {
            for filter in result.parent_filters.iter().map(|filter| &filter.filter) {
                if is_dynamic(filter)? && self.shape.names_key(filter) {
                    dynamic.push(filter.clone());
                }
            }
        }
        let node: Arc<dyn ExecutionPlan> = match dynamic.is_empty() {
            true => self.input.clone(),
            false => Arc::new(Self { dynamic, ..self.with_input(self.input.clone()) }),
        };
        Ok(FilterPushdownPropagation::if_all(result).with_updated_node(node))
    }
}
