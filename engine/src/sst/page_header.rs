//! What the header of a Parquet page says of the page's length, before Parquet's reader believes it.
//!
//! In: bytes that begin with a header. Out: nothing, or what is wrong with it.
//! Invariants: a page that passes makes Parquet's reader allocate no more than its bytes can become, or
//! [`FREE_BYTES`]. Bytes: Parquet's `PageHeader` in Thrift's compact protocol; FORMAT.md, "SST".

use crate::damage::Damage;

/// Bytes that are enough for the fields that are looked at.
pub(super) const HEADER_START_BYTES: u64 = 24;

/// The most bytes that LZ4 makes of one; other codecs get no further with the small pages of a run.
const RATIO_MAX: u64 = 255;

/// What a page may have whatever it is compressed from.
const FREE_BYTES: u64 = 16 << 20;

/// Stands before an `i32` that is the field after the one before: its type, and 1.
const NEXT_I32: u8 = 0x15;

/// Bits of a number in each of its bytes; the highest bit says that it goes on.
const NUMBER_BITS: u32 = 7;

/// Checks the lengths in a header: its first three fields are the page's type, and its lengths without and with
/// compression.
pub(super) fn check_page(mut bytes: &[u8]) -> Result<(), Damage> {
    let [_, uncompressed, compressed] = [
        next_i32(&mut bytes, "type")?,
        next_i32(&mut bytes, "uncompressed_page_size")?,
        next_i32(&mut bytes, "compressed_page_size")?,
    ];
    let most = RATIO_MAX.saturating_mul(compressed).saturating_add(FREE_BYTES);
    if uncompressed > most {
        return Err(Damage::Field { field: "uncompressed_page_size", value: uncompressed });
    }
    Ok(())
}

/// Takes the next field, a number that is not negative.
fn next_i32(bytes: &mut &[u8], field: &'static str) -> Result<u64, Damage> {
    let truncated = Damage::Truncated { field, needed: 2, available: bytes.len() as u64 };
    let Some((mark, rest)) = bytes.split_first() else { return Err(truncated) };
    if *mark != NEXT_I32 {
        return Err(Damage::Field { field, value: u64::from(*mark) });
    }
    let mut rest = rest;
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(NUMBER_BITS as usize) {
        let Some((byte, behind)) = rest.split_first() else { return Err(truncated) };
        number |= u64::from(byte & 0x7f) << shift;
        rest = behind;
        if byte & 0x80 == 0 {
            *bytes = rest;
            // Zigzag: the lowest bit is the sign.
            return if number & 1 == 0 { Ok(number >> 1) } else { Err(Damage::Field { field, value: number }) };
        }
    }
    Err(Damage::Field { field, value: number })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a header of a data page with these lengths.
    fn header(uncompressed: i64, compressed: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [3, uncompressed, compressed] {
            bytes.push(NEXT_I32);
            let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
            while zigzag > 0x7f {
                bytes.push((zigzag & 0x7f).to_le_bytes()[0] | 0x80);
                zigzag >>= 7;
            }
            bytes.push(zigzag.to_le_bytes()[0]);
        }
        bytes
    }

    #[test]
    fn a_page_that_claims_more_than_its_bytes_can_become_is_refused() {
        for (uncompressed, compressed) in [(0, 0), (100, 100), (16 << 20, 1), ((16 << 20) + 255, 1), (1 << 30, 1 << 23)]
        {
            assert!(check_page(&header(uncompressed, compressed)).is_ok(), "{uncompressed} of {compressed}");
        }
        let limit = (16 << 20) + 255;
        for (uncompressed, compressed) in
            [(limit + 1, 1), (i64::from(i32::MAX), 1000), (i64::MAX, 0), (-1, 0), (0, -1), (i64::MIN, 1)]
        {
            let refused = check_page(&header(uncompressed, compressed));
            assert!(matches!(refused, Err(Damage::Field { .. })), "{uncompressed} of {compressed}: {refused:?}");
        }
    }

    #[test]
    fn every_cut_header_and_every_other_structure_is_refused() {
        let good = header(1000, 500);
        assert!((0..good.len()).all(|length| check_page(&good[..length]).is_err()));
        for bad in [&b"PAR1 and more of it"[..], &[0x19; 24], &[NEXT_I32, 0x80, 0x80], &[0xff; 24]] {
            assert!(check_page(bad).is_err(), "{bad:?}");
        }
    }
}
