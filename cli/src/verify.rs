//! `verify` and `repair`: whether a database that is not open is whole, and what can be rebuilt of it.
//!
//! Invariants: what is wrong is data and goes to standard output, a line each; the rest is said on standard error.

use std::io::Write;

use rustling_db::engine::verify::check::Finding;
use rustling_db::{Db, DbOptions};

use crate::args::{Global, TableArgs};
use crate::failure::{Failure, Outcome, say};
use crate::output::stdout;
use crate::size::{bytes, count, counted};

/// Checks every byte of the tables, and their files against each other.
///
/// # Errors
/// Silently, if something is wrong; a database that is missing or open elsewhere; the system's.
pub(crate) fn verify(global: &Global, args: &TableArgs) -> Outcome {
    let report = Db::verify(&global.db, args.table.as_deref(), &options(global))?;
    let findings = list(&report.findings)?;
    for orphan in &report.orphans {
        say(&format!("note: nobody needs {orphan}"));
    }
    say(&format!(
        "verified {}, {}, {}: {} rows, {} of them dead; {findings}",
        counted(report.tables as u64, "table"),
        counted(report.runs as u64, "run"),
        bytes(report.bytes),
        count(report.rows),
        count(report.dead_rows),
    ));
    if report.findings.is_empty() { Ok(()) } else { Err(Failure::Silent) }
}

/// Rebuilds key indexes and deletion vectors that are lost or damaged.
///
/// # Errors
/// Silently, if something is wrong still; as [`verify`].
pub(crate) fn repair(global: &Global, args: &TableArgs) -> Outcome {
    let report = Db::repair(&global.db, args.table.as_deref(), &options(global))?;
    for path in &report.rebuilt {
        say(&format!("rebuilt {path}"));
    }
    let findings = list(&report.left)?;
    say(&format!("repaired {}; {findings}", counted(report.rebuilt.len() as u64, "file")));
    if report.left.is_empty() { Ok(()) } else { Err(Failure::Silent) }
}

/// Lists what is wrong, and says how much that is.
fn list(findings: &[Finding]) -> Outcome<String> {
    let mut out = stdout();
    let written = findings.iter().try_for_each(|finding| writeln!(out, "{}", finding.error));
    written.and_then(|()| out.flush()).map_err(Failure::Output)?;
    Ok(if findings.is_empty() { "nothing is wrong".to_owned() } else { counted(findings.len() as u64, "damaged file") })
}

fn options(global: &Global) -> DbOptions {
    let mut options = DbOptions::default();
    options.memory_bytes = global.memory.unwrap_or(options.memory_bytes);
    options
}
