//! The write-ahead log: what makes a write durable before it is visible.
//!
//! One log per database, in segments. FORMAT.md, "WAL", describes the bytes.

pub mod record;
pub mod intact;

pub mod body;

pub mod log;

pub mod replay;
pub mod settle;
