//! A run's footer as DataFusion may use it for pruning.
//!
//! In: the footer of an SST. Out: the same without minima and maxima of float columns.
//! Invariants: what is left never prunes a row that a predicate wants. Parquet's bounds leave NaN out, while
//! DataFusion's comparisons order it (above or below all numbers, by its sign); a run with one NaN would be pruned by
//! `f > 100.0` though that holds for the NaN.

use std::sync::Arc;

use parquet::basic::{LogicalType, Type};
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::schema::types::ColumnDescriptor;

/// The footer without bounds that NaN may lie outside of; the footer itself if no column is of floats.
///
/// # Errors
/// Parquet's, for a footer that is not consistent.
pub fn without_float_bounds(footer: Arc<ParquetMetaData>) -> Result<Arc<ParquetMetaData>> {
    let floats: Vec<bool> = footer.file_metadata().schema_descr().columns().iter().map(|leaf| is_float(leaf)).collect();
    if !floats.contains(&true) {
        return Ok(footer);
    }
    let row_groups: Vec<RowGroupMetaData> =
        footer.row_groups().iter().map(|row_group| strip(row_group, &floats)).collect::<Result<_>>()?;
    let column_index = footer.column_index().cloned().map(|mut index| {
        for columns in &mut index {
            for (column, _) in columns.iter_mut().zip(&floats).filter(|(_, float)| **float) {
                *column = ColumnIndexMetaData::NONE;
            }
        }
        index
    });
    let builder = ParquetMetaData::clone(&footer).into_builder();
    Ok(Arc::new(builder.set_row_groups(row_groups).set_column_index(column_index).build()))
}

fn strip(row_group: &RowGroupMetaData, floats: &[bool]) -> Result<RowGroupMetaData> {
    let columns = row_group.columns().iter().zip(floats).map(|(column, float)| {
        if *float { column.clone().into_builder().clear_statistics().build() } else { Ok(column.clone()) }
    });
    row_group.clone().into_builder().set_column_metadata(columns.collect::<Result<_>>()?).build()
}

fn is_float(leaf: &ColumnDescriptor) -> bool {
    matches!(leaf.physical_type(), Type::FLOAT | Type::DOUBLE)
        || matches!(leaf.logical_type_ref(), Some(LogicalType::Float16))
}
