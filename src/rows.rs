//! Rows of a running query, pulled batch by batch from a thread that is not part of a runtime.
//!
//! Invariants: batches come in the order of the query; dropping the rows stops the query, and so does [`Stop`] from
//! any thread.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use rustling_table_provider::statement::Executed;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::{Error, Result};

/// Stops queries from another thread, for good. Clones stop the same queries.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Stops the queries that watch it, running ones and later ones.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Rows of a running query.
pub struct Rows {
    runtime: Handle,
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    is_insert: bool,
    stop: Stop,
}

impl Rows {
    /// Pulls the rows of a statement with a runtime.
    pub fn new(runtime: Handle, Executed { rows: stream, is_insert }: Executed) -> Self {
        Self { runtime, schema: stream.schema(), stream, is_insert, stop: Stop::default() }
    }

    /// Whether the one row says how many rows were inserted.
    pub fn is_insert(&self) -> bool {
        self.is_insert
    }

    /// The same rows until `stop` is used: then [`Error::Stopped`] comes instead of the next batch, or
    /// [`Error::InsertStopped`].
    #[must_use]
    pub fn until(self, stop: &Stop) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// Columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = refuse_inside_runtime() {
            return Some(Err(error));
        }
        let stopped = if self.is_insert { Error::InsertStopped } else { Error::Stopped };
        let mut stop = self.stop.0.subscribe();
        let stream = &mut self.stream;
        let next = self.runtime.block_on(async {
            tokio::select! {
                biased;
                Ok(_) = stop.wait_for(|stopped| *stopped) => Some(Err(stopped)),
                next = stream.next() => next.map(|batch| batch.map_err(Error::from)),
            }
        })?;
        Some(next)
    }
}

/// A thread of a runtime must not wait for another one: that would be a panic.
///
/// # Errors
/// [`Error::InsideRuntime`].
pub fn refuse_inside_runtime() -> Result<()> {
    if Handle::try_current().is_ok() { Err(Error::InsideRuntime) } else { Ok(()) }
}
