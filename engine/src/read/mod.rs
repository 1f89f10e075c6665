//! Reading: many sorted sources as one, single keys, whole tables.

pub mod cursor;
pub mod merge;
pub mod source;

pub mod snapshot;

pub mod probe;

pub mod locate;
pub mod resolve;
pub mod plan;
