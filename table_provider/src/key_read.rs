//! What is given of rows that are read by key.
//!
//! In: rows as they are stored, columns, a condition. Out: those for which it holds, their columns as they are shown.
//! Invariants: columns are told by their names, which are unique in a table. A limit counts rows that are given.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::equivalence::ProjectionMapping;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr, conjunction_opt,
    split_conjunction,
};
use datafusion::physical_plan::PlanProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::projection::{ProjectionExpr, all_alias_free_columns, new_projections_for_columns};
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::sst::counts::ReadCounts;

use crate::keyed_table::{KeyedTable, names};
use crate::live::mask;
use crate::shown::with_types;

/// What is given of rows.
#[derive(Clone, Debug)]
pub struct KeyRead {
    /// The table.
    pub table: Arc<KeyedTable>,
    /// The columns that are given, as indexes of the user's, in any order.
    projection: Vec<usize>,
    /// The columns that are read, as indexes of the user's, ascending, each once.
    pub stored: Vec<usize>,
    /// Their schema, as they are shown.
    read: SchemaRef,
    /// Over the columns that are read.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Where among the columns that are read the given ones are.
    places: Vec<usize>,
    /// Schema of the columns that are given.
    pub schema: SchemaRef,
    /// Rows that are given, at most.
    pub fetch: Option<usize>,
    /// Over the user's columns: how rows of one key are ordered, of which there are no two. So that much may be told of
    /// rows in key order, too, if somebody asks for it.
    behind_key: Vec<PhysicalSortExpr>,
}

impl KeyRead {
    /// Some columns of those rows for which all conditions hold; these name columns of the table.
    ///
    /// # Errors
    /// DataFusion's, for columns that are not there.
    pub fn new(
        table: Arc<KeyedTable>,
        projection: Vec<usize>,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let all = &table.columns;
        let filters =
            filters.into_iter().map(|filter| reassign_expr_columns(filter, all)).collect::<Result<Vec<_>>>()?;
        let asked = filters.iter().flat_map(collect_columns).map(|column| column.index());
        let mut stored: Vec<usize> = projection.iter().copied().chain(asked).collect();
        stored.sort_unstable();
        stored.dedup();
        let (read, schema) = (Arc::new(all.project(&stored)?), Arc::new(all.project(&projection)?));
        let places = projection.iter().filter_map(|index| stored.binary_search(index).ok()).collect();
        let predicate = conjunction_opt(filters).map(|filter| reassign_expr_columns(filter, &read)).transpose()?;
        let behind_key = Vec::new();
        Ok(Self { table, projection, stored, read, predicate, places, schema, fetch, behind_key })
    }

    /// With an order of rows of one key, over the user's columns.
    #[must_use]
    pub fn with_order_behind_key(self, behind_key: Vec<PhysicalSortExpr>) -> Self {
        Self { behind_key, ..self }
    }

    /// No more rows than so many.
    #[must_use]
    pub fn with_fetch(&self, fetch: Option<usize>) -> Self {
        Self { fetch, ..self.clone() }
    }

    /// Only the rows for which conditions over what is given hold, too.
    ///
    /// # Errors
    /// DataFusion's, for columns that are not there.
    pub fn with_filters(&self, filters: impl Iterator<Item = Arc<dyn PhysicalExpr>>) -> Result<Self> {
        let filters = self.predicate.iter().cloned().chain(filters).collect();
        let read = Self::new(self.table.clone(), self.projection.clone(), filters, self.fetch)?;
        Ok(read.with_order_behind_key(self.behind_key.clone()))
    }

    /// Other columns, as a projection takes them out of what is given; nothing if it does more than that.
    ///
    /// # Errors
    /// DataFusion's, for columns that are not there.
    pub fn with_projection(&self, exprs: &[ProjectionExpr]) -> Result<Option<Self>> {
        if !all_alias_free_columns(exprs) {
            return Ok(None);
        }
        let projection = new_projections_for_columns(exprs, &self.projection);
        let filters = self.predicate.iter().cloned().collect();
        let read = Self::new(self.table.clone(), projection, filters, self.fetch)?;
        Ok(Some(read.with_order_behind_key(self.behind_key.clone())))
    }

    /// Of rows that were read, in the stored columns that are read, what is given.
    ///
    /// # Errors
    /// DataFusion's, for a condition that fails on a row.
    pub fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut rows = with_types(rows, &self.read)?;
        if let Some(predicate) = &self.predicate {
            rows = filter_record_batch(&rows, &mask(predicate, &rows)?)?;
        }
        Ok(rows.project(&self.places)?)
    }

    /// Properties of an operator that gives the rows in one partition, in an order of the key if there is one.
    ///
    /// # Errors
    /// DataFusion's, for a condition that is none.
    pub fn properties(&self, order: Option<KeyOrder>) -> Result<Arc<PlanProperties>> {
        let order = order.map(|order| self.sort_exprs(order)).filter(|order| !order.is_empty());
        let mut known = match order {
            Some(order) => EquivalenceProperties::new_with_orderings(self.read.clone(), [order]),
            None => EquivalenceProperties::new(self.read.clone()),
        };
        if let Some(predicate) = &self.predicate {
            for part in split_conjunction(predicate) {
                let equal = part.downcast_ref::<BinaryExpr>().filter(|binary| *binary.op() == Operator::Eq);
                let Some(equal) = equal else { continue };
                if equal.left().is::<Column>() || equal.right().is::<Column>() {
                    known.add_equal_conditions(equal.left().clone(), equal.right().clone())?;
                }
            }
            let constants = ConstExpr::collect_predicate_constants(&known, predicate);
            known.add_constants(constants.into_iter().chain(self.fixed(predicate)))?;
        }
        let mapping = ProjectionMapping::from_indices(&self.places, &self.read)?;
        let known: EquivalenceProperties = known.project(&mapping, self.schema.clone());
        let one = Partitioning::UnknownPartitioning(1);
        let properties = PlanProperties::new(known, one, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)))
    }

    /// An order of the key, and what is known behind the whole of it.
    fn sort_exprs(&self, order: KeyOrder) -> Vec<PhysicalSortExpr> {
        let mut exprs = self.table.sort_exprs(&self.stored, &self.read, order);
        if exprs.len() == self.table.key().len() {
            let over_read = |sort: &PhysicalSortExpr| reassign_expr_columns(sort.expr.clone(), &self.read).ok();
            let behind = self.behind_key.iter();
            exprs.extend(behind.map_while(|sort| Some(PhysicalSortExpr::new(over_read(sort)?, sort.options))));
        }
        exprs
    }

    /// The key columns that a condition fixes.
    fn fixed(&self, predicate: &Arc<dyn PhysicalExpr>) -> Vec<ConstExpr> {
        let keys = self.table.key_columns(self.stored.iter().copied().map(Some)).keys_where(predicate);
        let places = self.table.key().iter().enumerate().filter(|(place, _)| keys.fixes(*place));
        let places = places.filter_map(|(_, index)| self.stored.binary_search(index).ok());
        let column = |place: usize| Arc::new(Column::new(self.read.field(place).name(), place));
        places.map(|place| ConstExpr::new(column(place), AcrossPartitions::Uniform(None))).collect()
    }

    /// What is known of rows with so many keys.
    pub fn statistics(&self, keys: u64) -> Arc<Statistics> {
        let rows = usize::try_from(keys).unwrap_or(usize::MAX).min(self.fetch.unwrap_or(usize::MAX));
        let unknown = Statistics::new_unknown(&self.schema);
        Arc::new(Statistics { num_rows: Precision::Inexact(rows), ..unknown })
    }
}

impl fmt::Display for KeyRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(predicate) = &self.predicate {
            write!(f, "predicate={predicate}, ")?;
        }
        write!(f, "projection=[{}]", names(&self.schema))?;
        self.fetch.map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }
}

/// What reading by key took, as metrics.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    /// Keys or ranges that were asked for.
    pub asked: Count,
    /// Rows that were found, before the condition was asked.
    pub rows_found: Count,
    keys_denied: Count,
    rows_kept: Count,
    pages_kept: Count,
    pages_read: Count,
}

impl KeyMetrics {
    /// Counts in a set of metrics; `asked` is the name of what is asked for.
    pub fn new(metrics: &ExecutionPlanMetricsSet, asked: &'static str) -> Self {
        let count = |name: &'static str| MetricBuilder::new(metrics).counter(name, 0);
        Self {
            asked: count(asked),
            rows_found: count("rows_found"),
            keys_denied: count("keys_denied"),
            rows_kept: count("rows_kept"),
            pages_kept: count("pages_kept"),
            pages_read: count("pages_read"),
        }
    }

    /// Adds what the engine counted.
    pub fn add(&self, counts: ReadCounts) {
        let add = |count: &Count, more: u64| count.add(usize::try_from(more).unwrap_or(usize::MAX));
        add(&self.keys_denied, counts.keys_denied);
        add(&self.rows_kept, counts.rows_kept);
        add(&self.pages_kept, counts.pages_kept);
        add(&self.pages_read, counts.pages_read);
    }
}
