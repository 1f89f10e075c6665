//! Searches a key index: which block a key is in, and the rows of many keys at once.
//!
//! In: keys, ascending where they are many. Out: blocks, rows.
//! Invariants: those of [`crate::sst::key_index::reader`].
//! How: many keys go through each step together, so that the processor has the loads of many on the way to memory at a
//! time: it waits for one of them where a key goes through all steps by itself.

use std::cmp::Ordering;
use std::hint::black_box;
use std::ops::Bound;

use crate::error::Result;
use crate::rows::keys::{HeadedKey, Keys, head_at};
use crate::sst::checksum::in_memory;
use crate::sst::key_index::block::{BLOCK_KEYS, Rank};
use crate::sst::key_index::reader::KeyIndex;

/// Keys that go through each step together: many beside the loads that a processor has on their way at a time, few
/// beside the keys of a run, because each step decides whether the next one asks filters.
const STEP_KEYS: usize = 128;

/// Places in a block from which bytes are loaded before it is searched: with four of them the search waited longer for
/// what it compares next, 2.9 beside 3.1 million keys a second.
const TOUCHED_PLACES: usize = 8;

/// Up to so many keys of a block ask its filter one by one; for more it costs less to look into the block.
const FILTERED_KEYS: usize = 3;

/// The fences of a key index.
pub(super) enum Fences<'a> {
    /// Of one width, one after the other.
    Fixed(&'a [u8], usize),
    /// The directory says where each one is.
    Listed(&'a KeyIndex),
}

impl Fences<'_> {
    /// The last block whose fence is not greater than the key. That of block `from` is known not to be, unless it is
    /// the first block. O(log of the distance), or of the number of blocks from the first block on.
    ///
    /// # Errors
    /// The file is damaged on the way to it.
    pub(super) fn block_of(&self, key: HeadedKey<'_>, from: u64) -> Result<Option<u64>> {
        let mut low = from;
        let mut high = self.len();
        let mut step = if from == 0 { high } else { 1 };
        while low + step < high {
            if self.compare(low + step, key)?.is_gt() {
                high = low + step;
            } else {
                low += step;
                step *= 2;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.compare(middle, key)?.is_gt() { high = middle } else { low = middle + 1 }
        }
        Ok(low.checked_sub(1))
    }

    fn len(&self) -> u64 {
        match self {
            Self::Fixed(bytes, width) => (bytes.len() / width) as u64,
            Self::Listed(index) => index.blocks(),
        }
    }

    /// How the fence of a block compares with a key.
    fn compare(&self, block: u64, key: HeadedKey<'_>) -> Result<Ordering> {
        match self {
            Self::Fixed(bytes, width) => {
                let place = in_memory(block) * width;
                let place = place..place + width;
                Ok(head_at(bytes, place.clone()).cmp(&key.head).then_with(|| bytes[place].cmp(key.key)))
            }
            Self::Listed(index) => Ok(index.fence(block)?.cmp(key.key)),
        }
    }
}

impl KeyIndex {
    /// Its fences.
    ///
    /// # Errors
    /// The file is damaged there.
    pub(super) fn fences(&self) -> Result<Fences<'_>> {
        let section = self.sections().fences.clone();
        match self.width() {
            Some(width) if self.blocks().checked_mul(width as u64) == Some(section.end - section.start) => {
                Ok(Fences::Fixed(self.slice(section, "fence")?, width))
            }
            _ => Ok(Fences::Listed(self)),
        }
    }

    /// Calls `visit` with (index of the probe, row) for each of the ascending probes that is there. Probes close to
    /// each other share their way; those that are few in their block ask its filter first, as long as most of those
    /// before them were not there. Gives the number of those to which it said no.
    ///
    /// # Errors
    /// The file is damaged on the way to one of them; `visit` may have been called before.
    pub fn find_sorted(&self, probes: &Keys, mut visit: impl FnMut(usize, u64)) -> Result<u64> {
        let Some(range) = self.key_range() else { return Ok(0) };
        let fences = self.fences()?;
        let within = probes.within((Bound::Included(&range.min), Bound::Included(&range.max)));
        let (mut current, mut denied, mut asks_filters) = (0, 0, true);
        let mut places: Vec<(usize, u64)> = Vec::with_capacity(within.len().min(STEP_KEYS));
        let mut next = within.start;
        while next < within.end {
            let end = within.end.min(next + STEP_KEYS);
            places.clear();
            for probe in next..end {
                let Some(block) = fences.block_of(probes.headed(probe), current)? else { continue };
                current = block;
                places.push((probe, block));
            }
            if asks_filters {
                denied += self.drop_denied(probes, &mut places)?;
            }
            asks_filters = self.find_in_blocks(probes, &places, &mut visit)? < (end - next) / 2;
            next = end;
        }
        Ok(denied)
    }

    /// Drops the probes to which filters say no; gives their number.
    fn drop_denied(&self, probes: &Keys, places: &mut Vec<(usize, u64)>) -> Result<u64> {
        let (mut kept, mut start) = (0, 0);
        while let Some((_, block)) = places.get(start).copied() {
            let together = places[start..].iter().take_while(|(_, other)| *other == block).count();
            for place in start..start + together {
                if together > FILTERED_KEYS || self.filter_may_contain(block, probes.get(places[place].0))? {
                    places[kept] = places[place];
                    kept += 1;
                }
            }
            start += together;
        }
        let denied = places.len() - kept;
        places.truncate(kept);
        Ok(denied as u64)
    }

    /// Looks for ascending probes in their blocks; gives the number of those that are there.
    fn find_in_blocks(
        &self,
        probes: &Keys,
        places: &[(usize, u64)],
        visit: &mut impl FnMut(usize, u64),
    ) -> Result<usize> {
        let mut blocks = Vec::with_capacity(places.len());
        for together in places.chunk_by(|(_, a), (_, b)| a == b) {
            blocks.push((together, self.block_bytes(together[0].1)?));
        }
        blocks.iter().for_each(|(_, bytes)| touch(bytes));
        let mut found = 0;
        for (together, bytes) in blocks {
            found += self.find_in_block(probes, together, bytes, visit)?;
        }
        Ok(found)
    }

    /// Looks for ascending probes, at least one, in their block; gives the number of those that are there.
    fn find_in_block(
        &self,
        probes: &Keys,
        places: &[(usize, u64)],
        bytes: &[u8],
        visit: &mut impl FnMut(usize, u64),
    ) -> Result<usize> {
        let block = places[0].1;
        let (parsed, first) = (self.parse_block(block, bytes)?, block * BLOCK_KEYS as u64);
        let (mut from, mut found) = (0, 0);
        for (probe, _) in places {
            let rank = self.rank_in(block, &parsed, probes.headed(*probe), from)?;
            let (Rank::Found(row) | Rank::Absent(row)) = rank;
            from = in_memory(row - first);
            if rank == Rank::Found(row) {
                visit(*probe, row);
                found += 1;
            }
        }
        Ok(found)
    }
}

/// Loads the bytes of a block that a binary search compares first, and waits for none of them.
fn touch(block: &[u8]) {
    for place in 0..TOUCHED_PLACES {
        black_box(block.get(block.len() / TOUCHED_PLACES * place).copied());
    }
}
