//! Sectors, the unit in which a disk keeps or loses the bytes of a write.
//!
//! In: where a write lies in its file. Out: where to cut it, which sectors to lose. Invariants: sectors count from the
//! start of the file, so the first and the last of a write may be partial.

use xxhash_rust::xxh3::xxh3_64_with_seed;

const SECTOR: usize = 512;

/// Where the first sector ends in a write that lies in several.
pub(super) fn sector_cut(offset: usize, length: usize) -> Option<usize> {
    let rest = SECTOR - offset % SECTOR;
    (rest < length).then_some(rest)
}

/// Some sets of sectors that may be lost of a write while those behind them are there: the first alone, and two that
/// offset and length choose. A bit stands for a sector, from the lowest on and again after 64.
pub(super) fn lost_sectors(offset: usize, length: usize) -> impl Iterator<Item = u64> {
    let count = sector_cut(offset, length).map_or(1, |first| 1 + (length - first).div_ceil(SECTOR));
    let all = u64::MAX >> (64 - count.min(64));
    let chosen = |seed| xxh3_64_with_seed(&[offset.to_le_bytes(), length.to_le_bytes()].concat(), seed) & all;
    let mut sets = vec![1, chosen(1), chosen(2)];
    sets.dedup();
    sets.into_iter().filter(move |set| count > 1 && *set != 0 && *set != all)
}

/// Writes the sectors that are not lost; the file grows all the same.
pub(super) fn write_sectors(content: &mut Vec<u8>, offset: usize, bytes: &[u8], lost: u64) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    let mut at = 0;
    let mut sector = 0;
    while at < bytes.len() {
        let next = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
        if lost >> (sector % 64) & 1 == 0 {
            content[offset + at..offset + next].copy_from_slice(&bytes[at..next]);
        }
        (at, sector) = (next, sector + 1);
    }
}
