//! Works at a limit of memory, each workload in a process of its own, and prints a row of a Markdown table for each:
//! the peak of anonymous memory, and what became of it.
//!
//! `cargo run --release --example memory_limits -- FOLDER [LIMIT_MIB [TIMES [WORKLOAD...]]]`
//!
//! Each workload puts TIMES (default 10) times the limit (default 64) through a database in FOLDER. `lineitem` only runs
//! if it is named; TIMES is its scale factor then. What an empty database and one query take is measured first; `ratio`
//! is what a peak has beyond that, in limits. A process that takes more than twice its limit and 256 MiB is killed.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod workloads;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustling_db::{Db, DbOptions};

use crate::workloads::{DEFAULT_WORKLOADS, EMPTY, Task, prepare, work};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MIB: usize = 1 << 20;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What the binary tells glibc: how large a buffer is that goes back when it is freed, and how much may stay at the end
/// of a heap.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];
/// Tells a process which workload it is for.
const WORKLOAD: &str = "MEMORY_LIMITS_WORKLOAD";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        return Err("usage: memory_limits FOLDER [LIMIT_MIB [TIMES [WORKLOAD...]]]".into());
    };
    let limit = arguments.get(1).map_or(Ok(64), |mib| mib.parse::<usize>())? * MIB;
    let times: usize = arguments.get(2).map_or(Ok(10), |times| times.parse())?;
    if let Ok(workload) = std::env::var(WORKLOAD) {
        return answer(&Task { folder: &folder, workload: &workload, limit, times });
    }
    let named: Vec<&str> = arguments.iter().skip(3).map(String::as_str).collect();
    let chosen = if named.is_empty() { &DEFAULT_WORKLOADS[..] } else { &named };
    std::fs::create_dir_all(&folder)?;
    println!("| limit | workload | data | peak | ratio | stalls | seconds | outcome |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut constant = 0;
    for workload in [EMPTY].iter().chain(chosen) {
        let scratch = tempfile::tempdir_in(&folder)?;
        let task = Task { folder: scratch.path(), workload, limit, times };
        prepare(&task)?;
        let peak = measure(&task, constant)?;
        if *workload == EMPTY {
            constant = peak;
        }
    }
    Ok(())
}

/// Does a workload in this process and says how it went: a typed error is an answer, too.
fn answer(task: &Task<'_>) -> Result<()> {
    let options = DbOptions { memory_bytes: task.limit, ..DbOptions::default() };
    let db = Db::open_with(task.folder.join("db"), &options)?;
    let (bytes, outcome) = work(&db, task).unwrap_or_else(|error| (0, format!("error: {error}")));
    let stalls = db.engine().report().stalls;
    db.close()?;
    println!("{} MiB\t{stalls}\t{outcome}", bytes / MIB);
    Ok(())
}

/// Runs a workload in a process of its own, watches its memory and prints the row. Gives the peak in bytes.
fn measure(task: &Task<'_>, constant: usize) -> Result<usize> {
    let arguments = [task.folder.display().to_string(), (task.limit / MIB).to_string(), task.times.to_string()];
    let started = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).envs(ALLOCATOR).env(WORKLOAD, task.workload).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (peak, was_killed) = watch(&mut child, 2 * task.limit + 256 * MIB)?;
    let seconds = started.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    let (said, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let mut said = said.trim().split('\t');
    let (data, stalls) = (said.next().unwrap_or(""), said.next().unwrap_or(""));
    let outcome = match said.next() {
        Some(outcome) => outcome.to_owned(),
        None if was_killed => "KILLED".to_owned(),
        None => format!("FAILED, {}: {}", output.status, errors.trim().replace('\n', " ")),
    };
    println!(
        "| {} MiB | {} | {data} | {} MiB | {:.2} | {stalls} | {seconds:.1} | {outcome} |",
        task.limit / MIB,
        task.workload,
        peak / MIB,
        peak.saturating_sub(constant) as f64 / task.limit as f64,
    );
    Ok(peak)
}

/// The peak of a process's anonymous memory, and whether it had to be killed.
fn watch(child: &mut Child, most: usize) -> Result<(usize, bool)> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let now = anonymous_bytes(Path::new(&status)).unwrap_or(0);
        peak = peak.max(now);
        if now > most {
            child.kill()?;
            return Ok((peak, true));
        }
        std::thread::sleep(LOOK);
    }
    Ok((peak, false))
}

fn anonymous_bytes(status: &Path) -> Option<usize> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}
