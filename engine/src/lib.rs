//! The storage engine: Arrow batches in, Arrow batches out, on an LSM tree of Parquet files.
//!
//! The engine knows nothing of SQL, CSV or command lines. It is synchronous; files come in through [`disk::api::Disk`],
//! and every step that writes (commit, flush, compaction, load, publish, sweep, recovery) is a plain function that a
//! thread calls in production and a test calls by hand.
//!
//! Start at [`database::Database`]. ARCHITECTURE.md walks the paths of a row: write, flush, scan, get and others.

// Ground: what everything names.
pub mod sync;
pub mod id;
pub mod damage;
pub mod mismatch;
pub mod error;

pub mod config;

// Mistakes on purpose, for tests of the tests.
pub mod seeded;

// Files and rows.
pub mod disk;
pub mod rows;

// What a bulk load reads.
pub mod source;

// The log, the files of a run and which of its rows are dead, the memtable.
pub mod wal;

pub mod sst;

pub mod deletion;

pub mod memtable;

// Which runs a table consists of, and reading them.
pub mod version;

pub mod read;

// What an open database is made of.
pub mod pace;

pub mod failures;

pub mod line;

pub mod state;

// The one place that publishes.
pub mod record;

pub mod publish;

// Verbs: what changes a database.
pub mod run_writer;

pub mod commit;

pub mod sweep;

pub mod flush;

pub mod compact;

pub mod load;

pub mod delete_where;

pub mod recover;

pub mod backup;

pub mod report;

pub mod dump;

pub mod verify;

// Threads, and the front door.
pub mod back_pressure;

pub mod background;

pub mod database;
