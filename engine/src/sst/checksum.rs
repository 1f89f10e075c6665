//! Checksums of a file, made while it is written: a CRC32C per block and a digest of the whole.
//!
//! In: bytes, appended. Out: a synced file and [`HashedFile`], which says what its bytes must be; for readers
//! [`BlockChecks`], which remembers the blocks that were found to match.
//! Invariants: a block is [`BLOCK_BYTES`] long, the last one shorter; a file of no bytes has no block.
//! Bytes: FORMAT.md, "Checksums".

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use crate::disk::api::{Disk, WriteFile, at};
use crate::error::{Damage, Result};
use crate::id::Digest;
use crate::seeded::{SeededFault, makes};

/// Bytes covered by one CRC32C.
pub const BLOCK_BYTES: u64 = 65_536;

/// Bytes gathered before they are hashed and written; still in the CPU's cache when they are.
const BUFFER_BYTES: usize = 1 << 20;

/// Number of blocks of a file.
pub fn block_count(file_bytes: u64) -> u64 {
    file_bytes.div_ceil(BLOCK_BYTES)
}

/// What the bytes of a finished file must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// Its length.
    pub bytes: u64,
    /// Digest of all its bytes.
    pub digest: Digest,
    /// CRC32C of each block.
    pub checksums: Vec<u32>,
}

impl HashedFile {
    /// What a file of these bytes must be.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hashes = Hashes::new();
        hashes.update(bytes);
        Self { bytes: hashes.bytes, digest: Digest(hashes.digest.digest128()), checksums: hashes.checksums() }
    }
}

/// A new file that hashes what is written to it.
pub struct HashingFile {
    file: Box<dyn WriteFile>,
    path: String,
    buffer: Vec<u8>,
    hashes: Hashes,
}

impl HashingFile {
    /// Creates the file.
    ///
    /// # Errors
    /// The name is taken, or the disk refuses.
    pub fn create(disk: &dyn Disk, path: &str) -> Result<Self> {
        let file = disk.create(path).map_err(at("create", path))?;
        Ok(Self { file, path: path.to_owned(), buffer: Vec::new(), hashes: Hashes::new() })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.hashes.bytes + self.buffer.len() as u64
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk refuses; the file is then of no use any more.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        io::Write::write_all(self, bytes).map_err(at("write", &self.path))
    }

    /// Checksums of the blocks of what was written so far, the last of them maybe of a part of a block.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn checksums(&mut self) -> Result<Vec<u32>> {
        self.drain().map_err(at("write", &self.path))?;
        Ok(self.hashes.checksums())
    }

    /// Writes what is gathered and makes the bytes durable; the name is the caller's to sync. Nothing may be written
    /// any more (Parquet's writer, which gives the file away too late, is why `self` is not consumed).
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(&mut self) -> Result<HashedFile> {
        self.drain().map_err(at("write", &self.path))?;
        self.file.sync().map_err(at("sync", &self.path))?;
        Ok(HashedFile {
            bytes: self.hashes.bytes,
            digest: Digest(self.hashes.digest.digest128()),
            checksums: self.hashes.checksums(),
        })
    }

    fn drain(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.hashes.update(&self.buffer);
        let written = self.file.append(&self.buffer);
        self.buffer.clear();
        written
    }
}

impl io::Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.drain()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.hashes.update(bytes);
            self.file.append(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    /// Keeps what is gathered: only [`HashingFile::finish`] promises anything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The running hashes of a file.
struct Hashes {
    bytes: u64,
    digest: Box<Xxh3>,
    full: Vec<u32>,
    /// CRC32C of the bytes behind the last full block.
    partial: u32,
}

impl Hashes {
    fn new() -> Self {
        Self { bytes: 0, digest: Box::new(Xxh3::new()), full: Vec::new(), partial: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.digest.update(bytes);
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.bytes % BLOCK_BYTES;
            let (head, tail) = bytes.split_at(bytes.len().min(in_memory(room)));
            self.partial = crc32c::crc32c_append(self.partial, head);
            self.bytes += head.len() as u64;
            if self.bytes.is_multiple_of(BLOCK_BYTES) {
                self.full.push(std::mem::take(&mut self.partial));
            }
            bytes = tail;
        }
    }

    fn checksums(&self) -> Vec<u32> {
        let mut checksums = self.full.clone();
        if !self.bytes.is_multiple_of(BLOCK_BYTES) {
            checksums.push(self.partial);
        }
        checksums
    }
}

/// The checksums of a file's blocks, and which blocks were found to match.
#[derive(Debug)]
pub struct BlockChecks {
    file_bytes: u64,
    checksums: Arc<[u32]>,
    /// One bit per block. It only grows, and a bit guards no other memory, so relaxed access is enough.
    verified: Box<[AtomicU64]>,
}

impl BlockChecks {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.checksums.len() * size_of::<u32>() + self.verified.len() * size_of::<u64>()
    }

    /// No block was checked yet.
    ///
    /// # Errors
    /// The number of checksums is not that of the file's blocks.
    pub fn new(file_bytes: u64, checksums: Arc<[u32]>) -> Result<Self, Damage> {
        let (expected, found) = (block_count(file_bytes), checksums.len() as u64);
        if expected != found {
            return Err(Damage::Disagreement { fact: "the number of block checksums", expected, found });
        }
        let verified = (0..checksums.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { file_bytes, checksums, verified })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The blocks that hold the bytes of a range that lies in the file; none for an empty range.
    pub fn covering(&self, range: &Range<u64>) -> Range<u64> {
        if range.is_empty() { 0..0 } else { range.start / BLOCK_BYTES..block_count(range.end) }
    }

    /// Where the bytes of a block lie.
    pub fn span(&self, block: u64) -> Range<u64> {
        block * BLOCK_BYTES..((block + 1) * BLOCK_BYTES).min(self.file_bytes)
    }

    /// Whether a block was found to match.
    pub fn is_verified(&self, block: u64) -> bool {
        let (word, bit) = place(block);
        self.verified[word].load(Ordering::Relaxed) & bit != 0
    }

    /// Compares all bytes of a block with its checksum, and remembers that they match.
    ///
    /// # Errors
    /// They do not match.
    pub fn verify(&self, block: u64, bytes: &[u8]) -> Result<(), Damage> {
        let expected = self.checksums[in_memory(block)];
        let found = crc32c::crc32c(bytes);
        if expected != found && !makes(SeededFault::BlockChecksumIgnored) {
            return Err(Damage::Checksum { expected, found });
        }
        let (word, bit) = place(block);
        self.verified[word].fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }
}

/// Word of the bitmap, and bit in it.
fn place(block: u64) -> (usize, u64) {
    (in_memory(block / 64), 1 << (block % 64))
}

/// An offset or a count of what is in memory already, or is about to be; a value too large for memory stays too large.
pub fn in_memory(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
