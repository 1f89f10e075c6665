//! Files of a run: the SST with the rows, the key index, the deleted keys.
//!
//! A row's position in the SST is the rank of its key in the key index, so neither file stores it.

// Bytes and their checksums.
pub mod checksum;
pub mod verified_file;

// What is written, and how.
pub mod meta;

pub mod encoding;
pub mod parquet_file;

pub mod key_index;

// A whole run, and what is kept of it.
pub mod counts;

pub mod kept;

pub mod page;

pub mod store;

pub mod writer;

pub mod rows;

pub mod table_file;

pub mod reader;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "numbers in tests are small")]
mod tests;
