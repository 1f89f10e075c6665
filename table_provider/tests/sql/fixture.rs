//! A database in memory, a model of its one table, and a session for each.
//!
//! The model is a map from key to row; the session of the model has its rows as DataFusion's own memory table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::rows::change::WriteBatch;
use rustling_table_provider::table::RustlingTable;

/// Text and number of a row; `f` follows from the key.
pub(crate) type Row = (Option<String>, i32);

/// A database with table `t`, its model, a session.
pub(crate) struct Fixture {
    pub(crate) database: Arc<Database>,
    pub(crate) model: BTreeMap<i64, Row>,
    pub(crate) context: SessionContext,
}

pub(crate) fn session() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2).with_information_schema(true))
}

/// Key `k`, text `v`, number `n`, float `f`, the key not being the first column.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("v", DataType::Utf8, true),
        Field::new("k", DataType::Int64, false),
        Field::new("n", DataType::Int32, false),
        Field::new("f", DataType::Float64, true),
    ]))
}

pub(crate) fn batch<'a>(rows: impl IntoIterator<Item = (&'a i64, &'a Row)>) -> RecordBatch {
    let rows: Vec<(i64, Row)> = rows.into_iter().map(|(key, row)| (*key, row.clone())).collect();
    let text: StringArray = rows.iter().map(|(_, (text, _))| text.clone()).collect();
    let float: Float64Array = rows.iter().map(|(key, _)| (key % 7 != 0).then_some(*key as f64 / 4.0)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(text),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, (_, number))| *number))),
        Arc::new(float),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(crate) fn row(key: i64) -> Row {
    ((key % 5 != 0).then(|| format!("text {}", key % 13)), i32::try_from(key % 101).unwrap())
}

pub(crate) fn options() -> Options {
    Options { background: false, ..Options::with_memory(64 << 20) }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: Options) -> Self {
        let database = Arc::new(Database::open(Arc::new(MemoryDisk::new()), options).unwrap());
        database.create_table("t", &schema(), &["k"]).unwrap();
        let context = session();
        let table = RustlingTable::new(database.clone(), "t").unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        Self { database, model: BTreeMap::new(), context }
    }

    /// Upserts keys, with a number that tells this version from others.
    pub(crate) fn upsert(&mut self, keys: impl IntoIterator<Item = i64>, version: i32) {
        let rows: BTreeMap<i64, Row> =
            keys.into_iter().map(|key| (key, (row(key).0, row(key).1 + 1000 * version))).collect();
        let mut change = WriteBatch::new();
        change.upsert("t", batch(&rows));
        self.database.write(&change).unwrap();
        self.model.extend(rows);
    }

    pub(crate) fn delete(&mut self, keys: impl IntoIterator<Item = i64>) {
        let keys: Vec<i64> = keys.into_iter().collect();
        let column: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
        let mut change = WriteBatch::new();
        change.delete("t", RecordBatch::try_from_iter([("k", column)]).unwrap());
        self.database.write(&change).unwrap();
        keys.iter().for_each(|key| drop(self.model.remove(key)));
    }

    pub(crate) fn flush(&self) {
        self.database.flush("t").unwrap();
    }

    pub(crate) fn compact(&self) {
        self.database.compact("t").unwrap();
    }

    /// A session that has the model's rows as table `t`.
    pub(crate) fn model_session(&self) -> SessionContext {
        let context = session();
        let table = MemTable::try_new(schema(), vec![vec![batch(&self.model)]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    /// Runs a query on the table and on the model; both must say the same.
    pub(crate) async fn check(&self, sql: &str) {
        let expected = rows(&self.model_session(), sql).await;
        let found = rows(&self.context, sql).await;
        assert_eq!(found, expected, "{sql}\n{}", explain(&self.context, sql).await);
    }
}

/// Rows as text; sorted, unless the query orders them.
pub(crate) async fn rows(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = run(context, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows = text(&batches);
    if !sql.contains("ORDER BY") {
        rows.sort();
    }
    rows
}

pub(crate) async fn run(context: &SessionContext, sql: &str) -> datafusion::error::Result<Vec<RecordBatch>> {
    context.sql(sql).await?.collect().await
}

pub(crate) fn text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

pub(crate) async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// The physical plan as text.
pub(crate) async fn explain(context: &SessionContext, sql: &str) -> String {
    displayable(plan(context, sql).await.as_ref()).indent(false).to_string()
}

/// Executes a query and gives its plan with metrics.
pub(crate) async fn analyze(context: &SessionContext, sql: &str) -> String {
    let plan = plan(context, sql).await;
    collect(plan.clone(), context.task_ctx()).await.unwrap();
    datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(false).to_string()
}

/// The one number that a query gives.
pub(crate) async fn number(context: &SessionContext, sql: &str) -> u64 {
    let batches = run(context, sql).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    assert_eq!(batch.column(0).null_count(), 0);
    text(std::slice::from_ref(batch))[0].parse().unwrap()
}
