//! What can be wrong with what a caller gives.
//!
//! In: a name, a batch. Out: what is wrong with it, as a part of an error that says whose it is.

use arrow::datatypes::DataType;

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("it is longer than 255 bytes")]
    TooLong,
    /// It holds a control character.
    #[error("it holds a control character")]
    ControlCharacter,
    /// The engine keeps it for itself.
    #[error("names that start with `__` are kept for the engine")]
    Reserved,
}

/// How a batch differs from its table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Another number of columns.
    #[error("it has {found} columns, the table has {expected}")]
    ColumnCount {
        /// Columns of the table.
        expected: usize,
        /// Columns of the batch.
        found: usize,
    },
    /// A column of another name.
    #[error("column {index} is `{found}`, the table has `{expected}`")]
    ColumnName {
        /// Which column, from 0.
        index: usize,
        /// Name in the table.
        expected: String,
        /// Name in the batch.
        found: String,
    },
    /// A column of another type.
    #[error("column `{column}` has type {found}, the table has {expected}")]
    ColumnType {
        /// The column.
        column: String,
        /// Type in the table.
        expected: DataType,
        /// Type in the batch.
        found: DataType,
    },
}
