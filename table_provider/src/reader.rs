//! Reads the bytes of a run for DataFusion's Parquet scan.
//!
//! In: a [`ScannedRun`] in a file's extensions. Out: verified bytes, in which pages say no more than they can hold; the
//! footer that planning decoded.
//! Invariants: no path is looked up and no cache of the session is asked: DataFusion caches footers by path alone, so
//! two databases in one session would answer for each other. A run's files stay as long as the plan that holds it.
//! Why on a blocking thread: a read is a system call of a row group's column chunks, about a megabyte; from a cold
//! disk that is milliseconds, which a thread of the async runtime must not wait. The hop costs microseconds.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use rustling_engine::error::Error as EngineError;
use rustling_engine::version::run::Run;

use crate::blocking::blocking;

/// Ranges with no more than this between them are read at once: a system call costs more than the copy.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// A file's run: what a plan carries instead of a path to look up.
#[derive(Clone, Debug)]
pub struct ScannedRun {
    /// The run.
    pub run: Arc<Run>,
    /// Its footer, fit for pruning; see [`crate::footer`].
    pub footer: Arc<ParquetMetaData>,
}

/// Makes readers of [`ScannedRun`]s.
#[derive(Debug, Default)]
pub struct RunReaderFactory;

impl ParquetFileReaderFactory for RunReaderFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let Some(ScannedRun { run, footer }) = file.extension::<ScannedRun>() else {
            let text = format!("file {} of a rustling scan has lost its run", file.path());
            return Err(DataFusionError::Internal(text));
        };
        Ok(Box::new(RunReader {
            run: run.clone(),
            footer: footer.clone(),
            bytes_scanned: MetricBuilder::new(metrics).counter("bytes_scanned", partition),
            reads: MetricBuilder::new(metrics).counter("reads", partition),
            read_time: MetricBuilder::new(metrics).subset_time("read_time", partition),
        }))
    }
}

/// Reads one run.
struct RunReader {
    run: Arc<Run>,
    footer: Arc<ParquetMetaData>,
    bytes_scanned: Count,
    reads: Count,
    read_time: Time,
}

impl fmt::Debug for RunReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunReader({})", self.run.id())
    }
}

impl AsyncFileReader for RunReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let bytes = self.get_byte_ranges(vec![range]);
        async move { Ok(bytes.await?.pop().unwrap_or_default()) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        let wide = coalesce(&ranges);
        self.bytes_scanned
            .add(ranges.iter().map(|range| usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)).sum());
        self.reads.add(wide.len());
        let (run, footer, time) = (self.run.clone(), self.footer.clone(), self.read_time.clone());
        async move {
            let read = blocking(move || {
                let _timer = time.timer();
                read(&run, &footer, &ranges, &wide)
            });
            read.await.map_err(external)?
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let footer = self.footer.clone();
        async move { Ok(footer) }.boxed()
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Ascending ranges that cover all of `ranges`, those that lie close together as one.
fn coalesce(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut wide: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match wide.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES_MAX) => last.end = last.end.max(range.end),
            _ => wide.push(range),
        }
    }
    wide
}

/// Reads `wide` and gives the parts of it that are `ranges`.
fn read(
    run: &Run,
    footer: &ParquetMetaData,
    ranges: &[Range<u64>],
    wide: &[Range<u64>],
) -> Result<Vec<Bytes>, ParquetError> {
    let sst = run.sst();
    let checked = |range: &Range<u64>| -> Result<Bytes, EngineError> {
        let bytes = sst.sst().read(range.clone())?;
        sst.check_pages(footer, range.start, &bytes)?;
        Ok(bytes)
    };
    let read: Vec<Bytes> = wide.iter().map(checked).collect::<Result<_, _>>().map_err(external)?;
    let part = |range: &Range<u64>| {
        let index = wide.partition_point(|wide| wide.start <= range.start).saturating_sub(1);
        let place = |at: u64| usize::try_from(at - wide[index].start);
        match (place(range.start), place(range.end)) {
            (Ok(start), Ok(end)) => Ok(read[index].slice(start..end)),
            (Err(error), _) | (_, Err(error)) => Err(external(error)),
        }
    };
    ranges.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
    fn close_ranges_are_read_at_once() {
        assert_eq!(coalesce(&[10..20, 20..30]), [10..30]);
        assert_eq!(coalesce(&[200_000..200_010, 0..10]), [0..10, 200_000..200_010]);
        assert_eq!(coalesce(&[0..10, 5..7, 65_546..65_550]), [0..65_550]);
        assert!(coalesce(&[]).is_empty());
    }
}
