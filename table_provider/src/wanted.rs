//! Which columns and how many rows of a leaf are wanted.
//!
//! In: the user's schema, a projection. Out: [`Wanted`], and batches brought into its form.
//! Invariants: the schema is the projected user's one, free of what the engine notes on stored columns, so that all
//! leaves of a scan have the same.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;

use crate::shown::with_types;

/// What of the rows is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Schema of the projected columns.
    pub schema: SchemaRef,
    /// The projected columns, as indexes of the user's columns, in any order.
    pub projection: Vec<usize>,
    /// Rows of each partition at most.
    pub fetch: Option<usize>,
}

impl Wanted {
    /// Some columns of a table.
    ///
    /// # Errors
    /// Arrow's, for a column that is not there.
    pub fn new(user: &SchemaRef, projection: Vec<usize>, fetch: Option<usize>) -> Result<Self> {
        Ok(Self { schema: Arc::new(user.project(&projection)?), projection, fetch })
    }

    /// The columns to read, ascending and each once, and where among them the projected ones are.
    pub fn stored(&self) -> (Vec<usize>, Vec<usize>) {
        let mut stored = self.projection.clone();
        stored.sort_unstable();
        stored.dedup();
        let columns = self.projection.iter().filter_map(|index| stored.binary_search(index).ok()).collect();
        (stored, columns)
    }

    /// A batch of the projected columns as they are shown.
    ///
    /// # Errors
    /// Arrow's, for columns that do not fit.
    pub fn retype(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        Ok(with_types(batch, &self.schema)?)
    }
}
