//! What a table's runs look like, in numbers: all that choosing a compaction depends on.
//!
//! In: runs, newest first. Out: slots of the key space, each with the stack of runs that reach into it; which runs must
//! be rewritten together.
//! Invariants: a *base* run overlaps no older run, so base runs are disjoint in keys and cut the key space into slots.
//! A set of runs is *closed* if no other run would stand between the ages of its result where their keys overlap.

use std::ops::Range;

use crate::run_writer::SeqRange;
use crate::sst::meta::KeyRange;

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunShape {
    /// Rows, the dead ones included.
    pub rows: u64,
    /// Rows that are dead.
    pub dead: u64,
    /// Keys that it deletes from older runs.
    pub deletes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Sequence numbers of its changes.
    pub seqs: SeqRange,
    /// Range of the keys of its rows and deletes; `None` if it has neither.
    pub keys: Option<KeyRange>,
}

impl RunShape {
    /// Rows that live.
    pub fn live(&self) -> u64 {
        self.rows - self.dead
    }

    /// Bytes that its live rows and its deletes take, about.
    pub fn live_bytes(&self) -> u64 {
        part(self.bytes, self.live().saturating_add(self.deletes), self.rows.saturating_add(self.deletes))
    }

    /// Bytes that its dead rows take, about.
    pub fn dead_bytes(&self) -> u64 {
        self.bytes - self.live_bytes()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.keys.as_ref().zip(other.keys.as_ref()).is_some_and(|(mine, theirs)| mine.overlaps(theirs))
    }
}

/// `whole * some / all`, without overflow.
fn part(whole: u64, some: u64, all: u64) -> u64 {
    if all == 0 {
        return 0;
    }
    u64::try_from(u128::from(whole) * u128::from(some) / u128::from(all)).unwrap_or(whole)
}

/// An interval of the key space: from the first key of one base run to that of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its first key; the first slot begins with the empty key, below all others.
    pub start: Vec<u8>,
    /// The runs that reach into it, newest first. The last one overlaps no older run in this slot: it is the base run, or
    /// one that is older and reaches over from a neighbouring slot.
    pub stack: Vec<usize>,
}

/// The runs of a table in numbers.
#[derive(Clone, Debug)]
pub struct Shape {
    runs: Vec<RunShape>,
    slots: Vec<Slot>,
    /// For each run the slots that it reaches into.
    reaches: Vec<Range<usize>>,
}

impl Shape {
    /// The shape of some runs, newest first.
    pub fn new(runs: Vec<RunShape>) -> Self {
        let is_base = |index: usize| runs[index + 1..].iter().all(|older| !runs[index].overlaps(older));
        let mut starts: Vec<Vec<u8>> = (0..runs.len())
            .filter(|index| is_base(*index))
            .filter_map(|index| Some(runs[index].keys.as_ref()?.min.clone()))
            .collect();
        starts.sort_unstable();
        if let Some(first) = starts.first_mut() {
            first.clear();
        }
        let mut slots: Vec<Slot> = starts.into_iter().map(|start| Slot { start, stack: Vec::new() }).collect();
        let slot_of = |slots: &[Slot], key: &[u8]| slots.partition_point(|slot| *slot.start <= *key).saturating_sub(1);
        let mut reaches = Vec::with_capacity(runs.len());
        for (index, run) in runs.iter().enumerate() {
            let Some(keys) = &run.keys else {
                reaches.push(0..0);
                continue;
            };
            let reach = slot_of(&slots, &keys.min)..slot_of(&slots, &keys.max) + 1;
            slots[reach.clone()].iter_mut().for_each(|slot| slot.stack.push(index));
            reaches.push(reach);
        }
        Self { runs, slots, reaches }
    }

    /// The runs, newest first.
    pub fn runs(&self) -> &[RunShape] {
        &self.runs
    }

    /// The slots, in key order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots that a run reaches into.
    pub fn reach(&self, run: usize) -> Range<usize> {
        self.reaches[run].clone()
    }

    /// Runs that one key may be in, at most: how many a lookup asks.
    pub fn depth(&self) -> usize {
        self.slots.iter().map(|slot| self.depth_of(&slot.stack)).max().unwrap_or(0)
    }

    /// How many of these runs one key may be in, at most.
    pub fn depth_of(&self, runs: &[usize]) -> usize {
        let keys = |run: &usize| self.runs[*run].keys.as_ref();
        let knowing = |key: &[u8]| runs.iter().filter(|run| keys(run).is_some_and(|keys| keys.contains(key))).count();
        runs.iter().filter_map(|run| Some(knowing(&keys(run)?.min))).max().unwrap_or(0)
    }

    /// Rows, the dead ones included.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// Dead rows.
    pub fn dead(&self) -> u64 {
        self.runs.iter().map(|run| run.dead).sum()
    }

    /// Bytes that dead rows take, about.
    pub fn dead_bytes(&self) -> u64 {
        self.runs.iter().map(RunShape::dead_bytes).sum()
    }

    /// Neighbouring slots, together as long as their base runs have no more live bytes and rows.
    pub fn groups(&self, bytes_max: u64, rows_max: u64) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let (mut bytes, mut rows) = (0, 0);
        for (index, slot) in self.slots.iter().enumerate() {
            let base = slot.stack.last().map(|run| &self.runs[*run]);
            bytes += base.map_or(0, RunShape::live_bytes);
            rows += base.map_or(0, RunShape::live);
            match groups.last_mut() {
                Some(group) if bytes <= bytes_max && rows <= rows_max => group.end = index + 1,
                _ => {
                    groups.push(index..index + 1);
                    (bytes, rows) = (base.map_or(0, RunShape::live_bytes), base.map_or(0, RunShape::live));
                }
            }
        }
        groups
    }

    /// The groups of slots that begin at these keys, which are starts of slots.
    pub fn groups_at(&self, cuts: &[Vec<u8>]) -> Vec<Range<usize>> {
        let mut groups = Vec::with_capacity(cuts.len() + 1);
        let mut from = 0;
        for cut in cuts {
            let to = self.slots.partition_point(|slot| slot.start < *cut);
            groups.push(from..to);
            from = to;
        }
        groups.push(from..self.slots.len());
        groups
    }

    /// The runs that reach into some neighbouring slots, newest first.
    pub fn stack(&self, slots: &Range<usize>) -> Vec<usize> {
        let mut runs: Vec<usize> =
            self.slots[slots.clone()].iter().flat_map(|slot| slot.stack.iter().copied()).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// The smallest closed set that these runs are in, newest first. The result is cut where groups of slots begin, so
    /// what reaches into one group only does not stand between the runs of another.
    pub fn closed(&self, runs: &[usize], groups: &[Range<usize>]) -> Vec<usize> {
        let mut chosen = vec![false; self.runs.len()];
        runs.iter().for_each(|run| chosen[*run] = true);
        let stacks: Vec<Vec<usize>> = groups.iter().map(|group| self.stack(group)).collect();
        loop {
            let before = chosen.clone();
            stacks.iter().for_each(|stack| self.close_stack(stack, &mut chosen));
            if chosen == before {
                return (0..self.runs.len()).filter(|run| chosen[*run]).collect();
            }
        }
    }

    /// Chooses those of a stack that stand between the ages of the chosen ones, and overlap all of their keys together.
    fn close_stack(&self, stack: &[usize], chosen: &mut [bool]) {
        let members: Vec<&RunShape> = stack.iter().filter(|run| chosen[**run]).map(|run| &self.runs[*run]).collect();
        if members.len() < 2 {
            return;
        }
        let (Some(first), Some(last)) =
            (members.iter().map(|run| run.seqs.first).min(), members.iter().map(|run| run.seqs.last).max())
        else {
            return;
        };
        let ranges = || members.iter().filter_map(|run| run.keys.as_ref());
        let Some((min, max)) = ranges().map(|keys| &keys.min).min().zip(ranges().map(|keys| &keys.max).max()) else {
            return;
        };
        for index in stack {
            let run = &self.runs[*index];
            let stands_between = run.seqs.first <= last && first <= run.seqs.last;
            let overlaps = run.keys.as_ref().is_some_and(|keys| keys.min <= *max && *min <= keys.max);
            chosen[*index] |= stands_between && overlaps;
        }
    }
}
