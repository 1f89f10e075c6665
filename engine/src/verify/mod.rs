//! Checks of a closed database against itself, and what can be rebuilt from the rest.
//!
//! Key indexes and deletion vectors are derived: they follow from rows and deleted keys. Those, the log and the manifest
//! are the truth; what is lost of them is lost.

pub mod check;

pub mod repair;
