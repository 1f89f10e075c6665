//! Answers questions about the keys of one run, out of its mapped key index.
//!
//! In: keys, ranks. Out: ranks, keys.
//! Invariants: every byte lies in a block whose checksum matched before it is used; bytes that lie behind a matching
//! checksum and are wrong all the same give an error, never a panic. Nothing is copied to the heap but what is asked
//! for.
//! Bytes: FORMAT.md, "Key index".

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::api::{Disk, at};
use crate::error::{Damage, Error, Result};
use crate::rows::keys::{HeadedKey, Keys};
use crate::sst::checksum::{BlockChecks, in_memory};
use crate::sst::key_index::block::{BLOCK_KEYS, KeyBlock, Rank};
use crate::sst::key_index::filter::{self, FILTER_BLOCK_BYTES, GROUP_KEYS};
use crate::sst::key_index::footer::{ENTRY_BYTES, Footer, Sections};
use crate::sst::meta::{KeyRange, SstMeta};
use crate::sst::verified_file::open_exact;

/// Key blocks of every group but the last.
const GROUP_BLOCKS: u64 = (GROUP_KEYS / BLOCK_KEYS) as u64;

/// What a key index says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its row.
    Row(u64),
    /// It is not there: the filter said so, and no key block was looked at.
    Denied,
    /// It is not there: it lies outside of the keys, or is not in its block.
    Absent,
}

/// The key index of a run.
#[derive(Debug)]
pub struct KeyIndex {
    path: String,
    bytes: Bytes,
    /// Of the bytes before the footer.
    checks: BlockChecks,
    footer: Footer,
    sections: Sections,
    key_range: Option<KeyRange>,
}

impl KeyIndex {
    /// Opens the key index of a run and compares its footer with what the manifest knows of the run.
    ///
    /// # Errors
    /// It is missing, damaged or of another run; the disk refuses.
    pub fn open(disk: &dyn Disk, path: String, meta: &SstMeta) -> Result<Self> {
        let bytes = open_exact(disk, &path, meta.keys.bytes)?.map().map_err(at("map", &path))?;
        let mut footer = Footer::parse(&path, &bytes, meta.footer_checksum)?;
        let sections = footer.sections();
        let corrupt = |damage| Error::corrupt(&*path, damage);
        check_footer(&footer, meta).map_err(corrupt)?;
        let checksums = std::mem::take(&mut footer.checksums).into();
        let checks = BlockChecks::new(sections.deletes_checksums.end, checksums).map_err(corrupt)?;
        Ok(Self { path, bytes, checks, footer, sections, key_range: meta.key_range.clone() })
    }

    /// Name of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Number of keys, which is the number of the run's rows.
    pub fn len(&self) -> u64 {
        self.footer.keys
    }

    /// Whether the run has no rows.
    pub fn is_empty(&self) -> bool {
        self.footer.keys == 0
    }

    /// Number of key blocks.
    pub fn blocks(&self) -> u64 {
        self.footer.blocks()
    }

    /// Bytes of every key, if the index says that they have one length.
    pub fn width(&self) -> Option<usize> {
        self.footer.key_width.map(|width| in_memory(width.into()))
    }

    /// Bytes on the heap, about: the checksums of its blocks. The rest is read where it is mapped.
    pub fn heap_bytes(&self) -> usize {
        self.checks.heap_bytes()
    }

    /// Least and greatest key.
    pub fn key_range(&self) -> Option<&KeyRange> {
        self.key_range.as_ref()
    }

    /// The footer; its list of checksums is empty.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Where the sections of the file lie.
    pub fn sections(&self) -> &Sections {
        &self.sections
    }

    /// Checksums of the SST's blocks.
    ///
    /// # Errors
    /// The file is damaged there.
    pub fn sst_checksums(&self) -> Result<Arc<[u32]>> {
        self.checksums(self.sections.sst_checksums.clone())
    }

    /// Checksums of the `.del` file's blocks; none without such a file.
    ///
    /// # Errors
    /// The file is damaged there.
    pub fn deletes_checksums(&self) -> Result<Arc<[u32]>> {
        self.checksums(self.sections.deletes_checksums.clone())
    }

    fn checksums(&self, range: Range<u64>) -> Result<Arc<[u32]>> {
        let words = self.slice(range, "checksums")?.chunks_exact(4);
        Ok(words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    /// Where a key is. O(log rows).
    ///
    /// # Errors
    /// The file is damaged on the way to it.
    pub fn rank(&self, key: &[u8]) -> Result<Rank> {
        let key = HeadedKey::from(key);
        match self.fences()?.block_of(key, 0)? {
            None => Ok(Rank::Absent(0)),
            Some(block) => self.rank_in(block, &self.block(block)?, key, 0),
        }
    }

    /// The row of a key, asking range and filter first. O(log rows) where it may be there.
    ///
    /// # Errors
    /// The file is damaged on the way to it.
    pub fn find(&self, key: &[u8]) -> Result<Found> {
        if !self.key_range.as_ref().is_some_and(|range| range.contains(key)) {
            return Ok(Found::Absent);
        }
        let key = HeadedKey::from(key);
        let Some(block) = self.fences()?.block_of(key, 0)? else { return Ok(Found::Absent) };
        if !self.filter_may_contain(block, key.key)? {
            return Ok(Found::Denied);
        }
        match self.rank_in(block, &self.block(block)?, key, 0)? {
            Rank::Found(row) => Ok(Found::Row(row)),
            Rank::Absent(_) => Ok(Found::Absent),
        }
    }

    /// How many keys are less than this one, which may have any length.
    ///
    /// # Errors
    /// The file is damaged on the way to it.
    pub fn lower_bound(&self, key: &[u8]) -> Result<u64> {
        let (Rank::Found(row) | Rank::Absent(row)) = self.rank(key)?;
        Ok(row)
    }

    /// The keys of a range of rows. O(keys).
    ///
    /// # Errors
    /// The range ends behind the last row; the file is damaged there; its keys do not ascend.
    pub fn read(&self, rows: Range<u64>) -> Result<Keys> {
        if rows.start > rows.end || rows.end > self.len() {
            return Err(self.truncated("rows", rows.end, self.len()));
        }
        let mut keys = Keys::new(self.width());
        let mut row = rows.start;
        while row < rows.end {
            let block = row / BLOCK_KEYS as u64;
            let first = block * BLOCK_KEYS as u64;
            let end = rows.end.min(first + BLOCK_KEYS as u64);
            (self.block(block)?.decode(in_memory(row - first)..in_memory(end - first), &mut keys))
                .map_err(|damage| self.corrupt_block(block, damage))?;
            row = end;
        }
        match keys.first_disorder() {
            None => Ok(keys),
            Some(index) => Err(Error::corrupt(&*self.path, Damage::KeyOrder { row: rows.start + index as u64 })),
        }
    }

    /// The first key of a block.
    ///
    /// # Errors
    /// There is no such block; the file is damaged there.
    pub fn fence(&self, block: u64) -> Result<&[u8]> {
        if block >= self.blocks() {
            return Err(self.truncated("directory", block, self.blocks()));
        }
        let base = self.sections.fences.start;
        let (start, end) = match self.footer.key_width {
            Some(width) => {
                let width = u64::from(width);
                (block.saturating_mul(width), (block + 1).saturating_mul(width))
            }
            None => {
                let start = block.checked_sub(1).map_or(Ok(0), |before| self.word(self.entry(before) + 8))?;
                (start, self.word(self.entry(block) + 8)?)
            }
        };
        if start > end || end > self.footer.fences_bytes {
            let damage = Damage::Field { field: "fence_end", value: end };
            return Err(Error::corrupt_at(&*self.path, self.entry(block) + 8, damage));
        }
        self.slice(base + start..base + end, "fence")
    }

    /// Whether the filter of a block says that a key may be in it.
    pub(super) fn filter_may_contain(&self, block: u64, key: &[u8]) -> Result<bool> {
        let group = block / GROUP_BLOCKS;
        let start = self.filter_start(group)?;
        let end = self.block_start((group + 1) * GROUP_BLOCKS)?;
        let blocks = end.saturating_sub(start) / FILTER_BLOCK_BYTES;
        if blocks == 0 || end - start != blocks * FILTER_BLOCK_BYTES {
            let damage = Damage::Field { field: "filter_start", value: start };
            return Err(Error::corrupt_at(&*self.path, self.sections.filters.start + group * 8, damage));
        }
        let hash = filter::hash(key);
        let place = start + filter::block_of(hash, blocks) * FILTER_BLOCK_BYTES;
        Ok(filter::may_contain(self.slice(place..place + FILTER_BLOCK_BYTES, "filter")?, hash))
    }

    /// Where a key is in the index, given its block and a position there that it does not lie before.
    pub(super) fn rank_in(&self, block: u64, parsed: &KeyBlock<'_>, key: HeadedKey<'_>, from: usize) -> Result<Rank> {
        let first = block * BLOCK_KEYS as u64;
        Ok(match parsed.rank(key, from).map_err(|damage| self.corrupt_block(block, damage))? {
            Rank::Found(row) => Rank::Found(first + row),
            Rank::Absent(row) => Rank::Absent(first + row),
        })
    }

    /// A block, taken apart.
    pub(super) fn block(&self, block: u64) -> Result<KeyBlock<'_>> {
        self.parse_block(block, self.block_bytes(block)?)
    }

    /// The bytes of a block.
    pub(super) fn block_bytes(&self, block: u64) -> Result<&[u8]> {
        let start = self.block_start(block)?;
        let next = block + 1;
        let end = if next.is_multiple_of(GROUP_BLOCKS) || next == self.blocks() {
            self.filter_start(block / GROUP_BLOCKS)?
        } else {
            self.block_start(next)?
        };
        self.slice(start..end, "key block")
    }

    /// Takes the bytes of a block apart.
    pub(super) fn parse_block<'a>(&'a self, block: u64, bytes: &'a [u8]) -> Result<KeyBlock<'a>> {
        let fence = self.fence(block)?;
        let count = (self.len() - block * BLOCK_KEYS as u64).min(BLOCK_KEYS as u64);
        (KeyBlock::parse(bytes, fence, in_memory(count), self.width()))
            .map_err(|damage| self.corrupt_block(block, damage))
    }

    /// Where a block begins, or behind the last one where the groups end.
    fn block_start(&self, block: u64) -> Result<u64> {
        let groups = &self.sections.groups;
        if block >= self.blocks() {
            return Ok(groups.end);
        }
        self.place_in_groups(self.entry(block), "block_start")
    }

    fn filter_start(&self, group: u64) -> Result<u64> {
        self.place_in_groups(self.sections.filters.start + group * 8, "filter_start")
    }

    /// The place among the groups that is stored at an offset.
    fn place_in_groups(&self, offset: u64, field: &'static str) -> Result<u64> {
        let value = self.word(offset)?;
        if self.sections.groups.contains(&value) {
            return Ok(value);
        }
        Err(Error::corrupt_at(&*self.path, offset, Damage::Field { field, value }))
    }

    fn entry(&self, block: u64) -> u64 {
        self.sections.directory.start + block * ENTRY_BYTES
    }

    fn word(&self, offset: u64) -> Result<u64> {
        let bytes = self.slice(offset..offset + 8, "directory")?;
        Ok(bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
    }

    /// Bytes of the file, verified.
    pub(super) fn slice(&self, range: Range<u64>, field: &'static str) -> Result<&[u8]> {
        if range.start > range.end || range.end > self.checks.file_bytes() {
            return Err(self.truncated(field, range.end, self.checks.file_bytes()));
        }
        for block in self.checks.covering(&range) {
            if !self.checks.is_verified(block) {
                let span = self.checks.span(block);
                (self.checks.verify(block, &self.bytes[in_memory(span.start)..in_memory(span.end)]))
                    .map_err(|damage| Error::corrupt_at(&*self.path, span.start, damage))?;
            }
        }
        Ok(&self.bytes[in_memory(range.start)..in_memory(range.end)])
    }

    fn corrupt_block(&self, block: u64, damage: Damage) -> Error {
        match self.block_start(block) {
            Ok(start) => Error::corrupt_at(&*self.path, start, damage),
            Err(_) => Error::corrupt(&*self.path, damage),
        }
    }

    fn truncated(&self, field: &'static str, needed: u64, available: u64) -> Error {
        Error::corrupt(&*self.path, Damage::Truncated { field, needed, available })
    }
}

/// Compares a footer with the manifest.
fn check_footer(footer: &Footer, meta: &SstMeta) -> Result<(), Damage> {
    let deletes = meta.deletes.as_ref().map(|deletes| deletes.file);
    let facts = [
        ("the run of the key index", meta.run.0, footer.run.0),
        ("the number of keys", meta.rows, footer.keys),
        ("the number of key ranges", u64::from(meta.rows > 0), u64::from(meta.key_range.is_some())),
        ("the length of the SST", meta.sst.bytes, footer.sst.bytes),
        (
            "the length of the deleted keys",
            deletes.map_or(0, |file| file.bytes),
            footer.deletes.map_or(0, |file| file.bytes),
        ),
    ];
    for (fact, expected, found) in facts {
        if expected != found {
            return Err(Damage::Disagreement { fact, expected, found });
        }
    }
    for (expected, found) in [Some(meta.sst), deletes].into_iter().zip([Some(footer.sst), footer.deletes]) {
        if let (Some(expected), Some(found)) = (expected, found)
            && expected.digest != found.digest
        {
            return Err(Damage::Digest { expected: expected.digest, found: found.digest });
        }
    }
    Ok(())
}
