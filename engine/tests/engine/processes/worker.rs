//! What a child process does, and how a parent starts one.
//!
//! In: environment variables, which turn the test `processes::worker` of this binary into the child. Out: lines on
//! standard output, each written by one call as soon as it is true: `begin`, `done <stream>` for each step that the
//! engine acknowledged.
//! Invariants: a child ends when nobody reads what it says, so none outlives its parent.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::error::{Error, Result};

use crate::fixture::{Step, run, schema, write_batch};
use crate::processes::script::{check, fill, follow_script};
use crate::processes::work::{Positions, TABLES, Work};

/// A child that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// SIGKILL.
const KILLED: i32 = 9;
/// What the child is to do; not set in an ordinary run of the tests.
pub(crate) const TASK: &str = "RUSTLING_CHILD";

/// Standard output without a buffer.
pub(crate) struct Says(File);

impl Says {
    pub(crate) fn on_stdout() -> Self {
        let says = Self(File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap()));
        // The test harness began a line with the name of the test.
        says.line("");
        says
    }

    pub(crate) fn in_file(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }

    /// Says a line; `false` if nobody listens any more.
    pub(crate) fn line(&self, text: &str) -> bool {
        let line = format!("{text}\n");
        // Where calls are made to fail, this one may be hit.
        (&self.0).write_all(line.as_bytes()).or_else(|_| (&self.0).write_all(line.as_bytes())).is_ok()
    }
}

/// A child and what it says, line by line, until it ends.
pub(crate) struct Heard {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Heard {
    pub(crate) fn start(task: &str) -> Self {
        let mut child = spawn(task, Stdio::piped());
        let (says, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(|line| line.ok()).try_for_each(|line| says.send(line)));
        Self { child, lines }
    }

    /// The next line that starts with one of our words; the test harness of the child says things as well.
    pub(crate) fn next(&self) -> Option<String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).ok()?;
            if ["begin", "done", "open", "locked"].iter().any(|word| line.starts_with(word)) {
                return Some(line);
            }
        }
    }

    /// Kills the child and waits until it is gone; what it still said, and how it ended.
    pub(crate) fn kill(mut self) -> (Vec<String>, String) {
        self.child.kill().unwrap();
        let output = self.child.wait_with_output().unwrap();
        let ended = if output.status.signal() == Some(KILLED) {
            String::new()
        } else {
            format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
        };
        (self.lines.iter().collect(), ended)
    }
}

/// Starts this test binary as a child with a task.
pub(crate) fn spawn(task: &str, stdin: Stdio) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::worker", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A task as text: words, and last the folder.
pub(crate) fn task_of_work(work: Work, seed: u64, from: &Positions, folder: &Path) -> String {
    let from = from.map(|position| position.to_string()).join(",");
    format!("work {} {seed} {from} {}", work.name(), folder.display())
}

/// Does what a task says.
pub(crate) fn do_task(task: &str) {
    let (verb, rest) = task.split_once(' ').unwrap();
    match verb {
        "work" => {
            let [work, seed, from, folder] = rest.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
            let mut positions = Positions::default();
            for (position, text) in positions.iter_mut().zip(from.split(',')) {
                *position = text.parse().unwrap();
            }
            let says = Says::on_stdout();
            says.line("begin");
            let hears = |stream: usize, _| says.line(&format!("done {stream}"));
            work_on(Work::named(work), seed.parse().unwrap(), positions, Path::new(folder), &hears);
        }
        "hold" => hold(Path::new(rest)),
        "script" => {
            let says = Says::on_stdout();
            await_tracer(&says);
            follow_script(Path::new(rest), &says);
        }
        "check" => {
            let (said, folder) = rest.split_once(' ').unwrap();
            assert_eq!(check(Path::new(folder), &std::fs::read_to_string(said).unwrap()), Ok(()));
        }
        "fill" => {
            let (rounds, folder) = rest.split_once(' ').unwrap();
            fill(Path::new(folder), rounds.parse().unwrap(), &Says::on_stdout());
        }
        _ => panic!("no task is named {verb}"),
    }
}

/// Says which thread this is and waits until somebody traces it.
fn await_tracer(says: &Says) {
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    says.line(&format!("thread {}", thread.file_name().unwrap().display()));
    let since = Instant::now();
    while std::fs::read_to_string("/proc/thread-self/status").unwrap().contains("TracerPid:\t0\n") {
        assert!(since.elapsed() < PATIENCE, "nobody traces this thread");
        std::thread::yield_now();
    }
    says.line("begin");
}

/// Opens a database, says whether that worked, and keeps it until somebody ends this.
fn hold(folder: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(folder).unwrap());
    let says = Says::on_stdout();
    match Database::open(disk, Options::default()) {
        Ok(_db) => {
            says.line("open");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        Err(Error::Locked { .. }) => drop(says.line("locked")),
        Err(error) => panic!("{error}"),
    }
}

/// Hears of each step that was acknowledged (its stream and serial number); `false` ends the stream.
pub(crate) type Hears<'a> = &'a (dyn Fn(usize, u64) -> bool + Sync);

/// Opens the database, makes the tables that are missing, and does the streams of a work from where they are.
pub(crate) fn work_on(work: Work, seed: u64, from: Positions, folder: &Path, hears: Hears<'_>) {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(folder).unwrap());
    let db = Database::open(disk.clone(), work.options()).unwrap();
    let there = db.snapshot().table_names();
    for table in TABLES.iter().filter(|table| !there.iter().any(|name| name == *table)) {
        db.create_table(table, &schema(), &["k"]).unwrap();
    }
    if work.streams() == 1 {
        return one_stream(work, seed, from[0], db, &disk, hears);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (db, stop) = (&db, &stop);
        if work == Work::Flushes {
            scope.spawn(move || tidy(db, stop));
        }
        let streams: Vec<_> = (0..work.streams())
            .map(|stream| scope.spawn(move || write_stream(work, seed, stream, from[stream], db, hears)))
            .collect();
        streams.into_iter().for_each(|stream| stream.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
}

fn one_stream(work: Work, seed: u64, from: u64, mut db: Database, disk: &Arc<dyn Disk>, hears: Hears<'_>) {
    let options = work.options();
    for serial in from.. {
        run(&mut db, disk, &options, &work.step(seed, 0, serial)).unwrap();
        if !hears(0, serial) {
            break;
        }
        if work == Work::Openings {
            if serial % 2 == 0 {
                db.close().unwrap();
            }
            drop(db);
            db = Database::open(disk.clone(), options.clone()).unwrap();
        }
    }
    db.close().unwrap();
}

fn write_stream(work: Work, seed: u64, stream: usize, from: u64, db: &Database, hears: Hears<'_>) {
    for serial in from.. {
        let Step::Write(changes) = work.step(seed, stream, serial) else { panic!("threads only write") };
        db.write(&write_batch(&changes)).unwrap();
        if !hears(stream, serial) {
            return;
        }
    }
}

/// Flushes and compacts for as long as others write.
fn tidy(db: &Database, stop: &AtomicBool) {
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let tidied = if round % 3 == 2 { db.compact("flushed") } else { db.flush("flushed") };
        tidied.unwrap();
    }
}

/// Opens a database to look at it.
pub(crate) fn open(folder: &Path) -> Result<Database> {
    Database::open(Arc::new(LocalDisk::open(folder).unwrap()), Options { threads: 1, ..Options::default() })
}
