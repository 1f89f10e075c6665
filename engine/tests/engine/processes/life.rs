//! The life of a database whose processes are killed: what it went through, and what is there.
//!
//! In: a seed. Out: counts, and what was not as it should be.
//! Invariants: what the next process finds is what was acknowledged, and of each stream's steps at most the one that
//! was in flight.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rustling_engine::error::Result;
use rustling_engine::wal::record::SEGMENT_HEADER_BYTES;
use tempfile::TempDir;

use crate::fixture::{Tables, contents, run_model};
use crate::processes::work::{Positions, Work, differences, empty_tables, with_all_tables};
use crate::processes::worker::{Heard, open, task_of_work};

/// Processes that are killed on one folder, one after the other: each kind of work twice.
const KILLS_PER_LIFE: usize = 12;

/// One database, and the processes that work on it until they are killed.
pub(crate) struct Life {
    seed: u64,
    random: StdRng,
    folder: TempDir,
    /// What is in the database if nothing is in flight.
    model: Tables,
    positions: [Positions; Work::ALL.len()],
    counted: Counted,
}

/// What a life amounted to.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) kills: u64,
    pub(crate) acknowledged: u64,
    /// Logs that got half a record.
    pub(crate) torn: u64,
    /// Steps that were in flight and are there.
    pub(crate) in_flight_kept: u64,
    /// Write batches that recoveries read from the log again.
    pub(crate) replayed: u64,
    /// Recoveries that cut a torn tail off, or removed files of work that was never committed.
    pub(crate) cleaned: u64,
    pub(crate) violations: Vec<String>,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            folder: TempDir::new().unwrap(),
            model: empty_tables(),
            positions: Default::default(),
            counted: Counted::default(),
        }
    }

    pub(crate) fn live(mut self) -> Counted {
        let mut works: Vec<Work> = Work::ALL.iter().copied().cycle().take(KILLS_PER_LIFE).collect();
        works.shuffle(&mut self.random);
        for work in works {
            let acknowledged = self.work_until_killed(work);
            if self.random.random_bool(0.3) {
                self.tear();
            }
            if let Err(violation) = self.check(work, &acknowledged) {
                self.counted.violations.push(format!("seed {} after {work:?}: {violation}", self.seed));
                // What came out of this says nothing about the next process.
                return self.counted;
            }
        }
        self.counted
    }

    /// Kills a child some microseconds behind one of its lines; the steps that each stream acknowledged.
    fn work_until_killed(&mut self, work: Work) -> Positions {
        let task = task_of_work(work, self.seed, &self.positions[work as usize], self.folder.path());
        let lines = if self.random.random_bool(0.2) { 1 } else { self.random.random_range(2..16) };
        let spin = Duration::from_micros(self.random.random_range(0..8000));
        let child = Heard::start(&task);
        let mut heard: Vec<String> = (0..lines).map_while(|_| child.next()).collect();
        let stuck = heard.len() < lines;
        let until = Instant::now() + spin;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let (rest, ended) = child.kill();
        if stuck || !ended.is_empty() {
            self.counted.violations.push(format!("seed {}: {work:?} stopped by itself: {ended}", self.seed));
        }
        heard.extend(rest);
        let mut acknowledged = Positions::default();
        for stream in heard.iter().filter_map(|line| line.strip_prefix("done ")) {
            acknowledged[stream.parse::<usize>().unwrap()] += 1;
        }
        self.counted.kills += 1;
        self.counted.acknowledged += acknowledged.iter().sum::<u64>();
        acknowledged
    }

    /// Leaves half a record behind the end of the log. A killed process hardly ever does, since the system finishes most
    /// of the calls that it began; a power cut does.
    fn tear(&mut self) {
        let Ok(segments) = std::fs::read_dir(self.folder.path().join("wal")) else { return };
        let Some(newest) = segments.map(|entry| entry.unwrap().path()).max() else { return };
        // A segment that was just begun is none yet: only the record that seals the one before makes it one.
        if std::fs::metadata(&newest).unwrap().len() > SEGMENT_HEADER_BYTES {
            let mut garbage = vec![0; self.random.random_range(1..200)];
            self.random.fill_bytes(&mut garbage);
            std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(&garbage).unwrap();
            self.counted.torn += 1;
        }
    }

    /// Finds out which steps in flight are there; everything else must be as the model has it.
    fn check(&mut self, work: Work, acknowledged: &Positions) -> Result<(), String> {
        let (seed, from) = (self.seed, self.positions[work as usize]);
        let step = |stream: usize, serial: u64| work.step(seed, stream, from[stream] + serial);
        for (stream, acknowledged) in acknowledged.iter().enumerate() {
            for serial in 0..*acknowledged {
                run_model(&mut self.model, &step(stream, serial));
            }
        }
        let found = self.find().map_err(|error| error.to_string())?;
        let in_flight = (0..1u32 << work.streams()).find_map(|kept| {
            let kept: Vec<usize> = (0..work.streams()).filter(|stream| kept >> stream & 1 == 1).collect();
            let mut model = self.model.clone();
            kept.iter().for_each(|stream| run_model(&mut model, &step(*stream, acknowledged[*stream])));
            (model == found).then_some(kept)
        });
        let Some(kept) = in_flight else { return Err(differences(&self.model, &found)) };
        self.counted.in_flight_kept += kept.len() as u64;
        for (stream, position) in self.positions[work as usize].iter_mut().enumerate() {
            *position += acknowledged[stream] + u64::from(kept.contains(&stream));
        }
        self.model = found;
        Ok(())
    }

    /// Everything in the database. A third of the time the folder is left as the killed process left it, so that the
    /// next process recovers from that; else it is recovered here, and closed or just dropped.
    fn find(&mut self) -> Result<Tables> {
        let choice = self.random.random_range(0..3);
        let copy = TempDir::new().unwrap();
        let folder = if choice == 0 {
            copy_folder(self.folder.path(), copy.path());
            copy.path()
        } else {
            self.folder.path()
        };
        let db = open(folder)?;
        let found = contents(&db)?;
        let report = db.open_report();
        self.counted.replayed += report.replayed;
        self.counted.cleaned += u64::from(report.torn.is_some() || !report.swept.is_empty());
        if choice == 1 {
            for table in found.keys() {
                db.compact(table)?;
            }
            assert_eq!(contents(&db)?, found, "a compaction changed what is there");
            db.close()?;
        }
        Ok(with_all_tables(found))
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
