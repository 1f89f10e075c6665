//! Reads files into Arrow batches for a bulk load.
//!
//! [`csv::source::CsvSource`] is a [`rustling_engine::source::BatchSource`] over CSV files; [`schema_text`] reads the
//! schemas that people type. This crate knows the engine's trait and nothing of SQL or of the database.

// Ground: schemas as text, errors.
pub mod schema_text;

pub mod error;

// Files.
pub mod csv;
