//! Small numbers in runs: Parquet's hybrid of run lengths and bit packing, as dictionary indexes and levels have it.
//!
//! In: encoded bytes, ascending places. Out: the numbers at those places.
//! Invariants: nothing behind the last place is looked at; bytes that do not have it give nothing. Bytes: Parquet's
//! encoding `RLE`.

use std::ops::Range;

use crate::sst::page::bits::{bits, mask, take, varint};

/// Numbers of a packed group.
const GROUP: usize = 8;

/// Equal numbers, or packed ones.
enum Numbers<'a> {
    Equal(u64),
    Packed(&'a [u8]),
}

/// Numbers that follow each other in one form.
struct Run<'a> {
    places: Range<usize>,
    numbers: Numbers<'a>,
}

/// The runs of numbers of `width` bits.
struct Runs<'a> {
    bytes: &'a [u8],
    width: u32,
    place: usize,
}

impl<'a> Runs<'a> {
    fn new(bytes: &'a [u8], width: u32) -> Option<Self> {
        (width <= u32::BITS).then_some(Self { bytes, width, place: 0 })
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let header = varint(&mut self.bytes)?;
        let count = usize::try_from(header >> 1).ok()?;
        let (length, numbers) = if header & 1 == 0 {
            let bytes = self.width.div_ceil(u8::BITS);
            let number = bits(take(&mut self.bytes, bytes as usize)?, 0, bytes * u8::BITS)?;
            // What has more bits than a number may have is not ours to understand.
            (count, Numbers::Equal(Some(number).filter(|number| mask(self.width).is_some_and(|most| *number <= most))?))
        } else {
            // The last group may have fewer bytes than its numbers would take.
            let bytes = count.checked_mul(self.width as usize)?.min(self.bytes.len());
            (count.checked_mul(GROUP)?, Numbers::Packed(take(&mut self.bytes, bytes)?))
        };
        let start = self.place;
        self.place = start.checked_add(length)?;
        Some(Run { places: start..self.place, numbers })
    }
}

/// Gives the numbers of `width` bits at ascending places.
pub(super) fn at(bytes: &[u8], width: u32, places: &[usize], mut give: impl FnMut(u64) -> Option<()>) -> Option<()> {
    let mut left = places;
    for run in Runs::new(bytes, width)? {
        let here = left.partition_point(|place| *place < run.places.end);
        let (now, later) = left.split_at(here);
        for place in now {
            match run.numbers {
                Numbers::Equal(number) => give(number)?,
                Numbers::Packed(bytes) => {
                    give(bits(bytes, place.checked_sub(run.places.start)?.checked_mul(width as usize)?, width)?)?;
                }
            }
        }
        left = later;
        if left.is_empty() {
            return Some(());
        }
    }
    left.is_empty().then_some(())
}

/// Gives the indexes at ascending places of what follows their width.
pub(super) fn indexes(body: &[u8], places: &[usize], mut give: impl FnMut(usize) -> Option<()>) -> Option<()> {
    let (width, bytes) = body.split_first()?;
    at(bytes, u32::from(*width), places, |index| give(usize::try_from(index).ok()?))
}

/// Of definition levels of one bit: which of ascending rows have a value, and the places of those values.
pub(super) fn defined(levels: &[u8], rows: &[usize]) -> Option<(Vec<bool>, Vec<usize>)> {
    let (mut valid, mut places) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    let (mut left, mut values) = (rows, 0);
    for run in Runs::new(levels, 1)? {
        let here = left.partition_point(|row| *row < run.places.end);
        let (now, later) = left.split_at(here);
        let mut counted = run.places.start;
        if matches!(run.numbers, Numbers::Equal(1)) {
            // Most pages have a value in every row, and then this is their one run.
            valid.resize(valid.len() + now.len(), true);
            places.extend(now.iter().map(|row| values + (row - counted)));
        } else {
            for row in now {
                values += ones(&run, counted..*row)?;
                counted = *row;
                let is_valid = ones(&run, *row..row.checked_add(1)?)? == 1;
                valid.push(is_valid);
                if is_valid {
                    places.push(values);
                }
            }
        }
        left = later;
        if left.is_empty() {
            break;
        }
        values += ones(&run, counted..run.places.end)?;
    }
    left.is_empty().then_some((valid, places))
}

/// How many of the bits at some places of a run are set.
fn ones(run: &Run<'_>, places: Range<usize>) -> Option<usize> {
    let (mut bit, end) = (places.start.checked_sub(run.places.start)?, places.end.checked_sub(run.places.start)?);
    let bytes = match run.numbers {
        Numbers::Equal(0) => return Some(0),
        Numbers::Equal(_) => return end.checked_sub(bit),
        Numbers::Packed(bytes) => bytes,
    };
    let mut count = 0;
    while bit < end {
        let width = (end - bit).min(u64::BITS as usize);
        count += bits(bytes, bit, u32::try_from(width).ok()?)?.count_ones() as usize;
        bit += width;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three fives, then eight numbers from 0 on, of three bits each.
    const BYTES: [u8; 6] = [3 << 1, 5, (1 << 1) | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];

    fn all(bytes: &[u8], places: &[usize]) -> Option<Vec<u64>> {
        let mut numbers = Vec::new();
        at(bytes, 3, places, |number| {
            numbers.push(number);
            Some(())
        })?;
        Some(numbers)
    }

    #[test]
    fn numbers_come_from_runs_of_both_forms() {
        let places: Vec<usize> = (0..11).collect();
        assert_eq!(all(&BYTES, &places).unwrap(), [5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(all(&BYTES, &[2, 4, 10]).unwrap(), [5, 1, 7]);
        assert_eq!(all(&BYTES, &[11]), None);
        assert_eq!(all(&BYTES[..2], &[0, 2]).unwrap(), [5, 5]);
        assert_eq!(all(&[], &[0]), None);
        assert_eq!(all(&[3 << 1, 8], &[0]), None, "a number of four bits");
        assert_eq!(all(&[0xff; 20], &[0]), None, "a length that no file has");
    }

    #[test]
    fn values_are_counted_up_to_a_row() {
        // Two rows with a value, 16 of which every other one has one, three without.
        let levels = [2 << 1, 1, (2 << 1) | 1, 0b0101_0101, 0b0101_0101, 3 << 1, 0];
        let (valid, places) = defined(&levels, &[0, 1, 2, 3, 4, 17, 18, 20]).unwrap();
        assert_eq!(valid, [true, true, true, false, true, false, false, false]);
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!(defined(&levels, &[16]).unwrap(), (vec![true], vec![9]));
        assert!(defined(&levels, &[21]).is_none());
    }
}
