//! An embedded, Arrow-columnar analytical engine on LSM storage.
//!
//! Upsert like an LSM, scan like plain Parquet, look up like a key-value store: rows are written by primary key, kept
//! in files that any Parquet reader opens, and queried with DataFusion SQL.
//!
//! ```
//! use std::sync::Arc;
//!
//! use rustling_db::Db;
//! use rustling_db::arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
//! use rustling_db::arrow::datatypes::{DataType, Field, Schema};
//! use rustling_db::arrow::util::pretty::pretty_format_batches;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Db::in_memory()?; // or Db::open("trades.db")?
//! let schema = Arc::new(Schema::new(vec![
//!     Field::new("id", DataType::Int64, false),
//!     Field::new("symbol", DataType::Utf8, true),
//!     Field::new("price", DataType::Float64, true),
//! ]));
//! db.create_table("trades", &schema, &["id"])?;
//!
//! let rows = |ids: Vec<i64>, symbols: Vec<&str>, prices: Vec<f64>| {
//!     RecordBatch::try_new(schema.clone(), vec![
//!         Arc::new(Int64Array::from(ids)),
//!         Arc::new(StringArray::from(symbols)),
//!         Arc::new(Float64Array::from(prices)),
//!     ])
//! };
//! db.upsert("trades", rows(vec![1, 2], vec!["AAPL", "MSFT"], vec![180.0, 410.5])?)?;
//! db.upsert("trades", rows(vec![2, 3], vec!["MSFT", "NVDA"], vec![411.0, 130.0])?)?;
//!
//! let batches = db.sql("SELECT symbol, price FROM trades ORDER BY symbol")?;
//! assert_eq!(pretty_format_batches(&batches)?.to_string(), "\
//! +--------+-------+
//! | symbol | price |
//! +--------+-------+
//! | AAPL   | 180.0 |
//! | MSFT   | 411.0 |
//! | NVDA   | 130.0 |
//! +--------+-------+");
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! In a session of your own: `ctx.register_table("trades", db.table("trades")?)`.
//!
//! The crate re-exports the exact [`arrow`], [`parquet`] and [`datafusion`] it was built with; use these, since other
//! versions have other types.

// Ground.
pub mod error;

pub mod memory;

pub mod options;

mod pool;

mod aggregate_rule;

// Results and files.
pub mod rows;

pub mod export;

pub mod import;

// The database.
pub mod db;

pub mod backup;

pub mod delete;

pub mod prepared;

pub use arrow;
pub use datafusion;
pub use db::Db;
pub use error::{Error, ErrorKind, Result};
pub use export::ExportReport;
pub use import::CsvLoad;
pub use options::DbOptions;
pub use parquet;
pub use prepared::Prepared;
pub use rustling_engine as engine;
pub use rustling_engine::backup::file::BackupOptions;
pub use rustling_engine::backup::run::BackupReport;
pub use rustling_engine::database::Snapshot;
pub use rustling_engine::delete_where::DeleteReport;
pub use rustling_engine::load::run::{LoadOptions, LoadReport};
pub use rustling_engine::load::sink::OnConflict;
pub use rustling_engine::read::key_range::KeyOrder;
pub use rustling_engine::read::lookup::FoundRows;
pub use rustling_engine::read::snapshot::TableSnapshot;
pub use rustling_engine::rows::change::WriteBatch;
pub use rustling_etl as etl;
pub use rustling_table_provider as table_provider;

/// The example of the README, compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
