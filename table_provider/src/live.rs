//! The operator that drops dead rows.
//!
//! In: rows of runs with two more columns, which of the runs a batch is from and each row's position in it. Out: the
//! live ones, without those columns; fused with a filter where there is one.
//! Invariants: a limit never goes below it, for what is below counts dead rows; its row count is exact as long as it
//! has no filter. A filter that fails on a dead row does not fail the query.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{BatchCoalescer, and, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Int64Type, SchemaRef, UInt32Type};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, conjunction};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream, SendableRecordBatchStream,
};
use futures::{Stream, StreamExt};
use rustling_engine::read::plan::LiveRun;

/// Drops the dead rows of runs.
#[derive(Clone, Debug)]
pub struct LiveFilterExec {
    /// The rows; behind the columns of `schema` the index of the run, and the position.
    input: Arc<dyn ExecutionPlan>,
    runs: Arc<[LiveRun]>,
    schema: SchemaRef,
    /// Over the columns of `schema`.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LiveFilterExec {
    /// Drops dead rows from `input`, which has the columns of `schema`, a run's index and a position; `statistics` are
    /// those of the live rows.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        runs: Arc<[LiveRun]>,
        equivalences: EquivalenceProperties,
        statistics: Statistics,
    ) -> Self {
        let schema = equivalences.schema().clone();
        let below = input.properties();
        let (partitioning, emission, boundedness) =
            (below.output_partitioning().clone(), below.emission_type, below.boundedness);
        let properties = Arc::new(PlanProperties::new(equivalences, partitioning, emission, boundedness));
        let (metrics, statistics) = (ExecutionPlanMetricsSet::new(), Arc::new(statistics));
        Self { input, runs, schema, predicate: None, statistics, properties, metrics }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        let equivalences = self.properties.equivalence_properties().clone();
        let other = Self::new(input, self.runs.clone(), equivalences, (*self.statistics).clone());
        Self { predicate: self.predicate.clone(), ..other }
    }
}

impl DisplayAs for LiveFilterExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead: u64 = self.runs.iter().map(|run| run.dead.len()).sum();
        let predicate = self.predicate.as_ref().map(|predicate| format!(", predicate={predicate}")).unwrap_or_default();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "LiveFilterExec: files_masked={}, rows_dead={dead}{predicate}", self.runs.len())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "files_masked={}\nrows_dead={dead}{predicate}", self.runs.len())
            }
        }
    }
}

impl ExecutionPlan for LiveFilterExec {
    fn name(&self) -> &'static str {
        "LiveFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Sorts stay above: they would sort dead rows, too.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    /// It is cheap, and what reads the files makes the partitions.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.predicate.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(self.with_input(input))),
            _ => Err(DataFusionError::Internal("LiveFilterExec has one input".to_owned())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options =
            ReplaceChildrenOptions::new(datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    /// More partitions are the file scan's to make.
    fn repartitioned(&self, target: usize, config: &ConfigOptions) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let input = self.input.repartitioned(target, config)?;
        Ok(input.map(|input| Arc::new(self.with_input(input)) as _))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let coalescer =
            BatchCoalescer::new(self.schema.clone(), batch_rows).with_biggest_coalesce_batch_size(Some(batch_rows / 2));
        Ok(Box::pin(LiveRows {
            input: self.input.execute(partition, context)?,
            is_done: false,
            coalescer,
            filter: LiveFilter {
                runs: self.runs.clone(),
                schema: self.schema.clone(),
                predicate: self.predicate.clone(),
                rows_dead: MetricBuilder::new(&self.metrics).counter("rows_dead", partition),
            },
            baseline: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let partitions = self.properties.output_partitioning().partition_count();
        if args.partition().is_some() && partitions > 1 {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        if self.predicate.is_none() {
            return Ok(self.statistics.clone());
        }
        let filtered = Statistics::clone(&self.statistics).to_inexact();
        // Nobody knows how many rows a filter leaves; DataFusion guesses a fifth.
        let num_rows = match filtered.num_rows {
            Precision::Inexact(rows) => Precision::Inexact(rows / 5),
            other => other,
        };
        Ok(Arc::new(Statistics { num_rows, ..filtered }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    /// Filters that the scan only prunes with are taken over, so that dead rows and rows that nobody wants go together.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        if phase != FilterPushdownPhase::Pre || result.parent_filters.is_empty() {
            return Ok(FilterPushdownPropagation::if_all(result));
        }
        let left = result.parent_filters.iter().filter(|filter| matches!(filter.all(), PushedDown::No));
        let left = left.map(|filter| filter.filter.clone());
        let all: Vec<Arc<dyn PhysicalExpr>> = self.predicate.iter().cloned().chain(left).collect();
        let filters = vec![PushedDown::Yes; result.parent_filters.len()];
        let predicate = (!all.is_empty()).then(|| conjunction(all));
        let node: Arc<dyn ExecutionPlan> = Arc::new(Self { predicate, ..self.clone() });
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(filters).with_updated_node(node))
    }
}

/// What decides which rows stay.
struct LiveFilter {
    runs: Arc<[LiveRun]>,
    schema: SchemaRef,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    rows_dead: Count,
}

impl LiveFilter {
    /// The rows of the input's batch under the schema of the output, and which of them stay; all of them without.
    fn apply(&self, batch: &RecordBatch) -> Result<(RecordBatch, Option<BooleanArray>)> {
        let columns = self.schema.fields().len();
        let live = self.live(batch, columns)?;
        let rows = RecordBatch::try_new_with_options(
            self.schema.clone(),
            batch.columns()[..columns].to_vec(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )?;
        let dead = live.as_ref().map_or(0, |live| live.len() - live.true_count());
        self.rows_dead.add(dead);
        let Some(predicate) = &self.predicate else { return Ok((rows, live)) };
        match (mask(predicate, &rows), live) {
            (Ok(wanted), None) => Ok((rows, Some(wanted))),
            (Ok(wanted), Some(live)) => Ok((rows, Some(and(&wanted, &live)?))),
            // It may have failed on a row that is dead.
            (Err(_), Some(live)) => {
                let rows = filter_record_batch(&rows, &live)?;
                let wanted = mask(predicate, &rows)?;
                Ok((rows, Some(wanted)))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// For each row of the batch whether it is live; nothing if all are.
    fn live(&self, batch: &RecordBatch, columns: usize) -> Result<Option<BooleanArray>> {
        let lost = || DataFusionError::Internal("rows of a masked run have lost their positions".to_owned());
        let [run, position] = batch.columns().get(columns..).unwrap_or_default() else { return Err(lost()) };
        let run = run.as_primitive_opt::<UInt32Type>().ok_or_else(lost)?;
        let positions = position.as_primitive_opt::<Int64Type>().ok_or_else(lost)?.values();
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return Ok(None) };
        // A batch comes from one file.
        let (index, same) = (run.value(0), run.value(0) == run.value(run.len() - 1));
        let run =
            usize::try_from(index).ok().and_then(|index| self.runs.get(index)).filter(|_| same).ok_or_else(lost)?;
        let place = |position: i64| u64::try_from(position).map_err(|_| lost());
        let (first, end) = (place(*first)?, place(*last)? + 1);
        let live = if end - first == positions.len() as u64 {
            if run.dead.count_in(&(first..end)) == 0 {
                return Ok(None);
            }
            run.dead.live(first..end)
        } else {
            positions.iter().map(|position| u64::try_from(*position).is_ok_and(|row| !run.dead.contains(row))).collect()
        };
        Ok(Some(BooleanArray::new(live, None)))
    }
}

/// Which rows a predicate wants; unknown is no.
///
/// # Errors
/// DataFusion's, for a predicate that fails on a row.
pub fn mask(predicate: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let wanted = predicate.evaluate(rows)?.into_array(rows.num_rows())?;
    let Some(wanted) = wanted.as_boolean_opt() else {
        return Err(DataFusionError::Internal(format!("a filter is of type {}", wanted.data_type())));
    };
    Ok(if wanted.null_count() == 0 { wanted.clone() } else { prep_null_mask_filter(wanted) })
}

/// The live rows of one partition.
struct LiveRows {
    input: SendableRecordBatchStream,
    is_done: bool,
    coalescer: BatchCoalescer,
    filter: LiveFilter,
    baseline: BaselineMetrics,
}

impl LiveRows {
    /// Takes a batch; gives one at once if its columns are none, for then only its length counts.
    fn push(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let _timer = self.baseline.elapsed_compute().timer();
        let (rows, stay) = self.filter.apply(batch)?;
        let rows = match stay {
            Some(stay) => filter_record_batch(&rows, &stay)?,
            None => rows,
        };
        if self.filter.schema.fields().is_empty() {
            return Ok(Some(rows));
        }
        self.coalescer.push_batch(rows)?;
        Ok(None)
    }

    fn poll_rows(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => match self.push(&batch) {
                    Ok(None) => {}
                    Ok(Some(rows)) => return Poll::Ready(Some(Ok(rows))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_done = true;
                    if let Err(error) = self.coalescer.finish_buffered_batch() {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                }
            }
        }
    }
}

impl Stream for LiveRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.poll_rows(context);
        self.baseline.record_poll(polled)
    }
}

impl RecordBatchStream for LiveRows {
    fn schema(&self) -> SchemaRef {
        self.filter.schema.clone()
    }
}
