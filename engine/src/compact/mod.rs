//! Compaction: which runs of a table to rewrite together, and rewriting them.

pub mod shape;

pub mod policy;

pub mod pressure;

pub mod memory;

mod catch_up;

pub mod rewrite;

pub mod step;

#[cfg(test)]
mod simulator;
