//! The `.keys` file of a run: which row has which key, and the checksums of the run's other files.

// Parts of the file.
pub mod block;
pub mod filter;
pub mod footer;

// The file.
pub mod writer;

pub mod reader;
mod search;
