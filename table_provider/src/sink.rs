//! `INSERT INTO`: from a stream of batches to one atomic change.
//!
//! In: the batches of a query. Out: their number of rows, once all of them are durable.
//! Invariants: all rows or none. What fits into a quarter of a memtable is one write batch; more is a bulk load that
//! spills, so memory stays bounded. A query that fails or is cancelled ends the load without a commit: the end of the
//! rows is a message of its own, a channel that closes without it is a cancellation. A commit that has begun when the
//! statement is dropped goes on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::datasource::sink::DataSink;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, SendableRecordBatchStream};
use futures::StreamExt;
use rustling_engine::database::Database;
use rustling_engine::error::{Error as EngineError, Result as EngineResult};
use rustling_engine::id::TableId;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::rows::canonical::kept_bytes;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::rows::encoding::is_same_but_encoding;
use rustling_engine::rows::schema::TableSchema;
use rustling_engine::source::{BatchSource, Lines, SourceBatch};
use tokio::sync::mpsc::{Receiver, channel};

use crate::blocking::{blocking, joined, on_own_thread};
use crate::error::external;
use crate::shown::with_types;

/// Batches that wait between the query and the load.
const BATCHES_AHEAD: usize = 4;

/// How a load names the rows of a query.
const ORIGIN: &str = "query";

/// Writes the rows of a query into a table.
pub struct TableSink {
    database: Arc<Database>,
    id: TableId,
    name: Arc<str>,
    /// The user's columns, all nullable: the engine refuses NULLs itself, and says in which table and why.
    schema: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
    rows: Count,
}

impl TableSink {
    /// A sink into a table.
    pub fn new(database: Arc<Database>, id: TableId, name: Arc<str>, schema: &TableSchema) -> Self {
        let nullable = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
        let schema = Arc::new(Schema::new(schema.user().fields().iter().map(nullable).collect::<Vec<_>>()));
        let metrics = ExecutionPlanMetricsSet::new();
        let rows = MetricBuilder::new(&metrics).global_counter("rows_written");
        Self { database, id, name, schema, metrics, rows }
    }

    /// Refuses an input that does not have the table's columns.
    ///
    /// # Errors
    /// A plan error that names the column.
    pub fn check(&self, input: &Schema) -> Result<()> {
        let (expected, found) = (self.schema.fields(), input.fields());
        if expected.len() != found.len() {
            let (name, expected, found) = (&self.name, expected.len(), found.len());
            return Err(DataFusionError::Plan(format!(
                "INSERT INTO `{name}` gives {found} columns, the table has {expected}"
            )));
        }
        for (expected, found) in expected.iter().zip(found) {
            if expected.name() != found.name() {
                let (name, expected, found) = (&self.name, expected.name(), found.name());
                return Err(DataFusionError::Plan(format!(
                    "INSERT INTO `{name}` gives column `{found}` where the table has `{expected}`; select the columns in the table's order"
                )));
            }
            if !is_same_but_encoding(expected.data_type(), found.data_type()) {
                return Err(DataFusionError::Plan(format!(
                    "INSERT INTO `{}` gives column `{}` as {}, the table has {}; cast it",
                    self.name,
                    expected.name(),
                    found.data_type(),
                    expected.data_type(),
                )));
            }
        }
        Ok(())
    }

    /// The batch under the table's column names, and with its types.
    fn retype(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        Ok(with_types(batch, &self.schema)?)
    }

    async fn write(&self, batches: Vec<RecordBatch>) -> Result<u64> {
        let (database, id, name, schema) = (self.database.clone(), self.id, self.name.clone(), self.schema.clone());
        let write = move || {
            let rows = concat_batches(&schema, &batches)?;
            drop(batches);
            let count = rows.num_rows() as u64;
            let mut change = WriteBatch::new();
            change.insert(&name, rows).expect(&name, id);
            database.write(&change).map(|_| count)
        };
        blocking(write).await.map_err(joined)?.map_err(external)
    }

    /// Loads the batches collected so far and those that follow.
    async fn load(&self, collected: Vec<RecordBatch>, mut rest: SendableRecordBatchStream) -> Result<u64> {
        let (sender, receiver) = channel(BATCHES_AHEAD);
        let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let options = LoadOptions {
            on_conflict: OnConflict::Error,
            table: Some(self.id),
            cancel: cancel.0.clone(),
            ..LoadOptions::default()
        };
        let (database, name, schema) = (self.database.clone(), self.name.clone(), self.schema.clone());
        let load = move || {
            let mut rows = QueryRows { schema, batches: receiver, line: 1, ended: false };
            database.load(&name, &mut rows, &options).map(|report| report.rows_loaded)
        };
        let feed = async move {
            for batch in collected {
                if sender.send(Message::Rows(batch)).await.is_err() {
                    return;
                }
            }
            while let Some(next) = rest.next().await {
                let message = match next.and_then(|batch| self.retype(&batch)) {
                    Ok(batch) => Message::Rows(batch),
                    Err(error) => Message::Failed(error),
                };
                let failed = matches!(message, Message::Failed(_));
                if sender.send(message).await.is_err() || failed {
                    return;
                }
            }
            // A load that has given up does not listen any more; it says why itself.
            sender.send(Message::End).await.ok();
        };
        let ((), loaded) = futures::join!(feed, on_own_thread("insert", load));
        loaded.map_err(|error| match error {
            // The query's own error comes back as it was.
            EngineError::Source(source) => match source.downcast::<DataFusionError>() {
                Ok(error) => *error,
                Err(source) => external(EngineError::Source(source)),
            },
            other => external(other),
        })
    }
}

#[async_trait]
impl DataSink for TableSink {
    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(&self, mut data: SendableRecordBatchStream, _context: &Arc<TaskContext>) -> Result<u64> {
        let limit = self.database.options().memtable_bytes / 4;
        let (mut collected, mut bytes) = (Vec::new(), 0);
        while bytes <= limit {
            let Some(batch) = data.next().await.transpose()? else {
                let rows = self.write(collected).await?;
                self.rows.add(usize::try_from(rows).unwrap_or(usize::MAX));
                return Ok(rows);
            };
            bytes += kept_bytes(batch.columns());
            collected.push(self.retype(&batch)?);
        }
        let rows = self.load(collected, data).await?;
        self.rows.add(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(rows)
    }
}

impl DisplayAs for TableSink {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "rustling insert: table={}", self.name)
            }
            DisplayFormatType::TreeRender => writeln!(f, "rustling insert\ntable={}", self.name),
        }
    }
}

impl fmt::Debug for TableSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableSink({})", self.name)
    }
}

/// What the query tells the load.
enum Message {
    /// More rows.
    Rows(RecordBatch),
    /// The query failed.
    Failed(DataFusionError),
    /// These were all rows.
    End,
}

/// Stops the load when the statement is dropped before it is done.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The rows of a query as a load reads them.
struct QueryRows {
    schema: SchemaRef,
    batches: Receiver<Message>,
    line: u64,
    ended: bool,
}

impl BatchSource for QueryRows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next_batch(&mut self) -> EngineResult<Option<SourceBatch>> {
        if self.ended {
            return Ok(None);
        }
        match self.batches.blocking_recv() {
            Some(Message::Rows(batch)) => {
                let lines = Lines::From(self.line);
                self.line += batch.num_rows() as u64;
                Ok(Some(SourceBatch { batch, source: ORIGIN.into(), lines }))
            }
            Some(Message::Failed(error)) => Err(EngineError::Source(Box::new(error))),
            Some(Message::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(EngineError::Cancelled),
        }
    }
}
