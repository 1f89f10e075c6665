//! Writes the key index of one run, from its keys in ascending order.
//!
//! In: strictly ascending keys; at the end what the run's other files are. Out: one synced file.
//! Invariants: memory holds the fences, the offsets and one group's hashes; everything else is written as it comes.
//! Bytes: FORMAT.md, "Key index".

use std::ops::Range;

use crate::disk::api::Disk;
use crate::error::Result;
use crate::id::RunId;
use crate::rows::keys::Keys;
use crate::sst::checksum::{HashedFile, HashingFile};
use crate::sst::key_index::block::{self, BLOCK_KEYS};
use crate::sst::key_index::filter::{self, GROUP_KEYS};
use crate::sst::key_index::footer::{Footer, MAGIC};
use crate::sst::meta::FileMeta;

/// A key index being written.
pub struct KeyIndexWriter {
    file: HashingFile,
    width: Option<usize>,
    keys: u64,
    /// Keys of a block that is not full yet.
    pending: Keys,
    /// Hashes of the keys of a group that is not full yet.
    hashes: Vec<u64>,
    fences: Vec<u8>,
    directory: Vec<u8>,
    filters: Vec<u8>,
    /// Bytes of one block or filter, to use the allocation again.
    scratch: Vec<u8>,
}

impl KeyIndexWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// The name is taken, or the disk refuses.
    pub fn create(disk: &dyn Disk, path: &str) -> Result<Self> {
        let mut file = HashingFile::create(disk, path)?;
        file.append(&MAGIC)?;
        Ok(Self {
            file,
            width: None,
            keys: 0,
            pending: Keys::new(None),
            hashes: Vec::new(),
            fences: Vec::new(),
            directory: Vec::new(),
            filters: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Bytes written so far and held to be written.
    pub fn bytes(&self) -> u64 {
        self.file.bytes() + (self.fences.len() + self.directory.len() + self.filters.len()) as u64
    }

    /// Appends keys that are greater than all before them and have their common width, if they have one.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn append(&mut self, keys: &Keys) -> Result<()> {
        if self.keys == 0 {
            self.width = keys.width();
            self.pending = Keys::new(self.width);
        }
        assert_eq!(self.width, keys.width(), "the keys of a run have one width, or none does");
        self.keys += keys.len() as u64;
        let mut start = 0;
        while start < keys.len() {
            let end = keys.len().min(start + BLOCK_KEYS - self.pending.len());
            if end - start == BLOCK_KEYS {
                self.write_block(keys, start..end)?;
            } else {
                self.pending.extend(keys, start..end);
                self.write_pending(BLOCK_KEYS)?;
            }
            start = end;
        }
        Ok(())
    }

    /// Writes the pending keys if there are at least so many.
    fn write_pending(&mut self, least: usize) -> Result<()> {
        if self.pending.len() < least {
            return Ok(());
        }
        let pending = std::mem::replace(&mut self.pending, Keys::new(self.width));
        self.write_block(&pending, 0..pending.len())
    }

    fn write_block(&mut self, keys: &Keys, rows: Range<usize>) -> Result<()> {
        self.fences.extend_from_slice(keys.get(rows.start));
        self.directory.extend_from_slice(&self.file.bytes().to_le_bytes());
        self.directory.extend_from_slice(&(self.fences.len() as u64).to_le_bytes());
        self.scratch.clear();
        block::encode(keys, rows.clone(), &mut self.scratch);
        self.file.append(&self.scratch)?;
        self.hashes.extend(rows.map(|row| filter::hash(keys.get(row))));
        if self.hashes.len() == GROUP_KEYS { self.write_filter() } else { Ok(()) }
    }

    fn write_filter(&mut self) -> Result<()> {
        self.filters.extend_from_slice(&self.file.bytes().to_le_bytes());
        self.scratch.clear();
        filter::encode(&self.hashes, &mut self.scratch);
        self.hashes.clear();
        self.file.append(&self.scratch)
    }

    /// Writes the rest and makes the file durable. Also gives the checksum of the footer, for the manifest.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self, run: RunId, sst: &HashedFile, deletes: Option<&HashedFile>) -> Result<(HashedFile, u32)> {
        self.write_pending(1)?;
        if !self.hashes.is_empty() {
            self.write_filter()?;
        }
        let groups_bytes = self.file.bytes() - MAGIC.len() as u64;
        for section in [&self.fences, &self.directory, &self.filters] {
            self.file.append(section)?;
        }
        for checksum in [Some(sst), deletes].into_iter().flatten().flat_map(|file| &file.checksums) {
            self.file.append(&checksum.to_le_bytes())?;
        }
        let footer = Footer {
            run,
            keys: self.keys,
            key_width: self.width.and_then(|width| u32::try_from(width).ok()),
            groups_bytes,
            fences_bytes: self.fences.len() as u64,
            sst: FileMeta::from(sst),
            deletes: deletes.map(FileMeta::from),
            checksums: self.file.checksums()?,
        };
        let (bytes, checksum) = footer.encode();
        self.file.append(&bytes)?;
        Ok((self.file.finish()?, checksum))
    }
}
