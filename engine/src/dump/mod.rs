//! What the files of a database say, for people: also of one that cannot be opened.
//!
//! In: a disk. Out: lines of text and the damage met, in the order of the files.
//! Invariants: nothing is written, no lock is taken; damage is reported where it is met, and what lies behind it is
//! shown as far as it can be found.

// What a dump gives.
mod found;

// The committed state, then what it names.
mod manifest;

mod wal;

mod run;

pub use found::{Found, Take};
pub use manifest::dump_manifest;
pub use run::{dump_keys, dump_sst, list_runs};
pub use wal::dump_wal;
