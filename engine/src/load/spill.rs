//! Sorted parts of a load that do not fit into memory.
//!
//! In: sorted batches. Out: a file in the staging folder (an Arrow IPC stream), read back batch by batch.
//! Invariants: a spill is removed when its last handle goes; it is never synced, and never outlives the process: the
//! sweep at opening empties the folder. What is read back is all that was written, or an error that names the file.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::disk::api::{Disk, ReadFile, WriteFile, at};
use crate::error::{Error, Result};
use crate::rows::canonical::{batch_bytes, compact};

const BUFFER_BYTES: usize = 1 << 20;
/// Small: many spills are read at once, and large blocks pass the buffer by.
const READ_BYTES: usize = 16 << 10;

/// A spilled part.
pub struct Spill {
    disk: Arc<dyn Disk>,
    path: String,
    bytes: u64,
    block_bytes: usize,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spill({}, {} bytes)", self.path, self.bytes)
    }
}

impl Spill {
    /// Writes sorted batches to a new file, in blocks of some bytes unless a single row has more; a reader holds one
    /// block.
    ///
    /// # Errors
    /// The disk's, and those of the batches.
    pub fn write(
        disk: &Arc<dyn Disk>,
        path: String,
        schema: &SchemaRef,
        block_bytes: usize,
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<Self> {
        let file = disk.create(&path).map_err(at("create", &path))?;
        let mut spill = Self { disk: disk.clone(), path, bytes: 0, block_bytes: 0 };
        let counting = Counting { file, bytes: 0 };
        let failed = |error| refused("write", &spill.path, error);
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, counting);
        let mut writer = StreamWriter::try_new(buffered, schema).map_err(failed)?;
        let mut largest = 0;
        for batch in batches {
            let batch = batch?;
            let row_bytes = (batch_bytes(&batch) / batch.num_rows().max(1)).max(1);
            let rows = (block_bytes / row_bytes).clamp(1, batch.num_rows().max(1));
            largest = largest.max(rows * row_bytes);
            for start in (0..batch.num_rows()).step_by(rows) {
                let block = compact(batch.slice(start, rows.min(batch.num_rows() - start)))?;
                writer.write(&block).map_err(failed)?;
            }
        }
        writer.finish().map_err(failed)?;
        let buffered = writer.into_inner().map_err(failed)?;
        let counting = buffered.into_inner().map_err(|error| at("write", &spill.path)(error.into_error()))?;
        (spill.bytes, spill.block_bytes) = (counting.bytes, largest);
        Ok(spill)
    }

    /// Bytes of its largest block in memory, about.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Its bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads its batches in order.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self) -> Result<SpillReader> {
        let file = self.disk.open(&self.path).map_err(at("open", &self.path))?;
        if file.len() != self.bytes {
            return Err(at("read", &self.path)(io::ErrorKind::UnexpectedEof.into()));
        }
        let buffered = BufReader::with_capacity(READ_BYTES, FileReader { file, at: 0 });
        let stream = StreamReader::try_new(buffered, None).map_err(|error| refused("read", &self.path, error))?;
        Ok(SpillReader { path: self.path.clone(), stream })
    }
}

/// Reads the batches of a spill.
pub struct SpillReader {
    path: String,
    stream: StreamReader<BufReader<FileReader>>,
}

impl Iterator for SpillReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.stream.next()?;
        Some(batch.map_err(|error| refused("read", &self.path, error)))
    }
}

/// The disk's errors come wrapped in Arrow's.
fn refused(operation: &'static str, path: &str, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => at(operation, path)(source),
        other => other.into(),
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
struct FileReader {
    file: Arc<dyn ReadFile>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len() - self.at;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        // Where a stream may end, its reader takes the end of the file for the end of the stream. That the file ended
        // early must not look like it.
        self.file.read_at(self.at, &mut buffer[..length]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other(error),
            _ => error,
        })?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::compute::concat_batches;

    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::disk::sim::{Effect, Failure, Fault, SimDisk};
    use crate::error::ErrorKind;

    #[test]
    fn a_full_disk_and_an_unreadable_one_are_the_disks_errors_and_name_the_file() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..300_000));
        let batch = RecordBatch::try_from_iter([("k", column)]).unwrap();
        let fault = Fault { failure: Failure::Kind(io::ErrorKind::StorageFull), effect: Effect::Before };
        let mut failures = 0;
        for call in 0..12 {
            let disk = SimDisk::new();
            disk.fail_at(call, fault);
            let shared: Arc<dyn Disk> = Arc::new(disk);
            let batches = std::iter::once(Ok(batch.clone()));
            // Three blocks, of which the last one is smaller.
            let read = Spill::write(&shared, "part".to_owned(), &batch.schema(), 1 << 20, batches)
                .and_then(|spill| spill.read()?.collect::<Result<Vec<_>>>());
            match read {
                Ok(found) => {
                    assert!(found.len() == 3 && found.iter().all(|block| batch_bytes(block) <= 1 << 20));
                    assert_eq!(concat_batches(&batch.schema(), &found).unwrap(), batch);
                }
                Err(Error::Io { path, source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                    assert_eq!(path, "part");
                    failures += 1;
                }
                Err(other) => panic!("call {call}: {other}"),
            }
        }
        assert!(failures > 4, "only {failures} calls could fail");
    }

    fn batch(first: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from_iter_values(first..first + 100)) as ArrayRef)])
            .unwrap()
    }

    /// Cut behind a batch, a stream without an end looks like one with an end.
    #[test]
    fn a_spill_that_lost_its_end_is_an_error_not_a_shorter_spill() {
        let disk = MemoryDisk::new();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let batches = [batch(0), batch(100)];
        let (schema, rows) = (batches[0].schema(), batches.clone().into_iter().map(Ok));
        let whole = Spill::write(&shared, "spill".into(), &schema, 1 << 20, rows);
        let whole = whole.unwrap();
        let read: Result<Vec<_>> = whole.read().unwrap().collect();
        assert_eq!(read.unwrap(), batches);
        for length in 0..whole.bytes() {
            drop(disk.append("spill", whole.bytes() - 1 - length).unwrap());
            let read = whole.read().and_then(Iterator::collect::<Result<Vec<_>>>);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Io);
        }
    }
}
