//! The leaf of a plan that reads what Parquet alone cannot give: memtable rows, and rows that must be merged.
//!
//! In: rows in memory or merge parts, spread over partitions. Out: a [`DataSource`] for `DataSourceExec`.
//! Invariants: it gives the user's columns, projected, under the user's schema, whatever the stored columns are; what
//! it reads is fixed when it is made. A limit counts per partition, as it does for files.
//! Why not DataFusion's memory source: that one shows neither rows nor metrics, and forgets its limit when it is
//! repartitioned.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::{ProjectionExpr, all_alias_free_columns, new_projections_for_columns};
use datafusion::physical_plan::{DisplayFormatType, SendableRecordBatchStream};

use crate::memory::MemoryRows;
use crate::merge::MergeRows;
use crate::wanted::Wanted;

/// Where the rows come from.
#[derive(Clone, Debug)]
pub enum LeafRows {
    /// Memtable rows that nothing overlaps.
    Memory(MemoryRows),
    /// Rows of memtables that overlap.
    Merge(MergeRows),
}

/// The leaf.
#[derive(Clone, Debug)]
pub struct Leaf {
    rows: LeafRows,
    wanted: Wanted,
    /// Schema of all the user's columns.
    user: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl Leaf {
    /// A leaf as a plan.
    pub fn plan(rows: LeafRows, user: SchemaRef, wanted: Wanted) -> Arc<DataSourceExec> {
        let metrics = ExecutionPlanMetricsSet::new();
        DataSourceExec::from_data_source(Self { rows, wanted, user, metrics })
    }

    fn partitions(&self) -> usize {
        match &self.rows {
            LeafRows::Memory(rows) => rows.partitions(),
            LeafRows::Merge(rows) => rows.partitions(),
        }
    }

    fn row_count(&self, partition: Option<usize>) -> Precision<usize> {
        let rows = match &self.rows {
            LeafRows::Memory(rows) => Precision::Exact(rows.row_count(partition)),
            LeafRows::Merge(rows) => Precision::Inexact(rows.row_count_max(partition)),
        };
        match self.wanted.fetch {
            None => rows,
            // The limit is each partition's.
            Some(fetch) if partition.is_some() || self.partitions() == 1 => rows.min(&Precision::Exact(fetch)),
            Some(_) => rows.to_inexact(),
        }
    }
}

impl DataSource for Leaf {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.partitions() {
            let text = format!("partition {partition} of a leaf with {} partitions", self.partitions());
            return Err(DataFusionError::Internal(text));
        }
        Ok(make_cooperative(match &self.rows {
            LeafRows::Memory(rows) => rows.open(partition, &self.wanted, &self.metrics, &context),
            LeafRows::Merge(rows) => rows.open(partition, &self.wanted, &self.metrics, &context),
        }))
    }

    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = match &self.rows {
            LeafRows::Memory(rows) => format!("rustling memory: {rows}"),
            LeafRows::Merge(rows) => format!("rustling merge: {rows}"),
        };
        let names: Vec<&str> = self.wanted.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let fetch = self.wanted.fetch.map(|fetch| format!(", fetch={fetch}")).unwrap_or_default();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "{rows}, partitions={}, projection=[{}]{fetch}", self.partitions(), names.join(", "))
            }
            DisplayFormatType::TreeRender => writeln!(f, "{rows}"),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.wanted.schema.clone())
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.wanted.schema);
        Ok(Arc::new(Statistics { num_rows: self.row_count(partition), ..unknown }))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        let wanted = Wanted { fetch: limit, ..self.wanted.clone() };
        Some(Arc::new(Self { wanted, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.wanted.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        let columns: Vec<ProjectionExpr> = projection.iter().cloned().collect();
        if !all_alias_free_columns(&columns) {
            return Ok(None);
        }
        let projection = new_projections_for_columns(&columns, &self.wanted.projection);
        let wanted = Wanted::new(&self.user, projection, self.wanted.fetch)?;
        Ok(Some(Arc::new(Self { wanted, ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn datafusion::physical_plan::PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}
