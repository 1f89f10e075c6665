//! Deletion vectors: which rows of a run are dead, because newer runs know their keys.
//!
//! They are an index over the keys, which are the truth: whatever is here can be found again from keys alone.

pub mod vector;

pub mod file;
