//! Gives hostile bytes checksums that match, so that only the checks behind the checksums can find what is wrong.
//!
//! In: files of a database, changed anywhere. Out: the same bytes with headers, checksums and digests made good.
//! Invariants: only what the formats call a checksum, a digest, a magic or a length of a file is changed; FORMAT.md
//! says where they are.

use rustling_engine::id::Digest;
use rustling_engine::sst::checksum::BLOCK_BYTES;

const SEGMENT_HEADER: usize = 40;
const RECORD_HEADER: usize = 40;
const MANIFEST_RECORD: u8 = 2;
/// Bytes of a key index's footer before its checksums, and behind them.
const FOOTER_FIELDS: usize = 84;
const FOOTER_TAIL: usize = 16;
const KEYS_MAGIC: &[u8; 8] = b"RSTLKEY1";

/// The little-endian integer at a place; 0 where the bytes end before.
pub fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// A segment of the log: its header, and every record from there on, whose lengths are cut to what is there. A record
/// that announces manifest `announced.0` is given its digest.
pub fn wal(segment: &mut Vec<u8>, announced: Option<(u64, Digest)>) {
    if segment.len() < SEGMENT_HEADER {
        segment.resize(SEGMENT_HEADER, 0);
    }
    put(segment, 0, b"RSTLWAL1");
    let checksum = crc32c::crc32c(&segment[..32]);
    put(segment, 32, &checksum.to_le_bytes());
    put(segment, 36, &[0; 4]);
    let id = segment[8..16].to_vec();
    let mut at = SEGMENT_HEADER;
    while at + RECORD_HEADER <= segment.len() {
        at = record(segment, &id, at, announced);
    }
}

/// Seals the record at a place; returns where the next one begins.
fn record(segment: &mut [u8], id: &[u8], at: usize, announced: Option<(u64, Digest)>) -> usize {
    let room = segment.len() - at - RECORD_HEADER;
    let length = usize::try_from(number(segment, at + 8)).unwrap_or(usize::MAX);
    // A length that lies stays one, if it is so large that no writer would have written it.
    let end = at + RECORD_HEADER + length.min(room);
    if length > room && length < 1 << 20 {
        put(segment, at + 8, &(room as u64).to_le_bytes());
    }
    if let Some((manifest, digest)) = announced
        && segment[at + 16] == MANIFEST_RECORD
        && number(segment, at + RECORD_HEADER) == manifest
    {
        put(segment, at + RECORD_HEADER + 8, &digest.0.to_le_bytes());
    }
    put(segment, at, b"RWAL");
    let place = crc32c::crc32c_append(crc32c::crc32c(id), &(at as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(place, &segment[at + 8..end]);
    put(segment, at + 4, &checksum.to_le_bytes());
    let next = end.next_multiple_of(8).min(segment.len());
    segment[end..next].fill(0);
    next
}

/// The text of a manifest as a file.
pub fn manifest(text: &[u8]) -> Vec<u8> {
    let mut bytes = format!("rustling manifest crc32c {:08x}\n", crc32c::crc32c(text)).into_bytes();
    bytes.extend_from_slice(text);
    bytes
}

/// CRC32C of each block of a file.
pub fn block_checksums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)).map(crc32c::crc32c).collect()
}

/// Lengths and digests of a run's other files, as a key index knows them.
#[derive(Clone, Copy, Debug)]
pub struct Companions<'a> {
    /// The SST.
    pub sst: &'a [u8],
    /// The deleted keys; empty where there are none.
    pub deletes: &'a [u8],
}

/// A key index: its magics, the block checksums of its own bytes, its footer's checksum, which is returned; and, where
/// the run's other files are given, what it says of them. The sections must still be where its fields say.
pub fn key_index(bytes: &mut Vec<u8>, companions: Option<Companions<'_>>) -> u32 {
    let least = FOOTER_FIELDS + FOOTER_TAIL + KEYS_MAGIC.len();
    if bytes.len() < least {
        bytes.resize(least, 0);
    }
    let footer_bytes = usize::try_from(number(bytes, bytes.len() - FOOTER_TAIL + 4) & u64::from(u32::MAX));
    let room = bytes.len() - FOOTER_TAIL;
    let start = room - footer_bytes.unwrap_or(usize::MAX).clamp(FOOTER_FIELDS, room);
    let fields = bytes[start..start + FOOTER_FIELDS].to_vec();
    bytes.truncate(start);
    put(bytes, 0, KEYS_MAGIC);
    let mut footer = fields;
    if let Some(companions) = companions {
        let mut end = bytes.len();
        for (file, at) in [(companions.deletes, 56), (companions.sst, 32)] {
            let digest = if file.is_empty() { Digest(0) } else { Digest::of(file) };
            put(&mut footer, at, &(file.len() as u64).to_le_bytes());
            put(&mut footer, at + 8, &digest.0.to_le_bytes());
            let checksums: Vec<u8> = block_checksums(file).into_iter().flat_map(u32::to_le_bytes).collect();
            end = end.saturating_sub(checksums.len());
            put(bytes, end, &checksums);
        }
    }
    footer.extend(block_checksums(bytes).into_iter().flat_map(u32::to_le_bytes));
    let checksum = crc32c::crc32c(&footer);
    let length = u32::try_from(footer.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&footer);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(KEYS_MAGIC);
    checksum
}
