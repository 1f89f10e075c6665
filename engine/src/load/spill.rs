//! Sorted parts of a load that do not fit into memory.
//!
//! In: sorted batches. Out: a file in the staging folder (an Arrow IPC stream), read back batch by batch.
//! Invariants: a spill is removed when its last handle goes; it is never synced, and never outlives the process: the
//! sweep at opening empties the folder.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::disk::api::{Disk, ReadFile, WriteFile, at};
use crate::error::Result;

const BUFFER_BYTES: usize = 1 << 20;

/// A spilled part.
pub struct Spill {
    disk: Arc<dyn Disk>,
    path: String,
    bytes: u64,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spill({}, {} bytes)", self.path, self.bytes)
    }
}

impl Spill {
    /// Writes sorted batches to a new file.
    ///
    /// # Errors
    /// The disk's, and those of the batches.
    pub fn write(
        disk: &Arc<dyn Disk>,
        path: String,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<Self> {
        let file = disk.create(&path).map_err(at("create", &path))?;
        let mut spill = Self { disk: disk.clone(), path, bytes: 0 };
        let counting = Counting { file, bytes: 0 };
        let mut writer = StreamWriter::try_new(BufWriter::with_capacity(BUFFER_BYTES, counting), schema)?;
        for batch in batches {
            writer.write(&batch?)?;
        }
        writer.finish()?;
        let buffered = writer.into_inner()?;
        let counting = buffered.into_inner().map_err(|error| at("write", &spill.path)(error.into_error()))?;
        spill.bytes = counting.bytes;
        Ok(spill)
    }

    /// Its bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads its batches in order.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self) -> Result<StreamReader<BufReader<FileReader>>> {
        let file = self.disk.open(&self.path).map_err(at("open", &self.path))?;
        let reader = FileReader { file, at: 0 };
        Ok(StreamReader::try_new(BufReader::with_capacity(BUFFER_BYTES / 4, reader), None)?)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Best effort: what is left is swept when the database opens.
        let _ = self.disk.remove(&self.path);
    }
}

#[derive(Debug)]
struct Counting {
    file: Box<dyn WriteFile>,
    bytes: u64,
}

impl Write for Counting {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.append(buffer)?;
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file from its start.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<dyn ReadFile>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len() - self.at;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.file.read_at(self.at, &mut buffer[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}
