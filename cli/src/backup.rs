//! `backup` and `restore`: a database that is not open, copied.
//!
//! Invariants: the source is locked and only read. A signal ends the copy between two files, and nothing is left of it.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indicatif::{ProgressBar, ProgressDrawTarget};
use rustling_db::engine::backup::run::{Backup, Step};
use rustling_db::engine::disk::api::Disk;
use rustling_db::engine::disk::local::LocalDisk;
use rustling_db::engine::error::Error as EngineError;
use rustling_db::{BackupOptions, BackupReport, DbOptions};

use crate::args::{BackupArgs, Global, RestoreArgs};
use crate::failure::{Failure, Outcome, say};
use crate::interrupt::Interrupt;
use crate::size::{bytes, counted};

/// Makes a backup of the database.
///
/// # Errors
/// A database that is missing, damaged, or open elsewhere; a folder that holds something; the system's.
pub(crate) fn backup(global: &Global, args: &BackupArgs, interrupt: &Interrupt) -> Outcome {
    let options = BackupOptions { link: !args.copy, verify: !args.no_verify };
    let made =
        copy(global, [&global.db, &args.folder], options, interrupt).map_err(|failure| advise(global, failure))?;
    say(&format!("backed up {} into {}: {}", global.db.display(), args.folder.display(), summary(&made)));
    Ok(())
}

/// Makes the database from a backup.
///
/// # Errors
/// As [`backup`].
pub(crate) fn restore(global: &Global, args: &RestoreArgs, interrupt: &Interrupt) -> Outcome {
    let options = BackupOptions { link: false, verify: true };
    let made = copy(global, [&args.folder, &global.db], options, interrupt)?;
    say(&format!("restored {} into {}: {}", args.folder.display(), global.db.display(), summary(&made)));
    Ok(())
}

fn copy(
    global: &Global,
    [from, to]: [&Path; 2],
    options: BackupOptions,
    interrupt: &Interrupt,
) -> Outcome<BackupReport> {
    let mut settings = DbOptions::default();
    settings.memory_bytes = global.memory.unwrap_or(settings.memory_bytes);
    interrupt.patiently(|| {
        let mut backup = Backup::of_closed(disk(from)?, disk(to)?, &settings.engine(), options)?;
        let bar = bar(backup.progress().1);
        loop {
            if interrupt.cancel.load(Ordering::SeqCst) {
                drop(backup);
                return Err(Failure::Said("it was stopped; nothing is left of the copy".to_owned()));
            }
            bar.set_position(backup.progress().0);
            match backup.step()? {
                Step::Next(next) => backup = next,
                Step::Done(report) => {
                    bar.finish_and_clear();
                    return Ok(report);
                }
            }
        }
    })
}

fn disk(path: &Path) -> Outcome<Arc<dyn Disk>> {
    let failed = |source| Failure::File { operation: "open", path: path.display().to_string(), source };
    Ok(Arc::new(LocalDisk::open(path).map_err(failed)?))
}

fn bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
}

/// Whoever has the database open can back it up.
fn advise(global: &Global, failure: Failure) -> Failure {
    let db = global.db.display().to_string();
    match &failure {
        Failure::Db(error) => match &**error {
            rustling_db::Error::Engine(EngineError::Locked { path }) if *path == db => Failure::Said(format!(
                "{db} is open in another process; close it there first, or call `Db::backup` in that process"
            )),
            _ => failure,
        },
        _ => failure,
    }
}

fn summary(made: &BackupReport) -> String {
    if let Some(torn) = &made.torn {
        let (size, path) = (bytes(torn.bytes), &torn.path);
        say(&format!("note: it was not closed in order; {size} of {path} that were never acknowledged are left out"));
    }
    let (linked, copied) = (made.linked, made.copied);
    let links = match linked.files {
        0 => String::new(),
        files => format!("; {files} of them are linked and share their bytes with the database"),
    };
    format!(
        "{} at sequence number {}, {} with {}{links}",
        counted(made.tables as u64, "table"),
        made.seq.0,
        counted(linked.files + copied.files, "file"),
        bytes(linked.bytes + copied.bytes),
    )
}
