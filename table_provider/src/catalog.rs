//! The tables of a database as DataFusion's catalog.
//!
//! In: an open database. Out: a catalog with the one schema `public`, which has all its tables.
//! Invariants: it shows what is there now: a table that was just created is found, one that was dropped is not. Tables
//! are made and dropped by the database, never by registering.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use rustling_engine::database::Database;
use rustling_engine::error::Error as EngineError;

use crate::binding::Binding;
use crate::error::Error;
use crate::refusal::advice;
use crate::table::RustlingTable;

/// Name of the one schema.
pub const SCHEMA: &str = "public";

/// A database as a catalog.
#[derive(Debug)]
pub struct RustlingCatalog {
    schema: Arc<RustlingSchema>,
}

/// The tables of a database.
#[derive(Debug)]
pub struct RustlingSchema {
    binding: Arc<Binding>,
}

impl RustlingCatalog {
    /// The catalog of a database. Make one and share it: it holds what was learned about runs.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(database: Arc<Database>) -> Result<Self, Error> {
        Ok(Self { schema: Arc::new(RustlingSchema { binding: Binding::new(database)? }) })
    }

    /// A table by its name.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTable`].
    pub fn table(&self, name: &str) -> Result<RustlingTable, Error> {
        RustlingTable::bound(self.schema.binding.clone(), name)
    }
}

fn refuse<T>(statement: &str, name: &str) -> Result<T> {
    Err(DataFusionError::NotImplemented(format!("{statement} `{name}` is not supported; {}", advice(statement))))
}

impl CatalogProvider for RustlingCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| self.schema.clone() as _)
    }

    fn register_schema(&self, name: &str, _schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        refuse("CREATE SCHEMA", name)
    }

    fn deregister_schema(&self, name: &str, _cascade: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        refuse("DROP SCHEMA", name)
    }
}

#[async_trait]
impl SchemaProvider for RustlingSchema {
    fn table_names(&self) -> Vec<String> {
        self.binding.database().snapshot().table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match RustlingTable::bound(self.binding.clone(), name) {
            Ok(table) => Ok(Some(Arc::new(table))),
            Err(Error::Engine(EngineError::NoSuchTable { .. })) => Ok(None),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    }

    fn register_table(&self, name: String, _table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        refuse("CREATE TABLE", &name)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        refuse("DROP TABLE", name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.binding.database().snapshot().table(name).is_ok()
    }
}
