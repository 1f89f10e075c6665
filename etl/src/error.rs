//! What can go wrong between a file and its batches, with the place in the file.
//!
//! In: nothing. Out: [`CsvError`], which becomes [`rustling_engine::error::Error::Source`].
//! Invariants: lines are physical lines from 1, header included; a place is written `FILE:LINE` or `FILE:LINE:COL`, COL
//! being the byte of the line (from 1) at which the field starts; texts of a file are shortened and escaped.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use rustling_engine::error::ErrorKind;

use crate::schema_text;

/// Characters of a bad value that an error shows.
const SHOWN_CHARS: usize = 80;
/// Names of columns that it shows.
const SHOWN_NAMES: usize = 40;

/// Everything that can go wrong while a CSV file is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// A field's text is no value of its column.
    #[error("{}", .0)]
    Value(Box<BadValue>),
    /// A record has another number of fields than there are columns.
    #[error(
        "{file}:{line}: the record has {found} fields, expected {expected}; put fields that hold the delimiter in double quotes"
    )]
    FieldCount {
        /// The file.
        file: Arc<str>,
        /// Line on which the record starts.
        line: u64,
        /// Number of columns.
        expected: usize,
        /// Fields of the record.
        found: usize,
    },
    /// The file ends inside a quoted field.
    #[error(
        "{file}:{line}:{byte}: the quote that opens here is never closed; a quote inside of a quoted field is written twice"
    )]
    UnclosedQuote {
        /// The file.
        file: Arc<str>,
        /// Line of the opening quote.
        line: u64,
        /// Byte of the line, from 1.
        byte: u64,
    },
    /// A record is longer than the limit.
    #[error(
        "{file}:{line}: the record that starts here is longer than {limit} bytes (a record has at most 64 MiB, and less where there is little memory){}",
        UnclosedAt(*quote_line)
    )]
    RecordTooLong {
        /// The file.
        file: Arc<str>,
        /// Line on which the record starts.
        line: u64,
        /// The limit in bytes.
        limit: usize,
        /// Line of a quote that is still open where the limit is reached.
        quote_line: Option<u64>,
    },
    /// A file that must start with a header has no record.
    #[error("{file}: the file is empty, but a header was expected")]
    NoHeader {
        /// The file.
        file: Arc<str>,
    },
    /// A column of the header has no name.
    #[error("{file}:{line}: column {index} of the header has no name; name it, or read the file without a header")]
    EmptyHeaderName {
        /// The file.
        file: Arc<str>,
        /// Line of the header.
        line: u64,
        /// Which column, from 1.
        index: usize,
    },
    /// Two columns of the header have the same name.
    #[error(
        "{file}:{line}: columns {first} and {second} of the header are both named `{}`; rename one, or read the file without a header",
        shown(column.as_bytes())
    )]
    DuplicateHeaderName {
        /// The file.
        file: Arc<str>,
        /// Line of the header.
        line: u64,
        /// The name.
        column: String,
        /// Which column has it first, from 1.
        first: usize,
        /// Which has it again.
        second: usize,
    },
    /// A name in the header is not UTF-8.
    #[error("{file}:{line}: the name of column {index} is not valid UTF-8; convert the file to UTF-8")]
    HeaderNotUtf8 {
        /// The file.
        file: Arc<str>,
        /// Line of the header.
        line: u64,
        /// Which column, from 1.
        index: usize,
    },
    /// A column of the schema is not in the header.
    #[error("{file}:{line}: the header has no column `{}`; it has: {}", shown(column.as_bytes()), Names(found))]
    MissingColumn {
        /// The file.
        file: Arc<str>,
        /// Line of the header.
        line: u64,
        /// The column that is missing.
        column: String,
        /// Names in the header.
        found: Vec<String>,
    },
    /// The header has a column that is not in the schema.
    #[error("{file}:{line}: the header has the column `{}`, which is none of: {}", shown(column.as_bytes()), Names(known))]
    UnknownColumn {
        /// The file.
        file: Arc<str>,
        /// Line of the header.
        line: u64,
        /// The column.
        column: String,
        /// Columns that are expected.
        known: Vec<String>,
    },
    /// There is nothing to learn the columns from.
    #[error("the input has no record to infer columns from; give the columns with --schema")]
    NoRecords,
    /// No file was named.
    #[error("no input file; name one or more files, or `-` for standard input")]
    NoFiles,
    /// Standard input was named twice.
    #[error("standard input (`-`) is named twice; it can be read only once")]
    StdinTwice,
    /// The system refused to open or read a file.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        file: Arc<str>,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The first bytes of a file say that it is something else.
    #[error("{file}: this is {format}, not CSV in UTF-8; {advice}")]
    NotCsv {
        /// The file.
        file: Arc<str>,
        /// What it is.
        format: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A column has a type that no CSV field can be read as.
    #[error(
        "column `{column}` has type {data_type}, which cannot be read from CSV; known types are {}",
        schema_text::TYPES
    )]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The given schema has no column.
    #[error("the schema has no column; give it at least one")]
    NoColumns,
    /// Two columns of the given schema have the same name.
    #[error("column `{column}` of the schema is named twice; give each column a name of its own")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// This cannot separate fields.
    #[error("`{}` cannot be a delimiter; use one ASCII character such as `,` `;` `|` or `tab`", delimiter.escape_debug())]
    BadDelimiter {
        /// What was given.
        delimiter: String,
    },
    /// An option has a value that cannot work.
    #[error("option `{option}` is {value}, it must be from {min} to {max}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: usize,
        /// The least it may be.
        min: usize,
        /// The most it may be.
        max: usize,
    },
    /// A thread panicked.
    #[error("the {thread} thread panicked; this is a defect, please report it")]
    ThreadPanicked {
        /// Which thread.
        thread: &'static str,
    },
    /// The system gave no thread.
    #[error("cannot start the {thread} thread: {source}")]
    NoThread {
        /// Which thread.
        thread: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Arrow refused a batch.
    #[error("arrow: {0}")]
    Arrow(#[from] ArrowError),
}

impl CsvError {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::NoThread { .. } => ErrorKind::Io,
            _ => ErrorKind::Invalid,
        }
    }
}

/// A field whose text is no value of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// The file.
    pub file: Arc<str>,
    /// Line on which the field starts.
    pub line: u64,
    /// Byte of the line at which the field starts, from 1.
    pub byte: u64,
    /// Name of the column.
    pub column: String,
    /// Type of the column.
    pub data_type: DataType,
    /// The text, shortened and escaped.
    pub text: String,
    /// What is wrong with it.
    pub problem: ValueProblem,
    /// Records the type was inferred from, if it was not given.
    pub inferred_from: Option<u64>,
}

/// Why a text is no value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueProblem {
    /// It is not written as the type is.
    Malformed,
    /// It is written right, but the type does not reach so far.
    OutOfRange,
    /// It has more digits behind the point than the type keeps.
    TooManyDecimals {
        /// Digits that the type keeps.
        kept: u8,
    },
    /// It names an offset from UTC, and the type has none.
    UnexpectedOffset,
    /// It names no offset from UTC, and the type's zone has no fixed one.
    MissingOffset,
    /// It is not UTF-8.
    NotUtf8,
    /// It is NULL, and the column is `not null`.
    Null,
}

impl BadValue {
    /// What is wrong, without the place.
    pub fn reason(&self) -> impl fmt::Display {
        Reason(self)
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.byte, self.reason())
    }
}

struct Reason<'a>(&'a BadValue);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadValue { column, data_type, text, problem, inferred_from, .. } = self.0;
        let name = schema_text::type_name(data_type).unwrap_or_else(|| data_type.to_string());
        write!(f, "column `{column}`: ")?;
        match problem {
            ValueProblem::Malformed => write!(f, "`{text}` is not a value of type {name}")?,
            ValueProblem::OutOfRange => write!(f, "`{text}` is out of range for type {name}")?,
            ValueProblem::TooManyDecimals { kept } => {
                write!(f, "`{text}` has more digits behind the point than the {kept} that type {name} keeps")?;
            }
            ValueProblem::UnexpectedOffset => {
                write!(
                    f,
                    "`{text}` has an offset from UTC, which type {name} would lose; use timestamp with time zone"
                )?;
            }
            ValueProblem::MissingOffset => write!(f, "`{text}` has no offset from UTC, which type {name} needs")?,
            ValueProblem::NotUtf8 => write!(f, "`{text}` is not valid UTF-8; convert the file to UTF-8")?,
            ValueProblem::Null => write!(f, "the field is empty (NULL), but the column is not null")?,
        }
        match (inferred_from, problem) {
            (None, _) | (_, ValueProblem::Null | ValueProblem::NotUtf8) => Ok(()),
            (Some(records), _) => {
                write!(f, "; the type was inferred from the first {records} records, give it with --schema")
            }
        }
    }
}

/// Names, as far as an error shows them.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().take(SHOWN_NAMES).enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, shown(name.as_bytes()))?;
        }
        match self.0.len().saturating_sub(SHOWN_NAMES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// `; a quote opened ...`, or nothing.
struct UnclosedAt(Option<u64>);

impl fmt::Display for UnclosedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, "; a quote that opens on line {line} is not closed by then"),
            None => Ok(()),
        }
    }
}

/// A field's bytes as an error shows them: escaped, and cut after [`SHOWN_CHARS`].
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_CHARS * 4)];
    let mut text = String::new();
    let mut chars = 0;
    for part in cut.utf8_chunks() {
        for c in part.valid().chars().take(SHOWN_CHARS - chars) {
            text.extend(c.escape_debug());
            chars += 1;
        }
        for byte in part.invalid().iter().take(SHOWN_CHARS - chars) {
            text.push_str(&format!("\\x{byte:02x}"));
            chars += 1;
        }
    }
    let whole = cut.len() == bytes.len() && cut.utf8_chunks().map(length_shown).sum::<usize>() <= SHOWN_CHARS;
    if !whole {
        text.push('…');
    }
    text
}

fn length_shown(part: std::str::Utf8Chunk<'_>) -> usize {
    part.valid().chars().count() + part.invalid().len()
}

impl From<CsvError> for rustling_engine::error::Error {
    fn from(error: CsvError) -> Self {
        Self::Source(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_escaped_and_shortened() {
        assert_eq!(shown(b"a\n\"\xff\0"), "a\\n\\\"\\xff\\0");
        assert_eq!(shown("é".repeat(80).as_bytes()), "é".repeat(80));
        assert_eq!(shown("é".repeat(81).as_bytes()), format!("{}…", "é".repeat(80)));
        assert_eq!(shown(&[0xff; 500]), format!("{}…", "\\xff".repeat(80)));
    }

    #[test]
    fn names_are_shown_as_values_are_and_not_all_of_them() {
        let names: Vec<String> = (0..1000).map(|name| format!("\x1b[2J{name}")).collect();
        let text = Names(&names).to_string();
        assert!(text.starts_with("\\u{1b}[2J0, ") && text.ends_with("\\u{1b}[2J39 and 960 more"), "{text}");
    }
}
