//! Does the steps of the peers' benchmark with this project, over its public API.
//!
//! In: the command line and the data folder of README.md. Out: JSON lines on standard output.

#![expect(clippy::print_stdout, reason = "lines on standard output are what it is for")]

mod input;
mod output;

mod machine;

mod lineitem;

mod run;

mod load;
mod scan;
mod by_key;
mod singles;
mod ycsb;

use std::path::PathBuf;
use std::process::ExitCode;

use run::{Result, Run};

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| perform(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The command line.
struct Arguments {
    steps: String,
    data: PathBuf,
    db: PathBuf,
    memory_mib: usize,
    budget: f64,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let (mut steps, mut data, mut db) = (String::new(), PathBuf::new(), PathBuf::new());
        let (mut memory_mib, mut budget) = (1024, 20.0);
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                // There is one peer that it can be.
                "--peer" => {}
                "--steps" => steps = value,
                "--data" => data = value.into(),
                "--db" => db = value.into(),
                "--memory-mib" => memory_mib = value.parse()?,
                "--budget" => budget = value.parse()?,
                other => return Err(format!("unknown argument {other}").into()),
            }
        }
        if steps.is_empty() || data.as_os_str().is_empty() || db.as_os_str().is_empty() {
            return Err(
                "usage: rustling-peers --steps STEP[=LABEL],... --data DIR --db DIR [--memory-mib N] [--budget S]"
                    .into(),
            );
        }
        Ok(Self { steps, data, db, memory_mib, budget })
    }
}

fn perform(arguments: &Arguments) -> Result<()> {
    let mut run = Run::open(&arguments.data, &arguments.db, arguments.memory_mib, arguments.budget)?;
    for step in arguments.steps.split(',') {
        let (name, label) = step.split_once('=').unwrap_or((step, ""));
        run.begin(name, label);
        match name {
            "load" | "load_shuffled" => load::load(&run)?,
            "w2a" | "w2b" => load::upserts(&run)?,
            "w7" => load::deletes(&run)?,
            "drain" => load::drain(&run)?,
            "rest" => load::rest(&run)?,
            "check" => scan::check(&run)?,
            "w3" => scan::warm(&run)?,
            "w3cold" => scan::cold(&mut run)?,
            "w4a" => by_key::gets(&run, "gets_hot.arrow", "hot_warm", "hot_gets")?,
            "w4b" => by_key::gets(&run, "gets_uniform.arrow", "uniform_warm", "uniform_gets")?,
            "w4c" | "w4c_hot" => by_key::gets_many(&run, name == "w4c_hot")?,
            "w4d" => by_key::gets_sql(&run)?,
            "w5" | "w5c" => by_key::ranges(&run)?,
            "w6" => singles::write(&run, 1)?,
            "w6x64" => singles::write(&run, 64)?,
            "ycsb_load" => ycsb::load(&run)?,
            other => match other.strip_prefix("ycsb_") {
                Some(letter) => ycsb::operate(&run, letter)?,
                None => return Err(format!("unknown step {other}").into()),
            },
        }
    }
    run.close()
}
