//! CSV: one thread cuts the bytes of the files into chunks of whole records, others parse them into batches.

pub mod dialect;
pub mod progress;

// Bytes to records, records to fields.
mod fields;
mod split;

// Fields to values.
mod numbers;
mod temporal;

// Values to columns.
mod columns;

// Chunks to batches.
mod parse;

// Values that come from no file.
pub mod record;

// Values to types.
mod infer;

// Files to chunks, chunks to batches in parallel.
mod input;
mod pipeline;

// Files to batches.
pub mod source;

#[cfg(test)]
mod oracle;
