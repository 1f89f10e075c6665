//! A database as DataFusion's sessions know it: a store address, and what was learned about its runs.
//!
//! In: an open database. Out: a [`Binding`] that its tables share.
//! Invariants: the address is unique per binding; registering it twice changes nothing. Neither the registered store
//! nor the facts about runs keep a run alive.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Statistics;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use parquet::file::metadata::ParquetMetaData;
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
    /// Facts about runs, found once; those of runs that are gone are dropped when one is added.
    facts: Mutex<HashMap<RunId, (Weak<Run>, RunFacts)>>,
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
        Ok(Arc::new(Self { database, store, url, facts: Mutex::default() }))
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
        let lock = || self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = lock().get(&run.id()) {
            return Ok(known.clone());
        }
        let footer = run.sst().parquet_metadata().map_err(external)?;
        let mut statistics = DFParquetMetadata::statistics_from_parquet_metadata(&footer, schema)?;
        for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
            // Good enough to guess sizes by, but NaN is left out, and zero is widened to both its signs.
            if matches!(field.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64) {
                column.min_value = std::mem::take(&mut column.min_value).to_inexact();
                column.max_value = std::mem::take(&mut column.max_value).to_inexact();
            }
        }
        let facts = RunFacts { statistics: Arc::new(statistics), footer: without_float_bounds(footer)? };
        let mut known = lock();
        known.retain(|_, (run, _)| run.strong_count() > 0);
        known.insert(run.id(), (Arc::downgrade(run), facts.clone()));
        Ok(facts)
    }
}
