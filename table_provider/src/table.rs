//! A table of the database as DataFusion's table.
//!
//! In: an open database and a table's name. Out: a [`TableProvider`] that works in any session of DataFusion 55.2.
//! Invariants: a scan shows one snapshot, taken when it is planned, or the one it was pinned to. Only `INSERT INTO`
//! writes. `DELETE` and `UPDATE` are refused here, not only by the statement gate, because DataFusion hands them an
//! empty filter for predicates that it cannot express (`IN (SELECT ...)`, `EXISTS`, `LIMIT`, `WHERE false`): done as
//! told, they would change every row.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraints, DFSchemaRef, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::error::Error as EngineError;
use rustling_engine::id::TableId;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::rows::schema::TableSchema;

use crate::binding::Binding;
use crate::blocking::{blocking, joined};
use crate::error::{Error, external};
use crate::read_path::{conditions, plan};
use crate::refusal::advice;
use crate::scan::ScanRequest;
use crate::shown::shown;
use crate::sink::TableSink;

/// A table of a database.
#[derive(Clone)]
pub struct RustlingTable {
    binding: Arc<Binding>,
    id: TableId,
    name: Arc<str>,
    schema: Arc<TableSchema>,
    /// Its columns as they are shown.
    columns: SchemaRef,
    pinned: Option<Snapshot>,
}

impl RustlingTable {
    /// A table by its name. Every scan shows the newest rows.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTable`].
    pub fn new(database: Arc<Database>, name: &str) -> Result<Self, Error> {
        Self::bound(Binding::new(database)?, name)
    }

    /// A table by its name, of a database that has an address already.
    ///
    /// # Errors
    /// [`EngineError::NoSuchTable`].
    pub fn bound(binding: Arc<Binding>, name: &str) -> Result<Self, Error> {
        let table = binding.database().snapshot().table(name)?;
        let schema = table.schema().clone();
        let (id, name, columns) = (table.table().id, table.table().name.clone(), shown(schema.user()));
        Ok(Self { binding, id, name, schema, columns, pinned: None })
    }

    /// The same table as it was in a snapshot.
    #[must_use]
    pub fn at(&self, snapshot: Snapshot) -> Self {
        Self { pinned: Some(snapshot), ..self.clone() }
    }

    /// Its database.
    pub fn database(&self) -> &Arc<Database> {
        self.binding.database()
    }

    /// Its name in the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The snapshot that its scans show, if it is not the newest one.
    pub fn pinned(&self) -> Option<&Snapshot> {
        self.pinned.as_ref()
    }

    /// Its columns, as they are shown.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Whether the user gave it a key.
    pub fn has_key(&self) -> bool {
        self.schema.has_key()
    }

    /// Its key columns as they are stored, in key order.
    pub fn key_schema(&self) -> SchemaRef {
        self.schema.key_schema()
    }

    /// What its scans show.
    ///
    /// # Errors
    /// [`EngineError::Dropped`], as an external error.
    pub fn snapshot(&self) -> Result<TableSnapshot> {
        let snapshot = match &self.pinned {
            Some(snapshot) => snapshot.table_by_id(self.id),
            None => self.database().snapshot().table_by_id(self.id),
        };
        snapshot.ok_or_else(|| external(EngineError::Dropped { table: self.name.to_string() }))
    }

    fn refuse<T>(&self, statement: &str) -> Result<T> {
        let text = format!("{statement} on table `{}` is not supported; {}", self.name, advice(statement));
        Err(DataFusionError::NotImplemented(text))
    }
}

impl fmt::Debug for RustlingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlingTable").field("name", &self.name).field("pinned", &self.pinned).finish()
    }
}

#[async_trait]
impl TableProvider for RustlingTable {
    fn schema(&self) -> SchemaRef {
        self.columns.clone()
    }

    /// None, though the key is one. DataFusion 55.2 goes on believing that it is unique where it is not any more: behind
    /// `unnest`, which repeats it (apache/datafusion#24787), it drops `DISTINCT`s, columns of `GROUP BY` and rows of joins;
    /// and behind a physical projection it takes another column for the key, and drops sorts.
    fn constraints(&self) -> Option<&Constraints> {
        None
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.binding.register(state.runtime_env());
        let all = || (0..self.columns.fields().len()).collect();
        let request = ScanRequest {
            columns: self.columns.clone(),
            projection: projection.cloned().unwrap_or_else(all),
            limit,
            target_partitions: state.config().target_partitions(),
            batch_rows: state.config().batch_size(),
            parquet: state.config_options().execution.parquet.clone(),
        };
        let conditions = match self.schema.has_key() {
            true => conditions(state, &self.columns, self.schema.key(), filters),
            false => Vec::new(),
        };
        let (binding, snapshot) = (self.binding.clone(), self.snapshot()?);
        let planned = blocking(move || plan(&binding, &snapshot, &request, &conditions)).await;
        planned.map_err(joined)?
    }

    /// All filters prune runs, row groups and pages, and those on keys choose how to read; none is promised to hold
    /// afterwards.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        None
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match operation {
            InsertOp::Append => {}
            InsertOp::Overwrite => return self.refuse("INSERT OVERWRITE"),
            InsertOp::Replace => return self.refuse("REPLACE INTO"),
        }
        if self.pinned.is_some() {
            return self.refuse("INSERT INTO a snapshot");
        }
        let sink = TableSink::new(self.database().clone(), self.id, self.name.clone(), &self.schema);
        sink.check(&input.schema())?;
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }

    async fn delete_from(&self, _state: &dyn Session, _filters: Vec<Expr>) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("DELETE")
    }

    async fn update(
        &self,
        _state: &dyn Session,
        _assignments: Vec<(String, Expr)>,
        _filters: Vec<Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("UPDATE")
    }

    async fn truncate(&self, _state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("TRUNCATE")
    }

    async fn merge_into(
        &self,
        _state: &dyn Session,
        _source: Arc<dyn ExecutionPlan>,
        _merge_schema: DFSchemaRef,
        _on: Expr,
        _clauses: Vec<MergeIntoClause>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.refuse("MERGE")
    }
}
