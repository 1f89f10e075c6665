//! The footer of a key index: what the file holds, and what the run's other files must be.
//!
//! In: a [`Footer`]; or the bytes of a whole file. Out: bytes; or a footer that agrees with its file.
//! Invariants: the sections lie one behind the other and fill the file, so their places follow from counts; nothing
//! is taken from the bytes before their checksum matched.
//! Bytes: FORMAT.md, "Key index".

use std::ops::Range;

use crate::error::{Damage, Error, Result};
use crate::id::{Digest, RunId};
use crate::sst::checksum::{block_count, in_memory};
use crate::sst::key_index::block::BLOCK_KEYS;
use crate::sst::key_index::filter::GROUP_KEYS;
use crate::sst::meta::FileMeta;

/// The first and the last bytes of a key index.
pub const MAGIC: [u8; 8] = *b"RSTLKEY1";

/// Bytes of a block's entry in the directory: where the block and where its fence's successor begin.
pub const ENTRY_BYTES: u64 = 16;

/// Bytes of the fields before the checksums.
const FIELDS_BYTES: usize = 84;
/// Checksum, length and magic behind the footer.
const TAIL_BYTES: usize = 16;

/// What a key index says of itself and of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The run.
    pub run: RunId,
    /// Number of keys.
    pub keys: u64,
    /// Length of every key, if they have one.
    pub key_width: Option<u32>,
    /// Bytes of the key blocks and filters.
    pub groups_bytes: u64,
    /// Bytes of the fences.
    pub fences_bytes: u64,
    /// The run's SST.
    pub sst: FileMeta,
    /// The run's deleted keys.
    pub deletes: Option<FileMeta>,
    /// CRC32C of each block of the bytes before the footer.
    pub checksums: Vec<u32>,
}

/// Where the sections of a key index lie, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    /// Key blocks; behind those of each group its filter.
    pub groups: Range<u64>,
    /// First keys of the blocks.
    pub fences: Range<u64>,
    /// [`ENTRY_BYTES`] per block.
    pub directory: Range<u64>,
    /// Offset of each filter.
    pub filters: Range<u64>,
    /// Checksums of the SST's blocks.
    pub sst_checksums: Range<u64>,
    /// Checksums of the `.del` file's blocks.
    pub deletes_checksums: Range<u64>,
}

impl Footer {
    /// Number of key blocks.
    pub fn blocks(&self) -> u64 {
        self.keys.div_ceil(BLOCK_KEYS as u64)
    }

    /// Number of groups, each with a filter.
    pub fn groups(&self) -> u64 {
        self.keys.div_ceil(GROUP_KEYS as u64)
    }

    /// Where the sections lie; in a footer that no file has, some end at the largest number.
    pub fn sections(&self) -> Sections {
        let mut end = MAGIC.len() as u64;
        let mut section = |bytes: u64| {
            let start = end;
            end = end.saturating_add(bytes);
            start..end
        };
        let file_checksums = |file: &FileMeta| block_count(file.bytes) * 4;
        Sections {
            groups: section(self.groups_bytes),
            fences: section(self.fences_bytes),
            directory: section(self.blocks().saturating_mul(ENTRY_BYTES)),
            filters: section(self.groups() * 8),
            sst_checksums: section(file_checksums(&self.sst)),
            deletes_checksums: section(self.deletes.as_ref().map_or(0, file_checksums)),
        }
    }

    /// The bytes of the footer and of what follows it, and the checksum that a manifest keeps.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let deletes = self.deletes.unwrap_or(FileMeta { bytes: 0, digest: Digest(0) });
        let mut bytes = Vec::with_capacity(FIELDS_BYTES + self.checksums.len() * 4 + TAIL_BYTES);
        for field in [self.run.0, self.keys, self.groups_bytes, self.fences_bytes] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        for file in [self.sst, deletes] {
            bytes.extend_from_slice(&file.bytes.to_le_bytes());
            bytes.extend_from_slice(&file.digest.0.to_le_bytes());
        }
        bytes.extend_from_slice(&self.key_width.unwrap_or(0).to_le_bytes());
        self.checksums.iter().for_each(|checksum| bytes.extend_from_slice(&checksum.to_le_bytes()));
        let checksum = crc32c::crc32c(&bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&MAGIC);
        (bytes, checksum)
    }

    /// The footer of a whole file, given the checksum that the manifest has of it.
    ///
    /// # Errors
    /// The file is no key index, its footer is not the expected one, or it does not fit the file.
    pub fn parse(path: &str, file: &[u8], expected_checksum: u32) -> Result<Self> {
        let whole = file.len() as u64;
        let corrupt = |offset: usize, damage| Error::corrupt_at(path, offset as u64, damage);
        let truncated = |field, needed: usize| Damage::Truncated { field, needed: needed as u64, available: whole };
        check_magic(file).map_err(|damage| corrupt(0, damage))?;
        let Some((rest, tail)) = file.split_last_chunk::<TAIL_BYTES>() else {
            return Err(corrupt(0, truncated("tail", TAIL_BYTES)));
        };
        check_magic(&tail[8..]).map_err(|damage| corrupt(file.len() - MAGIC.len(), damage))?;
        let length = in_memory(Fields(&tail[4..]).u32().into());
        let (start, footer) = match rest.len().checked_sub(length) {
            Some(start) if length >= FIELDS_BYTES => (start, &rest[start..]),
            _ => return Err(corrupt(rest.len(), truncated("footer", length.max(FIELDS_BYTES)))),
        };
        let stored = Fields(&tail[..]).u32();
        for found in [stored, crc32c::crc32c(footer)] {
            if found != expected_checksum {
                return Err(corrupt(start, Damage::Checksum { expected: expected_checksum, found }));
            }
        }
        Self::parse_fields(footer, start as u64).map_err(|damage| corrupt(start, damage))
    }

    fn parse_fields(bytes: &[u8], start: u64) -> Result<Self, Damage> {
        let (fields, checksums) = bytes.split_at(FIELDS_BYTES);
        let mut fields = Fields(fields);
        let footer = Self {
            run: RunId(fields.u64()),
            keys: fields.u64(),
            groups_bytes: fields.u64(),
            fences_bytes: fields.u64(),
            sst: fields.file(),
            deletes: Some(fields.file()).filter(|file| file.bytes != 0),
            key_width: Some(fields.u32()).filter(|width| *width != 0),
            checksums: checksums.chunks_exact(4).map(|checksum| Fields(checksum).u32()).collect(),
        };
        let end = footer.sections().deletes_checksums.end;
        if end != start {
            return Err(Damage::Disagreement { fact: "the end of the sections", expected: start, found: end });
        }
        if !checksums.len().is_multiple_of(4) {
            return Err(Damage::Field { field: "footer_bytes", value: bytes.len() as u64 });
        }
        Ok(footer)
    }
}

fn check_magic(bytes: &[u8]) -> Result<(), Damage> {
    let Some(found) = bytes.first_chunk() else {
        let (needed, available) = (MAGIC.len() as u64, bytes.len() as u64);
        return Err(Damage::Truncated { field: "magic", needed, available });
    };
    if *found == MAGIC { Ok(()) } else { Err(Damage::Magic { expected: MAGIC, found: *found }) }
}

/// Fields that are read one after the other from bytes known to be long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (head, rest) = self.0.split_at(N);
        array.copy_from_slice(head);
        self.0 = rest;
        array
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn file(&mut self) -> FileMeta {
        FileMeta { bytes: self.u64(), digest: Digest(u128::from_le_bytes(self.array())) }
    }
}
