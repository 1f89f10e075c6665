//! `demo`: everything the database does, on TPC-H data, with what it takes.
//!
//! Result tables go to standard output, the story to standard error.

// Files to load.
mod generate;

// Questions and their answers.
mod ask;

// Rows that change, and what must follow from it.
mod change;

// The story.
mod story;

pub(crate) use story::demo;
