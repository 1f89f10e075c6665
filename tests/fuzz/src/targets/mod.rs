//! The bodies, one per decoder, and their table.

pub mod csv;
pub mod database;
pub mod deletions;
pub mod key_encoding;
pub mod key_index;
pub mod manifest;
pub mod parquet;
pub mod row_form;
pub mod schema_text;
pub mod wal;

use rustling_engine::error::{Error, ErrorKind, Result};

/// Good inputs with their names.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Something that reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus and, behind `fuzz-`, of its campaign.
    pub name: &'static str,
    /// Reads an input and panics if a promise is broken.
    pub body: fn(&[u8]),
    /// Makes good inputs.
    pub seeds: fn() -> Result<Seeds>,
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target { name: "wal", body: wal::body, seeds: wal::seeds },
    Target { name: "manifest", body: manifest::body, seeds: manifest::seeds },
    Target { name: "key_index", body: key_index::body, seeds: key_index::seeds },
    Target { name: "deletions", body: deletions::body, seeds: deletions::seeds },
    Target { name: "parquet", body: parquet::body, seeds: parquet::seeds },
    Target { name: "key_encoding", body: key_encoding::body, seeds: key_encoding::seeds },
    Target { name: "row_form", body: row_form::body, seeds: row_form::seeds },
    Target { name: "csv", body: csv::body, seeds: csv::seeds },
    Target { name: "schema_text", body: schema_text::body, seeds: schema_text::seeds },
    Target { name: "database", body: database::body, seeds: database::seeds },
];

/// The value, if there is one; an error must be one that says that bytes on disk are wrong, and must have a text.
fn unless_corrupt<T>(result: Result<T>, what: &str) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    assert!(!error.to_string().is_empty());
    let refused = matches!(error, Error::FormatTooNew { .. } | Error::UnknownFeature { .. });
    assert!(refused || error.kind() == ErrorKind::Corrupt, "{what}: bytes on disk gave the error `{error}`");
    None
}
