//! The columns of a table as SQL shows them: text and bytes as views.
//!
//! In: columns as they were declared, and stored. Out: the same with `Utf8View` for text of any encoding and
//! `BinaryView` for bytes.
//! Invariants: values are the same; so are names, NULLs and what else is known of a column.
//! Why: it is what DataFusion makes of the text of any Parquet file. A view of a value in a dictionary page is made
//! without a copy, and short values are compared without following it; only reading long values once takes longer
//! (ARCHITECTURE.md, "Decisions", has the figures).

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rustling_engine::rows::encoding::{encoded_as, offset_type, view_type};

/// The columns as they are shown.
pub fn shown(declared: &Schema) -> SchemaRef {
    retyped(declared, view_type)
}

/// Columns of a query as readers of files know them: text and bytes without views.
pub fn without_views(columns: &Schema) -> SchemaRef {
    retyped(columns, offset_type)
}

fn retyped(columns: &Schema, to: impl Fn(&DataType) -> DataType) -> SchemaRef {
    let field = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(to(field.data_type())));
    let fields: Vec<Arc<Field>> = columns.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, columns.metadata().clone()))
}

/// A batch under another schema, whose types hold the same values. Cost: none for columns that have theirs.
///
/// # Errors
/// Arrow's, for columns that cannot be turned into each other.
pub fn with_types(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns =
        batch.columns().iter().zip(schema.fields()).map(|(column, field)| encoded_as(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_, _>>()?, &options)
}
