//! Bulk loads: a stream of batches, in any order, becomes runs in one commit.

pub mod origin;
pub mod spill;

pub mod sink;
pub mod sort;

pub mod run;
