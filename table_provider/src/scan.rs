//! From a snapshot to a physical plan.
//!
//! In: a table at one sequence number, what of it is wanted. Out: a union of up to four parts: clean runs read as
//! Parquet; runs with dead rows read as Parquet, below an operator that drops those; memtable rows; merges of such;
//! only those that have something.
//! Invariants: the plan holds the runs and memtables it reads, so writes, compactions and sweeps do not touch it. All
//! parts have the user's schema, projected. Every push-down of DataFusion but that of a limit is right on every run:
//! files keep the statistics of all their rows, which are bounds for the live ones, and no row needs another one to be
//! known dead. Whatever is told of the plan's rows as exact is of live rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::config::{ParquetOptions, TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use parquet::arrow::RowNumber;
use rustling_engine::id::TableId;
use rustling_engine::read::plan::{LiveRun, ScanPlan};
use rustling_engine::read::snapshot::TableSnapshot;

use crate::binding::Binding;
use crate::error::external;
use crate::leaf::{Leaf, LeafRows};
use crate::live::LiveFilterExec;
use crate::memory::MemoryRows;
use crate::merge::MergeRows;
use crate::reader::{RunReaderFactory, ScannedRun};
use crate::source::{RunKind, RunScan, RunSource};
use crate::store::{run_meta, run_path};
use crate::wanted::Wanted;

/// What is wanted of a table, and how the session works.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The user's columns, as they are shown.
    pub columns: SchemaRef,
    /// Indexes of them.
    pub projection: Vec<usize>,
    /// Rows at most; set only where no filter follows.
    pub limit: Option<usize>,
    /// How many partitions the session likes.
    pub target_partitions: usize,
    /// How many rows of a batch it likes.
    pub batch_rows: usize,
    /// The session's options for Parquet.
    pub parquet: ParquetOptions,
}

/// Plans a scan. Cost: footers of clean runs that were never read are read, memtable rows are sorted; blocking.
///
/// # Errors
/// The engine's, crossing as external errors.
pub fn plan(binding: &Binding, snapshot: &TableSnapshot, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
    let user = &request.columns;
    let scan = ScanPlan::new(snapshot, request.target_partitions).map_err(external)?;
    let wanted = Wanted::new(user, request.projection.clone(), request.limit)?;
    let leaf = |rows| Leaf::plan(rows, user.clone(), wanted.clone()) as _;
    let mut children: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let (files_skipped, keys_resolved) = (scan.skipped, scan.resolved_keys);
    let files = Files { binding, table: snapshot.table().id, user, request, files_skipped, keys_resolved };
    let (clean, masked): (Vec<LiveRun>, Vec<LiveRun>) = scan.runs.into_iter().partition(LiveRun::is_clean);
    if !clean.is_empty() {
        children.push(files.clean(&clean)?);
    }
    if !masked.is_empty() {
        children.push(files.masked(masked)?);
    }
    if !scan.memory.is_empty() {
        children.push(leaf(LeafRows::Memory(MemoryRows::new(scan.memory, request.target_partitions))));
    }
    if !scan.merged.is_empty() {
        children.push(leaf(LeafRows::Merge(MergeRows::new(scan.merged, request.target_partitions))));
    }
    match children.len() {
        0 => Ok(Arc::new(EmptyExec::new(wanted.schema))),
        1 => Ok(children.remove(0)),
        _ => UnionExec::try_new(children),
    }
}

/// What the scans of files have in common.
struct Files<'a> {
    binding: &'a Binding,
    table: TableId,
    user: &'a SchemaRef,
    request: &'a ScanRequest,
    /// Runs without a live row.
    files_skipped: usize,
    /// Keys in memory that were looked up for this scan.
    keys_resolved: u64,
}

impl Files<'_> {
    /// The scan of runs all of whose rows are live: DataFusion's own Parquet scan.
    fn clean(&self, runs: &[LiveRun]) -> Result<Arc<dyn ExecutionPlan>> {
        let (files, statistics) = self.files(runs)?;
        let source = self.source(TableSchema::from(self.user.clone()), RunKind::Clean);
        let config = self
            .config(source, files, self.request.projection.clone())?
            .with_limit(self.request.limit)
            .with_statistics(statistics);
        Ok(DataSourceExec::from_data_source(config.build()))
    }

    /// The scan of runs some of whose rows are dead: DataFusion's own Parquet scan, which numbers the rows, and an
    /// operator that drops them. The limit stays above both.
    fn masked(&self, runs: Vec<LiveRun>) -> Result<Arc<dyn ExecutionPlan>> {
        let (files, statistics) = self.files(&runs)?;
        let columns = self.user.fields().len();
        let position = Field::new(self.free_name("__position"), DataType::Int64, false).with_extension_type(RowNumber);
        let table_schema = TableSchema::builder(self.user.clone())
            .with_table_partition_cols(vec![Arc::new(Field::new(self.free_name("__run"), DataType::UInt32, false))])
            .with_virtual_columns(vec![Arc::new(position)])
            .build();
        let numbered = |(index, file): (usize, PartitionedFile)| {
            let index = u32::try_from(index).map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(file.with_partition_values(vec![ScalarValue::UInt32(Some(index))]))
        };
        let files = files.into_iter().enumerate().map(numbered).collect::<Result<_>>()?;
        let projection = self.request.projection.iter().copied().chain([columns, columns + 1]).collect();
        let source = self.source(table_schema, RunKind::Masked);
        let config = self.config(source, files, projection)?.build();
        let equivalences = EquivalenceProperties::new(Arc::new(self.user.project(&self.request.projection)?));
        let statistics = live_statistics(statistics, &runs).project(Some(&self.request.projection));
        let input = DataSourceExec::from_data_source(config);
        Ok(Arc::new(LiveFilterExec::new(input, runs.into(), equivalences, statistics)))
    }

    /// The files of some runs, and what is known of all their rows.
    fn files(&self, runs: &[LiveRun]) -> Result<(Vec<PartitionedFile>, Statistics)> {
        let mut files = Vec::with_capacity(runs.len());
        let mut statistics = Vec::with_capacity(runs.len());
        for LiveRun { run, .. } in runs {
            let facts = self.binding.facts(run, self.user)?;
            let scanned = ScannedRun { run: run.clone(), footer: facts.footer };
            let file = PartitionedFile::new_from_meta(run_meta(run_path(self.table, run), run));
            files.push(file.with_statistics(facts.statistics.clone()).with_extension(scanned));
            statistics.push(facts.statistics);
        }
        let mut statistics = Statistics::try_merge_iter(statistics.iter().map(AsRef::as_ref), self.user)?;
        statistics.num_rows = Precision::Exact(row_count(runs));
        Ok((files, statistics))
    }

    fn source(&self, schema: TableSchema, kind: RunKind) -> RunSource {
        let mut options =
            TableParquetOptions { global: self.request.parquet.clone(), ..TableParquetOptions::default() };
        // On dead rows, on which they may fail, filters must not be tried.
        options.global.pushdown_filters &= kind == RunKind::Clean;
        let parquet = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(RunReaderFactory));
        let (files_skipped, keys_resolved) = (self.files_skipped, self.keys_resolved);
        RunSource::new(parquet, RunScan { kind, files_skipped, keys_resolved })
    }

    fn config(
        &self,
        source: RunSource,
        files: Vec<PartitionedFile>,
        projection: Vec<usize>,
    ) -> Result<FileScanConfigBuilder> {
        let share = files.len().div_ceil(self.request.target_partitions.max(1));
        let groups = files.chunks(share).map(|files| FileGroup::new(files.to_vec())).collect();
        FileScanConfigBuilder::new(self.binding.url().clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(projection))
    }

    /// A name that no column of the user has.
    fn free_name(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while self.user.column_with_name(&name).is_some() {
            name.push('_');
        }
        name
    }
}

/// What is known of the live rows of runs: how many there are, and bounds that may be the bounds of dead rows.
fn live_statistics(all: Statistics, runs: &[LiveRun]) -> Statistics {
    Statistics { num_rows: Precision::Exact(row_count(runs)), ..all.to_inexact() }
}

fn row_count(runs: &[LiveRun]) -> usize {
    usize::try_from(runs.iter().map(LiveRun::live_rows).sum::<u64>()).unwrap_or(usize::MAX)
}
