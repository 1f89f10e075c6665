//! Encoded keys of many rows in one buffer.
//!
//! In: keys in the order-preserving encoding of [`crate::rows::key`]. Out: slices, orders, positions.
//! Invariants: comparing two keys as bytes compares the typed keys; a table's keys either all have one width or none
//! is assumed. Sorting is stable: of equal keys the one that came first stays first.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use crate::error::Damage;

/// Bounds of encoded keys.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The first bytes of a key as an integer, zeros behind a shorter one. Where those of two keys differ they compare as
/// the keys do, in two instructions instead of a call; of keys of one width that fits they say everything ("poor man's
/// normalized keys", Graefe & Larson 2001).
pub type Head = u128;

/// Bytes of a head.
pub const HEAD_BYTES: usize = size_of::<Head>();

/// A key with its head, in the order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadedKey<'a> {
    /// Its head.
    pub head: Head,
    /// The key.
    pub key: &'a [u8],
}

impl<'a> From<&'a [u8]> for HeadedKey<'a> {
    fn from(key: &'a [u8]) -> Self {
        Self { head: head_at(key, 0..key.len()), key }
    }
}

/// The head of the key at a range of bytes; fast where as many bytes as a head has follow its start.
pub fn head_at(bytes: &[u8], range: Range<usize>) -> Head {
    let length = range.len().min(HEAD_BYTES);
    match bytes[range.start..].first_chunk::<HEAD_BYTES>() {
        Some(chunk) if length == HEAD_BYTES => Head::from_be_bytes(*chunk),
        Some(chunk) => Head::from_be_bytes(*chunk) & !(Head::MAX >> (8 * length)),
        None => {
            let mut chunk = [0; HEAD_BYTES];
            chunk[..length].copy_from_slice(&bytes[range.start..range.start + length]);
            Head::from_be_bytes(chunk)
        }
    }
}

/// Encoded keys, one per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    layout: Layout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// Every key has this many bytes (at least one).
    Fixed(usize),
    /// Key `i` ends at `ends[i]`.
    Variable(Vec<usize>),
}

impl Keys {
    /// No keys yet; `width` is given where all keys have that many bytes.
    pub fn new(width: Option<usize>) -> Self {
        let layout = width.map_or_else(|| Layout::Variable(Vec::new()), Layout::Fixed);
        Self { bytes: Vec::new(), layout }
    }

    /// Keys of one width that lie one after the other. `bytes` holds a whole number of them.
    pub fn from_fixed(width: usize, bytes: Vec<u8>) -> Self {
        assert!(width > 0 && bytes.len().is_multiple_of(width), "a whole number of keys");
        Self { bytes, layout: Layout::Fixed(width) }
    }

    /// Keys of different widths; key `i` ends at `ends[i]`.
    pub fn from_ends(bytes: Vec<u8>, ends: Vec<usize>) -> Self {
        assert!(ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len(), "ends cover the bytes");
        Self { bytes, layout: Layout::Variable(ends) }
    }

    /// The common width of the keys, if there is one.
    pub fn width(&self) -> Option<usize> {
        match self.layout {
            Layout::Fixed(width) => Some(width),
            Layout::Variable(_) => None,
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        match &self.layout {
            Layout::Fixed(width) => self.bytes.len() / width,
            Layout::Variable(ends) => ends.len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    pub fn size_bytes(&self) -> usize {
        let ends = match &self.layout {
            Layout::Fixed(_) => 0,
            Layout::Variable(ends) => ends.capacity() * size_of::<usize>(),
        };
        self.bytes.capacity() + ends
    }

    /// Key `index`; panics if there are not so many.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.span(index)]
    }

    /// Key `index` with its head; panics if there are not so many.
    pub fn headed(&self, index: usize) -> HeadedKey<'_> {
        let span = self.span(index);
        HeadedKey { head: head_at(&self.bytes, span.clone()), key: &self.bytes[span] }
    }

    /// Where the bytes of key `index` are.
    fn span(&self, index: usize) -> Range<usize> {
        match &self.layout {
            Layout::Fixed(width) => index * width..(index + 1) * width,
            Layout::Variable(ends) => index.checked_sub(1).map_or(0, |before| ends[before])..ends[index],
        }
    }

    /// The first key.
    pub fn first(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.get(0))
    }

    /// The last key.
    pub fn last(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.get(self.len() - 1))
    }

    /// All keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Appends a key; panics if it has not the common width.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        match &mut self.layout {
            Layout::Fixed(width) => assert_eq!(key.len(), *width, "a key of the common width"),
            Layout::Variable(ends) => ends.push(self.bytes.len()),
        }
    }

    /// Appends the keys of a range of `other`, which has the same width.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        assert_eq!(self.width(), other.width(), "keys of one table");
        let bytes = other.span(range.start).start..other.span(range.end - 1).end;
        if let (Layout::Variable(ends), Layout::Variable(others)) = (&mut self.layout, &other.layout) {
            let base = self.bytes.len();
            ends.extend(others[range].iter().map(|end| base + end - bytes.start));
        }
        self.bytes.extend_from_slice(&other.bytes[bytes]);
    }

    /// The keys at these indexes, in this order.
    #[must_use]
    pub fn take(&self, indexes: &[u32]) -> Self {
        let mut taken = Self::new(self.width());
        if let Some(width) = self.width() {
            taken.bytes.reserve(width * indexes.len());
        }
        for index in indexes {
            taken.push(self.get(*index as usize));
        }
        taken
    }

    /// The first index whose key is not greater than the key before it; `None` if the keys are strictly ascending.
    pub fn first_disorder(&self) -> Option<usize> {
        let mut before = (!self.is_empty()).then(|| self.headed(0))?;
        (1..self.len()).find(|index| {
            let key = self.headed(*index);
            std::mem::replace(&mut before, key) >= key
        })
    }

    /// The order that sorts the keys ascending, equal keys in the order they came. O(n log n).
    pub fn sort_order(&self) -> Vec<u32> {
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        match self.width() {
            Some(width) if width <= 12 => self.packed_order(count),
            _ => {
                let mut order: Vec<u32> = (0..count).collect();
                order.sort_by(|a, b| self.get(*a as usize).cmp(self.get(*b as usize)));
                order
            }
        }
    }

    /// Sorts keys of up to 12 bytes as integers, the row in the low bits: three times as fast as comparing slices.
    fn packed_order(&self, count: u32) -> Vec<u32> {
        let mut packed: Vec<u128> = (0..count)
            .map(|row| {
                let key = self.get(row as usize).iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
                key << 32 | u128::from(row)
            })
            .collect();
        packed.sort_unstable();
        packed.into_iter().map(low_half).collect()
    }

    /// Where `key` is (`Ok`) or would be inserted (`Err`) among ascending keys from `from` on. O(log distance).
    pub fn gallop(&self, from: usize, key: HeadedKey<'_>) -> Result<usize, usize> {
        let mut low = from;
        let mut step = 1;
        while low + step < self.len() && self.headed(low + step) < key {
            low += step;
            step *= 2;
        }
        let mut high = self.len().min(low + step + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.headed(middle).cmp(&key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Positions of the keys of an interval among ascending keys. O(log n).
    pub fn within(&self, (start, end): KeyBounds<'_>) -> Range<usize> {
        let before = |key: &[u8]| self.position(key).unwrap_or_else(|at| at);
        let through = |key: &[u8]| self.position(key).map_or_else(|at| at, |at| at + 1);
        let start = match start {
            Bound::Included(key) => before(key),
            Bound::Excluded(key) => through(key),
            Bound::Unbounded => 0,
        };
        let end = match end {
            Bound::Included(key) => through(key),
            Bound::Excluded(key) => before(key),
            Bound::Unbounded => self.len(),
        };
        start..end.max(start)
    }

    /// The key before which, or behind which if `from_end`, `count` keys of a range of positions lie.
    pub fn nth(&self, positions: &Range<usize>, count: usize, from_end: bool) -> Option<&[u8]> {
        let mut positions = positions.clone();
        let position = if from_end { positions.nth_back(count) } else { positions.nth(count) };
        position.map(|position| self.get(position))
    }

    /// Where `key` is (`Ok`) or would be inserted (`Err`) among ascending keys. O(log n).
    pub fn position(&self, key: &[u8]) -> Result<usize, usize> {
        self.gallop(0, key.into())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low_half(packed: u128) -> u32 {
    packed as u32
}

/// Whether keys that come batch by batch ascend strictly.
#[derive(Debug, Default)]
pub struct Ascent {
    last: Option<Vec<u8>>,
    seen: u64,
}

impl Ascent {
    /// Takes the next keys.
    ///
    /// # Errors
    /// [`Damage::KeyOrder`], with the place among all keys of the first one that is not greater than the one before it.
    pub fn take(&mut self, keys: &Keys) -> Result<(), Damage> {
        let follows = self.last.as_deref().zip(keys.first()).is_none_or(|(last, first)| last < first);
        let disorder = if follows { keys.first_disorder() } else { Some(0) };
        if let Some(index) = disorder {
            return Err(Damage::KeyOrder { row: self.seen + index as u64 });
        }
        self.seen += keys.len() as u64;
        self.last = keys.last().map(<[u8]>::to_vec).or(self.last.take());
        Ok(())
    }

    /// The last key that was taken.
    pub fn last(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(width: Option<usize>, list: &[&[u8]]) -> Keys {
        let mut keys = Keys::new(width);
        list.iter().for_each(|key| keys.push(key));
        keys
    }

    #[test]
    fn sorting_is_stable_for_both_layouts() {
        for width in [Some(2), None] {
            let keys = keys(width, &[b"bb", b"aa", b"bb", b"ab", b"aa"]);
            assert_eq!(keys.sort_order(), [1, 4, 3, 0, 2], "{width:?}");
            let sorted = keys.take(&keys.sort_order());
            assert_eq!(sorted.first_disorder(), Some(1));
        }
    }

    #[test]
    fn gallop_finds_what_a_linear_search_finds() {
        let mut sorted = Keys::new(None);
        (0..200u8).step_by(2).for_each(|value| sorted.push(&[value]));
        for from in [0, 1, 50, 99] {
            for probe in 0..=201u8 {
                let linear = (from..sorted.len()).find(|index| sorted.get(*index) >= &[probe][..]);
                let want = match linear {
                    Some(index) if sorted.get(index) == [probe] => Ok(index),
                    Some(index) => Err(index),
                    None => Err(sorted.len()),
                };
                assert_eq!(sorted.gallop(from, (&[probe][..]).into()), want, "from {from}, probe {probe}");
            }
        }
    }

    #[test]
    fn heads_compare_as_keys_do_wherever_they_differ() {
        let mut list: Vec<Vec<u8>> =
            vec![vec![], vec![0], vec![0, 0], vec![0; 16], vec![0; 17], vec![1], vec![255; 16]];
        list.extend([vec![255; 15], vec![255; 17], [vec![7; 16], vec![1]].concat(), [vec![7; 16], vec![2]].concat()]);
        list.sort();
        let slices: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        let keys = keys(None, &slices);
        assert_eq!(keys.first_disorder(), None);
        for (index, key) in list.iter().enumerate() {
            let headed = HeadedKey::from(&**key);
            assert_eq!(keys.headed(index), headed);
            for (other, before) in list.iter().enumerate() {
                assert_eq!(keys.headed(other).cmp(&headed), before.cmp(key), "{before:?} and {key:?}");
                let head = keys.headed(other).head;
                assert!(head == headed.head || (head < headed.head) == (before < key), "{before:?} and {key:?}");
            }
        }
    }

    #[test]
    fn a_range_of_keys_is_appended_as_one_by_one() {
        for width in [Some(2), None] {
            let other = keys(width, &[b"aa", b"bb", b"cc", b"dd"]);
            for range in [0..0, 0..4, 1..3, 3..4] {
                let mut together = keys(width, &[b"xx", b"yy"]);
                let mut apart = together.clone();
                together.extend(&other, range.clone());
                range.for_each(|index| apart.push(other.get(index)));
                assert_eq!(together, apart);
            }
        }
    }

    #[test]
    fn keys_that_come_in_batches_ascend_over_all_of_them() {
        let check = |batches: &[&[&[u8]]]| {
            let mut ascent = Ascent::default();
            match batches.iter().try_for_each(|batch| ascent.take(&keys(None, batch))) {
                Ok(()) => Ok(ascent.last().map(<[u8]>::to_vec)),
                Err(Damage::KeyOrder { row }) => Err(row),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(check(&[&[b"a", b"b"], &[], &[b"c"]]), Ok(Some(b"c".to_vec())));
        assert_eq!(check(&[&[b"a", b"a"]]), Err(1));
        assert_eq!(check(&[&[b"a", b"b"], &[], &[b"b", b"c"]]), Err(2));
        assert_eq!(check(&[&[b"a", b"b"], &[b"c", b"b"]]), Err(3));
    }

    #[test]
    fn the_empty_key_is_a_key() {
        let keys = keys(None, &[b"", b"a"]);
        assert_eq!((keys.len(), keys.get(0), keys.first_disorder()), (2, &b""[..], None));
    }
}
