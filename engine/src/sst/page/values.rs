//! Values at some places of a page, whatever they are encoded as.
//!
//! In: a page, ascending places among its values, its dictionary where it has one. Out: the values, as Parquet has them
//! when they are not encoded.
//! Invariants: what does not fit the form that this project writes gives nothing, and Parquet's own reader says what it
//! is. Cost: differences and lengths are gone through from the start of the page; all else is found where it lies.

use std::ops::ControlFlow;

use parquet::basic::{Encoding, Type};

use crate::sst::page::bits::take;
use crate::sst::page::source::Page;
use crate::sst::page::{delta, hybrid};

/// Bytes of a length that stands before something.
const LENGTH_BYTES: usize = 4;

/// Bytes of all values of a column together, at most: an entry of a dictionary may be asked for by every row.
const BYTES_MAX: usize = 1 << 30;

/// Values of one physical type that are there.
#[derive(Debug)]
pub(super) enum Values {
    /// Booleans.
    Bits(Vec<bool>),
    /// Of so many bytes each, little-endian unless they are fixed-length arrays.
    Fixed(usize, Vec<u8>),
    /// Where each of them ends, and all of them.
    Bytes(Vec<usize>, Vec<u8>),
}

impl Values {
    /// None yet of a type, and of a length where the type is a fixed-length array.
    pub(super) fn new(physical: Type, length: i32) -> Option<Self> {
        Some(match physical {
            Type::BOOLEAN => Self::Bits(Vec::new()),
            Type::INT32 | Type::FLOAT => Self::Fixed(4, Vec::new()),
            Type::INT64 | Type::DOUBLE => Self::Fixed(8, Vec::new()),
            Type::FIXED_LEN_BYTE_ARRAY => Self::Fixed(usize::try_from(length).ok()?, Vec::new()),
            Type::BYTE_ARRAY => Self::Bytes(Vec::new(), Vec::new()),
            Type::INT96 => return None,
        })
    }

    /// Bytes of each of them; 0 if they have different ones.
    pub(super) fn width(&self) -> usize {
        if let Self::Fixed(width, _) = self { *width } else { 0 }
    }

    fn push(&mut self, value: &[u8]) -> Option<()> {
        match self {
            Self::Bits(_) => return None,
            Self::Fixed(width, bytes) => {
                if value.len() != *width {
                    return None;
                }
                bytes.extend_from_slice(value);
            }
            Self::Bytes(ends, bytes) => {
                if value.len() > BYTES_MAX - bytes.len() {
                    return None;
                }
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
            }
        }
        Some(())
    }

    /// Adds the values at ascending places of a page.
    pub(super) fn add(&mut self, page: &Page, dictionary: Option<&Page>, places: &[usize]) -> Option<()> {
        if places.is_empty() {
            return Some(());
        }
        let body = page.body();
        match (page.encoding(), &mut *self) {
            (Encoding::RLE_DICTIONARY, Self::Fixed(4, bytes)) => gather::<4>(body, dictionary?, places, bytes),
            (Encoding::RLE_DICTIONARY, Self::Fixed(8, bytes)) => gather::<8>(body, dictionary?, places, bytes),
            (Encoding::RLE_DICTIONARY, _) => {
                let dictionary = dictionary?;
                hybrid::indexes(body, places, |index| self.push(dictionary.entry(index)?))
            }
            (Encoding::RLE, Self::Bits(bits)) => hybrid::at(body.get(LENGTH_BYTES..)?, 1, places, |bit| {
                bits.push(bit == 1);
                Some(())
            }),
            (Encoding::PLAIN, Self::Fixed(width, bytes)) => places.iter().try_for_each(|place| {
                let start = place.checked_mul(*width)?;
                bytes.extend_from_slice(body.get(start..start.checked_add(*width)?)?);
                Some(())
            }),
            (Encoding::DELTA_BINARY_PACKED, Self::Fixed(4, bytes)) => {
                delta::at(body, page.defined(), places, |value| {
                    let [low @ .., _, _, _, _] = value.to_le_bytes();
                    bytes.extend_from_slice(&low);
                })
            }
            (Encoding::DELTA_BINARY_PACKED, Self::Fixed(8, bytes)) => {
                delta::at(body, page.defined(), places, |value| bytes.extend_from_slice(&value.to_le_bytes()))
            }
            (Encoding::DELTA_LENGTH_BYTE_ARRAY, Self::Bytes(..)) => self.add_by_lengths(body, page.defined(), places),
            (Encoding::DELTA_BYTE_ARRAY, Self::Bytes(..)) => self.add_by_prefixes(body, page.defined(), places),
            _ => None,
        }
    }

    /// Of byte arrays that lie behind the lengths of all of them.
    fn add_by_lengths(&mut self, body: &[u8], count: usize, places: &[usize]) -> Option<()> {
        let mut found = Vec::with_capacity(places.len());
        let (mut left, mut place, mut start) = (places, 0, 0_usize);
        let bytes = delta::for_each(body, count, |lengths| {
            for length in lengths {
                let end = usize::try_from(*length).ok().and_then(|length| start.checked_add(length));
                let Some(end) = end else { return ControlFlow::Break(()) };
                if let Some((wanted, later)) = left.split_first()
                    && *wanted == place
                {
                    found.push(start..end);
                    left = later;
                }
                (place, start) = (place + 1, end);
            }
            ControlFlow::Continue(())
        })?;
        if place != count || !left.is_empty() {
            return None;
        }
        found.into_iter().try_for_each(|value| self.push(bytes.get(value)?))
    }

    /// Of byte arrays that begin as the ones before them do.
    fn add_by_prefixes(&mut self, body: &[u8], count: usize, places: &[usize]) -> Option<()> {
        let lengths = |bytes| -> Option<(Vec<usize>, &[u8])> {
            let mut lengths = Vec::new();
            let rest = delta::for_each(bytes, count, |found| {
                lengths.extend(found.iter().map_while(|length| usize::try_from(*length).ok()));
                ControlFlow::Continue(())
            })?;
            (lengths.len() == count).then_some((lengths, rest))
        };
        let (prefixes, rest) = lengths(body)?;
        let (suffixes, mut rest) = lengths(rest)?;
        let (mut left, mut value) = (places.iter().copied().peekable(), Vec::new());
        for (place, (prefix, suffix)) in prefixes.into_iter().zip(suffixes).enumerate() {
            if left.peek().is_none() {
                break;
            }
            if prefix > value.len() {
                return None;
            }
            value.truncate(prefix);
            value.extend_from_slice(take(&mut rest, suffix)?);
            if left.next_if_eq(&place).is_some() {
                self.push(&value)?;
            }
        }
        left.peek().is_none().then_some(())
    }
}

/// Adds the entries of a dictionary that indexes at some places name, each of `N` bytes: to copy so many takes no call.
fn gather<const N: usize>(body: &[u8], dictionary: &Page, places: &[usize], bytes: &mut Vec<u8>) -> Option<()> {
    let entries = dictionary.entries::<N>()?;
    bytes.reserve(places.len().checked_mul(N)?);
    hybrid::indexes(body, places, |index| {
        bytes.extend_from_slice(entries.get(index)?);
        Some(())
    })
}
