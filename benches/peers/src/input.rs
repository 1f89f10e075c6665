//! The data folder: Arrow IPC files of one batch each, and the numbers in `meta.json`.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustling_db::arrow::array::RecordBatch;
use rustling_db::arrow::compute::concat_batches;
use rustling_db::arrow::ipc::reader::FileReader;

use crate::run::Result;

/// The folder.
pub(crate) struct Input {
    folder: PathBuf,
    meta: serde_json::Value,
}

impl Input {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let meta = serde_json::from_reader(File::open(folder.join("meta.json"))?)?;
        Ok(Self { folder: folder.to_owned(), meta })
    }

    /// A number of `meta.json`.
    pub(crate) fn number(&self, name: &str) -> Result<usize> {
        let number = self.meta.get(name).and_then(serde_json::Value::as_u64);
        Ok(usize::try_from(number.ok_or_else(|| format!("meta.json has no number {name}"))?)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The rows of a file.
    pub(crate) fn read(&self, name: &str) -> Result<RecordBatch> {
        let reader = FileReader::try_new_buffered(File::open(self.path(name))?, None)?;
        let schema = reader.schema();
        let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(concat_batches(&schema, &batches)?)
    }

    /// Names of the files of a folder, in order.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(folder))? {
            names.push(format!("{folder}/{}", entry?.file_name().to_string_lossy()));
        }
        names.sort();
        Ok(names)
    }
}
