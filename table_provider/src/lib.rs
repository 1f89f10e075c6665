//! Between DataFusion and the engine: tables, scans, inserts, the catalog, the statement gate.
//!
//! A [`table::RustlingTable`] works in any session of DataFusion 55.2, a bare `SessionContext::new()` included. The
//! facade and the command line run SQL text through [`statement`] instead, which refuses by name what this database
//! does not do and shows every query one snapshot.

// Ground: what everything names.
pub mod error;

pub mod blocking;

pub mod refusal;

pub mod shown;

// Runs as files: the store, their readers, the scan's source, what sessions know of a database.
pub mod store;

pub mod footer;

pub mod reader;

pub mod damage;

pub mod source;

pub mod binding;

// Rows that are no files: memtables, merges.
pub mod wanted;

pub mod memory;

pub mod merge;

pub mod leaf;

pub mod live;

// Tables: reading, writing, naming them.
pub mod scan;

pub mod sink;

pub mod predicate;

pub mod table;

pub mod catalog;

// SQL text: one snapshot per statement, refusals by name.
pub mod pin;

pub mod gate;

pub mod statement;
