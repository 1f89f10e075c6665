//! The project as a whole.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

mod delete;
mod facade;
mod ledger;
mod prepared;
mod tidy;
mod tpch;
