//! Rows: schemas, keys, changes.

pub mod schema;
pub mod keys;
