//! The row form: one row of stored columns as bytes, for small writes in the WAL and in the active memtable chunk.
//!
//! In: batches. Out: rows as bytes, batches again. Bytes: FORMAT.md, "Row form".

mod cell;

mod encode;

mod decode;

pub use encode::{EncodedRows, RowForm};

#[cfg(test)]
mod tests;
