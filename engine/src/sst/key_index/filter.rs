//! Membership filters: whether a key may be in a group of up to 65,536 keys.
//!
//! In: hashes of keys. Out: a split-block Bloom filter, of which a question touches 32 bytes.
//! Invariants: a key that was put in is always found; about one in a hundred others is, too. The blocks' layout and
//! salt are those of Parquet's filters; the hash is XXH3-64, and the number of blocks is no power of two, which saves
//! a third of the bytes.
//! Bytes: FORMAT.md, "Membership filters".

use xxhash_rust::xxh3::xxh3_64;

use crate::sst::checksum::in_memory;

/// Keys of every group but the last.
pub const GROUP_KEYS: usize = 65_536;

/// Bytes of a filter block.
pub const FILTER_BLOCK_BYTES: u64 = 32;

/// What a filter spends on a key.
const BITS_PER_KEY: usize = 10;

/// Parquet's salt: one odd multiplier per word of a block.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// What a filter knows of a key.
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The block of a filter of so many blocks that a hash belongs to.
pub fn block_of(hash: u64, blocks: u64) -> u64 {
    let high = (u128::from(hash >> 32) * u128::from(blocks)) >> 32;
    u64::try_from(high).unwrap_or(u64::MAX)
}

/// Appends the filter of a group of keys.
pub fn encode(hashes: &[u64], out: &mut Vec<u8>) {
    let count = (hashes.len() * BITS_PER_KEY).div_ceil(256).max(1);
    let mut blocks = vec![[0u32; 8]; count];
    for hash in hashes {
        for (word, bit) in blocks[in_memory(block_of(*hash, count as u64))].iter_mut().zip(bits(*hash)) {
            *word |= bit;
        }
    }
    blocks.iter().flatten().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Whether a hash may have been put into a filter, by the block it belongs to.
pub fn may_contain(block: &[u8], hash: u64) -> bool {
    let words = block.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    words.zip(bits(hash)).all(|(word, bit)| word & bit != 0)
}

/// One bit in each word of a block.
fn bits(hash: u64) -> impl Iterator<Item = u32> {
    let [low0, low1, low2, low3, ..] = hash.to_le_bytes();
    let low = u32::from_le_bytes([low0, low1, low2, low3]);
    SALT.iter().map(move |salt| 1 << (low.wrapping_mul(*salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_foreign_key_in_a_hundred_is_found() {
        let hashes: Vec<u64> = (0..GROUP_KEYS as u64).map(|key| hash(&key.to_be_bytes())).collect();
        let mut filter = Vec::new();
        encode(&hashes, &mut filter);
        let found = |key: u64| {
            let hash = hash(&key.to_be_bytes());
            let start = in_memory(block_of(hash, filter.len() as u64 / FILTER_BLOCK_BYTES) * FILTER_BLOCK_BYTES);
            may_contain(&filter[start..start + 32], hash)
        };
        assert!((0..GROUP_KEYS as u64).all(found));
        let foreign = (1_000_000..1_100_000).filter(|key| found(*key)).count();
        assert!((200..1_500).contains(&foreign), "{foreign} of 100,000");
    }
}
