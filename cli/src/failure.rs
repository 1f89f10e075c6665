//! Why a command ended early: what is said about it, and the exit code.
//!
//! Invariants: a failure is said in one line on standard error; a closed standard output is not said at all, since
//! whoever closed it knows.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use rustling_db::Error;
use rustling_db::arrow::error::ArrowError;
use rustling_db::engine::error::Error as EngineError;
use rustling_db::etl::error::CsvError;

/// The command line cannot be done as it stands.
const USAGE: u8 = 2;
/// As if the process had died of SIGPIPE, so that a script sees that not everything was written.
const OUTPUT_CLOSED: u8 = 141;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments do not fit together, or not with the table.
    Usage(String),
    /// The database's error.
    Db(Box<Error>),
    /// A statement of an SQL text failed.
    Statement {
        /// The file and the line, as far as the error does not name them.
        place: String,
        /// Why.
        source: Box<Error>,
    },
    /// A file cannot be read.
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Standard output cannot be written.
    Output(io::Error),
    /// The system refused something else.
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Something else that is said in words.
    Said(String),
    /// What was asked for is not there; everything that there is to say was said.
    Silent,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The exit code, if no signal gives another one.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => OUTPUT_CLOSED,
            _ => 1,
        }
    }

    /// Says it on standard error.
    pub(crate) fn say(&self) {
        match self {
            Self::Silent => {}
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            _ => say_error(&one_line(&with_causes(self))),
        }
    }
}

/// Says an error on standard error, `error` in red where that is a terminal.
pub(crate) fn say_error(text: &str) {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let label = if coloured { "\x1b[1;31merror\x1b[0m" } else { "error" };
    say(&format!("{label}: {text}"));
}

/// Says something on standard error. If that is closed, nobody listens.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The text, and those causes that it does not name already.
fn with_causes(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// Text of several lines on one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Said(text) => f.write_str(text),
            Self::Db(error) => match option_for(error) {
                Some(option) => write!(f, "{error} ({option})"),
                None => error.fmt(f),
            },
            Self::Statement { place, source } => write!(f, "{place}{source}"),
            Self::File { operation, path, source } => write!(f, "cannot {operation} {path}: {source}"),
            Self::Output(source) => write!(f, "cannot write to standard output: {source}"),
            Self::System { operation, source } => write!(f, "cannot {operation}: {source}"),
            Self::Silent => Ok(()),
        }
    }
}

/// The option by which the command line does what an error advises.
fn option_for(error: &Error) -> Option<&'static str> {
    match error {
        Error::Engine(EngineError::DuplicateKey { .. }) => Some("--replace"),
        Error::Engine(EngineError::DuplicateInLoad { .. } | EngineError::DuplicateOfStored { .. }) => {
            Some("--on-conflict update, or skip")
        }
        _ => None,
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // The texts of SQL errors are whole, and their causes say the same in other words.
            Self::Db(error) | Self::Statement { source: error, .. } if matches!(**error, Error::Sql(_)) => None,
            Self::Db(error) | Self::Statement { source: error, .. } => error.source(),
            Self::File { source, .. } | Self::Output(source) | Self::System { source, .. } => Some(source),
            Self::Usage(_) | Self::Said(_) | Self::Silent => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Db(Box::new(error))
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Error::from(error).into()
    }
}

impl From<CsvError> for Failure {
    fn from(error: CsvError) -> Self {
        match error {
            // Its file and line are those of no file.
            CsvError::Value(bad) => Self::Said(bad.reason().to_string()),
            other => Error::from(other).into(),
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        let source = io::Error::new(io::ErrorKind::NotFound, "gone\n  for good");
        let failure = Failure::System { operation: "look", source };
        assert_eq!(one_line(&with_causes(&failure)), "cannot look: gone for good");
    }

    #[test]
    fn a_closed_output_has_its_own_exit_code() {
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert_eq!([closed.exit_code(), full.exit_code(), Failure::Usage(String::new()).exit_code()], [141, 1, 2]);
    }
}
