//! What can go wrong in the engine, with the values one needs to act on it.
//!
//! In: nothing. Out: [`Error`], [`Result`], and [`ErrorKind`], which says what the caller can do.
//! Invariants: every error about a file names the file (relative to the database folder) and, where there is one, the
//! byte; no error drops its cause; texts are lower-case sentences that end with what to do.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::id::{RunId, SeqNo};

pub use crate::damage::Damage;
pub use crate::mismatch::{Mismatch, NameProblem};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The call was wrong: change it. Nothing was applied.
    Invalid,
    /// The data refuses the call (a duplicate key, a concurrent change): look at the data. Nothing was applied.
    Conflict,
    /// Bytes on disk are not what was written: restore or repair.
    Corrupt,
    /// The disk or the system refused: free space, fix permissions, try again.
    Io,
    /// An earlier failure stopped all writes: reopen the database.
    Poisoned,
}

/// Everything that can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file, relative to the database folder.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another process (or another handle of this one) has the database open.
    #[error("{path} is open in another process; a database has one writer at a time: close the other one first")]
    Locked {
        /// The database folder.
        path: String,
    },
    /// The database folder was moved, removed or replaced while it was open.
    #[error("{path} was moved, removed or replaced while it was open; open it again where it is now")]
    Displaced {
        /// The database folder.
        path: String,
    },
    /// The folder holds something, but no database.
    #[error("{path} is not a rustling database (it holds `{found}` but no manifest); name another folder")]
    NotADatabase {
        /// The folder.
        path: String,
        /// One entry found in it.
        found: String,
    },
    /// There is no database in the folder, and the caller asked not to create one.
    #[error("there is no database in {path}; `load`, `insert` and `sql` create one")]
    NoDatabase {
        /// The folder.
        path: String,
    },
    /// A backup or a restored database was not completed, or is being made.
    #[error(
        "{path} is an unfinished copy of a database; make it again, which starts over in this folder, or remove it"
    )]
    Unfinished {
        /// The folder.
        path: String,
    },
    /// A backup or a restored database needs a folder of its own.
    #[error("{path} is not empty (it holds `{found}`); name a new folder")]
    NotEmpty {
        /// The folder.
        path: String,
        /// One entry found in it.
        found: String,
    },
    /// Something failed in one of two folders.
    #[error("{folder}: {source}")]
    In {
        /// Which of them.
        folder: String,
        /// What failed there.
        #[source]
        source: Box<Error>,
    },
    /// An earlier failure stopped all writes of this handle.
    #[error("an earlier failure stopped all writes ({source}); reads go on, reopen the database to write again")]
    Poisoned {
        /// The failure.
        #[source]
        source: Arc<Error>,
    },
    /// The handle was closed.
    #[error("the database is closed; open it again")]
    Closed,
    /// Bytes on disk are not what was written.
    #[error("{path}{}: {damage}; {}", At(*offset), advice(path))]
    Corrupt {
        /// The file, relative to the database folder.
        path: String,
        /// Where in it, if known.
        offset: Option<u64>,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// The database was written by a newer version.
    #[error("{path}: format {found} is newer than {supported}, the newest this version reads; use a newer version")]
    FormatTooNew {
        /// The file.
        path: String,
        /// Format of the file.
        found: u32,
        /// Newest format this version reads.
        supported: u32,
    },
    /// The database uses a feature that this version does not know.
    #[error("{path}: the database uses the feature `{feature}`, which this version does not know; use a newer version")]
    UnknownFeature {
        /// The file.
        path: String,
        /// The feature's name.
        feature: String,
    },
    /// No table has this name.
    #[error("there is no table `{name}`{}", Known(known))]
    NoSuchTable {
        /// The name asked for.
        name: String,
        /// Names of the tables there are.
        known: Vec<String>,
    },
    /// A table of this name is there already.
    #[error("a table `{name}` exists already; drop it first or choose another name")]
    TableExists {
        /// The name.
        name: String,
    },
    /// A name cannot name a table or a column.
    #[error("`{}` cannot name a {what}: {reason}", name.escape_debug())]
    BadName {
        /// "table" or "column".
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: NameProblem,
    },
    /// No run has this id.
    #[error("there is no {run}; list the runs and name one of them")]
    NoSuchRun {
        /// The id asked for.
        run: RunId,
    },
    /// No column has this name.
    #[error("table `{table}` has no column `{column}`{}", Known(known))]
    NoSuchColumn {
        /// The table.
        table: String,
        /// The name asked for.
        column: String,
        /// Names of the columns there are.
        known: Vec<String>,
    },
    /// Two columns have the same name.
    #[error("column `{column}` is named twice; give each column a name of its own")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A key column has a type that cannot be ordered.
    #[error(
        "column `{column}` of type {data_type} cannot be part of a key; use an integer, text, binary, decimal, date, time, float or boolean column"
    )]
    UnsupportedKeyType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// A column has a type that an SST cannot hold.
    #[error("column `{column}` has type {data_type}, which cannot be stored; cast it first")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// A column's type has more levels than can be read back.
    #[error("column `{column}` is nested more than {limit} levels deep, which cannot be stored; flatten it first")]
    NestedTooDeep {
        /// The column.
        column: String,
        /// Levels that there may be.
        limit: usize,
    },
    /// A table needs at least one column.
    #[error("a table needs at least one column")]
    NoColumns,
    /// A table has more columns than the memory allows to encode side by side.
    #[error(
        "table `{table}` has {columns} columns, which need {needed_mib} MiB of memory for the engine; it has {limit_mib} \
         MiB, half of the database's limit: open the database with a higher one, or split the table"
    )]
    TooManyColumns {
        /// The table.
        table: String,
        /// Its columns.
        columns: usize,
        /// Memory of the engine that they need, in MiB.
        needed_mib: usize,
        /// Memory that the engine has, in MiB.
        limit_mib: usize,
    },
    /// A batch does not have the table's columns.
    #[error("the batch does not fit table `{table}`: {mismatch}")]
    SchemaMismatch {
        /// The table.
        table: String,
        /// What differs.
        mismatch: Mismatch,
    },
    /// A column that must not be NULL is NULL.
    #[error("column `{column}` of table `{table}` is NULL in row {row}, but it must have a value{}", if *key { " because it is part of the key" } else { "" })]
    NullValue {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Row of the batch, from 0.
        row: usize,
        /// Whether the column is part of the key.
        key: bool,
    },
    /// A key is longer than the limit.
    #[error("the key in row {row} has {bytes} bytes, the limit is {limit}; use a shorter key")]
    KeyTooLong {
        /// Row of the batch, from 0.
        row: usize,
        /// Encoded bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// An insert met a key that is in the table.
    #[error("key {key} is in table `{table}` already; use upsert to replace its row")]
    DuplicateKey {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
    },
    /// A load met a key twice in its own input.
    #[error("key {key} occurs twice: {first} and {second}; choose to update or to skip duplicates")]
    DuplicateInLoad {
        /// The key, as text.
        key: String,
        /// Where it came first.
        first: Origin,
        /// Where it came again.
        second: Origin,
    },
    /// A load met a key that is in the table.
    #[error("key {key} at {origin} is in table `{table}` already: {stored}; choose to update or to skip duplicates")]
    DuplicateOfStored {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// Where the load has it.
        origin: Origin,
        /// The stored row, as text.
        stored: String,
    },
    /// A load collided with rows written while it ran.
    #[error(
        "rows were written to table `{table}` while the load ran, and key {key} is in both; nothing was loaded, run it again"
    )]
    ConcurrentWrite {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
    },
    /// An operation needs a key and the table has none.
    #[error("table `{table}` has no key, so {operation} cannot find its rows; only insert works on it")]
    NoKey {
        /// The table.
        table: String,
        /// The operation.
        operation: &'static str,
    },
    /// A table was dropped while the call ran.
    #[error("table `{table}` was dropped")]
    Dropped {
        /// The table.
        table: String,
    },
    /// One write batch is larger than the limit.
    #[error("the write batch has {bytes} bytes, the limit is {limit}; split it or load it as a bulk")]
    BatchTooLarge {
        /// Its size in memory.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A write waits for memory that a table keeps, and nothing that is under way gives any back.
    #[error("there is no memory for the write: changes of table `{table}` cannot be written to runs: {source}")]
    Stuck {
        /// The table that keeps the memory.
        table: String,
        /// Why its changes stay in memory.
        #[source]
        source: Arc<Error>,
    },
    /// The log has twice the bytes that it may, and cannot be cut.
    #[error(
        "the log has {bytes} bytes and cannot be cut: changes of table `{table}` cannot be written to runs: {source}"
    )]
    LogPinned {
        /// Bytes of the log.
        bytes: u64,
        /// The table whose changes keep it.
        table: String,
        /// Why they cannot be written to runs.
        #[source]
        source: Arc<Error>,
    },
    /// A snapshot kept more memory than it may.
    #[error(
        "the snapshot at {seq} is too old: it kept {bytes} bytes of flushed memtables, the limit is {limit}; take a new one"
    )]
    SnapshotTooOld {
        /// Its sequence number.
        seq: SeqNo,
        /// Bytes it kept.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// An option has a value that cannot work.
    #[error("option `{option}` is {value}, it must be {expected}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// The source of a load failed.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A predicate did not answer for each row that it was asked about.
    #[error("the predicate answered for {found} rows where it was asked about {expected}; nothing was deleted")]
    PredicateLength {
        /// Rows that it was asked about.
        expected: usize,
        /// Rows that it answered for.
        found: usize,
    },
    /// The caller stopped a load.
    #[error("the load was stopped; nothing was loaded")]
    Cancelled,
    /// Arrow refused an operation on batches in memory.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
    /// Parquet refused to encode.
    #[error("{run}: parquet cannot write it: {source}")]
    Encode {
        /// The run being written.
        run: RunId,
        /// Parquet's answer.
        #[source]
        source: ParquetError,
    },
    /// A background thread panicked.
    #[error("the {thread} thread panicked; this is a defect, please report it")]
    ThreadPanicked {
        /// Which thread.
        thread: &'static str,
    },
}

/// Where a row of a load came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source's name, such as a file.
    pub source: Arc<str>,
    /// The line in it, from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Locked { .. } | Self::Displaced { .. } | Self::Encode { .. } => ErrorKind::Io,
            Self::In { source, .. } => source.kind(),
            Self::Stuck { source, .. } | Self::LogPinned { source, .. } => source.kind(),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Poisoned { .. } | Self::ThreadPanicked { .. } => ErrorKind::Poisoned,
            Self::DuplicateKey { .. }
            | Self::DuplicateInLoad { .. }
            | Self::DuplicateOfStored { .. }
            | Self::ConcurrentWrite { .. }
            | Self::SnapshotTooOld { .. }
            | Self::Dropped { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Invalid,
        }
    }

    /// The same, with its name if it is a table that was dropped: where versions are edited only its number is known.
    pub(crate) fn of_table(self, name: &str) -> Self {
        match self {
            Self::Dropped { .. } => Self::Dropped { table: name.to_owned() },
            other => other,
        }
    }

    /// Whether nothing may be written any more by this handle.
    pub fn ends_writing(&self) -> bool {
        matches!(self, Self::Closed | Self::Poisoned { .. })
    }

    /// A [`Error::Corrupt`] without a place.
    pub fn corrupt(path: impl Into<String>, damage: Damage) -> Self {
        Self::Corrupt { path: path.into(), offset: None, damage }
    }

    /// A [`Error::Corrupt`] at a byte.
    pub(crate) fn corrupt_at(path: impl Into<String>, offset: u64, damage: Damage) -> Self {
        Self::Corrupt { path: path.into(), offset: Some(offset), damage }
    }
}

/// What to do about a damaged file: key indexes and deletion vectors follow from other files.
fn advice(path: &str) -> &'static str {
    if path.ends_with(".keys") || path.ends_with(".dv") {
        "close the database and rebuild it with `repair`"
    } else {
        "restore it from a backup"
    }
}

/// ` at byte N`, or nothing.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

/// `; there are: a, b`, or nothing.
struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            write!(f, "; there are none yet")
        } else {
            write!(f, "; there are: {}", self.0.join(", "))
        }
    }
}
