//! Writes rows to a Parquet file outside the database.
//!
//! In: batches. Out: a complete file under the name asked for, or none: it is written beside it, synced, and renamed.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use rustling_table_provider::partial_file::{FileError, PartialFile};
use rustling_table_provider::shown::{with_types, without_views};

use crate::error::{Error, Result};

/// Memory of the encoded pages of a row group: a row group ends with the batch that exceeds it.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes batches to a Parquet file, zstd-compressed, replacing what has that name once all rows are written. Views of
/// text and bytes become plain columns of them, which every reader knows.
///
/// # Errors
/// Those of the batches; the system's. The file that was there before is kept then.
pub fn write_parquet(
    path: &Path,
    schema: SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<ExportReport> {
    let partial = PartialFile::beside(path)?;
    let file = File::create(partial.path()).map_err(FileError::of("create", path))?;
    let report = write(&file, path, &schema, batches)?;
    partial.publish()?;
    Ok(report)
}

/// Writes all rows to the file that will be `path`, in row groups that stay small however long rows are.
fn write(
    file: &File,
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<ExportReport> {
    let encode = |source| Error::Parquet { path: path.to_owned(), source };
    let compression = Compression::ZSTD(ZstdLevel::try_new(1).map_err(encode)?);
    let properties = WriterProperties::builder().set_compression(compression).build();
    let schema = without_views(schema);
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties)).map_err(encode)?;
    let mut rows = 0;
    for batch in batches {
        let batch = with_types(&batch?, &schema).map_err(|source| encode(source.into()))?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(encode)?;
        if writer.memory_size() > ROW_GROUP_BYTES {
            writer.flush().map_err(encode)?;
        }
    }
    writer.close().map_err(encode)?;
    let bytes = file.metadata().map_err(FileError::of("read", path))?.len();
    Ok(ExportReport { rows, bytes })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    #[test]
    fn long_rows_make_more_row_groups_and_not_larger_ones() {
        let mut state = 1_u64;
        let mut text = |length| {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b' ' + u8::try_from((state >> 33) % 90).unwrap())
            };
            (0..length).map(|_| next()).collect::<String>()
        };
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|_| text(10_000))));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let report = write_parquet(&path, batch.schema(), (0..10).map(|_| Ok(batch.clone()))).unwrap();
        let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let groups = file.metadata().row_groups();
        assert_eq!((report.rows, groups.iter().map(|group| group.num_rows()).sum::<i64>()), (5_000, 5_000));
        let largest = groups.iter().map(|group| group.compressed_size()).max().unwrap();
        assert!(groups.len() > 1 && largest < 2 * ROW_GROUP_BYTES as i64, "{} of {largest}", groups.len());
    }
}
