//! `dump`: what the files say. It opens nothing, so it works where opening fails.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use rustling_db::engine::disk::api::Disk;
use rustling_db::engine::disk::local::LocalDisk;
use rustling_db::engine::dump::{Found, Take, dump_keys, dump_manifest, dump_sst, dump_wal, list_runs};
use rustling_db::engine::id::RunId;

use crate::args::{DumpArgs, Global, RunArgs};
use crate::failure::{Failure, Outcome, say_error};
use crate::output::stdout;

/// Shows what the files say; damage is said on standard error, in its place among the lines.
///
/// # Errors
/// Silently, if there was damage; those of the output.
pub(crate) fn dump(global: &Global, args: &DumpArgs) -> Outcome {
    let failed = |source| Failure::File { operation: "open", path: global.db.display().to_string(), source };
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(&global.db).map_err(failed)?);
    let mut out = stdout();
    let (mut damaged, mut written) = (false, Ok(()));
    let mut take = |found: Found| {
        written = match found {
            Found::Line(text) => writeln!(out, "{text}"),
            Found::Damage(error) => {
                damaged = true;
                let flushed = out.flush();
                say_error(&error.to_string());
                flushed
            }
        };
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let _ = show(&disk, args, &mut take);
    written.and_then(|()| out.flush()).map_err(Failure::Output)?;
    if damaged { Err(Failure::Silent) } else { Ok(()) }
}

fn show(disk: &Arc<dyn Disk>, args: &DumpArgs, take: &mut Take<'_>) -> ControlFlow<()> {
    match args {
        DumpArgs::Wal => dump_wal(&**disk, take),
        DumpArgs::Manifest => dump_manifest(&**disk, take),
        DumpArgs::Sst(RunArgs { run: Some(run), .. }) => dump_sst(&**disk, RunId(*run), take),
        DumpArgs::Keys(RunArgs { run: Some(run), .. }) => dump_keys(disk, RunId(*run), take),
        DumpArgs::Sst(args) | DumpArgs::Keys(args) => list_runs(&**disk, args.table.as_deref(), take),
    }
}
