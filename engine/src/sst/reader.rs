//! One run, open for reading.
//!
//! In: the manifest's [`SstMeta`] and the table's schema. Out: rows by position, positions by key, deleted keys.
//! Invariants: constant after open but for what was verified already, which only grows. What is missing or
//! of another length is found at open; damage inside of a file when its bytes are first used.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::id::TableId;
use crate::rows::key::KeyCodec;
use crate::rows::schema::TableSchema;
use crate::sst::checksum::in_memory;
use crate::sst::counts::ReadCounts;
use crate::sst::key_index::reader::KeyIndex;
use crate::sst::meta::{FileId, SstMeta};
use crate::sst::page::header::check_page;
use crate::sst::rows::{SstRows, merged_bytes, row_bytes_max};
use crate::sst::store::Store;
use crate::sst::table_file::{Access, TableFile};
use crate::sst::verified_file::VerifiedFile;

/// A run's files, open.
#[derive(Debug)]
pub struct Sst {
    meta: SstMeta,
    schema: Arc<TableSchema>,
    keys: KeyIndex,
    sst: TableFile,
    deletes: Option<TableFile>,
}

impl Sst {
    /// Opens the files of a run; reads and checks the footer of the key index and the blocks of checksums only.
    ///
    /// # Errors
    /// A file is missing, has another length, or the key index is of another run; the disk refuses.
    pub fn open(store: &Arc<Store>, table: TableId, schema: Arc<TableSchema>, meta: SstMeta) -> Result<Self> {
        let disk = &**store.disk();
        let path = |file| path::run(table, meta.run, file);
        let keys = KeyIndex::open(disk, path(RunFile::Keys), &meta)?;
        check_width(&keys, &schema).map_err(|damage| Error::corrupt(path(RunFile::Keys), damage))?;
        let open = |kind, bytes, checksums, rows, schema| {
            let file = VerifiedFile::open(disk, path(kind), bytes, checksums)?;
            TableFile::new(store, FileId { table, run: meta.run, file: kind }, file, rows, schema)
        };
        let sst = open(RunFile::Sst, meta.sst.bytes, keys.sst_checksums()?, meta.rows, schema.stored().clone())?;
        let deletes = match &meta.deletes {
            Some(deletes) => Some(open(
                RunFile::Deletes,
                deletes.file.bytes,
                keys.deletes_checksums()?,
                deletes.count,
                schema.key_schema(),
            )?),
            None => None,
        };
        Ok(Self { meta, schema, keys, sst, deletes })
    }

    /// What the manifest knows of the run.
    pub fn meta(&self) -> &SstMeta {
        &self.meta
    }

    /// The schema that the rows have.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Bytes on the heap, about, for as long as it is open. Footers are the store's; see [`Store`].
    pub fn heap_bytes(&self) -> usize {
        let deletes = self.deletes.as_ref().map_or(0, |deletes| deletes.file().heap_bytes());
        size_of::<Self>() + self.keys.heap_bytes() + self.sst.file().heap_bytes() + deletes
    }

    /// The key index.
    pub fn key_index(&self) -> &KeyIndex {
        &self.keys
    }

    /// The SST's bytes.
    pub fn sst(&self) -> &Arc<VerifiedFile> {
        self.sst.file()
    }

    /// The SST's footer with its page index. Cost: it is decoded, unless it is kept; see [`Store`].
    ///
    /// # Errors
    /// The file is damaged, or holds other rows or columns; the disk refuses.
    pub fn parquet_metadata(&self) -> Result<Arc<ParquetMetaData>> {
        Ok(self.sst.metadata()?.metadata().clone())
    }

    /// Bytes that a merge of its rows holds of it at one time, about: a page of each column, and the footer.
    ///
    /// # Errors
    /// As [`Sst::parquet_metadata`].
    pub fn merged_bytes(&self) -> Result<usize> {
        Ok(merged_bytes(&self.sst.metadata()?))
    }

    /// Checks the headers of the SST's pages that lie in `bytes`, a range of the file from `start`, before a decoder
    /// believes the lengths in them; `footer` is the SST's. Cost: a look at the pages of the row groups that the bytes
    /// touch.
    ///
    /// # Errors
    /// A header is damaged.
    pub fn check_pages(&self, footer: &ParquetMetaData, start: u64, bytes: &[u8]) -> Result<()> {
        page_starts(footer, start..start.saturating_add(bytes.len() as u64)).try_for_each(|page| {
            let page_bytes = bytes.get(in_memory(page - start)..).unwrap_or_default();
            check_page(page_bytes).map_err(|damage| Error::corrupt_at(self.sst.file().path(), page, damage))
        })
    }

    /// The rows of a range of positions, in batches of `batch_rows` rows, the last one smaller; `projection` holds
    /// ascending indexes of stored columns. Reads and decodes only pages that hold such rows.
    ///
    /// # Errors
    /// The range ends behind the last row; the file is damaged; the disk refuses.
    pub fn rows(&self, range: Range<u64>, projection: &[usize], batch_rows: usize) -> Result<SstRows> {
        self.sst.rows(range, projection, batch_rows)
    }

    /// The rows at ascending, different positions, as one batch, which holds on to nothing else. Cost: a search in memory
    /// and a decoding for each row that is kept; of the others, per column, each page that has one is decompressed unless it
    /// is kept, and decoded as far as the row.
    ///
    /// # Errors
    /// As [`Sst::rows`].
    pub fn rows_at(
        &self,
        rows: &[u64],
        projection: &[usize],
        access: Access,
        counts: &mut ReadCounts,
    ) -> Result<RecordBatch> {
        self.sst.rows_at(rows, projection, access, counts)
    }

    /// Bytes in memory of a row of some columns, about, where rows are largest.
    ///
    /// # Errors
    /// As [`Sst::parquet_metadata`].
    pub fn row_bytes(&self, projection: &[usize]) -> Result<usize> {
        Ok(row_bytes_max(&self.sst.metadata()?, projection))
    }

    /// Name of the file with the deleted keys.
    pub fn deletes_path(&self) -> &str {
        self.deletes.as_ref().map_or("", |deletes| deletes.file().path())
    }

    /// The key columns of the deleted keys, ascending; none if the run deletes nothing.
    ///
    /// # Errors
    /// As [`Sst::rows`].
    pub fn deleted(&self, batch_rows: usize) -> Result<Option<SstRows>> {
        let Some(deletes) = &self.deletes else {
            return Ok(None);
        };
        let columns: Vec<usize> = (0..deletes.schema().fields().len()).collect();
        deletes.rows(0..deletes.len(), &columns, batch_rows).map(Some)
    }
}

/// Where the pages start that lie in a range of the file, whose column chunks lie one behind the other.
fn page_starts(metadata: &ParquetMetaData, range: Range<u64>) -> impl Iterator<Item = u64> {
    let index = metadata.offset_index().map(Vec::as_slice).unwrap_or_default();
    let starts_before = |row_group: &RowGroupMetaData, place: u64| {
        row_group.columns().first().is_some_and(|chunk| chunk.byte_range().0 < place)
    };
    let row_groups = metadata.row_groups();
    let end = row_groups.partition_point(|row_group| starts_before(row_group, range.end));
    let start = row_groups.partition_point(|row_group| starts_before(row_group, range.start.saturating_add(1)));
    let starts = row_groups.iter().zip(index).take(end).skip(start.saturating_sub(1)).flat_map(|(row_group, index)| {
        row_group.columns().iter().zip(index).flat_map(|(chunk, index)| {
            let data = index.page_locations().iter().map(|page| page.offset);
            chunk.dictionary_page_offset().into_iter().chain(data)
        })
    });
    starts.filter_map(|start| u64::try_from(start).ok()).filter(move |start| range.contains(start))
}

/// Keys of the index lie beside keys that the table's codec makes, so they have one length where those have.
fn check_width(keys: &KeyIndex, schema: &TableSchema) -> Result<(), Damage> {
    let expected = KeyCodec::new("", schema).map_err(|refused| Damage::Refused(Box::new(refused)))?.width();
    if keys.is_empty() || keys.width() == expected {
        return Ok(());
    }
    let width = |width: Option<usize>| width.map_or(0, |width| width as u64);
    let (expected, found) = (width(expected), width(keys.width()));
    Err(Damage::Disagreement { fact: "the length of every key", expected, found })
}
