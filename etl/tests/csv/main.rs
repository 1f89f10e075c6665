//! CSV files as a user has them: whole, odd, hostile.

#![expect(clippy::unwrap_used, reason = "what fails outside of a test function fails the test all the same")]

mod errors;
mod loading;
mod schemas;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use rustling_engine::source::BatchSource;
use rustling_etl::csv::dialect::Dialect;
use rustling_etl::csv::source::{CsvOptions, CsvSource};
use rustling_etl::schema_text;
use tempfile::TempDir;

/// Files in a folder of their own.
struct Files {
    folder: TempDir,
    paths: Vec<PathBuf>,
}

fn files<C: AsRef<[u8]>>(contents: &[C]) -> Files {
    let folder = TempDir::new().unwrap();
    let mut paths = Vec::new();
    for (content, number) in contents.iter().zip(1..) {
        let path = folder.path().join(format!("{number}.csv"));
        std::fs::write(&path, content).unwrap();
        paths.push(path);
    }
    Files { folder, paths }
}

/// All rows of a load, and where each came from.
#[derive(Debug, PartialEq)]
struct Loaded {
    rows: RecordBatch,
    origins: Vec<String>,
}

impl Files {
    /// Loads them; an error's text is given without the folder.
    fn load(&self, options: &CsvOptions) -> Result<Loaded, String> {
        let text = |error: &dyn std::error::Error| {
            error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
        };
        let mut source = CsvSource::open(&self.paths, options.clone()).map_err(|error| text(&error))?;
        let (mut batches, mut origins) = (Vec::new(), Vec::new());
        while let Some(batch) = source.next_batch().map_err(|error| text(&error))? {
            assert_eq!(batch.batch.schema(), source.schema());
            assert!(batch.batch.num_rows() > 0);
            for row in 0..batch.batch.num_rows() {
                origins.push(batch.origin(row).to_string().replace(&format!("{}/", self.folder.path().display()), ""));
            }
            batches.push(batch.batch);
        }
        assert_eq!(source.progress().rows(), origins.len() as u64);
        Ok(Loaded { rows: concat_batches(&source.schema(), &batches).unwrap(), origins })
    }
}

/// Options with a schema.
fn given(schema: &str) -> CsvOptions {
    CsvOptions { schema: Some(Arc::new(schema_text::parse(schema).unwrap())), ..CsvOptions::default() }
}

fn without_header(options: CsvOptions) -> CsvOptions {
    CsvOptions { dialect: Dialect::new(options.dialect.delimiter(), false).unwrap(), ..options }
}

fn load(content: impl AsRef<[u8]>, options: &CsvOptions) -> Result<Loaded, String> {
    files(&[content]).load(options)
}

impl Loaded {
    /// The rows as text, values separated by `|`; NULL is `~`.
    fn text(&self) -> Vec<String> {
        let options = arrow::util::display::FormatOptions::default().with_null("~");
        let columns: Vec<_> = (self.rows.columns().iter())
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        (0..self.rows.num_rows())
            .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

/// Loads with many sizes of chunk and counts of threads, which must not matter.
fn load_every_way(content: impl AsRef<[u8]>, options: &CsvOptions) -> Result<Loaded, String> {
    let files = files(&[content]);
    let want = files.load(options);
    for chunk_bytes in (1..=64).chain([100, 1000, 10_000]) {
        let threads = chunk_bytes % 4 + 1;
        let got = files.load(&CsvOptions { threads, chunk_bytes, ..options.clone() });
        assert_eq!(got, want, "{threads} threads, chunks of {chunk_bytes} bytes");
    }
    want
}
