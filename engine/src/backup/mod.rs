//! Copies of a database: backups of open ones, of closed ones, and databases restored from backups.
//!
//! All three are one thing: a database of its own, made from all tables at one sequence number. The source is only read.

// What a copy is made from.
pub mod contents;

// The three kinds of work: the folder, files that are there, files that are not.
mod target;

pub mod file;

mod changes;

// Step by step.
pub mod run;
