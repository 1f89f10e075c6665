//! Runs the policy for many flushes over keys that are really there, and counts what it writes and leaves behind.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::compact::memory::fitting;
use crate::compact::policy::{Effort, IDLE_DEAD_PERCENT, Limits, Pick, pick};
use crate::compact::shape::{RunShape, Shape};
use crate::config::Options;
use crate::id::SeqNo;
use crate::run_writer::SeqRange;
use crate::sst::meta::KeyRange;

const KEYS: u32 = 10_000;
const FLUSH_KEYS: u32 = 50;
const FLUSHES: u64 = 10_000;
const ROW_BYTES: u64 = 10;
/// From one key of a base run to the next, where others come between them.
const NARROW_STEP: u32 = 1000;

/// How keys are chosen.
#[derive(Clone, Copy, Debug)]
enum Work {
    Uniform,
    /// Half of the changes go to a sixteenth of the keys.
    Skewed,
    /// Keys ascend; nothing is changed later.
    AppendOnly,
    /// Half of the changes delete.
    DeleteHeavy,
    /// Keys over the whole key space, then some each time that lie together, where none were.
    Narrow,
    /// A thirtieth of the keys each time.
    Large,
}

impl Work {
    const ALL: [Self; 6] =
        [Self::Uniform, Self::Skewed, Self::AppendOnly, Self::DeleteHeavy, Self::Narrow, Self::Large];

    fn flushes(self) -> u64 {
        if matches!(self, Self::Large) { FLUSHES / 10 } else { FLUSHES }
    }

    /// The keys of a flush: upserted ones and deleted ones.
    fn flush(self, random: &mut StdRng, number: u32) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let draw = |random: &mut StdRng| match self {
            Self::Skewed => {
                let place: f64 = random.random();
                f64_key(place.powi(4))
            }
            _ => random.random_range(0..KEYS),
        };
        match self {
            Self::AppendOnly => ((number * FLUSH_KEYS..(number + 1) * FLUSH_KEYS).collect(), BTreeSet::new()),
            Self::Narrow if number == 0 => ((0..KEYS).map(|key| key * NARROW_STEP).collect(), BTreeSet::new()),
            Self::Narrow => {
                // All places, each once, in no order.
                let from = (u64::from(number) * 7919 % FLUSHES) as u32 * NARROW_STEP + 1;
                ((from..from + FLUSH_KEYS).collect(), BTreeSet::new())
            }
            Self::DeleteHeavy => {
                let deleted: BTreeSet<u32> = (0..FLUSH_KEYS / 2).map(|_| draw(random)).collect();
                let upserted = (0..FLUSH_KEYS / 2).map(|_| draw(random)).filter(|key| !deleted.contains(key)).collect();
                (upserted, deleted)
            }
            Self::Large => ((0..KEYS / 30).map(|_| draw(random)).collect(), BTreeSet::new()),
            Self::Uniform | Self::Skewed => ((0..FLUSH_KEYS).map(|_| draw(random)).collect(), BTreeSet::new()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
fn f64_key(place: f64) -> u32 {
    (place * f64::from(KEYS - 1)) as u32
}

struct SimulatedRun {
    id: u64,
    live: BTreeSet<u32>,
    dead: BTreeSet<u32>,
    deletes: BTreeSet<u32>,
    seqs: SeqRange,
}

impl SimulatedRun {
    fn shape(&self) -> RunShape {
        let sets = [&self.live, &self.dead, &self.deletes];
        let min = sets.iter().filter_map(|keys| keys.first()).min();
        let range = min.zip(sets.iter().filter_map(|keys| keys.last()).max());
        let count = |keys: &BTreeSet<u32>| keys.len() as u64;
        RunShape {
            rows: count(&self.live) + count(&self.dead),
            dead: count(&self.dead),
            deletes: count(&self.deletes),
            bytes: sets.iter().map(|keys| count(keys)).sum::<u64>() * ROW_BYTES,
            seqs: self.seqs,
            keys: range.map(|(min, max)| KeyRange { min: encoded(*min), max: encoded(*max) }),
        }
    }
}

fn encoded(key: u32) -> Vec<u8> {
    key.to_be_bytes().to_vec()
}

/// What came of a simulation.
#[derive(Clone, Debug, Default)]
struct Figures {
    flushed: u64,
    compacted: u64,
    steps: u64,
    runs: usize,
    depth: usize,
    /// Highest share of dead rows, in percent, once there are as many rows as keys.
    dead_percent: u64,
}

struct Simulation {
    /// Newest first.
    runs: Vec<SimulatedRun>,
    /// For each key that lives the run that its row is in.
    live_in: BTreeMap<u32, u64>,
    next_id: u64,
    limits: Limits,
    /// Rows that a merge may hold, each run counting for one.
    merged: usize,
    figures: Figures,
}

impl Simulation {
    fn new(merged: usize) -> Self {
        let options = Options::default();
        let limits = Limits {
            runs: options.compact_runs,
            dead_percent: options.dead_percent,
            dead_bytes: u64::from(FLUSH_KEYS) * ROW_BYTES,
            sst_bytes: u64::from(KEYS) * ROW_BYTES / 3,
            sst_rows: u64::from(KEYS),
        };
        let (live_in, figures) = (BTreeMap::new(), Figures::default());
        Self { runs: Vec::new(), live_in, next_id: 0, limits, merged, figures }
    }

    fn shape(&self) -> Shape {
        Shape::new(self.runs.iter().map(SimulatedRun::shape).collect())
    }

    fn flush(&mut self, (upserted, deletes): (BTreeSet<u32>, BTreeSet<u32>), seq: SeqNo) {
        self.figures.flushed += upserted.len() as u64;
        for key in upserted.iter().chain(&deletes) {
            let Some(run) = self.live_in.remove(key) else { continue };
            let run = self.runs.iter_mut().find(|other| other.id == run).unwrap();
            run.live.remove(key);
            run.dead.insert(*key);
        }
        self.add(upserted, deletes, SeqRange { first: seq, last: seq });
        self.runs.rotate_right(1);
    }

    fn add(&mut self, live: BTreeSet<u32>, deletes: BTreeSet<u32>, seqs: SeqRange) {
        let id = self.next_id;
        self.next_id += 1;
        self.live_in.extend(live.iter().map(|key| (*key, id)));
        self.runs.push(SimulatedRun { id, live, dead: BTreeSet::new(), deletes, seqs });
    }

    /// Compacts until there is nothing to do.
    fn settle(&mut self, effort: Effort) {
        for step in 0.. {
            assert!(
                step < 1000,
                "{effort:?} does not end: {:?} of {:#?}",
                pick(&self.shape(), &self.limits, effort),
                self.shape().runs()
            );
            let shape = self.shape();
            let Some(picked) = pick(&shape, &self.limits, effort) else { return };
            let held = vec![1; self.runs.len()];
            let picked = fitting(picked, &shape, &self.limits, &held, self.merged);
            let first = self.next_id;
            self.rewrite(&picked);
            self.figures.steps += 1;
            self.check(first);
        }
    }

    fn rewrite(&mut self, pick: &Pick) {
        let (mut live, mut deletes) = (BTreeSet::new(), BTreeSet::new());
        let mut inputs = Vec::new();
        for place in pick.runs.iter().rev() {
            let run = self.runs.remove(*place);
            live.extend(run.live.iter().copied());
            deletes.extend(run.deletes.iter().copied());
            inputs.push(run);
        }
        // Those older than the newest input are all that stay behind its place.
        let older = &self.runs[pick.runs[0]..];
        deletes.retain(|key| older.iter().any(|run| run.live.contains(key) || run.dead.contains(key)));
        self.figures.compacted += live.len() as u64;
        let mut result: Vec<(BTreeSet<u32>, BTreeSet<u32>)> = Vec::new();
        let mut cuts: Vec<u32> = pick.cuts.iter().map(|cut| u32::from_be_bytes((**cut).try_into().unwrap())).collect();
        cuts.push(u32::MAX);
        let mut from = 0;
        for cut in cuts {
            let rows: Vec<u32> = live.range(from..cut).copied().collect();
            let parts = rows.chunks(usize::try_from(pick.rows_per_run).unwrap());
            let mut parts: Vec<BTreeSet<u32>> = parts.map(|part| part.iter().copied().collect()).collect();
            if parts.is_empty() {
                parts.push(BTreeSet::new());
            }
            let ends: Vec<u32> = parts[1..].iter().filter_map(|part| part.first().copied()).chain([cut]).collect();
            for (part, end) in parts.into_iter().zip(ends) {
                result.push((part, deletes.range(from..end).copied().collect()));
                from = end;
            }
        }
        for (live, deletes) in result.into_iter().filter(|(live, deletes)| !live.is_empty() || !deletes.is_empty()) {
            let keys = || live.iter().chain(&deletes).copied();
            let (min, max) = (keys().min().unwrap(), keys().max().unwrap());
            let knows = |run: &&SimulatedRun| {
                run.shape().keys.is_some_and(|keys| keys.min <= encoded(max) && encoded(min) <= keys.max)
            };
            let seqs = || inputs.iter().filter(knows).map(|run| run.seqs);
            let (first, last) =
                (seqs().map(|seqs| seqs.first).min().unwrap(), seqs().map(|seqs| seqs.last).max().unwrap());
            self.add(live, deletes, SeqRange { first, last });
        }
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.seqs.last));
    }

    /// What a version asks of its runs, of those that are new since an id.
    fn check(&self, first: u64) {
        let shapes: Vec<RunShape> = self.runs.iter().map(SimulatedRun::shape).collect();
        for new in (0..shapes.len()).filter(|index| self.runs[*index].id >= first) {
            for other in (0..shapes.len()).filter(|other| *other != new) {
                let (newer, older) = (&shapes[new.min(other)], &shapes[new.max(other)]);
                let disjoint = newer.keys.as_ref().zip(older.keys.as_ref()).is_none_or(|(a, b)| !a.overlaps(b));
                assert!(disjoint || older.seqs.last < newer.seqs.first, "{newer:?} overlaps {older:?}");
            }
        }
    }

    fn count(&mut self) {
        let shape = self.shape();
        self.figures.runs = self.figures.runs.max(self.runs.len());
        self.figures.depth = self.figures.depth.max(shape.depth());
        if shape.rows() >= u64::from(KEYS) / 2 {
            self.figures.dead_percent = self.figures.dead_percent.max(shape.dead() * 100 / shape.rows());
        }
    }
}

fn simulate(work: Work, flushes: u64, merged: usize) -> Simulation {
    let mut random = StdRng::seed_from_u64(1);
    let mut simulation = Simulation::new(merged);
    for number in 0..flushes {
        simulation.flush(work.flush(&mut random, u32::try_from(number).unwrap()), SeqNo(number + 1));
        simulation.settle(Effort::Steady);
        simulation.count();
    }
    simulation
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what one runs it for")]
fn ten_thousand_flushes_stay_within_their_bounds() {
    println!("| keys | flushes | rows written per row flushed | dead at most | runs of a key | runs | steps |");
    println!("|---|---|---|---|---|---|---|");
    for (work, writes_max) in Work::ALL.into_iter().zip([5.8, 5.2, 4.8, 5.6, 3.8, 3.8]) {
        let flushes = work.flushes();
        let mut simulation = simulate(work, flushes, usize::MAX);
        let figures = simulation.figures.clone();
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let written = (figures.flushed + figures.compacted) as f64 / figures.flushed as f64;
        let Figures { dead_percent, depth, runs, steps, .. } = figures;
        println!("| {work:?} | {flushes} | {written:.2} | {dead_percent} % | {depth} | {runs} | {steps} |");
        assert!(written < writes_max, "{work:?}: {written:.2} rows written for each");
        assert!(dead_percent <= simulation.limits.dead_percent, "{work:?}: {dead_percent} % dead");
        assert!(depth < simulation.limits.runs, "{work:?}: {depth} runs of a key");
        // Sixteen to sixty-four parts, with what lies above each, and full runs; with up to six above each where keys come
        // between each other.
        let full = usize::try_from(simulation.shape().rows() * ROW_BYTES / simulation.limits.sst_bytes).unwrap();
        let above = if matches!(work, Work::Narrow) { 6 } else { 1 };
        assert!(runs <= 300 + (1 + above) * full, "{work:?}: {runs} runs");
        simulation.settle(Effort::Idle);
        let shape = simulation.shape();
        assert!(shape.dead() * 100 <= shape.rows() * IDLE_DEAD_PERCENT, "{work:?}: idle");
        simulation.settle(Effort::Whole);
        let shape = simulation.shape();
        assert_eq!((shape.dead(), shape.depth()), (0, 1), "{work:?}: as a whole");
        assert!(shape.runs().iter().all(|run| run.deletes == 0), "{work:?}: as a whole");
    }
}

#[test]
fn merges_of_few_runs_at_once_come_to_an_end_too() {
    for work in Work::ALL {
        for merged in [1, 2, 3] {
            let mut simulation = simulate(work, 500, merged);
            simulation.settle(Effort::Idle);
            simulation.settle(Effort::Whole);
            let shape = simulation.shape();
            assert_eq!((shape.dead(), shape.depth()), (0, 1), "{work:?}, {merged}");
        }
    }
}
