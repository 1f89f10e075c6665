//! Ranges of keys, in order and without overlap.
//!
//! In: ranges of encoded keys, any. Out: the same keys in ranges that are ascending and have nothing in common.
//! Invariants: no key is lost, and none is in two ranges; only widening ([`at_most`]) adds keys.

use std::ops::Bound;
use std::sync::Arc;

use rustling_engine::read::source::KeyInterval;

/// Ranges of keys that are ascending and have nothing in common.
#[derive(Clone, Debug)]
pub struct KeyRanges {
    /// The ranges.
    pub ranges: Arc<[KeyInterval]>,
    /// Keys in them, at most.
    pub keys_max: u64,
}

/// The same keys in ranges that are ascending and have nothing in common.
pub fn disjoint(mut ranges: Vec<KeyInterval>) -> Vec<KeyInterval> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by(|a, b| start_place(&a.start).cmp(&start_place(&b.start)));
    let mut merged: Vec<KeyInterval> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if !ends_before(&last.end, &range.start) => {
                if end_place(&range.end) > end_place(&last.end) {
                    last.end = range.end;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Such ranges, or one around all of them if they are more than `limit`.
pub fn at_most(ranges: Vec<KeyInterval>, limit: usize) -> Vec<KeyInterval> {
    match (&*ranges, ranges.len() > limit) {
        ([first, .., last], true) => vec![KeyInterval { start: first.start.clone(), end: last.end.clone() }],
        _ => ranges,
    }
}

/// Where a range starts, as something to compare.
fn start_place(start: &Bound<Vec<u8>>) -> Option<(&[u8], bool)> {
    match start {
        Bound::Unbounded => None,
        Bound::Included(key) => Some((key, false)),
        Bound::Excluded(key) => Some((key, true)),
    }
}

/// Where a range ends, as something to compare.
fn end_place(end: &Bound<Vec<u8>>) -> (bool, &[u8], bool) {
    match end {
        Bound::Excluded(key) => (false, key, false),
        Bound::Included(key) => (false, key, true),
        Bound::Unbounded => (true, &[], false),
    }
}

/// Whether no key can be before an end and behind a start.
fn ends_before(end: &Bound<Vec<u8>>, start: &Bound<Vec<u8>>) -> bool {
    match (end, start) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(end), Bound::Included(start)) => end < start,
        (Bound::Included(end) | Bound::Excluded(end), Bound::Included(start) | Bound::Excluded(start)) => end <= start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Vec<u8> {
        vec![byte]
    }

    fn range(start: Bound<u8>, end: Bound<u8>) -> KeyInterval {
        KeyInterval { start: start.map(key), end: end.map(key) }
    }

    /// Whether a key is in a range.
    fn holds(range: &KeyInterval, byte: u8) -> bool {
        let key = key(byte);
        let behind = match &range.start {
            Bound::Included(start) => *start <= key,
            Bound::Excluded(start) => *start < key,
            Bound::Unbounded => true,
        };
        behind
            && match &range.end {
                Bound::Included(end) => key <= *end,
                Bound::Excluded(end) => key < *end,
                Bound::Unbounded => true,
            }
    }

    /// All ranges with bounds from 1 to 3.
    fn all() -> Vec<KeyInterval> {
        let bounds =
            || (1..4).flat_map(|byte| [Bound::Included(byte), Bound::Excluded(byte)]).chain([Bound::Unbounded]);
        bounds().flat_map(|start| bounds().map(move |end| range(start, end))).collect()
    }

    #[test]
    fn every_key_is_in_one_range_if_it_was_in_some() {
        for a in all() {
            for b in all() {
                for c in all() {
                    let ranges = disjoint(vec![a.clone(), b.clone(), c.clone()]);
                    for byte in 0..5 {
                        let wanted = [&a, &b, &c].iter().any(|range| holds(range, byte));
                        let found = ranges.iter().filter(|range| holds(range, byte)).count();
                        assert_eq!(found, usize::from(wanted), "{byte} in {ranges:?} of {a:?}, {b:?}, {c:?}");
                    }
                    assert!(ranges.is_sorted_by(|a, b| ends_before(&a.end, &b.start)), "{ranges:?}");
                }
            }
        }
    }

    #[test]
    fn many_ranges_become_one_around_them() {
        let few = vec![range(Bound::Included(1), Bound::Included(1)), range(Bound::Excluded(2), Bound::Unbounded)];
        assert_eq!(at_most(few.clone(), 2), few);
        assert_eq!(at_most(few, 1), [range(Bound::Included(1), Bound::Unbounded)]);
        assert!(at_most(Vec::new(), 0).is_empty());
    }
}
