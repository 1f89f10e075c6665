//! Rows that are in the WAL but not yet in a run.

pub mod visible;

pub mod row_chunk;

pub mod chunk;

pub mod table;
