//! Where the files of runs lie, and what is kept of them in memory.
//!
//! In: a disk, bytes to keep. Out: decoded footers of Parquet files, one form for all their readers; rows, and pages.
//! Invariants: what is kept stays within its bytes, whatever the number of runs, row groups and columns; a footer that
//! is dropped lives as long as someone reads with it and is decoded again when it is next needed. Runs never change
//! and their ids are never given again, so what is kept is never stale.

use std::fmt;
use std::sync::{Arc, PoisonError};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::config::KeptBytes;
use crate::disk::api::Disk;
use crate::error::Result;
use crate::sst::kept::{KeptRows, kept_rows};
use crate::sst::meta::FileId;
use crate::sst::page::source::{Pages, pages};
use crate::sync::Mutex;

/// Bytes in memory of a column's Arrow field and its place in the decoder, about.
const FIELD_BYTES: usize = 512;
/// How many footers to expect: so few that the cache is not split, for one of very many columns must find room in it.
const FOOTERS: usize = 32;

/// The files of a database's runs.
pub struct Store {
    disk: Arc<dyn Disk>,
    footers: Cache<FileId, ArrowReaderMetadata, FooterBytes>,
    rows: KeptRows,
    /// Bytes of rows that are kept at most.
    row_bytes: Mutex<usize>,
    pages: Pages,
}

impl Store {
    /// The files on a disk.
    pub fn new(disk: Arc<dyn Disk>, kept: KeptBytes) -> Arc<Self> {
        let footers = Cache::with_weighter(FOOTERS, kept.footers as u64, FooterBytes);
        let (rows, row_bytes) = (kept_rows(kept.rows), Mutex::new(kept.rows));
        Arc::new(Self { disk, footers, rows, row_bytes, pages: pages(kept.pages) })
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The footer of a file, decoded by `load` unless it is kept.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn footer(
        &self,
        file: FileId,
        load: impl FnOnce() -> Result<ArrowReaderMetadata>,
    ) -> Result<ArrowReaderMetadata> {
        if let Some(kept) = self.footers.get(&file) {
            return Ok(kept);
        }
        let loaded = load()?;
        self.footers.insert(file, loaded.clone());
        Ok(loaded)
    }

    /// The rows that are kept.
    pub fn rows(&self) -> &KeptRows {
        &self.rows
    }

    /// Keeps so many bytes of rows from now on; what there is beyond goes at once, what is used least first.
    pub fn keep_rows(&self, bytes: usize) {
        let mut row_bytes = self.row_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *row_bytes, bytes) != bytes {
            self.rows.set_capacity(bytes as u64);
        }
    }

    /// The pages that are kept.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (footers, bytes) = (self.footers.len(), self.footers.weight());
        let mut text = f.debug_struct("Store");
        text.field("footers", &footers).field("footer_bytes", &bytes);
        text.field("row_bytes", &self.rows.weight());
        text.field("page_bytes", &self.pages.weight()).finish_non_exhaustive()
    }
}

/// Bytes in memory of a footer.
#[derive(Clone, Debug)]
struct FooterBytes;

impl Weighter<FileId, ArrowReaderMetadata> for FooterBytes {
    fn weight(&self, _: &FileId, footer: &ArrowReaderMetadata) -> u64 {
        (footer.metadata().memory_size() + footer.schema().fields().len() * FIELD_BYTES) as u64
    }
}
