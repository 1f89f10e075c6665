//! `COPY … TO` a local file: complete under its name, or not there.
//!
//! In: the plan of a statement. Out: the same plan, but into a file beside the one that is asked for; then its rows,
//! behind which that file has the name.
//! Invariants: a query that fails or is stopped leaves the file that was there before, below `EXPLAIN ANALYZE`, too.
//! Copies into folders and other stores go as DataFusion writes them: a folder gets files with new names, which may be
//! incomplete after an error.

use std::path::Component;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{TryStreamExt, stream};

use crate::blocking::{blocking, joined};
use crate::error::{Error, Result};
use crate::partial_file::PartialFile;

/// The option that says whether one file is written.
const SINGLE: &str = "single_file_output";

/// The plan, and the file that it writes if it copies into one.
///
/// # Errors
/// No place for a file: see [`PartialFile::beside`].
pub fn into_partial_file(plan: LogicalPlan) -> Result<(LogicalPlan, Option<PartialFile>)> {
    let mut copy = match plan {
        LogicalPlan::Copy(copy) => copy,
        LogicalPlan::Analyze(mut analyze) => {
            let (input, file) = into_partial_file(Arc::unwrap_or_clone(analyze.input))?;
            analyze.input = Arc::new(input);
            return Ok((LogicalPlan::Analyze(analyze), file));
        }
        other => return Ok((other, None)),
    };
    let url = ListingTableUrl::parse(&copy.output_url)?;
    let is_single = match copy.options.get(SINGLE).map(|value| value.trim()) {
        // A folder for each value, whatever the name is.
        _ if !copy.partition_by.is_empty() => false,
        Some(value) => value == "true",
        None => !url.is_collection() && url.file_extension().is_some(),
    };
    let path = (url.scheme() == "file" && url.get_glob().is_none()).then(|| url.get_url().to_file_path().ok());
    let Some(path) = path.flatten().filter(|_| is_single) else { return Ok((LogicalPlan::Copy(copy), None)) };
    let partial = PartialFile::beside(&path)?;
    let mut beside = url.get_url().clone();
    if let Ok(mut segments) = beside.path_segments_mut() {
        let names = partial.path().components().filter(|part| matches!(part, Component::Normal(_)));
        // The path comes out of a URL, which is text.
        segments.clear().extend(names.filter_map(|name| name.as_os_str().to_str()));
    }
    copy.output_url = beside.into();
    Ok((LogicalPlan::Copy(copy), Some(partial)))
}

/// The rows of a copy, which come once its file is in place.
pub fn publish_before(rows: SendableRecordBatchStream, file: PartialFile) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let published = async move {
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let published = blocking(|| file.publish()).await.map_err(joined)?;
        published.map_err(|error| DataFusionError::External(Box::new(Error::File(error))))?;
        Ok::<_, DataFusionError>(stream::iter(batches.into_iter().map(Ok)))
    };
    Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(published).try_flatten()))
}
