//! Records and segment headers: bytes on disk to checked values and back.
//!
//! In: bodies to frame; bytes of a segment. Out: framed bytes; [`Frame`]s whose checksum held.
//! Invariants: a record's checksum covers where it lies (segment, offset), so a record that was misplaced or is left
//! over does not pass. Every byte of a segment is covered: padding is checked to be zero.
//! Bytes: FORMAT.md, "WAL".

use crate::error::{Damage, Error, Result};
use crate::id::{SeqNo, WalId};
use crate::seeded::{SeededFault, makes};

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RSTLWAL1";
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: u64 = 40;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: u64 = 40;
/// Longest body of a record in bytes.
pub const BODY_BYTES_MAX: u64 = 1 << 30;
/// First bytes of a record.
pub(super) const RECORD_MARKER: [u8; 4] = *b"RWAL";
/// Records start at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A write batch.
    Write,
    /// A manifest was committed.
    Manifest,
    /// The log goes on in another segment.
    Sealed,
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Manifest => 2,
            Self::Sealed => 3,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        [Self::Write, Self::Manifest, Self::Sealed].into_iter().find(|kind| kind.code() == code)
    }
}

/// A record whose checksum held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: RecordKind,
    /// Sequence number of a write batch; else the highest one before it.
    pub seq: SeqNo,
    /// Where the sync group that it belongs to starts; everything before was durable when it was written.
    pub group_start: u64,
    /// The body.
    pub body: &'a [u8],
    /// Where the next record starts.
    pub end: u64,
}

/// Where the zeros begin that a segment's bytes end with: those that the last record ends with, and reserved space.
pub fn zeros_from(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Appends a framed record to `log`, the bytes that will lie in `segment` from `group_start` on.
pub fn frame(log: &mut Vec<u8>, segment: WalId, group_start: u64, kind: RecordKind, seq: SeqNo, body: &[u8]) {
    let offset = group_start + log.len() as u64;
    let start = log.len();
    log.extend_from_slice(&RECORD_MARKER);
    log.extend_from_slice(&[0; 4]);
    log.extend_from_slice(&(body.len() as u64).to_le_bytes());
    log.extend_from_slice(&[kind.code(), 0, 0, 0, 0, 0, 0, 0]);
    log.extend_from_slice(&seq.0.to_le_bytes());
    log.extend_from_slice(&group_start.to_le_bytes());
    log.extend_from_slice(body);
    let checksum = checksum(segment, offset, &log[start + 8..]);
    log[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    log.resize(start + padded(log.len() - start), 0);
}

/// Reads the record at `offset` of a segment's bytes.
///
/// # Errors
/// What is wrong with it, as [`Damage`].
pub fn read_frame(bytes: &[u8], segment: WalId, offset: u64) -> Result<Frame<'_>, Damage> {
    let available = (bytes.len() as u64).saturating_sub(offset);
    let truncated = |needed| Damage::Truncated { field: "record", needed, available };
    if available < RECORD_HEADER_BYTES {
        return Err(truncated(RECORD_HEADER_BYTES));
    }
    let record = &bytes[usize::try_from(offset).map_err(|_| truncated(offset))?..];
    let marker = u64::from_le_bytes(array(record, 0)) & u64::from(u32::MAX);
    if record[..4] != RECORD_MARKER {
        return Err(Damage::Field { field: "marker", value: marker });
    }
    let length = u64::from_le_bytes(array(record, 8));
    if length > BODY_BYTES_MAX {
        return Err(Damage::Field { field: "length", value: length });
    }
    let body_end = RECORD_HEADER_BYTES + length;
    let end = body_end.next_multiple_of(ALIGNMENT);
    if end > available {
        return Err(truncated(end));
    }
    let record = &record[..usize::try_from(end).map_err(|_| truncated(end))?];
    let body_end = usize::try_from(body_end).map_err(|_| truncated(end))?;
    let expected = u32::from_le_bytes(array(record, 4));
    let found = checksum(segment, offset, &record[8..body_end]);
    if expected != found && !makes(SeededFault::RecordChecksumIgnored) {
        return Err(Damage::Checksum { expected, found });
    }
    if let Some(byte) = record[body_end..].iter().find(|byte| **byte != 0) {
        return Err(Damage::Field { field: "padding", value: u64::from(*byte) });
    }
    let kind = u64::from_le_bytes(array(record, 16));
    let known = u8::try_from(kind).ok().and_then(RecordKind::of_code);
    Ok(Frame {
        kind: known.ok_or(Damage::Field { field: "kind", value: kind })?,
        seq: SeqNo(u64::from_le_bytes(array(record, 24))),
        group_start: u64::from_le_bytes(array(record, 32)),
        body: &record[usize_of(RECORD_HEADER_BYTES)..body_end],
        end: offset + end,
    })
}

/// The header of a segment.
pub fn segment_header(segment: WalId, database: u128) -> Vec<u8> {
    let mut header = Vec::with_capacity(usize_of(SEGMENT_HEADER_BYTES));
    header.extend_from_slice(&SEGMENT_MAGIC);
    header.extend_from_slice(&segment.0.to_le_bytes());
    header.extend_from_slice(&database.to_le_bytes());
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header
}

/// Checks the header of a segment.
///
/// # Errors
/// [`Error::Corrupt`] if it is not the header of this segment of this database.
pub fn check_segment_header(path: &str, bytes: &[u8], segment: WalId, database: u128) -> Result<()> {
    let expected = segment_header(segment, database);
    let Some(found) = bytes.get(..expected.len()) else {
        let damage = Damage::Truncated { field: "header", needed: SEGMENT_HEADER_BYTES, available: bytes.len() as u64 };
        return Err(Error::corrupt_at(path, 0, damage));
    };
    if found == expected { Ok(()) } else { Err(Error::corrupt_at(path, 0, header_damage(found, &expected))) }
}

/// How a segment's header differs from the one that it must be.
fn header_damage(found: &[u8], expected: &[u8]) -> Damage {
    if found[..8] != SEGMENT_MAGIC {
        return Damage::Magic { expected: SEGMENT_MAGIC, found: array(found, 0) };
    }
    let (written, computed) = (u32::from_le_bytes(array(found, 32)), crc32c::crc32c(&found[..32]));
    if written != computed {
        return Damage::Checksum { expected: written, found: computed };
    }
    // An intact header, but of another segment, or of one of another database.
    let word = |bytes, start| u64::from_le_bytes(array(bytes, start));
    let fields = [("segment", 8), ("database", 16), ("database", 24), ("reserved", 32)];
    let differs = fields.into_iter().find(|(_, start)| word(found, *start) != word(expected, *start));
    let (field, start) = differs.unwrap_or(("header", 0));
    Damage::Field { field, value: word(found, start) }
}

fn checksum(segment: WalId, offset: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(place_checksum(segment, offset), bytes)
}

/// Of what a record's checksum covers beside the record: where it lies.
pub(super) fn place_checksum(segment: WalId, offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&segment.0.to_le_bytes()), &offset.to_le_bytes())
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(usize_of(ALIGNMENT))
}

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
pub(super) const fn usize_of(constant: u64) -> usize {
    constant as usize
}

/// `N` bytes from `start`; the caller checked that they are there.
pub(super) fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[start..start + N]);
    array
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const SEGMENT: WalId = WalId(3);

    /// A segment with a sync group per record.
    pub(crate) fn log(bodies: &[&[u8]]) -> Vec<u8> {
        let mut log = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            let group_start = 40 + log.len() as u64;
            let mut group = Vec::new();
            frame(&mut group, SEGMENT, group_start, RecordKind::Write, SeqNo(index as u64 + 1), body);
            log.extend(group);
        }
        [segment_header(SEGMENT, 7), log].concat()
    }

    #[test]
    fn records_come_back_as_they_were_framed() {
        let log = log(&[b"one", b"", b"three records"]);
        check_segment_header("wal/3", &log, SEGMENT, 7).unwrap();
        let mut at = SEGMENT_HEADER_BYTES;
        let mut bodies = Vec::new();
        while at < log.len() as u64 {
            let frame = read_frame(&log, SEGMENT, at).unwrap();
            assert_eq!(frame.group_start, at);
            bodies.push((frame.seq.0, frame.body));
            at = frame.end;
        }
        assert_eq!(bodies, [(1, &b"one"[..]), (2, b""), (3, b"three records")]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let log = log(&[b"some body"]);
        for bit in 0..log.len() * 8 {
            let mut flipped = log.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let header = check_segment_header("wal/3", &flipped, SEGMENT, 7);
            let record = read_frame(&flipped, SEGMENT, SEGMENT_HEADER_BYTES);
            assert!(header.is_err() || record.is_err(), "bit {bit}");
        }
        for length in 0..log.len() {
            assert!(read_frame(&log[..length], SEGMENT, SEGMENT_HEADER_BYTES).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_record_of_another_segment_or_place_does_not_pass() {
        let log = log(&[b"body"]);
        assert!(read_frame(&log, WalId(4), SEGMENT_HEADER_BYTES).is_err());
        let moved = [vec![0; 8], log].concat();
        assert!(read_frame(&moved, SEGMENT, SEGMENT_HEADER_BYTES + 8).is_err());
    }

    #[test]
    fn the_header_of_another_segment_or_database_is_told_from_damage() {
        let damage = |bytes: &[u8]| check_segment_header("wal/3", bytes, SEGMENT, 7).unwrap_err().to_string();
        let mut flipped = segment_header(SEGMENT, 7);
        flipped[20] ^= 1;
        assert!(damage(&flipped).contains("checksum is"), "{}", damage(&flipped));
        assert!(damage(&segment_header(WalId(4), 7)).contains("field `segment` holds 4"));
        assert!(damage(&segment_header(SEGMENT, 8)).contains("field `database` holds 8"));
    }

    #[test]
    fn a_record_that_claims_gigabytes_is_refused_before_it_is_read() {
        let good = log(&[b"body"]);
        let claims = [5, 12, 1 << 20, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, u64::MAX - 40, u64::MAX - 7, u64::MAX];
        for claim in claims {
            let mut bad = good.clone();
            bad[48..56].copy_from_slice(&claim.to_le_bytes());
            match read_frame(&bad, SEGMENT, SEGMENT_HEADER_BYTES) {
                // A body that ends in the padding is one that the checksum does not cover.
                Err(Damage::Checksum { .. }) => assert!(claim <= 8, "{claim}"),
                Err(Damage::Truncated { .. }) => assert!((9..=BODY_BYTES_MAX).contains(&claim), "{claim}"),
                Err(Damage::Field { field: "length", value }) => assert!(value == claim && claim > BODY_BYTES_MAX),
                other => panic!("{claim}: {other:?}"),
            }
        }
    }
}
