//! CSV: one thread cuts the bytes of the files into chunks of whole records, others parse them into batches.
//!
//! [`source`] is what a load uses; the steps that it is made of are public for those who test them with bytes of
//! their own.

pub mod dialect;
pub mod progress;

// Bytes to records, records to fields.
pub mod fields;
pub mod split;

// Fields to values.
mod numbers;
mod temporal;

// Values to columns.
mod columns;

// Chunks to batches.
pub mod parse;

// Values that come from no file.
pub mod record;

// Values to types.
pub mod infer;

// Files to chunks, chunks to batches in parallel.
mod input;
mod pipeline;

// Files to batches.
pub mod source;

#[cfg(test)]
mod oracle;
