//! Rows of a running query, pulled batch by batch from a thread that is not part of a runtime.
//!
//! Invariants: batches come in the order of the query; dropping the rows stops the query.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// Rows of a running query.
pub struct Rows {
    runtime: Handle,
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
}

impl Rows {
    /// Pulls the batches of a stream with a runtime.
    pub fn new(runtime: Handle, stream: SendableRecordBatchStream) -> Self {
        Self { runtime, schema: stream.schema(), stream }
    }

    /// Columns of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.stream.next())?;
        Some(next.map_err(Error::from))
    }
}
