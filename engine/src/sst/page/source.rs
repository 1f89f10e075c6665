//! Pages of a Parquet file, one by one: found by its page index, decompressed, kept for the next reader.
//!
//! In: a place in the file. Out: the page.
//! Invariants: pages have the form that this project writes, or are none; what is kept is decompressed, and stays within
//! its bytes. Bytes of pages that are not compressed are those of the mapped file.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::Result;
use crate::sst::counts::ReadCounts;
use crate::sst::encoding::PAGE_BYTES;
use crate::sst::meta::FileId;
use crate::sst::page::header::{PageHeader, PageKind};
use crate::sst::verified_file::VerifiedFile;

/// Bytes that a kept page takes beside its own, about.
const ENTRY_BYTES: usize = 160;

/// A page with its values still encoded.
#[derive(Clone, Debug)]
pub struct Page {
    kind: PageKind,
    /// Definition levels, then values.
    bytes: Bytes,
    /// Where the byte arrays of a dictionary begin, and where the last one ends.
    starts: Box<[u32]>,
}

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageId {
    /// The file.
    pub file: FileId,
    /// Its first byte.
    pub offset: u64,
}

/// The pages that are kept.
pub type Pages = Cache<PageId, Arc<Page>, PageBytes>;

/// No pages yet, and at most so many bytes of them.
pub fn pages(bytes: usize) -> Pages {
    Cache::with_weighter(bytes / PAGE_BYTES, bytes as u64, PageBytes)
}

/// Bytes in memory of a page.
#[derive(Clone, Debug)]
pub struct PageBytes;

impl Weighter<PageId, Arc<Page>> for PageBytes {
    fn weight(&self, _: &PageId, page: &Arc<Page>) -> u64 {
        (page.bytes.len() + size_of_val(&*page.starts) + ENTRY_BYTES) as u64
    }
}

impl Page {
    /// Definition levels, if it has any.
    pub(super) fn levels(&self) -> Option<&[u8]> {
        match self.kind {
            PageKind::Data { levels: levels @ 1.., .. } => self.bytes.get(..levels),
            _ => None,
        }
    }

    /// Its encoded values.
    pub(super) fn body(&self) -> &[u8] {
        let start = if let PageKind::Data { levels, .. } = self.kind { levels } else { 0 };
        self.bytes.get(start..).unwrap_or_default()
    }

    /// How the values are encoded.
    pub(super) fn encoding(&self) -> Encoding {
        if let PageKind::Data { encoding, .. } = self.kind { encoding } else { Encoding::PLAIN }
    }

    /// Rows of a data page; none of a dictionary.
    pub(super) fn rows(&self) -> Option<usize> {
        if let PageKind::Data { rows, .. } = self.kind { Some(rows) } else { None }
    }

    /// How many of its rows have a value; entries of a dictionary.
    pub(super) fn defined(&self) -> usize {
        match self.kind {
            PageKind::Data { rows, nulls, .. } => rows.saturating_sub(nulls),
            PageKind::Dictionary { entries } => entries,
        }
    }

    /// An entry of a dictionary.
    pub(super) fn entry(&self, index: usize) -> Option<&[u8]> {
        let end = index.checked_add(1)?;
        if index >= self.defined() {
            return None;
        }
        if self.starts.is_empty() {
            let width = self.bytes.len().checked_div(self.defined())?;
            return self.bytes.get(index.checked_mul(width)?..end.checked_mul(width)?);
        }
        let (start, end) = (*self.starts.get(index)? as usize, *self.starts.get(end)? as usize);
        // Each stands behind its length.
        self.bytes.get(start.checked_add(size_of::<u32>())?..end)
    }

    /// The entries of a dictionary, if each has `N` bytes.
    pub(super) fn entries<const N: usize>(&self) -> Option<&[[u8; N]]> {
        let (entries, rest) = self.bytes.as_chunks();
        (self.starts.is_empty() && rest.is_empty() && entries.len() == self.defined()).then_some(entries)
    }

    /// Where the byte arrays of a dictionary begin.
    fn find_entries(&mut self) -> Option<()> {
        let mut starts = Vec::with_capacity(self.defined().checked_add(1)?.min(self.bytes.len()));
        let mut start = 0_usize;
        for _ in 0..self.defined() {
            starts.push(u32::try_from(start).ok()?);
            let length = self.bytes.get(start..)?.first_chunk()?;
            start = start.checked_add(size_of::<u32>())?.checked_add(u32::from_le_bytes(*length) as usize)?;
        }
        starts.push(u32::try_from(start).ok()?);
        self.starts = starts.into();
        (start == self.bytes.len()).then_some(())
    }
}

/// The pages of a file.
#[derive(Clone, Copy)]
pub struct PageSource<'a> {
    /// Its bytes.
    pub file: &'a VerifiedFile,
    /// Its name among the pages that are kept.
    pub id: FileId,
    /// The pages that are kept.
    pub kept: &'a Pages,
}

impl PageSource<'_> {
    /// The page that has some bytes of the file; none if it is not of the form that this project writes.
    ///
    /// # Errors
    /// The bytes are damaged; the disk refuses.
    pub(super) fn page(
        &self,
        offset: u64,
        length: u64,
        physical: Type,
        codec: Compression,
        counts: &mut ReadCounts,
    ) -> Result<Option<Arc<Page>>> {
        let id = PageId { file: self.id, offset };
        if let Some(page) = self.kept.get(&id) {
            counts.pages_kept += 1;
            return Ok(Some(page));
        }
        counts.pages_read += 1;
        let bytes = self.file.view(offset..offset.saturating_add(length))?;
        let Some((page, is_copy)) = decompressed(&bytes, physical, codec) else { return Ok(None) };
        let page = Arc::new(page);
        if is_copy {
            self.kept.insert(id, page.clone());
        }
        Ok(Some(page))
    }
}

/// A page, and whether its bytes are its own.
fn decompressed(bytes: &Bytes, physical: Type, codec: Compression) -> Option<(Page, bool)> {
    let header = PageHeader::parse(bytes)?;
    let stored = bytes.slice(header.header_bytes..);
    if stored.len() != header.compressed {
        return None;
    }
    let (plain, is_compressed) = match header.kind {
        PageKind::Data { levels, is_compressed, .. } => (levels, is_compressed),
        PageKind::Dictionary { .. } => (0, true),
    };
    let is_copy = is_compressed && codec != Compression::UNCOMPRESSED;
    let bytes = match codec {
        _ if !is_copy => stored,
        Compression::LZ4_RAW => {
            let length = header.uncompressed.checked_sub(plain)?;
            let mut bytes = Vec::with_capacity(header.uncompressed);
            bytes.extend_from_slice(stored.get(..plain)?);
            if length > 0 {
                bytes.resize(header.uncompressed, 0);
                let end = lz4_flex::block::decompress_into(&stored[plain..], &mut bytes[plain..]).ok()?;
                if end != length {
                    return None;
                }
            }
            bytes.into()
        }
        _ => return None,
    };
    if bytes.len() != header.uncompressed || plain > bytes.len() {
        return None;
    }
    let mut page = Page { kind: header.kind, bytes, starts: Box::default() };
    if physical == Type::BYTE_ARRAY && matches!(page.kind, PageKind::Dictionary { .. }) {
        page.find_entries()?;
    }
    Some((page, is_copy))
}
