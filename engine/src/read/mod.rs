//! Reading: many sorted sources as one, single keys, whole tables.

pub mod cursor;
pub mod merge;
pub mod source;

pub mod snapshot;

pub mod probe;

pub mod locate;
pub mod fetch;
pub mod key_range;

pub mod lookup;

pub mod resolve;
pub mod plan;
