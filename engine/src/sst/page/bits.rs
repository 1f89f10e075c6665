//! Numbers that do not begin or end where bytes do.
//!
//! In: bytes. Out: numbers; nothing where bytes are missing.

/// Bits of a number in each of its bytes; the highest bit says that it goes on.
const NUMBER_BITS: u32 = 7;

/// Bytes that a number of 64 bits can lie in.
const WINDOW_BYTES: usize = 9;

/// The number of `width` bits, at most 64, that begins at a bit, the lowest bit of the first byte first.
pub(super) fn bits(bytes: &[u8], bit: usize, width: u32) -> Option<u64> {
    let (rest, shift) = (bytes.get(bit / 8..)?, bit % 8);
    let window = match rest.first_chunk::<WINDOW_BYTES>() {
        Some(window) => *window,
        None if shift + width as usize > 8 * rest.len() => return None,
        None => {
            let mut window = [0; WINDOW_BYTES];
            window[..rest.len()].copy_from_slice(rest);
            window
        }
    };
    let [low @ .., high] = window;
    let number = u64::from_le_bytes(low) >> shift | u64::from(high) << 1 << (63 - shift);
    Some(number & mask(width)?)
}

/// The lowest bits set, so many.
pub(super) fn mask(width: u32) -> Option<u64> {
    Some(u64::MAX.checked_shr(u64::BITS.checked_sub(width)?).unwrap_or(0))
}

/// Unpacks numbers of `width` bits that bytes begin with.
pub(super) fn unpack(bytes: &[u8], width: u32, numbers: &mut [i64]) -> Option<()> {
    /// A number of so many bits lies in eight bytes wherever it begins.
    const NARROW: u32 = 57;
    let mask = mask(width)?;
    for (index, number) in numbers.iter_mut().enumerate() {
        let bit = index * width as usize;
        let found = match bytes.get(bit / 8..)?.first_chunk() {
            Some(word) if width <= NARROW => u64::from_le_bytes(*word) >> (bit % 8) & mask,
            _ => bits(bytes, bit, width)?,
        };
        *number = found.cast_signed();
    }
    Some(())
}

/// Takes bytes off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

/// Takes a number off the front that has seven bits in each byte, the lowest ones first.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(NUMBER_BITS as usize) {
        let byte = *take(bytes, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes such a number whose lowest bit is its sign.
pub(super) fn signed(bytes: &mut &[u8]) -> Option<i64> {
    varint(bytes).map(|number| (number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_where_its_bits_are() {
        let bytes: Vec<u8> = (0..40_u8).map(|byte| byte.wrapping_mul(37)).collect();
        let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
        for at in 0..8 * bytes.len() {
            for width in 0..=64_u32 {
                let want = (at + width as usize <= 8 * bytes.len())
                    .then(|| (0..width as usize).fold(0, |number, index| number | bit(at + index) << index));
                assert_eq!(bits(&bytes, at, width), want, "{width} bits at {at}");
            }
        }
    }

    #[test]
    fn unpacked_numbers_are_those_at_their_bits() {
        let bytes: Vec<u8> = (0..40_u8).map(|byte| byte.wrapping_mul(37)).collect();
        for width in 0..=64 {
            let (mut numbers, mut more) = (vec![0; 320 / width.max(5) as usize], vec![0; 321]);
            unpack(&bytes, width, &mut numbers).unwrap();
            for (index, number) in numbers.into_iter().enumerate() {
                assert_eq!(Some(number.cast_unsigned()), bits(&bytes, index * width as usize, width), "{width}");
            }
            assert_eq!(unpack(&bytes, width, &mut more).is_some(), width == 0, "{width}");
        }
    }

    #[test]
    fn numbers_end_or_are_none() {
        assert_eq!(varint(&mut &[0xac, 0x02, 7][..]), Some(300));
        assert_eq!([0_u8, 1, 2, 3].map(|byte| signed(&mut &[byte][..])), [Some(0), Some(-1), Some(1), Some(-2)]);
        assert_eq!(varint(&mut &[0x80][..]), None);
        assert_eq!(varint(&mut &[0xff; 11][..]), None);
    }
}
