//! Integers as differences, bit-packed: Parquet's encoding `DELTA_BINARY_PACKED`.
//!
//! In: encoded bytes. Out: integers in order, and the bytes behind them.
//! Invariants: sums wrap, as the writer's differences do; bytes that do not have what they claim give nothing.

use std::ops::ControlFlow;

use crate::sst::page::bits::{signed, take, unpack, varint};

/// Integers that are unpacked at once, at most: whole bytes of them, whatever their width.
const AT_ONCE: usize = 64;

/// Gives the integers, which must be `count`, some at a time, until `each` breaks. What is left of the bytes, if it did
/// not.
pub(super) fn for_each(
    mut bytes: &[u8],
    count: usize,
    mut each: impl FnMut(&[i64]) -> ControlFlow<()>,
) -> Option<&[u8]> {
    let block = usize::try_from(varint(&mut bytes)?).ok()?;
    let parts = usize::try_from(varint(&mut bytes)?).ok()?;
    let total = usize::try_from(varint(&mut bytes)?).ok()?;
    let mut value = signed(&mut bytes)?;
    let part = block.checked_div(parts)?;
    // Parts of whole groups of eight begin where bytes do.
    if total != count || part == 0 || !part.is_multiple_of(8) {
        return None;
    }
    if count == 0 || each(&[value]).is_break() {
        return Some(bytes);
    }
    let (mut left, mut values) = (count - 1, [0; AT_ONCE]);
    while left > 0 {
        let least = signed(&mut bytes)?;
        for width in take(&mut bytes, parts)? {
            let (mut here, width) = (left.min(part), u32::from(*width));
            if here == 0 {
                // Parts without integers have no bytes.
                break;
            }
            left -= here;
            let mut packed = bytes;
            take(&mut bytes, (part / 8).checked_mul(width as usize)?)?;
            while here > 0 {
                let values = &mut values[..here.min(AT_ONCE)];
                unpack(packed, width, values)?;
                for difference in &mut *values {
                    value = value.wrapping_add(least).wrapping_add(*difference);
                    *difference = value;
                }
                here -= values.len();
                if each(values).is_break() {
                    return Some(bytes);
                }
                packed = packed.get(AT_ONCE / 8 * width as usize..).unwrap_or_default();
            }
        }
    }
    Some(bytes)
}

/// Gives the integers at ascending places of `count`, of which there is one at least.
pub(super) fn at(bytes: &[u8], count: usize, places: &[usize], mut give: impl FnMut(i64)) -> Option<()> {
    let (mut left, mut start) = (places, 0);
    for_each(bytes, count, |values| {
        let end = start + values.len();
        let (here, later) = left.split_at(left.iter().position(|place| *place >= end).unwrap_or(left.len()));
        here.iter().for_each(|place| give(values[place - start]));
        (left, start) = (later, end);
        if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    left.is_empty().then_some(())
}
