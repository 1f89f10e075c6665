//! A database as DataFusion's sessions know it: a store address, and what was learned about its runs.
//!
//! In: an open database. Out: a [`Binding`] that its tables share.
//! Invariants: the address is unique per binding; registering it twice changes nothing. Neither the registered store
//! nor the facts about runs keep a run alive.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use parquet::file::metadata::ParquetMetaData;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustling_engine::database::Database;
use rustling_engine::id::RunId;
use rustling_engine::version::run::Run;

use crate::error::external;
use crate::footer::without_float_bounds;
use crate::store::RunStore;

/// A database and its address in DataFusion's sessions.
#[derive(Debug)]
pub struct Binding {
    database: Arc<Database>,
    store: Arc<RunStore>,
    url: ObjectStoreUrl,
    /// Facts about runs, which never change and whose ids are never given again.
    facts: Cache<RunId, RunFacts, FactBytes>,
}

/// What a scan needs to know of a run.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Row count, column minima, maxima, NULL counts, of the user's columns.
    pub statistics: Arc<Statistics>,
    /// The footer, fit for pruning.
    pub footer: Arc<ParquetMetaData>,
}

impl Binding {
    /// Gives a database an address.
    ///
    /// # Errors
    /// None in practice: the address is a valid URL.
    pub fn new(database: Arc<Database>) -> Result<Arc<Self>> {
        let random = RandomState::new().hash_one(std::process::id());
        let url = ObjectStoreUrl::parse(format!("rustling://{random:016x}"))?;
        let store = Arc::new(RunStore::new(&database));
        // So few that the cache is not split: those of a run of very many columns must find room in it.
        let facts = Cache::with_weighter(32, database.options().kept_bytes().footers as u64, FactBytes);
        Ok(Arc::new(Self { database, store, url, facts }))
    }

    /// The database.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The address of its store.
    pub fn url(&self) -> &ObjectStoreUrl {
        &self.url
    }

    /// Makes the store known to a runtime, unless it is.
    pub fn register(&self, runtime: &RuntimeEnv) {
        if runtime.object_store(&self.url).is_err() {
            runtime.register_object_store(self.url.as_ref(), self.store.clone());
        }
    }

    /// What the footer of a run says. Cost: the first time, it is read and decoded.
    ///
    /// # Errors
    /// The engine's, if the footer cannot be read.
    pub fn facts(&self, run: &Arc<Run>, schema: &SchemaRef) -> Result<RunFacts> {
        if let Some(known) = self.facts.get(&run.id()) {
            return Ok(known);
        }
        let footer = run.sst().parquet_metadata().map_err(external)?;
        let mut statistics = DFParquetMetadata::statistics_from_parquet_metadata(&footer, schema)?;
        for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
            // NaN is left out, and DataFusion concludes from bounds whether they are exact or not.
            if matches!(field.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64) {
                (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
            }
        }
        let facts = RunFacts { statistics: Arc::new(statistics), footer: without_float_bounds(footer)? };
        self.facts.insert(run.id(), facts.clone());
        Ok(facts)
    }
}

/// Bytes in memory of what is known of a run.
#[derive(Clone, Debug)]
struct FactBytes;

impl Weighter<RunId, RunFacts> for FactBytes {
    fn weight(&self, _: &RunId, facts: &RunFacts) -> u64 {
        let columns = facts.statistics.column_statistics.len() * size_of::<ColumnStatistics>();
        (facts.footer.memory_size() + columns) as u64
    }
}
