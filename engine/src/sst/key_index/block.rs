//! One block of a key index: up to 256 ascending keys, all but the first of them, which is the block's fence.
//!
//! In: a range of [`Keys`]; or a block's bytes, its fence and the number of its keys. Out: bytes; ranks and keys.
//! Invariants: what a block's bytes say is checked before it is used; whether its keys ascend is the reader's to check
//! where it matters. A search decodes no key: it compares inside the bytes.
//! Bytes: FORMAT.md, "Key blocks".

use std::cmp::Ordering;
use std::ops::Range;

use crate::error::Damage;
use crate::rows::keys::{HEAD_BYTES, Head, HeadedKey, Keys, head_at};
use crate::sst::checksum::in_memory;

/// Keys of every block but the last.
pub const BLOCK_KEYS: usize = 256;

/// Keys of one length that differ in few bytes: those bytes as integers, less that of the fence.
pub const PACKED: u8 = 0;
/// Keys of one length: what follows their common prefix.
pub const FIXED: u8 = 1;
/// Keys of any length: what follows their common prefix, with its ends.
pub const VARIABLE: u8 = 2;

/// Bytes that a packed key may differ in.
const PACKED_BYTES_MAX: usize = 8;

/// Where a key is among ascending keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It is the key with this rank.
    Found(u64),
    /// It is not there; so many keys are less.
    Absent(u64),
}

/// Appends the block of a range of strictly ascending keys, at least one and at most [`BLOCK_KEYS`].
pub fn encode(keys: &Keys, rows: Range<usize>, out: &mut Vec<u8>) {
    let fence = keys.get(rows.start);
    if rows.clone().any(|row| keys.get(row).len() != fence.len()) {
        return encode_variable(keys, rows, out);
    }
    let mut differing = vec![0; fence.len()];
    for row in rows.clone() {
        for (differing, (byte, first)) in differing.iter_mut().zip(keys.get(row).iter().zip(fence)) {
            *differing |= byte ^ first;
        }
    }
    let positions: Vec<usize> = (0..fence.len()).filter(|position| differing[*position] != 0).collect();
    if positions.len() <= PACKED_BYTES_MAX {
        encode_packed(keys, rows, &positions, out);
    } else {
        out.push(FIXED);
        let prefix = positions[0];
        push_length(prefix, out);
        rows.skip(1).for_each(|row| out.extend_from_slice(&keys.get(row)[prefix..]));
    }
}

fn encode_packed(keys: &Keys, rows: Range<usize>, positions: &[usize], out: &mut Vec<u8>) {
    let pack = |row: usize| {
        let key = keys.get(row);
        positions.iter().fold(0, |value: u64, position| value << 8 | u64::from(key[*position]))
    };
    let base = pack(rows.start);
    let width = integer_width(pack(rows.end - 1) - base);
    out.extend_from_slice(&[PACKED, u8::try_from(width).unwrap_or(u8::MAX)]);
    let mut mask = vec![0; keys.get(rows.start).len().div_ceil(8)];
    positions.iter().for_each(|position| mask[position / 8] |= 1 << (position % 8));
    out.extend_from_slice(&mask);
    rows.skip(1).for_each(|row| out.extend_from_slice(&(pack(row) - base).to_le_bytes()[..width]));
}

fn encode_variable(keys: &Keys, rows: Range<usize>, out: &mut Vec<u8>) {
    let ends = keys.get(rows.start).iter().zip(keys.get(rows.end - 1));
    let prefix = ends.take_while(|(first, last)| first == last).count();
    out.push(VARIABLE);
    push_length(prefix, out);
    let mut end = 0;
    for row in rows.clone().skip(1) {
        end += keys.get(row).len() - prefix;
        push_length(end, out);
    }
    rows.skip(1).for_each(|row| out.extend_from_slice(&keys.get(row)[prefix..]));
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    let Ok(length) = u32::try_from(length) else {
        unreachable!("256 keys of at most 64 KiB are less than 4 GiB");
    };
    out.extend_from_slice(&length.to_le_bytes());
}

/// The least number of whole bytes that hold an integer.
fn integer_width(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()).div_ceil(8) as usize
}

/// A block of a key index as it lies in the file.
#[derive(Debug)]
pub struct KeyBlock<'a> {
    fence: &'a [u8],
    count: usize,
    layout: Layout<'a>,
}

#[derive(Debug)]
enum Layout<'a> {
    Packed(Packed<'a>),
    Cut(Cut<'a>),
}

#[derive(Debug)]
struct Cut<'a> {
    /// Length of the common prefix.
    prefix: usize,
    /// Ends of the suffixes as `u32`; none where all have one length.
    ends: Option<&'a [u8]>,
    suffixes: &'a [u8],
}

#[derive(Debug)]
struct Packed<'a> {
    /// Positions of the bytes that differ, as many as `varying` says.
    positions: [usize; PACKED_BYTES_MAX],
    varying: usize,
    /// Those of them that are in a head, in its place.
    mask: Head,
    /// What heads of its keys have in all other places.
    same: Head,
    /// The integer of the fence.
    base: u64,
    width: usize,
    deltas: &'a [u8],
}

impl<'a> KeyBlock<'a> {
    /// Takes a block apart. `width` is the length of all keys of the index, if they have one.
    ///
    /// # Errors
    /// The bytes are no block of so many keys behind such a fence.
    pub fn parse(bytes: &'a [u8], fence: &'a [u8], count: usize, width: Option<usize>) -> Result<Self, Damage> {
        if width.is_some_and(|width| width != fence.len()) {
            return Err(Damage::Field { field: "fence_end", value: fence.len() as u64 });
        }
        let (kind, rest) = split(bytes, 1, "kind")?;
        let layout = match kind[0] {
            PACKED => Layout::Packed(Packed::parse(rest, fence, count)?),
            FIXED => {
                let (prefix, suffixes) = parse_prefix(rest, fence)?;
                check_length(suffixes, (count - 1).saturating_mul(fence.len() - prefix))?;
                Layout::Cut(Cut { prefix, ends: None, suffixes })
            }
            VARIABLE if width.is_none() => {
                let (prefix, rest) = parse_prefix(rest, fence)?;
                let (ends, suffixes) = split(rest, (count - 1) * 4, "ends")?;
                let end = ends.last_chunk().map_or(0, |end| u32::from_le_bytes(*end));
                check_length(suffixes, in_memory(u64::from(end)))?;
                Layout::Cut(Cut { prefix, ends: Some(ends), suffixes })
            }
            other => {
                return Err(Damage::Field { field: "kind", value: u64::from(other) });
            }
        };
        Ok(Self { fence, count, layout })
    }

    /// Where a key of any length is in the block, given that it is not less than key `from`.
    ///
    /// # Errors
    /// The bytes contradict themselves.
    pub fn rank(&self, key: HeadedKey<'_>, from: usize) -> Result<Rank, Damage> {
        match &self.layout {
            Layout::Packed(packed) => Ok(packed.rank(self.fence, key, from, self.count)),
            Layout::Cut(cut) => cut.rank(self.fence, key.key, from, self.count),
        }
    }

    /// Appends keys of the block to `out`, which has the width of the index.
    ///
    /// # Errors
    /// The bytes contradict themselves.
    pub fn decode(&self, rows: Range<usize>, out: &mut Keys) -> Result<(), Damage> {
        let mut key = self.fence.to_vec();
        for row in rows {
            match &self.layout {
                Layout::Packed(packed) => packed.unpack(row, &mut key)?,
                Layout::Cut(cut) => {
                    key.truncate(cut.prefix);
                    key.extend_from_slice(cut.suffix(self.fence, row)?);
                }
            }
            out.push(&key);
        }
        Ok(())
    }
}

impl<'a> Cut<'a> {
    fn rank(&self, fence: &'a [u8], key: &[u8], from: usize, count: usize) -> Result<Rank, Damage> {
        let (head, rest) = key.split_at(key.len().min(self.prefix));
        let (mut low, mut high) = match head.cmp(&fence[..self.prefix]) {
            Ordering::Less => return Ok(Rank::Absent(0)),
            Ordering::Greater => return Ok(Rank::Absent(count as u64)),
            Ordering::Equal => (from, count),
        };
        while low < high {
            let middle = low + (high - low) / 2;
            match self.suffix(fence, middle)?.cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Rank::Found(middle as u64)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(Rank::Absent(low as u64))
    }

    /// What follows the common prefix in a key.
    fn suffix(&self, fence: &'a [u8], row: usize) -> Result<&'a [u8], Damage> {
        let Some(before) = row.checked_sub(1) else {
            return Ok(&fence[self.prefix..]);
        };
        let range = match self.ends {
            None => {
                let length = fence.len() - self.prefix;
                before * length..row * length
            }
            Some(ends) => {
                let end = |index: usize| in_memory(integer(ends, index, 4));
                before.checked_sub(1).map_or(0, end)..end(before)
            }
        };
        let end = range.end as u64;
        self.suffixes.get(range).ok_or(Damage::Field { field: "ends", value: end })
    }
}

/// What a probe means among packed keys.
enum Aim {
    /// It is the key with this integer.
    At(u64),
    /// It is just before that key.
    Before(u64),
    /// It is just behind that key.
    Behind(u64),
}

impl<'a> Packed<'a> {
    fn parse(bytes: &'a [u8], fence: &[u8], count: usize) -> Result<Self, Damage> {
        let (width, rest) = split(bytes, 1, "delta_width")?;
        let width = usize::from(width[0]);
        if width > PACKED_BYTES_MAX {
            return Err(Damage::Field { field: "delta_width", value: width as u64 });
        }
        let (mask, deltas) = split(rest, fence.len().div_ceil(8), "mask")?;
        check_length(deltas, (count - 1) * width)?;
        let mut positions = [0; PACKED_BYTES_MAX];
        let (mut varying, mut base, mut head_mask): (_, _, Head) = (0, 0, 0);
        for (index, byte) in mask.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for position in (index * 8..index * 8 + 8).filter(|position| byte >> (position % 8) & 1 == 1) {
                if varying == PACKED_BYTES_MAX || position >= fence.len() {
                    return Err(Damage::Field { field: "mask", value: position as u64 });
                }
                positions[varying] = position;
                varying += 1;
                head_mask |= (HEAD_BYTES - 1).checked_sub(position).map_or(0, |behind| 0xff << (8 * behind));
                base = base << 8 | u64::from(fence[position]);
            }
        }
        let same = head_at(fence, 0..fence.len()) & !head_mask;
        Ok(Self { positions, varying, mask: head_mask, same, base, width, deltas })
    }

    fn positions(&self) -> &[usize] {
        &self.positions[..self.varying]
    }

    /// What a key's integer is more than the fence's.
    fn delta(&self, row: usize) -> u64 {
        row.checked_sub(1).map_or(0, |before| integer(self.deltas, before, self.width))
    }

    fn rank(&self, fence: &[u8], key: HeadedKey<'_>, from: usize, count: usize) -> Rank {
        // The least integer of a key that is not less, if there may be one.
        let (least, exact) = match self.aim(fence, key) {
            Aim::At(value) => (Some(value), true),
            Aim::Before(value) => (Some(value), false),
            Aim::Behind(value) => (value.checked_add(1), false),
        };
        let Some(least) = least else { return Rank::Absent(count as u64) };
        let Some(target) = least.checked_sub(self.base) else { return Rank::Absent(0) };
        let (mut low, mut left) = (from, count.saturating_sub(from));
        // Without branches that nobody can predict: they cost more than the loads.
        while left > 0 {
            let half = left / 2;
            let is_less = self.delta(low + half) < target;
            low = if is_less { low + half + 1 } else { low };
            left = if is_less { left - half - 1 } else { half };
        }
        if exact && low < count && self.delta(low) == target {
            Rank::Found(low as u64)
        } else {
            Rank::Absent(low as u64)
        }
    }

    fn aim(&self, fence: &[u8], HeadedKey { key, head }: HeadedKey<'_>) -> Aim {
        if key.len() == fence.len() && key.len() <= HEAD_BYTES && head & !self.mask == self.same {
            let shifts = self.positions().iter().map(|position| 8 * (HEAD_BYTES - 1 - position));
            return Aim::At(shifts.fold(0, |value, shift| value << 8 | low_byte(head >> shift)));
        }
        let mut value = 0;
        let mut varying = 0;
        for (position, expected) in fence.iter().enumerate() {
            let byte = key.get(position).copied();
            if self.positions().get(varying) == Some(&position) {
                let Some(byte) = byte else {
                    return Aim::Before(self.fill(value, varying, 0));
                };
                value = value << 8 | u64::from(byte);
                varying += 1;
            } else if byte.is_none_or(|byte| byte < *expected) {
                return Aim::Before(self.fill(value, varying, 0));
            } else if byte.is_some_and(|byte| byte > *expected) {
                return Aim::Behind(self.fill(value, varying, u8::MAX));
            }
        }
        if key.len() > fence.len() { Aim::Behind(value) } else { Aim::At(value) }
    }

    /// The integer whose first bytes are given and whose other bytes are `byte`.
    fn fill(&self, value: u64, given: usize, byte: u8) -> u64 {
        (given..self.varying).fold(value, |value, _| value << 8 | u64::from(byte))
    }

    /// Writes the bytes that differ into a copy of the fence.
    fn unpack(&self, row: usize, key: &mut [u8]) -> Result<(), Damage> {
        let delta = self.delta(row);
        let value = (self.base.checked_add(delta))
            .filter(|value| integer_width(*value) <= self.varying)
            .ok_or(Damage::Field { field: "delta", value: delta })?;
        let bytes = value.to_be_bytes();
        for (position, byte) in self.positions().iter().zip(&bytes[PACKED_BYTES_MAX - self.varying..]) {
            key[*position] = *byte;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is wanted")]
fn low_byte(head: Head) -> u64 {
    u64::from(head as u8)
}

fn parse_prefix<'a>(bytes: &'a [u8], fence: &[u8]) -> Result<(usize, &'a [u8]), Damage> {
    let (prefix, rest) = split(bytes, 4, "prefix")?;
    let prefix = integer(prefix, 0, 4);
    match usize::try_from(prefix) {
        Ok(prefix) if prefix <= fence.len() => Ok((prefix, rest)),
        _ => Err(Damage::Field { field: "prefix", value: prefix }),
    }
}

/// Unsigned little-endian integer `index` of an array of such of `width` bytes, at most 8.
fn integer(bytes: &[u8], index: usize, width: usize) -> u64 {
    let start = index * width;
    if width == 0 {
        0
    } else if let Some(chunk) = bytes[start..].first_chunk() {
        u64::from_le_bytes(*chunk) & (u64::MAX >> (64 - 8 * width))
    } else {
        let mut chunk = [0; 8];
        chunk[..width].copy_from_slice(&bytes[start..start + width]);
        u64::from_le_bytes(chunk)
    }
}

fn split<'a>(bytes: &'a [u8], length: usize, field: &'static str) -> Result<(&'a [u8], &'a [u8]), Damage> {
    let (needed, available) = (length as u64, bytes.len() as u64);
    bytes.split_at_checked(length).ok_or(Damage::Truncated { field, needed, available })
}

/// The rest of a block must have exactly the length that its head implies.
fn check_length(bytes: &[u8], expected: usize) -> Result<(), Damage> {
    let (expected, found) = (expected as u64, bytes.len() as u64);
    if expected == found {
        Ok(())
    } else {
        Err(Damage::Disagreement { fact: "the length of a key block", expected, found })
    }
}
