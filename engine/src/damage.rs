//! What can be wrong with bytes on disk, with the values found.
//!
//! In: nothing. Out: [`Damage`], which [`crate::error::Error::Corrupt`] carries with the file and the byte.

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::id::Digest;

/// What is wrong with the bytes of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file is not there.
    #[error("the file is missing")]
    Missing,
    /// The file has another length than recorded.
    #[error("the file has {found} bytes, expected {expected}")]
    Length {
        /// Bytes recorded when it was written.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A CRC32C does not match.
    #[error("checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Recorded checksum.
        expected: u32,
        /// Checksum of the bytes found.
        found: u32,
    },
    /// A file digest does not match.
    #[error("digest is {found}, expected {expected}")]
    Digest {
        /// Recorded digest.
        expected: Digest,
        /// Digest of the bytes found.
        found: Digest,
    },
    /// The file does not start (or end) with its magic bytes.
    #[error("magic bytes are {found:02x?}, expected {expected:02x?}")]
    Magic {
        /// What the format asks for.
        expected: [u8; 8],
        /// What is there.
        found: [u8; 8],
    },
    /// A field holds a value that the format does not allow.
    #[error("field `{field}` holds {value}, which the format does not allow")]
    Field {
        /// Name of the field in FORMAT.md.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// Bytes end before the structure does.
    #[error("`{field}` needs {needed} bytes but only {available} are left")]
    Truncated {
        /// Name of the field in FORMAT.md.
        field: &'static str,
        /// Bytes the field needs.
        needed: u64,
        /// Bytes left.
        available: u64,
    },
    /// A valid record lies behind an invalid one, so the invalid one is no torn tail.
    #[error("the record is damaged, and an intact record follows at byte {intact_at}")]
    MidLog {
        /// Offset of the intact record.
        intact_at: u64,
    },
    /// The log ends before a place that it once reached.
    #[error("the log ends here, but it went on to byte {length} of segment {segment}")]
    LogEndsEarly {
        /// The segment that it reached.
        segment: u64,
        /// Bytes of that segment.
        length: u64,
    },
    /// Keys are not strictly ascending.
    #[error("key {row} is not greater than the key before it")]
    KeyOrder {
        /// Row (from 0) whose key is out of order.
        row: u64,
    },
    /// A key of the key index is not that of the row at its place.
    #[error("the key of row {row} is not the one in the key index")]
    KeyDiffers {
        /// Row (from 0).
        row: u64,
    },
    /// The least or the greatest key of a run is another one than the manifest says.
    #[error("the manifest has other bounds of {keys} than there are")]
    KeyBounds {
        /// Which keys.
        keys: &'static str,
    },
    /// Two facts about the database that must agree do not.
    #[error("{fact} is {found}, expected {expected}")]
    Disagreement {
        /// What was compared.
        fact: &'static str,
        /// The value expected.
        expected: u64,
        /// The value found.
        found: u64,
    },
    /// It says what cannot be: a name that nobody may use, a schema without columns, a key that is too long.
    #[error("it says what cannot be: {0}")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The manifest's text does not parse.
    #[error("the text does not parse: {0}")]
    Json(#[source] serde_json::Error),
    /// Arrow could not decode the bytes.
    #[error("arrow cannot decode it: {0}")]
    Arrow(#[source] ArrowError),
    /// Parquet could not decode the bytes.
    #[error("parquet cannot decode it: {0}")]
    Parquet(#[source] ParquetError),
    /// A decoder of a library panicked on the bytes.
    #[error("the decoder panicked on it")]
    DecoderPanic,
}
