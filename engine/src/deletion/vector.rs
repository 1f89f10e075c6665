//! A set of row positions of one run.
//!
//! In: positions. Out: membership, counts, masks.
//! Invariants: a vector only gains rows; copies share the containers that are the same in both, so a snapshot costs
//! pointers. The digest depends on the rows alone, not on how they came together.
//! How: Roaring bitmaps (Chambi, Lemire et al.), one for each 65,536 rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

/// Rows of a container.
const CONTAINER_ROWS: u64 = 1 << 16;

/// Dead rows of a run.
#[derive(Clone, Debug, Default)]
pub struct DeletionVector {
    /// Container `i` holds rows from `65,536 i` on.
    containers: Vec<Option<Arc<RoaringBitmap>>>,
    len: u64,
    digest: u64,
}

impl DeletionVector {
    /// Number of rows in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no row is dead.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sum over hashes of its rows: equal for equal sets.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes on the heap, about; containers that it shares with others are counted, too.
    pub fn heap_bytes(&self) -> usize {
        let bitmaps = self.containers.iter().flatten();
        let slots = self.containers.capacity() * size_of::<Option<Arc<RoaringBitmap>>>();
        slots + bitmaps.map(|bitmap| size_of::<RoaringBitmap>() + bitmap.serialized_size()).sum::<usize>()
    }

    /// Whether a row is dead.
    pub fn contains(&self, row: u64) -> bool {
        let (container, place) = place(row);
        matches!(self.containers.get(container), Some(Some(rows)) if rows.contains(place))
    }

    /// Adds a row; `false` if it is in it already.
    pub fn insert(&mut self, row: u64) -> bool {
        let (container, place) = place(row);
        if self.containers.len() <= container {
            self.containers.resize(container + 1, None);
        }
        let is_new = Arc::make_mut(self.containers[container].get_or_insert_default()).insert(place);
        if is_new {
            self.len += 1;
            self.digest = self.digest.wrapping_add(row_digest(row));
        }
        is_new
    }

    /// Adds all rows of another one; containers that only that one has are shared with it.
    pub fn extend(&mut self, other: &Self) {
        if self.containers.len() < other.containers.len() {
            self.containers.resize(other.containers.len(), None);
        }
        for (index, (mine, theirs)) in self.containers.iter_mut().zip(&other.containers).enumerate() {
            let Some(theirs) = theirs else { continue };
            let first = index as u64 * CONTAINER_ROWS;
            let added = match mine {
                None => {
                    *mine = Some(theirs.clone());
                    (**theirs).clone()
                }
                Some(mine) if Arc::ptr_eq(mine, theirs) => continue,
                Some(mine) => {
                    let added = &**theirs - &**mine;
                    if !added.is_empty() {
                        *Arc::make_mut(mine) |= &added;
                    }
                    added
                }
            };
            self.len += added.len();
            let digests = added.iter().map(|place| row_digest(first + u64::from(place)));
            self.digest = digests.fold(self.digest, u64::wrapping_add);
        }
    }

    /// Its rows, ascending.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.containers.iter().enumerate().flat_map(|(index, container)| {
            let first = index as u64 * CONTAINER_ROWS;
            container.iter().flat_map(move |rows| rows.iter().map(move |place| first + u64::from(place)))
        })
    }

    /// How many rows of a range are in it.
    pub fn count_in(&self, rows: &Range<u64>) -> u64 {
        self.parts(rows).map(|(part, bitmap, _)| bitmap.range_cardinality(part)).sum()
    }

    /// For each row of a range whether it is live.
    pub fn live(&self, rows: Range<u64>) -> BooleanBuffer {
        let length = usize::try_from(rows.end.saturating_sub(rows.start)).unwrap_or(usize::MAX);
        let mut live = BooleanBufferBuilder::new(length);
        live.append_n(length, true);
        for (part, bitmap, offset) in self.parts(&rows) {
            for place in bitmap.range(part) {
                let index = offset + i64::from(place);
                live.set_bit(usize::try_from(index).unwrap_or(usize::MAX), false);
            }
        }
        live.finish()
    }

    /// The containers that a range of rows touches: the places in it, the bitmap, and what to add to a place to get the
    /// distance from the range's start.
    fn parts(&self, rows: &Range<u64>) -> impl Iterator<Item = (Range<u32>, &RoaringBitmap, i64)> {
        let rows = rows.clone();
        let first = usize::try_from(rows.start / CONTAINER_ROWS).unwrap_or(usize::MAX);
        let end = usize::try_from(rows.end.div_ceil(CONTAINER_ROWS)).unwrap_or(usize::MAX);
        let touched = self.containers.iter().enumerate().take(end).skip(first);
        touched.filter_map(move |(index, container)| {
            let base = index as u64 * CONTAINER_ROWS;
            let from = rows.start.saturating_sub(base);
            let to = (rows.end - base).min(CONTAINER_ROWS);
            let places = u32::try_from(from).ok()?..u32::try_from(to).ok()?;
            Some((places, &**container.as_ref()?, base.cast_signed() - rows.start.cast_signed()))
        })
    }
}

impl PartialEq for DeletionVector {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.rows().eq(other.rows())
    }
}

impl Eq for DeletionVector {}

impl FromIterator<u64> for DeletionVector {
    fn from_iter<T: IntoIterator<Item = u64>>(rows: T) -> Self {
        let mut vector = Self::default();
        for row in rows {
            vector.insert(row);
        }
        vector
    }
}

impl From<&RoaringBitmap> for DeletionVector {
    fn from(rows: &RoaringBitmap) -> Self {
        let mut vector = Self { len: rows.len(), ..Self::default() };
        let mut iter = rows.iter();
        while let Some(first) = iter.next() {
            let (container, _) = place(u64::from(first));
            let mut places = RoaringBitmap::new();
            let base = u64::from(first) - u64::from(first) % CONTAINER_ROWS;
            let end = base + CONTAINER_ROWS;
            let mut next = Some(first);
            while let Some(row) = next.map(u64::from) {
                vector.digest = vector.digest.wrapping_add(row_digest(row));
                places.insert(u32::try_from(row - base).unwrap_or(0));
                next = if iter.clone().next().is_some_and(|row| u64::from(row) < end) { iter.next() } else { None };
            }
            vector.containers.resize(container, None);
            vector.containers.push(Some(Arc::new(places)));
        }
        vector
    }
}

/// Container and place in it.
fn place(row: u64) -> (usize, u32) {
    let place = u32::try_from(row % CONTAINER_ROWS).unwrap_or(0);
    (usize::try_from(row / CONTAINER_ROWS).unwrap_or(usize::MAX), place)
}

fn row_digest(row: u64) -> u64 {
    xxh3_64(&row.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn it_says_what_a_set_of_numbers_says() {
        for seed in 0..15 {
            let mut random = StdRng::seed_from_u64(seed);
            let rows = random.random_range(1..400_000);
            let mut draw = |count: usize| -> Vec<u64> { (0..count).map(|_| random.random_range(0..rows)).collect() };
            let (first, second) = (draw(300), draw(3000));
            let mut set: BTreeSet<u64> = first.iter().copied().collect();
            let mut vector: DeletionVector = first.into_iter().collect();
            let before = vector.clone();
            vector.extend(&second.iter().copied().collect());
            let only_first = set.clone();
            set.extend(second);
            assert!(vector.rows().eq(set.iter().copied()) && vector.len() == set.len() as u64, "seed {seed}");
            assert!(before.rows().eq(only_first.iter().copied()), "seed {seed}: a copy does not change");
            assert_eq!(vector.digest(), set.iter().copied().collect::<DeletionVector>().digest(), "seed {seed}");
            for _ in 0..50 {
                let start = random.random_range(0..=rows);
                let range = start..random.random_range(start..=rows);
                let expected: Vec<bool> = range.clone().map(|row| !set.contains(&row)).collect();
                assert!(vector.live(range.clone()).iter().eq(expected.iter().copied()), "seed {seed}: {range:?}");
                assert_eq!(vector.count_in(&range), expected.iter().filter(|live| !**live).count() as u64);
                assert!(range.clone().zip(&expected).all(|(row, live)| vector.contains(row) != *live), "seed {seed}");
            }
        }
    }

    #[test]
    fn copies_share_the_containers_that_are_the_same() {
        let mut vector: DeletionVector = [1, 70_000, 200_000].into_iter().collect();
        let copy = vector.clone();
        vector.insert(70_001);
        let shared = |container: usize| match (&vector.containers[container], &copy.containers[container]) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => panic!("both have rows there"),
        };
        assert!(shared(0) && !shared(1) && shared(3));
        assert!(!copy.contains(70_001) && vector.contains(70_001));
    }
    /// Whatever the share of dead rows, and however they lie.
    #[test]
    fn a_row_costs_an_eighth_of_a_byte_at_most() {
        let rows: u64 = 16 * CONTAINER_ROWS;
        for step in [1, 2, 3, 10, 16, 100, 1000] {
            let vector: DeletionVector = (0..rows).step_by(step).collect();
            let bits = vector.heap_bytes() as f64 * 8.0 / rows as f64;
            assert!(bits < 1.02, "{bits} bits where one of {step} rows is dead");
            assert!(vector.heap_bytes() as u64 >= vector.len() / 8);
        }
    }
}
