//! Writes rows to a Parquet file outside the database.
//!
//! In: batches. Out: a complete file under the name asked for, or none: it is written beside it, synced, and renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use rustling_table_provider::shown::{with_types, without_views};

use crate::error::{Error, Result};

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
    let partial = Partial::create(path)?;
    let report = partial.write(schema, batches)?;
    partial.publish(path)?;
    Ok(report)
}

/// A file that is not complete yet; removed unless it is published.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(path: &Path) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or(path.as_os_str()));
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::create(&partial).map_err(failed("create", path))?;
        Ok(Self { path: partial, file })
    }

    fn write(&self, schema: SchemaRef, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<ExportReport> {
        let encode = |source| Error::Parquet { path: self.path.clone(), source };
        let compression = Compression::ZSTD(ZstdLevel::try_new(1).map_err(encode)?);
        let properties = WriterProperties::builder().set_compression(compression).build();
        let schema = without_views(&schema);
        let mut writer =
            ArrowWriter::try_new(BufWriter::new(&self.file), schema.clone(), Some(properties)).map_err(encode)?;
        let mut rows = 0;
        for batch in batches {
            let batch = with_types(&batch?, &schema).map_err(|source| encode(source.into()))?;
            rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(encode)?;
        }
        writer.close().map_err(encode)?;
        let bytes = self.file.metadata().map_err(failed("read", &self.path))?.len();
        Ok(ExportReport { rows, bytes })
    }

    fn publish(&self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(failed("sync", path))?;
        fs::rename(&self.path, path).map_err(failed("rename", path))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After publishing the name is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::File { operation, path: path.to_owned(), source }
}
