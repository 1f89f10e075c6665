//! The binary `rustling`: arguments in, data on standard output, everything else on standard error.
//!
//! Storeys, lowest first: numbers and failures, the command line, signals, printing, the database, one file a command.

// What everything names.
mod allocator;

mod open_files;

mod size;

mod failure;

mod args;

mod interrupt;

// Rows on a screen, a database in hand.
mod output;

mod session;

// The commands.
mod load;

mod query;

mod keyvalue;

mod inspect;

mod dump;

mod backup;

mod verify;

mod demo;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::allocator::give_freed_memory_back;
use crate::args::{Args, Command};
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::open_files::allow_many_open_files;

fn main() -> ExitCode {
    give_freed_memory_back();
    allow_many_open_files();
    let args = Args::parse();
    start_log(args.global.verbose);
    let interrupt = match Interrupt::start() {
        Ok(interrupt) => interrupt,
        Err(failure) => {
            failure.say();
            return failure.exit_code().into();
        }
    };
    match run(&args, &interrupt) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.say();
            interrupt.exit_code().unwrap_or(failure.exit_code()).into()
        }
    }
}

fn run(args: &Args, interrupt: &Interrupt) -> Outcome {
    let global = &args.global;
    match &args.command {
        Command::Load(args) => load::load(global, args, interrupt),
        Command::Sql(args) => query::sql(global, args, interrupt),
        Command::Export(args) => query::export(global, args, interrupt),
        Command::Insert(args) => keyvalue::insert(global, args),
        Command::Get(args) => keyvalue::get(global, args),
        Command::Delete(args) => keyvalue::delete(global, args),
        Command::Backup(args) => backup::backup(global, args, interrupt),
        Command::Restore(args) => backup::restore(global, args, interrupt),
        Command::Verify(args) => verify::verify(global, args),
        Command::Repair(args) => verify::repair(global, args),
        Command::Inspect => inspect::inspect(global),
        Command::Flush(args) => inspect::flush(global, args),
        Command::Compact(args) => inspect::compact(global, args),
        Command::Drop(args) => inspect::drop_table(global, args),
        Command::Dump(args) => dump::dump(global, args),
        Command::Demo(args) => demo::demo(global, args, interrupt),
    }
}

/// Events of the libraries go to standard error: warnings, with `-v` what is done, with `-vv` details.
fn start_log(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let level = if verbose == 0 {
        level.to_owned()
    } else {
        format!("warn,rustling_engine={level},rustling_db={level},rustling_etl={level},rustling_table_provider={level}")
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(std::io::stderr)
        // Where standard error cannot be written nobody listens: no reason to panic.
        .log_internal_errors(false)
        .init();
}
