//! Finds intact records behind damage, which tell rot from a torn tail.
//!
//! In: bytes of a segment, and a place in them where no record passes. Out: the records behind it that pass; the first
//! of them that was written when everything before the place was durable.
//! Invariants: whatever the bytes hold, they are read a few times at most. Rows of a hostile user may look like the
//! headers of long records, at every eighth byte; their checksums come out of the checksums of prefixes.
//! Bytes: FORMAT.md, "WAL".

use std::ops::Range;

use crate::id::WalId;
use crate::wal::record::{
    ALIGNMENT, BODY_BYTES_MAX, Frame, RECORD_HEADER_BYTES, RECORD_MARKER, RecordKind, array, place_checksum, read_frame,
};

/// The first intact record at or behind `offset` that was written when everything before `offset` was durable already.
pub fn intact_behind(bytes: &[u8], segment: WalId, offset: u64) -> Option<u64> {
    intact_records(bytes, segment, offset).find_map(|(at, frame)| (frame.group_start > offset).then_some(at))
}

/// The intact records at or behind `offset`, wherever they lie, each with its place.
pub fn intact_records(bytes: &[u8], segment: WalId, offset: u64) -> impl Iterator<Item = (u64, Frame<'_>)> {
    let mut checksums = None;
    let mut next = offset.next_multiple_of(ALIGNMENT);
    std::iter::from_fn(move || {
        while next + RECORD_HEADER_BYTES <= bytes.len() as u64 {
            let at = next;
            next += ALIGNMENT;
            let start = usize::try_from(at).ok()?;
            let Some(end) = looks_intact(&bytes[start..], at) else { continue };
            let checksums = checksums.get_or_insert_with(|| PrefixChecksums::new(bytes));
            let expected = u32::from_le_bytes(array(bytes, start + 4));
            if checksums.behind(place_checksum(segment, at), start + 8..start + end) == expected
                && let Ok(frame) = read_frame(bytes, segment, at)
            {
                next = frame.end;
                return Some((at, frame));
            }
        }
        None
    })
}

/// The end of the body of the record that these bytes, which lie at `at`, would begin with; `None` if all but its
/// checksum tells already that it is no record.
fn looks_intact(record: &[u8], at: u64) -> Option<usize> {
    let length = u64::from_le_bytes(array(record, 8));
    let kind = u8::try_from(u64::from_le_bytes(array(record, 16))).ok();
    let group_start = u64::from_le_bytes(array(record, 32));
    if record[..4] != RECORD_MARKER || group_start > at || kind.and_then(RecordKind::of_code).is_none() {
        return None;
    }
    let end = usize::try_from(length.checked_add(RECORD_HEADER_BYTES)?).ok()?;
    (length <= BODY_BYTES_MAX && end <= record.len()).then_some(end)
}

/// Checksums of any ranges of some bytes, each from those of two prefixes, in a time that its length hardly matters to.
struct PrefixChecksums<'a> {
    bytes: &'a [u8],
    /// Of the first `n * STEP` bytes.
    prefixes: Vec<u32>,
}

impl<'a> PrefixChecksums<'a> {
    const STEP: usize = 1024;

    fn new(bytes: &'a [u8]) -> Self {
        let mut checksum = 0;
        let prefixes = std::iter::once(0).chain(bytes.chunks(Self::STEP).map(|step| {
            checksum = crc32c::crc32c_append(checksum, step);
            checksum
        }));
        Self { bytes, prefixes: prefixes.collect() }
    }

    fn prefix(&self, end: usize) -> u32 {
        let step = end / Self::STEP;
        crc32c::crc32c_append(self.prefixes[step], &self.bytes[step * Self::STEP..end])
    }

    /// The checksum of a range that is not empty behind something that has a checksum. To append a range shifts the
    /// checksum before it by its length and adds its own; shifts of sums are sums of shifts, so the prefix before the
    /// range goes out of the prefix that ends with it in the same step.
    fn behind(&self, before: u32, range: Range<usize>) -> u32 {
        crc32c::crc32c_combine(before ^ self.prefix(range.start), self.prefix(range.end), range.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::id::SeqNo;
    use crate::wal::record::tests::{SEGMENT, log};
    use crate::wal::record::{SEGMENT_HEADER_BYTES, frame, segment_header, usize_of};

    use super::*;

    #[test]
    fn an_intact_record_behind_damage_tells_rot_from_a_torn_tail() {
        let mut torn = log(&[b"first", b"second"]);
        torn[usize_of(SEGMENT_HEADER_BYTES) + 42] ^= 1;
        let second = read_frame(&log(&[b"first"]), SEGMENT, 40).unwrap().end;
        assert_eq!(intact_behind(&torn, SEGMENT, SEGMENT_HEADER_BYTES), Some(second));
        // Both records in one sync group: the disk may have kept the second without the first.
        let mut group = Vec::new();
        frame(&mut group, SEGMENT, 40, RecordKind::Write, SeqNo(1), b"first");
        frame(&mut group, SEGMENT, 40, RecordKind::Write, SeqNo(2), b"second");
        let mut torn = [segment_header(SEGMENT, 7), group].concat();
        torn[usize_of(SEGMENT_HEADER_BYTES) + 42] ^= 1;
        assert_eq!(intact_behind(&torn, SEGMENT, SEGMENT_HEADER_BYTES), None);
    }

    #[test]
    fn checksums_of_ranges_are_those_of_their_bytes() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let checksums = PrefixChecksums::new(&bytes);
        for start in [0, 1, 8, 1023, 1024, 1025, 3000, 4999] {
            for end in [start + 1, start + 7, 2048, 4096, 4999, 5000] {
                if start < end && end <= bytes.len() {
                    let want = crc32c::crc32c_append(7, &bytes[start..end]);
                    assert_eq!(checksums.behind(7, start..end), want, "{start}..{end}");
                }
            }
        }
    }

    #[test]
    fn a_tail_of_false_headers_is_searched_once() {
        // Each header claims all that is behind it: read one by one they would be gigabytes.
        let mut tail = Vec::new();
        while tail.len() < 1 << 20 {
            let claim = ((1 << 20) - tail.len()) as u64;
            let at = 40 + 8 + tail.len() as u64;
            for field in [u64::from_le_bytes(*b"RWAL\x01\x02\x03\x04"), claim, 1, 5, at] {
                tail.extend_from_slice(&field.to_le_bytes());
            }
        }
        let mut log = [segment_header(SEGMENT, 7), b"damaged ".to_vec(), tail].concat();
        log.resize(log.len() + 64, 0);
        assert_eq!(intact_behind(&log, SEGMENT, SEGMENT_HEADER_BYTES), None);
        // Nor does a length at which numbers end matter.
        log[56..64].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(intact_behind(&log, SEGMENT, SEGMENT_HEADER_BYTES), None);
        // A true one among them is found all the same.
        let true_at = log.len().next_multiple_of(8) as u64;
        log.resize(usize_of(true_at), 0);
        let mut record = Vec::new();
        frame(&mut record, SEGMENT, true_at, RecordKind::Write, SeqNo(1), b"true");
        log.extend(record);
        assert_eq!(intact_behind(&log, SEGMENT, SEGMENT_HEADER_BYTES), Some(true_at));
    }
}
