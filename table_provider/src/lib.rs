//! Between DataFusion and the engine: tables, scans, inserts, the catalog, the statement gate.
//!
//! A [`table::RustlingTable`] works in any session of DataFusion 55.2, a bare `SessionContext::new()` included. The
//! facade and the command line run SQL text through [`statement`] instead, which refuses by name what this database
//! does not do and shows every query one snapshot.

// Ground: what everything names.
pub mod partial_file;

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

pub mod pieces;

pub mod memory;

pub mod merge;

pub mod leaf;

pub mod live;

// Keys: what conditions say about them, and reading by them.
pub mod key_literal;

pub mod key_set;

pub mod key_predicate;

pub mod key_ranges;

pub mod keyed_table;

pub mod key_read;

pub mod key_lookup;

pub mod key_range;

// Tables: reading, writing, naming them.
pub mod scan;

pub mod scan_shape;

pub mod table_scan;

pub mod read_path;

pub mod sink;

pub mod predicate;

pub mod table;

pub mod catalog;

// SQL text: one snapshot per statement, refusals by name.
pub mod pin;

pub mod gate;

pub mod copy_to;

pub mod statement;

pub mod point_query;

pub mod prepared;
