//! A database for one command: opened, used, closed.
//!
//! Invariants: the database is closed whether the command succeeds or fails; what recovery cut off is said.

use rustling_db::{Db, DbOptions};

use crate::args::Global;
use crate::failure::{Outcome, say};

/// Whether a command makes a database where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It makes one.
    Create,
    /// It refuses.
    Refuse,
}

/// Opens the database, does something with it, and closes it.
///
/// # Errors
/// Those of opening and closing, and those of what is done.
pub(crate) fn with_db<T>(global: &Global, missing: Missing, work: impl FnOnce(&Db) -> Outcome<T>) -> Outcome<T> {
    let mut options = DbOptions { create: missing == Missing::Create, ..DbOptions::default() };
    if let Some(memory) = global.memory {
        options.memory_bytes = memory;
    }
    let db = Db::open_with(&global.db, &options)?;
    if let Some(torn) = &db.open_report().torn {
        say(&format!("note: the database was not closed in order; {torn}"));
    }
    let done = work(&db);
    let closed = db.close();
    let value = done?;
    closed?;
    Ok(value)
}
