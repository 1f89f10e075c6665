//! Which runs of a table to rewrite together next: one pure function of the table's shape.
//!
//! In: a [`Shape`], limits, how much effort is due. Out: the runs, where to cut the result, and why.
//! Invariants: what is picked is closed, so its result has a place in the order of runs. Where the policy says nothing,
//! a key is in fewer than [`Limits::runs`] runs, and the share of dead rows is within its bound; so writers that wait for
//! either never wait in vain.
//!
//! How: dead rows do not slow scans down much, so runs are not kept in levels for the readers' sake; only where nobody
//! writes are those that overlap merged, because a range is read from each of them. Runs of similar size are merged when
//! there are [`Limits::similar`] of them (size tiers; the oldest run is in no tier of its own: lazy leveling, Dayan &
//! Idreos 2018), and cut where the base runs begin, so that later a slot is rewritten by itself (Dayan et al., Spooky,
//! 2022). Dead rows are collected where the least is written for each, as a log-structured file system
//! cleans the segment that pays best (Rosenblum & Ousterhout 1992).

use std::ops::Range;

use crate::compact::shape::{RunShape, Shape, Slot};
use crate::config::run_part;
use crate::version::history::Reason;

/// Bounds that a table is kept within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Runs that one key may be in before some are merged whatever their sizes.
    pub runs: usize,
    /// Dead rows of a hundred before some are collected.
    pub dead_percent: u64,
    /// Bytes that dead rows may take, whatever their share.
    pub dead_bytes: u64,
    /// Bytes of a run of the result, at most.
    pub sst_bytes: u64,
    /// Rows of a run of the result, at most.
    pub sst_rows: u64,
}

impl Limits {
    /// The limits within which a table of this shape is kept while it is used: see [`run_part`].
    fn of_parts(&self, shape: &Shape) -> Self {
        let live = |of: fn(&RunShape) -> u64| shape.runs().iter().map(of).sum();
        let sst_bytes = run_part(live(RunShape::live_bytes), self.sst_bytes);
        Self { sst_bytes, sst_rows: run_part(live(RunShape::live), self.sst_rows), ..self.clone() }
    }

    /// Runs of similar size that are merged.
    pub fn similar(&self) -> usize {
        (self.runs / 2).max(2)
    }
}

/// How much is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What keeps the table within its limits.
    Steady,
    /// Nobody writes: dead rows are collected until few are left, and runs that overlap are merged unless that costs
    /// many times what lies above the others.
    Idle,
    /// No dead row, no deleted key and no overlap shall be left.
    Whole,
}

/// Small runs that are merged, at least.
const SMALL_RUNS: usize = 4;

/// Dead rows of a hundred that an idle table keeps.
pub const IDLE_DEAD_PERCENT: u64 = 3;

/// Bytes of a base run that an idle table rewrites for each byte that lies above it, at most.
const IDLE_WRITE_TIMES: u64 = 8;

/// Runs to rewrite together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Why.
    pub reason: Reason,
    /// Places of the runs in the shape, ascending: newest first.
    pub runs: Vec<usize>,
    /// Keys at which a new run begins, ascending.
    pub cuts: Vec<Vec<u8>>,
    /// Rows of a run of the result, at most, about.
    pub rows_per_run: u64,
}

/// Picks what to rewrite next; `None` if the table is as it should be. Cost: the square of the number of runs,
/// and the fourth power of those that lie above each other.
pub fn pick(shape: &Shape, limits: &Limits, effort: Effort) -> Option<Pick> {
    let parts = limits.of_parts(shape);
    // Where results are cut because base runs begin, they are not to become many.
    let groups = shape.groups(parts.sst_bytes / 2, parts.sst_rows / 2);
    match effort {
        Effort::Whole => Policy { shape, limits, groups }.whole(),
        Effort::Steady | Effort::Idle => {
            let policy = Policy { shape, limits: &parts, groups };
            let (percent, bytes) = match effort {
                Effort::Idle => (IDLE_DEAD_PERCENT, 0),
                _ => (limits.dead_percent, limits.dead_bytes),
            };
            // What overlaps goes first where that is due at all: merging collects dead rows on its way.
            (policy.nothing_lives())
                .or_else(|| policy.many_runs())
                .or_else(|| (effort == Effort::Idle).then(|| policy.overlaps())?)
                .or_else(|| policy.has_dead(percent, bytes).then(|| policy.dead_rows())?)
                .or_else(|| policy.small_runs())
        }
    }
}

/// Whether more rows are dead than `percent` of a hundred, and take more than `bytes`.
pub fn has_dead(shape: &Shape, percent: u64, bytes: u64) -> bool {
    shape.dead().saturating_mul(100) > shape.rows().saturating_mul(percent) && shape.dead_bytes() >= bytes
}

struct Policy<'a> {
    shape: &'a Shape,
    limits: &'a Limits,
    /// Groups of slots between which results are cut.
    groups: Vec<Range<usize>>,
}

impl Policy<'_> {
    fn has_dead(&self, percent: u64, bytes: u64) -> bool {
        has_dead(self.shape, percent, bytes)
    }

    fn run(&self, run: usize) -> &RunShape {
        &self.shape.runs()[run]
    }

    /// A run without a live row, whose deletes, if it has any, have nothing left to hide.
    fn nothing_lives(&self) -> Option<Pick> {
        let is_base = |run: usize| self.shape.slots().iter().any(|slot| slot.stack.last() == Some(&run));
        let done = |run: &usize| self.run(*run).live() == 0 && (self.run(*run).deletes == 0 || is_base(*run));
        let run = (0..self.shape.runs().len()).find(done)?;
        Some(self.picked(Reason::NothingLives, vec![run], &[]))
    }

    /// Runs of similar size that know the same keys; or, if there are too many runs for that to wait for, the
    /// neighbours in age of which the fewest bytes are written for each run less.
    fn many_runs(&self) -> Option<Pick> {
        let slots = self.shape.slots();
        let similar = slots.iter().find_map(|slot| self.similar(slot));
        let window = similar.or_else(|| {
            let deepest = slots.iter().max_by_key(|slot| self.shape.depth_of(&slot.stack))?;
            (self.shape.depth_of(&deepest.stack) >= self.limits.runs).then(|| self.cheapest(deepest))?
        })?;
        Some(self.picked(Reason::ManyRuns, self.shape.closed(&window, &self.groups), &self.groups))
    }

    /// From the newest on, the first neighbours of one kind of which none is larger than all newer ones together, if they
    /// are many.
    fn similar(&self, slot: &Slot) -> Option<Vec<usize>> {
        self.kinds(slot).find_map(|runs| {
            (0..runs.len()).find_map(|first| {
                let mut sum = 0;
                let longest = runs[first..].iter().take_while(|run| {
                    let bytes = self.bytes_in_slot(**run);
                    let fits = sum == 0 || bytes <= sum;
                    sum += bytes;
                    fits
                });
                let window: Vec<usize> = longest.copied().collect();
                (self.shape.depth_of(&window) >= self.limits.similar()).then_some(window)
            })
        })
    }

    /// The neighbours of a slot's stack that cost least for each run less that a key is in; of one kind, if there are such.
    fn cheapest(&self, slot: &Slot) -> Option<Vec<usize>> {
        let of_one_kind = self.kinds(slot).filter_map(|runs| self.priced(runs)).min();
        let (_, window) = of_one_kind.or_else(|| self.priced(&slot.stack))?;
        Some(window)
    }

    /// The neighbours that cost least for each run less that a key is in, behind what they cost.
    fn priced(&self, runs: &[usize]) -> Option<(u64, Vec<usize>)> {
        let windows = (0..runs.len()).flat_map(|first| (first + 2..=runs.len()).map(move |end| &runs[first..end]));
        let priced = windows.filter_map(|window| {
            let less = (self.shape.depth_of(window) as u64).checked_sub(1).filter(|less| *less > 0)?;
            Some((window.iter().map(|run| self.bytes_in_slot(*run)).sum::<u64>() / less, window.to_vec()))
        });
        priced.min_by_key(|(price, _)| *price)
    }

    /// The neighbours of a slot's stack that reach over many slots, and those that lie in this one. What reaches over many
    /// is rewritten in all of them: for the sake of what lies in one it would be cut, and spared nothing in the others.
    fn kinds<'s>(&self, slot: &'s Slot) -> impl Iterator<Item = &'s [usize]> {
        slot.stack.chunk_by(|a, b| self.is_wide(*a, &self.groups) == self.is_wide(*b, &self.groups))
    }

    /// Live bytes of a run in one of its slots, if they lie evenly.
    fn bytes_in_slot(&self, run: usize) -> u64 {
        (self.run(run).live_bytes() / self.shape.reach(run).len().max(1) as u64).max(1)
    }

    /// What has the least live bytes for each dead one: a run by itself; or a base run with what lies above it in its
    /// slot alone, which then is merged on the way, and may cost twice as much for it.
    fn dead_rows(&self) -> Option<Pick> {
        let single = (0..self.shape.runs().len()).map(|run| (vec![run], 4));
        let stacks = self.shape.slots().iter().map(|slot| {
            let in_slot = slot.stack.iter().rev().take_while(|run| self.shape.reach(**run).len() == 1);
            let runs: Vec<usize> = in_slot.copied().collect();
            (self.shape.closed(&runs, &self.groups), 2)
        });
        let price = |(runs, factor): &(Vec<usize>, u64)| {
            let dead: u64 = runs.iter().map(|run| self.run(*run).dead).sum();
            let live: u64 = runs.iter().map(|run| self.run(*run).live()).sum();
            (dead > 0).then(|| u128::from(live) * u128::from(*factor) * (1 << 20) / u128::from(dead))
        };
        let priced = stacks.chain(single).filter_map(|candidate| Some((price(&candidate)?, candidate.0)));
        let (_, runs) = priced.min_by_key(|(price, _)| *price)?;
        Some(self.picked(Reason::DeadRows, runs, &self.groups))
    }

    /// Runs side by side that fit into one: the smallest ones, of base runs, or else of those above one. So there are few,
    /// also where each knows some keys of its own, so that no key is ever in many.
    fn small_runs(&self) -> Option<Pick> {
        let bases = self.shape.slots().iter().filter_map(|slot| slot.stack.last().copied()).collect();
        let above = self.shape.slots().iter().map(|slot| self.above(slot));
        let whole = self.shape.groups(u64::MAX, u64::MAX);
        std::iter::once(bases).chain(above).find_map(|side_by_side: Vec<usize>| {
            let mut windows: Vec<&[usize]> = (0..side_by_side.len())
                .filter_map(|first| self.alike(&side_by_side[first..]).map(|count| &side_by_side[first..first + count]))
                .collect();
            windows.sort_by_key(|runs| runs.iter().map(|run| self.run(*run).live_bytes()).sum::<u64>());
            // Those that share keys are merged when they are many.
            windows.into_iter().filter(|window| self.shape.depth_of(window) == 1).find_map(|window| {
                let runs = self.shape.closed(window, &whole);
                // What lies above or below would be rewritten for nothing.
                (runs.len() == window.len()).then(|| self.picked(Reason::SmallRuns, runs, &whole))
            })
        })
    }

    /// What lies above the last run of a slot, and in no other slot, by its first keys.
    fn above(&self, slot: &Slot) -> Vec<usize> {
        let above = slot.stack.iter().rev().skip(1).filter(|run| self.shape.reach(**run).len() == 1);
        let mut above: Vec<usize> = above.copied().collect();
        above.sort_by_key(|run| self.run(*run).keys.as_ref().map(|keys| &keys.min));
        above
    }

    /// How many of these, from the first on, are at least four, none larger than the others together, and fit into one.
    fn alike(&self, runs: &[usize]) -> Option<usize> {
        let (mut bytes, mut rows, mut largest) = (0, 0, 0);
        for (index, run) in runs.iter().enumerate() {
            let run = self.run(*run);
            (bytes, rows, largest) = (bytes + run.live_bytes(), rows + run.live(), largest.max(run.live_bytes()));
            if bytes > self.limits.sst_bytes || rows > self.limits.sst_rows {
                return None;
            }
            if index + 1 >= SMALL_RUNS && largest <= bytes - largest {
                return Some(index + 1);
            }
        }
        None
    }

    /// What lies above a base run and is worth to be merged with it, so that reading a range asks one run. What reaches
    /// over more than one group of slots is merged with its like first, and cut; then each slot is rewritten by itself.
    fn overlaps(&self) -> Option<Pick> {
        // Not those that lie side by side, of which one is older and reaches over from a neighbouring slot.
        let overlapping = self.shape.slots().iter().filter(|slot| self.shape.depth_of(&slot.stack) > 1);
        let is_worth = |slot: &&Slot| {
            slot.stack.split_last().is_some_and(|(base, above)| {
                let bytes: u64 = above.iter().map(|run| self.bytes_in_slot(*run)).sum();
                bytes.saturating_mul(IDLE_WRITE_TIMES) >= self.bytes_in_slot(*base)
            })
        };
        let slot = overlapping.filter(is_worth).max_by_key(|slot| self.shape.depth_of(&slot.stack))?;
        let wide: Vec<usize> = slot.stack.iter().copied().filter(|run| self.is_wide(*run, &self.groups)).collect();
        let runs = if wide.is_empty() { slot.stack.clone() } else { wide };
        Some(self.picked(Reason::ManyRuns, self.shape.closed(&runs, &self.groups), &self.groups))
    }

    /// Whether a run reaches into more than one of some groups of slots.
    fn is_wide(&self, run: usize, groups: &[Range<usize>]) -> bool {
        let reach = self.shape.reach(run);
        groups.iter().filter(|group| group.start < reach.end && reach.start < group.end).count() > 1
    }

    /// Runs that reach over more keys than a full run has are cut first; then comes one such part after the other.
    fn whole(&self) -> Option<Pick> {
        let groups = self.shape.groups(self.limits.sst_bytes, self.limits.sst_rows);
        let wide: Vec<usize> = (0..self.shape.runs().len()).filter(|run| self.is_wide(*run, &groups)).collect();
        if !wide.is_empty() {
            return Some(self.picked(Reason::Asked, self.shape.closed(&wide, &groups), &groups));
        }
        // The last one first: what lies before it keeps its groups.
        let untidy = groups.iter().rev().find_map(|group| {
            let runs = self.shape.stack(group);
            let is_tidy = |run: &usize| self.run(*run).dead == 0 && self.run(*run).deletes == 0;
            let is_level = self.shape.slots()[group.clone()].iter().all(|slot| slot.stack.len() == 1);
            (!is_level || !runs.iter().all(is_tidy)).then_some(runs)
        });
        untidy.map(|runs| self.picked(Reason::Asked, runs, &[]))
    }

    /// A pick of closed runs, cut where the groups of slots begin that they reach into.
    fn picked(&self, reason: Reason, runs: Vec<usize>, groups: &[Range<usize>]) -> Pick {
        let first = runs.iter().map(|run| self.shape.reach(*run).start).min().unwrap_or(0);
        let end = runs.iter().map(|run| self.shape.reach(*run).end).max().unwrap_or(0);
        let inside = groups.iter().filter(|group| first < group.start && group.start < end);
        let cuts = inside.map(|group| self.shape.slots()[group.start].start.clone()).collect();
        Pick { reason, cuts, rows_per_run: rows_per_run(self.shape, &runs, self.limits), runs }
    }
}

/// Rows of each run of a result, so that they are as few as the limits allow, and of one size.
pub fn rows_per_run(shape: &Shape, runs: &[usize], limits: &Limits) -> u64 {
    let sum = |of: fn(&RunShape) -> u64| runs.iter().map(|run| of(&shape.runs()[*run])).sum::<u64>();
    let (live, bytes) = (sum(RunShape::live), sum(RunShape::live_bytes));
    let count = live.div_ceil(limits.sst_rows.max(1)).max(bytes.div_ceil(limits.sst_bytes.max(1))).max(1);
    live.div_ceil(count).clamp(1, limits.sst_rows)
}

#[cfg(test)]
mod tests;
