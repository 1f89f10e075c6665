//! Rows: schemas, how values lie in memory, keys, rows as bytes.

pub mod schema;

pub mod interleave;

pub mod encoding;

pub mod keys;

pub(crate) mod physical;

#[cfg(test)]
pub(crate) mod samples;

pub mod key;

pub mod canonical;

pub(crate) mod ipc;

pub mod row_form;

pub mod change;
