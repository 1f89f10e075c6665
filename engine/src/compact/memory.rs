//! What of a compaction can be merged at once, given the memory.
//!
//! In: a pick; the bytes that a merge holds of each run. Out: the pick, or a closed part of it.
//! Invariants: a merge holds of a run nothing before its first key and nothing behind its last one. Two runs can always
//! be merged, whatever they take.

use crate::compact::policy::{Limits, Pick, rows_per_run};
use crate::compact::shape::Shape;

/// The pick itself if its merge holds no more than `bytes_max`; else of the neighbours in age for which that is so the
/// ones with the fewest rows for each run less that a key is in; or of those that take more, but as few as can be.
/// `bytes[i]` is what a merge holds of run `i`.
pub fn fitting(pick: Pick, shape: &Shape, limits: &Limits, bytes: &[usize], bytes_max: usize) -> Pick {
    if pick.runs.len() <= 2 || held(shape, &pick.runs, bytes) <= bytes_max {
        return pick;
    }
    let groups = shape.groups_at(&pick.cuts);
    let rows = |runs: &[usize]| runs.iter().map(|run| shape.runs()[*run].live()).sum::<u64>();
    let mut best: Option<(bool, u64, Vec<usize>)> = None;
    for first in 0..pick.runs.len() - 1 {
        for end in first + 2..=pick.runs.len() {
            let runs = shape.closed(&pick.runs[first..end], &groups);
            let fits = held(shape, &runs, bytes) <= bytes_max;
            let Some(less) = (shape.depth_of(&runs) as u64).checked_sub(1).filter(|less| *less > 0) else { continue };
            let price = rows(&runs) / less;
            // One that fits is better than any that does not.
            let candidate = (!fits, price, runs);
            if best.as_ref().is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                best = Some(candidate);
            }
            if !fits {
                break;
            }
        }
    }
    let Some((_, _, runs)) = best else { return pick };
    let rows_per_run = rows_per_run(shape, &runs, limits).min(pick.rows_per_run);
    Pick { rows_per_run, runs, ..pick }
}

/// Bytes that a merge of some runs holds at one time, at most.
fn held(shape: &Shape, runs: &[usize], bytes: &[usize]) -> usize {
    let keys = |run: &usize| shape.runs()[*run].keys.as_ref();
    let at = |key: &[u8]| -> usize {
        let there = runs.iter().filter(|run| keys(run).is_some_and(|keys| keys.contains(key)));
        there.map(|run| bytes[*run]).sum()
    };
    runs.iter().filter_map(|run| Some(at(&keys(run)?.min))).max().unwrap_or(0)
}
