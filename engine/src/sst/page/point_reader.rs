//! Rows at some positions of a file.
//!
//! In: ascending positions of rows, columns. Out: an array for each column, unless Parquet's reader has to read it.
//! Invariants: pages are read once, and none without such a row.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use parquet::file::metadata::ParquetMetaData;

use crate::error::Result;
use crate::sst::checksum::in_memory;
use crate::sst::counts::ReadCounts;
use crate::sst::page::column::{Chunk, Found};
use crate::sst::page::source::PageSource;

/// Reads rows of a file.
pub struct PointReader<'a> {
    /// The file's pages.
    pub source: PageSource<'a>,
    /// Its footer.
    pub metadata: &'a ParquetMetaData,
    /// The columns that the footer was compared with.
    pub schema: &'a Schema,
}

impl PointReader<'_> {
    /// The columns of a projection at ascending positions; none for those that Parquet's reader has to read.
    ///
    /// # Errors
    /// Bytes of the file are damaged; the disk refuses.
    pub fn read(&self, rows: &[u64], projection: &[usize], counts: &mut ReadCounts) -> Result<Vec<Option<ArrayRef>>> {
        let groups = by_row_group(self.metadata, rows);
        let mut columns = Vec::with_capacity(projection.len());
        for column in projection {
            // What a decompressor does not like may be a panic.
            let read = catch_unwind(AssertUnwindSafe(|| self.column(*column, &groups, counts)));
            columns.push(read.unwrap_or(Ok(None))?);
        }
        Ok(columns)
    }

    fn column(&self, column: usize, groups: &[Group], counts: &mut ReadCounts) -> Result<Option<ArrayRef>> {
        let leaves = self.metadata.file_metadata().schema_descr();
        // Each column has a leaf at least.
        let Some(leaf) = (column..leaves.num_columns()).find(|leaf| leaves.get_column_root_idx(*leaf) == column) else {
            return Ok(None);
        };
        let (leaf_column, data_type) = (leaves.column(leaf), self.schema.field(column).data_type());
        let Some(mut found) = Found::new(&leaf_column, data_type) else { return Ok(None) };
        for group in groups {
            let Some(chunk) = Chunk::new(self.source, self.metadata, group.row_group, leaf) else { return Ok(None) };
            if chunk.add(&group.rows, &mut found, counts)?.is_none() {
                return Ok(None);
            }
        }
        Ok(found.finish(data_type, leaf_column.physical_type()))
    }
}

/// Ascending rows of one row group.
struct Group {
    row_group: usize,
    /// Counted from its first row.
    rows: Vec<usize>,
}

/// Ascending positions by row group.
fn by_row_group(metadata: &ParquetMetaData, rows: &[u64]) -> Vec<Group> {
    let (mut groups, mut start, mut left) = (Vec::new(), 0_u64, rows);
    for (row_group, found) in metadata.row_groups().iter().enumerate() {
        if left.is_empty() {
            break;
        }
        let end = start.saturating_add(u64::try_from(found.num_rows()).unwrap_or(0));
        let (here, later) = left.split_at(left.partition_point(|row| *row < end));
        if !here.is_empty() {
            groups.push(Group { row_group, rows: here.iter().map(|row| in_memory(row - start)).collect() });
        }
        (start, left) = (end, later);
    }
    groups
}
