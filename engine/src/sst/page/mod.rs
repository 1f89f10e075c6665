//! Rows by position out of single pages, without Parquet's reader: setting that up for a few rows of many columns takes
//! several times as long as finding them. It does not offer its decoders by themselves, so there are some here.
//!
//! Invariants: what is not of the form that this project writes (a nested column, another encoding, anything damaged) is
//! left to Parquet's reader, which has the last word.

// Numbers in bits.
mod bits;

mod hybrid;

mod delta;

// A page, and its values.
pub(super) mod header;

pub mod source;

mod values;

mod array;

mod column;

// Rows.
pub mod point_reader;
