//! The storage engine: Arrow batches in, Arrow batches out, on an LSM tree of Parquet files.

// Ground: what everything names.
pub mod error;
pub mod id;

// Files and rows.
pub mod disk;
pub mod rows;

// Files of a run.
pub mod sst;

// What a bulk load reads.
pub mod source;
