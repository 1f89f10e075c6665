//! Files: the seam, what implements it, and where each file lies.

pub mod api;

pub mod path;

// The file system.
pub(crate) mod map;

pub mod local;

// Memory, and memory that crashes.
mod tree;

pub mod memory;

pub mod sim;

#[cfg(test)]
mod tests;
