//! What can go wrong between SQL and the engine.
//!
//! In: errors of the engine and of DataFusion. Out: [`Error`], [`Result`].
//! Invariants: an engine error that crosses DataFusion keeps its type and text: it goes in as an external error
//! ([`external`]) and is found again, however DataFusion wrapped it ([`find_engine`]).

use std::error::Error as StdError;
use std::fmt;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use parquet::errors::ParquetError;
use rustling_engine::error::{Error as EngineError, ErrorKind};

use crate::partial_file::FileError;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between SQL and the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine's error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A statement that this database does not execute.
    #[error("line {line}: {statement} is not supported; {advice}")]
    Refused {
        /// What the statement is, such as `DELETE`.
        statement: String,
        /// Line of the SQL text it starts at, from 1.
        line: u64,
        /// What to use instead.
        advice: &'static str,
    },
    /// The text is not SQL.
    #[error("line {line}: {}", SyntaxText(source))]
    Syntax {
        /// Line of the SQL text that the statement starts at, from 1.
        line: u64,
        /// The parser's answer, which has line and column of the token.
        #[source]
        source: Box<DataFusionError>,
    },
    /// An expression that should say which rows, and says something else of them.
    #[error("`{expr}` is of type {found}, not a condition; compare it with something")]
    NotACondition {
        /// The expression.
        expr: String,
        /// Its type.
        found: DataType,
    },
    /// An expression that cannot be told of one row of a table.
    #[error("`{expr}` has {part}, which cannot be told of one row; query the rows first and delete them by their keys")]
    NotOfARow {
        /// The expression.
        expr: String,
        /// What in it.
        part: &'static str,
    },
    /// A text with other than one statement, where one is prepared.
    #[error("a prepared statement is one statement, the SQL text has {found}")]
    NotOneStatement {
        /// Its statements.
        found: usize,
    },
    /// A text without a statement, where the rows of one are wanted.
    #[error("the SQL text has no statement")]
    NoStatement,
    /// A parameter of a prepared statement without a number.
    #[error("the parameter `{name}` has no number; number parameters from `$1`")]
    NamedParameter {
        /// The parameter.
        name: String,
    },
    /// A prepared statement was given too few or too many values.
    #[error("the prepared statement has {expected} parameters, {found} values were given")]
    Parameters {
        /// How many it has.
        expected: usize,
        /// How many values there were.
        found: usize,
    },
    /// The SQL text is longer than the limit.
    #[error("the SQL text has {bytes} bytes, the limit is {limit}; load many rows with a bulk load instead")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A file that rows are copied into.
    #[error(transparent)]
    File(#[from] FileError),
    /// Planning or executing failed.
    #[error("{}", Cause(.0))]
    Query(#[source] Box<DataFusionError>),
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Refused { .. }
            | Self::Syntax { .. }
            | Self::NotACondition { .. }
            | Self::NotOfARow { .. }
            | Self::NotOneStatement { .. }
            | Self::NoStatement
            | Self::NamedParameter { .. }
            | Self::Parameters { .. }
            | Self::TooLong { .. } => ErrorKind::Invalid,
            Self::File(_) => ErrorKind::Io,
            Self::Query(error) => match (find_engine(&**error), error.find_root()) {
                (Some(error), _) => error.kind(),
                (None, DataFusionError::IoError(_) | DataFusionError::ObjectStore(_)) => ErrorKind::Io,
                (None, _) => ErrorKind::Invalid,
            },
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if find_refusal(&error).is_none() && find_engine(&error).is_none() {
            return Self::Query(Box::new(error));
        }
        match unwrap(error) {
            Ok(cause) => cause,
            Err(error) => Self::Query(Box::new(error)),
        }
    }
}

/// An engine error on its way through DataFusion.
pub fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The engine error that a DataFusion error (or any other) was caused by.
pub fn find_engine<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a EngineError> {
    find(error)
}

fn find_refusal(error: &DataFusionError) -> Option<&Error> {
    find(error)
}

/// Follows causes, also those that the wrappers of DataFusion, Arrow and Parquet do not announce as such.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    let inner: Option<&(dyn StdError + 'static)> = if let Some(error) = error.downcast_ref::<DataFusionError>() {
        match error {
            DataFusionError::External(inner) => Some(&**inner),
            DataFusionError::Shared(inner) => Some(&**inner),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Some(&**inner),
            DataFusionError::ArrowError(inner, _) => Some(&**inner),
            DataFusionError::ParquetError(inner) => Some(&**inner),
            DataFusionError::ObjectStore(inner) => Some(&**inner),
            DataFusionError::Collection(errors) => return errors.iter().find_map(|error| find(error)),
            other => other.source(),
        }
    } else if let Some(ArrowError::ExternalError(inner)) = error.downcast_ref::<ArrowError>() {
        Some(&**inner)
    } else if let Some(ParquetError::External(inner)) = error.downcast_ref::<ParquetError>() {
        Some(&**inner)
    } else {
        error.source()
    };
    inner.and_then(find)
}

/// Takes the engine's or this crate's error out of its wrappers, where nobody else holds it.
fn unwrap(error: DataFusionError) -> Result<Error, DataFusionError> {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => unwrap(*inner),
        DataFusionError::External(inner) => unwrap_any(inner).map_err(DataFusionError::External),
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            ArrowError::ExternalError(inner) => {
                unwrap_any(inner).map_err(|inner| DataFusionError::External(Box::new(ArrowError::ExternalError(inner))))
            }
            other => Err(DataFusionError::ArrowError(Box::new(other), backtrace)),
        },
        DataFusionError::ParquetError(inner) => match *inner {
            ParquetError::External(inner) => unwrap_any(inner).map_err(DataFusionError::External),
            other => Err(DataFusionError::ParquetError(Box::new(other))),
        },
        DataFusionError::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
            Ok(inner) => unwrap(inner),
            Err(shared) => Err(DataFusionError::Shared(shared)),
        },
        other => Err(other),
    }
}

type AnyError = Box<dyn StdError + Send + Sync>;

fn unwrap_any(error: AnyError) -> Result<Error, AnyError> {
    let error = match error.downcast::<EngineError>() {
        Ok(engine) => return Ok(Error::Engine(*engine)),
        Err(error) => error,
    };
    let error = match error.downcast::<Error>() {
        Ok(own) => return Ok(*own),
        Err(error) => error,
    };
    match error.downcast::<DataFusionError>() {
        Ok(inner) => unwrap(*inner).map_err(|inner| Box::new(inner) as AnyError),
        Err(error) => Err(error),
    }
}

/// The parser's own words, where it is the parser that refused.
struct SyntaxText<'a>(&'a DataFusionError);

impl fmt::Display for SyntaxText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DataFusionError::SQL(error, _) => match &**error {
                ParserError::TokenizerError(text) | ParserError::ParserError(text) => f.write_str(text),
                ParserError::RecursionLimitExceeded => f.write_str("the statement is nested too deeply"),
            },
            other => write!(f, "{}", other.strip_backtrace()),
        }
    }
}

/// The engine's text if the engine is the cause, else DataFusion's.
struct Cause<'a>(&'a DataFusionError);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (find_engine(self.0), find_refusal(self.0)) {
            (Some(engine), _) => engine.fmt(f),
            (None, Some(refusal)) => refusal.fmt(f),
            (None, None) => write!(f, "{}", self.0.strip_backtrace()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn check(wrap: impl Fn(DataFusionError) -> DataFusionError) {
        let error = Error::from(wrap(external(EngineError::Closed)));
        assert_eq!(error.to_string(), EngineError::Closed.to_string());
        assert!(matches!(error, Error::Engine(EngineError::Closed)), "{error:?}");
    }

    #[test]
    fn engine_errors_come_back_from_any_wrapper() {
        check(|error| error);
        check(|error| error.context("while scanning"));
        check(|error| DataFusionError::Shared(Arc::new(error)));
        check(|error| DataFusionError::ArrowError(Box::new(ArrowError::ExternalError(Box::new(error))), None));
        check(|error| DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(error)))));
    }

    #[test]
    fn a_shared_engine_error_keeps_its_text_and_kind() {
        let shared = Arc::new(external(EngineError::Closed));
        let error = Error::from(DataFusionError::Shared(shared.clone()));
        assert_eq!(error.to_string(), EngineError::Closed.to_string());
        assert_eq!(error.kind(), EngineError::Closed.kind());
    }
}
