//! Makes hostile bytes out of good ones.
//!
//! In: a corpus, a seed. Out: bytes that are almost right; the same ones for the same corpus and seed.
//! Invariants: no input is longer than [`INPUT_BYTES_MAX`].

/// Longest input.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Most changes to one input, most often there are few.
const CHANGES_MAX: u64 = 12;

/// Numbers at which arithmetic breaks.
const INTERESTING: [u64; 24] = [
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    31,
    64,
    127,
    128,
    255,
    256,
    1000,
    65_535,
    65_536,
    (1 << 30) + 1,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A generator of pseudo-random numbers (SplitMix64), whose stream is this crate's own for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % (limit.max(1) as u64)).unwrap_or(0)
    }
}

/// Writes a changed input into `out`, made of the entries of a corpus that has at least one.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&corpus[random.below(corpus.len())]);
    // One change finds most; many find what two checks in a row hide.
    let changes =
        1 + (random.number() % CHANGES_MAX).min(random.number() % CHANGES_MAX).min(random.number() % CHANGES_MAX);
    for _ in 0..changes {
        change(random, corpus, out);
    }
    out.truncate(INPUT_BYTES_MAX);
}

fn change(random: &mut Random, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
    let at = random.below(out.len());
    match random.below(17) {
        0..=2 => flip_bit(random, at, out),
        3..=5 => set_byte(random, at, out),
        6..=8 => set_integer(random, at, out),
        9 => add_to_integer(random, at, out),
        10 => out.truncate(at),
        11 => insert(random, at, out),
        12 => {
            let end = (at + 1 + random.below(16)).min(out.len());
            out.drain(at..end);
        }
        13 => duplicate(random, at, out),
        14 => {
            let other = &corpus[random.below(corpus.len())];
            splice(random, at, other, out);
        }
        15 => set_varint(random, at, out),
        _ => copy_over(random, at, out),
    }
}

fn flip_bit(random: &mut Random, at: usize, out: &mut [u8]) {
    if let Some(byte) = out.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set_byte(random: &mut Random, at: usize, out: &mut [u8]) {
    let [value, ..] = random.number().to_le_bytes();
    if let Some(byte) = out.get_mut(at) {
        *byte = value;
    }
}

/// Sets 1, 2, 4 or 8 bytes to an interesting number, often at a place where formats put them.
fn set_integer(random: &mut Random, at: usize, out: &mut [u8]) {
    let width = 1 << random.below(4);
    let at = if random.below(2) == 0 { at / width * width } else { at };
    let mut value = INTERESTING[random.below(INTERESTING.len())];
    if random.below(8) == 0 {
        value = out.len() as u64;
    }
    for (byte, value) in out.iter_mut().skip(at).take(width).zip(value.to_le_bytes()) {
        *byte = value;
    }
}

/// Puts an interesting number of seven bits a byte, as lengths in rows and fields of Parquet's structures are, in the
/// place of one to three bytes.
fn set_varint(random: &mut Random, at: usize, out: &mut Vec<u8>) {
    let mut value = INTERESTING[random.below(INTERESTING.len())] << random.below(2);
    let mut bytes = Vec::with_capacity(10);
    while value > 0x7f {
        bytes.push((value & 0x7f | 0x80).to_le_bytes()[0]);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    let end = (at + 1 + random.below(3)).min(out.len());
    out.splice(at..end, bytes);
}

/// Adds a small number to a little-endian integer.
fn add_to_integer(random: &mut Random, at: usize, out: &mut [u8]) {
    let width = 1 << random.below(4);
    let delta = (random.number() % 65).wrapping_sub(32);
    let Some(bytes) = out.get_mut(at..at + width) else { return };
    let mut number = [0; 8];
    number[..width].copy_from_slice(bytes);
    let sum = u64::from_le_bytes(number).wrapping_add(delta).to_le_bytes();
    bytes.copy_from_slice(&sum[..width]);
}

fn insert(random: &mut Random, at: usize, out: &mut Vec<u8>) {
    let count = 1 + random.below(9);
    let value = random.number().to_le_bytes();
    let zeros = random.below(2) == 0;
    let bytes = (0..count).map(|index| if zeros { 0 } else { value[index % 8] });
    let bytes: Vec<u8> = bytes.collect();
    out.splice(at..at, bytes);
}

/// Repeats a piece behind itself.
fn duplicate(random: &mut Random, at: usize, out: &mut Vec<u8>) {
    let length = 1 + random.below((out.len() - at).min(512));
    let Some(piece) = out.get(at..at + length).map(<[u8]>::to_vec) else { return };
    let times = if random.below(16) == 0 { 32 } else { 1 };
    for _ in 0..times {
        if out.len() < INPUT_BYTES_MAX {
            out.splice(at..at, piece.iter().copied());
        }
    }
}

/// Goes on with another entry from a place on.
fn splice(random: &mut Random, at: usize, other: &[u8], out: &mut Vec<u8>) {
    let from = if random.below(2) == 0 { at.min(other.len()) } else { random.below(other.len()) };
    out.truncate(at);
    out.extend_from_slice(&other[from..]);
}

/// Copies a piece over another one.
fn copy_over(random: &mut Random, at: usize, out: &mut [u8]) {
    let to = random.below(out.len());
    let length = random.below((out.len() - at.max(to)).min(64) + 1);
    out.copy_within(at..at + length, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again_and_they_differ() {
        let corpus = [b"some words to begin with".to_vec(), Vec::new(), vec![0; 300]];
        let inputs = |seed| {
            let mut random = Random::new(seed);
            let mut out = Vec::new();
            let make = |_| {
                mutate(&mut random, &corpus, &mut out);
                out.clone()
            };
            (0..2000).map(make).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        let all: std::collections::HashSet<_> = inputs(1).into_iter().chain(inputs(2)).collect();
        assert!(all.len() > 2000, "{}", all.len());
        assert!(all.iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
