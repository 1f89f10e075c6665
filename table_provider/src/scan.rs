//! From a snapshot to a physical plan.
//!
//! In: a table at one sequence number, what of it is wanted. Out: a union of up to three leaves: clean runs read as
//! Parquet, memtable rows, merges; only those that have something.
//! Invariants: the plan holds the runs and memtables it reads, so writes, compactions and sweeps do not touch it. All
//! leaves have the user's schema, projected. Only a run all of whose rows are live is read as Parquet, so every
//! push-down of DataFusion is right on it, its footer's statistics included.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{Constraints, Statistics};
use datafusion::config::{ParquetOptions, TableParquetOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use rustling_engine::id::TableId;
use rustling_engine::read::plan::ScanPlan;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::version::run::Run;

use crate::binding::Binding;
use crate::error::external;
use crate::leaf::{Leaf, LeafRows};
use crate::memory::MemoryRows;
use crate::merge::MergeRows;
use crate::reader::{RunReaderFactory, ScannedRun};
use crate::source::RunSource;
use crate::store::{run_meta, run_path};
use crate::wanted::Wanted;

/// What is wanted of a table, and how the session works.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Indexes of the user's columns.
    pub projection: Vec<usize>,
    /// Rows at most; set only where no filter follows.
    pub limit: Option<usize>,
    /// How many partitions the session likes.
    pub target_partitions: usize,
    /// The session's options for Parquet.
    pub parquet: ParquetOptions,
    /// What the table guarantees.
    pub constraints: Constraints,
}

/// Plans a scan. Cost: footers of clean runs that were never read are read, memtable rows are sorted; blocking.
///
/// # Errors
/// The engine's, crossing as external errors.
pub fn plan(binding: &Binding, snapshot: &TableSnapshot, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
    let user = snapshot.schema().user();
    let scan = ScanPlan::new(snapshot, request.target_partitions).map_err(external)?;
    let wanted = Wanted::new(user, request.projection.clone(), request.limit)?;
    let leaf = |rows| Leaf::plan(rows, user.clone(), wanted.clone(), request.constraints.clone()) as _;
    let mut children: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    if !scan.clean.is_empty() {
        children.push(clean(binding, snapshot.table().id, user, &scan.clean, request)?);
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

/// The scan of clean runs: DataFusion's own Parquet scan.
fn clean(
    binding: &Binding,
    table: TableId,
    user: &SchemaRef,
    runs: &[Arc<Run>],
    request: &ScanRequest,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut files = Vec::with_capacity(runs.len());
    let mut statistics = Vec::with_capacity(runs.len());
    for run in runs {
        let facts = binding.facts(run, user)?;
        let scanned = ScannedRun { run: run.clone(), footer: facts.footer };
        let file = PartitionedFile::new_from_meta(run_meta(run_path(table, run), run));
        files.push(file.with_statistics(facts.statistics.clone()).with_extension(scanned));
        statistics.push(facts.statistics);
    }
    let share = files.len().div_ceil(request.target_partitions.max(1));
    let groups = files.chunks(share).map(|files| FileGroup::new(files.to_vec())).collect();
    let mut statistics = Statistics::try_merge_iter(statistics.iter().map(AsRef::as_ref), user)?;
    statistics.num_rows = Precision::Exact(row_count(runs));
    let options = TableParquetOptions { global: request.parquet.clone(), ..TableParquetOptions::default() };
    let parquet = ParquetSource::new(TableSchema::from(user.clone()))
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(RunReaderFactory));
    let config = FileScanConfigBuilder::new(binding.url().clone(), Arc::new(RunSource::new(parquet)))
        .with_file_groups(groups)
        .with_projection_indices(Some(request.projection.clone()))?
        .with_limit(request.limit)
        .with_statistics(statistics)
        .with_constraints(request.constraints.clone())
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

fn row_count(runs: &[Arc<Run>]) -> usize {
    usize::try_from(runs.iter().map(|run| run.rows()).sum::<u64>()).unwrap_or(usize::MAX)
}
