//! A column's values in some rows of a row group.
//!
//! In: ascending rows, a column chunk. Out: the values of those rows.
//! Invariants: each page that has such a row is read once, and a dictionary that such a page refers to, and nothing else.
//! Nothing where Parquet's reader has to do it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use parquet::basic::{Compression, Encoding, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::schema::types::ColumnDescriptor;

use crate::error::Result;
use crate::sst::counts::ReadCounts;
use crate::sst::page::array::{array, is_direct};
use crate::sst::page::hybrid::defined;
use crate::sst::page::source::{Page, PageSource};
use crate::sst::page::values::Values;

/// The part of a column that lies in a row group.
pub(super) struct Chunk<'a> {
    source: PageSource<'a>,
    pages: &'a [PageLocation],
    /// Bytes before the first of them, if they are a dictionary.
    dictionary: Option<(u64, u64)>,
    codec: Compression,
    physical: Type,
    rows: usize,
}

impl<'a> Chunk<'a> {
    /// The chunk of a leaf column; none without a page index.
    pub(super) fn new(
        source: PageSource<'a>,
        metadata: &'a ParquetMetaData,
        row_group: usize,
        leaf: usize,
    ) -> Option<Self> {
        let found = metadata.row_groups().get(row_group)?;
        let chunk: &ColumnChunkMetaData = found.columns().get(leaf)?;
        let pages = metadata.offset_index()?.get(row_group)?.get(leaf)?.page_locations();
        let dictionary = match chunk.dictionary_page_offset() {
            Some(start) => {
                let start = u64::try_from(start).ok()?;
                Some((start, u64::try_from(pages.first()?.offset).ok()?.checked_sub(start)?))
            }
            None => None,
        };
        let (codec, physical) = (chunk.compression(), chunk.column_type());
        Some(Self { source, pages, dictionary, codec, physical, rows: usize::try_from(found.num_rows()).ok()? })
    }

    /// Adds the values of ascending rows, and for each row whether it has one; nothing where Parquet's reader has to.
    pub(super) fn add(&self, rows: &[usize], found: &mut Found, counts: &mut ReadCounts) -> Result<Option<()>> {
        let (mut left, mut dictionary) = (rows, None);
        while let Some(row) = left.first() {
            let Some((page, rows)) = self.page_of(*row, counts)? else { return Ok(None) };
            if page.encoding() == Encoding::RLE_DICTIONARY && dictionary.is_none() {
                dictionary = self.dictionary(counts)?;
            }
            let (here, later) = left.split_at(left.partition_point(|row| *row < rows.end));
            let places: Vec<usize> = here.iter().map(|row| row - rows.start).collect();
            if found.add(&page, dictionary.as_deref(), places).is_none() {
                return Ok(None);
            }
            left = later;
        }
        Ok(Some(()))
    }

    /// The page that has a row, and which rows it has.
    fn page_of(&self, row: usize, counts: &mut ReadCounts) -> Result<Option<(Arc<Page>, Range<usize>)>> {
        let first_row = |page: &PageLocation| usize::try_from(page.first_row_index).unwrap_or(usize::MAX);
        let behind = self.pages.partition_point(|page| first_row(page) <= row);
        let Some(found) = behind.checked_sub(1).and_then(|index| self.pages.get(index)) else { return Ok(None) };
        let rows = first_row(found)..self.pages.get(behind).map_or(self.rows, first_row);
        let place = u64::try_from(found.offset).ok().zip(u64::try_from(found.compressed_page_size).ok());
        let Some((offset, length)) = place.filter(|_| rows.contains(&row)) else { return Ok(None) };
        let page = self.source.page(offset, length, self.physical, self.codec, counts)?;
        Ok(page.filter(|page| page.rows() == Some(rows.len())).map(|page| (page, rows)))
    }

    fn dictionary(&self, counts: &mut ReadCounts) -> Result<Option<Arc<Page>>> {
        let Some((offset, length)) = self.dictionary else { return Ok(None) };
        let page = self.source.page(offset, length, self.physical, self.codec, counts)?;
        Ok(page.filter(|page| page.rows().is_none()))
    }
}

/// What was found of a column so far.
pub(super) struct Found {
    values: Values,
    rows: usize,
    /// Whether each row has a value; none where the column has one in every row.
    valid: Option<Vec<bool>>,
}

impl Found {
    /// Nothing yet of a column of a type; none if Parquet's reader has to read such a column.
    pub(super) fn new(column: &ColumnDescriptor, data_type: &DataType) -> Option<Self> {
        let (physical, values) = (column.physical_type(), Values::new(column.physical_type(), column.type_length())?);
        let is_flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
        if !is_flat || !is_direct(data_type, physical, values.width()) {
            return None;
        }
        Some(Self { values, rows: 0, valid: (column.max_def_level() > 0).then(Vec::new) })
    }

    fn add(&mut self, page: &Page, dictionary: Option<&Page>, rows: Vec<usize>) -> Option<()> {
        self.rows += rows.len();
        let places = match (page.levels(), &mut self.valid) {
            (Some(levels), Some(valid)) => {
                let (here, places) = defined(levels, &rows)?;
                valid.extend(here);
                places
            }
            (None, None) => rows,
            _ => return None,
        };
        self.values.add(page, dictionary, &places)
    }

    /// The array of what was found.
    pub(super) fn finish(self, data_type: &DataType, physical: Type) -> Option<ArrayRef> {
        array(data_type, physical, self.values, self.rows, self.valid.as_deref())
    }
}
