//! What can go wrong in the facade: the errors of its parts, and those of files it writes.

use std::path::PathBuf;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;
use rustling_engine::error::Error as EngineError;
use rustling_etl::error::CsvError;
use rustling_etl::schema_text::SchemaTextError;
use rustling_table_provider::error::Error as SqlError;
use rustling_table_provider::partial_file::FileError;

pub use rustling_engine::error::ErrorKind;

/// The facade's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the facade.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine's error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// SQL that does not parse, plan, or run.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A CSV file that cannot be read.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// A schema text that cannot be understood.
    #[error("{0}")]
    SchemaText(#[from] SchemaTextError),
    /// A file outside the database cannot be written, or its folder not be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// Rows cannot be written as Parquet.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Parquet's answer.
        #[source]
        source: ParquetError,
    },
    /// A load into an existing table named another key or other columns.
    #[error("table `{table}` has {what} {found}, not {given}; leave the option out or load into another table")]
    TableDiffers {
        /// The table.
        table: String,
        /// "the key" or "the columns".
        what: &'static str,
        /// What the table has.
        found: String,
        /// What was given.
        given: String,
    },
    /// Arrow refused an operation on batches in memory.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// The caller stopped a query.
    #[error("the query was stopped")]
    Stopped,
    /// The caller stopped an insert. Where its commit had begun it goes on.
    #[error("the insert was stopped; if its commit had begun, its rows will be there")]
    InsertStopped,
    /// A blocking call was made from a thread of an async runtime.
    #[error("a blocking call was made inside an async runtime; use its async twin, or make it from another thread")]
    InsideRuntime,
    /// A thread of the query runtime cannot be started.
    #[error("cannot start the query threads: {0}")]
    Runtime(#[source] std::io::Error),
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::Sql(error.into())
    }
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // What a load reads from.
            Self::Engine(EngineError::Source(source)) => {
                source.downcast_ref::<CsvError>().map_or(ErrorKind::Invalid, CsvError::kind)
            }
            Self::Engine(error) => error.kind(),
            Self::Csv(error) => error.kind(),
            Self::Sql(error) => error.kind(),
            Self::File(_) | Self::Runtime(_) | Self::Parquet { source: ParquetError::External(_), .. } => ErrorKind::Io,
            Self::SchemaText(_)
            | Self::Parquet { .. }
            | Self::TableDiffers { .. }
            | Self::Stopped
            | Self::InsertStopped
            | Self::InsideRuntime
            | Self::Arrow(_) => ErrorKind::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_system_that_refuses_is_told_from_a_wrong_call() {
        let refused = || io::Error::from(io::ErrorKind::StorageFull);
        let parquet = |source| Error::Parquet { path: "t.parquet".into(), source };
        assert_eq!(parquet(refused().into()).kind(), ErrorKind::Io);
        assert_eq!(parquet(ParquetError::General("no".to_owned())).kind(), ErrorKind::Invalid);
        let csv = || CsvError::Io { operation: "read", file: "t.csv".into(), source: refused() };
        assert_eq!(Error::from(csv()).kind(), ErrorKind::Io);
        assert_eq!(Error::from(EngineError::from(csv())).kind(), ErrorKind::Io);
        assert_eq!(Error::from(EngineError::from(CsvError::NoRecords)).kind(), ErrorKind::Invalid);
    }
}
