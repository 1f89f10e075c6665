//! The file source of runs: DataFusion's Parquet source under a type of our own.
//!
//! In: a [`ParquetSource`]. Out: the same behaviour, with every source that comes back wrapped again, and with damaged
//! pages told as such ([`crate::damage`]).
//! Invariants: a plan never holds the bare [`ParquetSource`]. DataFusion's protobuf encoding knows that type and writes
//! it without the runs that its files carry; this type it does not know, so it asks for a codec or fails, and nothing
//! is lost in silence.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;

use crate::damage::DamageMorselizer;

/// Which runs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Those all of whose rows are live.
    Clean,
    /// Those some of whose rows are dead, for an operator that drops them.
    Masked,
}

/// What a scan of runs says of itself.
#[derive(Clone, Copy, Debug)]
pub struct RunScan {
    /// Which runs it reads.
    pub kind: RunKind,
    /// Runs of the table without a live row, which are not read at all.
    pub files_skipped: usize,
    /// Keys in memory that were looked up in runs of the table when the scan was planned, each in each run; those that
    /// an earlier scan or a flush looked up are not among them.
    pub keys_resolved: u64,
}

impl fmt::Display for RunScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RunKind::Clean => "clean",
            RunKind::Masked => "masked",
        };
        write!(f, "rustling={kind} runs, files_skipped={}, keys_resolved={}", self.files_skipped, self.keys_resolved)
    }
}

/// Reads the rows of runs.
#[derive(Clone, Debug)]
pub struct RunSource {
    parquet: ParquetSource,
    scan: RunScan,
}

impl RunSource {
    /// Wraps a source whose files carry their runs.
    pub fn new(parquet: ParquetSource, scan: RunScan) -> Self {
        Self { parquet, scan }
    }

    fn wrap(&self, source: &Arc<dyn FileSource>) -> Result<Arc<dyn FileSource>> {
        match source.downcast_ref::<ParquetSource>() {
            Some(parquet) => Ok(Arc::new(Self::new(parquet.clone(), self.scan))),
            None => Err(DataFusionError::Internal(format!("a Parquet source became a {} source", source.file_type()))),
        }
    }
}

impl FileSource for RunSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.parquet.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        Ok(Box::new(DamageMorselizer::new(self.parquet.create_morselizer(store, config, partition)?)))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let source = self.parquet.with_batch_size(batch_size);
        // It cannot be of another type; if it were, it would read the same rows.
        self.wrap(&source).unwrap_or(source)
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, ", {}", self.scan)?,
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.scan)?,
        }
        self.parquet.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.parquet.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        file_min_size: usize,
        ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        self.parquet.repartitioned(target_partitions, file_min_size, ordering, config)
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = match self.scan.kind {
            RunKind::Clean => self.parquet.try_pushdown_filters(filters, config)?,
            // It prunes with them; on dead rows, on which they may fail, it must not try them.
            RunKind::Masked => {
                let mut config = config.clone();
                config.execution.parquet.pushdown_filters = false;
                self.parquet.try_pushdown_filters(filters, &config)?
            }
        };
        let updated_node = pushed.updated_node.as_ref().map(|source| self.wrap(source)).transpose()?;
        Ok(FilterPushdownPropagation { filters: pushed.filters, updated_node })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        self.parquet.try_pushdown_sort(order, properties)?.try_map(|source| self.wrap(&source))
    }

    /// The order in which partitions that have nothing to do take files: the largest first, so that none begins with
    /// one when the others are done; unless another order is asked for.
    fn reorder_files(&self, mut files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        files.sort_by_key(|file| std::cmp::Reverse(file.effective_size()));
        self.parquet.reorder_files(files)
    }

    /// Columns only: what else a query computes is not to be told as damage of a file where it panics.
    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        if !projection.iter().all(|projected| projected.expr.is::<Column>()) {
            return Ok(None);
        }
        self.parquet.try_pushdown_projection(projection)?.as_ref().map(|source| self.wrap(source)).transpose()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}
