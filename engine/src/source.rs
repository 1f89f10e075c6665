//! What a bulk load reads: batches with the places their rows came from.
//!
//! In: nothing; readers of files (or generators) implement [`BatchSource`]. Out: batches in the order of the input,
//! which decides which of two rows with one key is the first.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Origin, Result};

/// An ordered stream of batches of one schema.
pub trait BatchSource: Send {
    /// Schema of every batch.
    fn schema(&self) -> SchemaRef;

    /// The next batch, or `None` behind the last one.
    ///
    /// # Errors
    /// Whatever the source meets, as [`crate::error::Error::Source`]; the load is then given up and nothing applied.
    fn next_batch(&mut self) -> Result<Option<SourceBatch>>;
}

/// A batch and the places its rows came from.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// Name of the source the rows came from, such as a file.
    pub source: Arc<str>,
    /// The lines they came from.
    pub lines: Lines,
}

/// Lines (from 1) of the rows of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Row `i` came from line `first + i`.
    From(u64),
    /// Row `i` came from line `lines[i]`.
    Each(Vec<u64>),
}

impl Lines {
    /// Line of a row; panics if there is no such row.
    pub fn line(&self, row: usize) -> u64 {
        match self {
            Self::From(first) => first + row as u64,
            Self::Each(lines) => lines[row],
        }
    }
}

impl SourceBatch {
    /// Where a row came from.
    pub fn origin(&self, row: usize) -> Origin {
        Origin { source: self.source.clone(), line: self.lines.line(row) }
    }
}
