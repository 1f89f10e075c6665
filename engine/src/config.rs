//! Sizes and limits, as plain data.
//!
//! In: the caller's choices. Out: [`Options`], checked once when a database opens.

use crate::error::{Error, Result};

/// Columns that a table may have however little memory there is.
const COLUMNS: usize = 64;
/// Memory for each column of a table of more.
const COLUMN_BYTES: usize = 512 << 10;

/// A table consists of so many runs that do not overlap, about, and a full run is cut into as many at most.
const PARTS: u64 = 16;

/// How many of a table's bytes or rows one run takes, given how many a full run takes: a sixteenth of the table, so that
/// a compaction can go through it in small steps; but not less than a sixteenth of a full run, so that runs are not many.
pub fn run_part(table: u64, full: u64) -> u64 {
    (table / PARTS).clamp(full / PARTS, full).max(1)
}

/// How a database works. Start from [`Options::default`] and change what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Create the database if there is none (default true).
    pub create: bool,
    /// Memory that the engine may use, in bytes (default 256 MiB): memtables and write batches on their way into them
    /// (half; then writers wait), the rows that a load sorts (then it spills), and row groups that are encoded (three of
    /// [`Options::row_group_bytes`] for each run that is written). Of what readers keep, the footers of runs have a sixteenth,
    /// and the rows that were looked up by key and decompressed pages as much each; rows have besides what memtables
    /// leave of their half.
    /// Not counted, because they depend on the data and not on its amount: a batch of each run that a scan merges, a
    /// single row however large, memtables that snapshots keep (another quarter), the checksums of blocks and the deletion
    /// vectors of open runs.
    pub memory_bytes: usize,
    /// A memtable is flushed when it has this many bytes; at most half of the memory (default 64 MiB).
    pub memtable_bytes: usize,
    /// A WAL segment is sealed when it has this many bytes (default 64 MiB).
    pub wal_segment_bytes: u64,
    /// When the WAL has more bytes than this, the table with the oldest unflushed change is flushed (default 512 MiB).
    /// With twice as many writes are refused if that fails, and told why.
    pub wal_bytes: u64,
    /// Rows of one SST at most (default 16,777,216). Smaller tables have smaller ones: see [`run_part`].
    pub sst_rows: u64,
    /// Bytes of one SST at most, about (default 512 MiB). Smaller tables have smaller ones: see [`run_part`].
    pub sst_bytes: u64,
    /// Runs that one key may be in before some of them are merged in the background (default 10); those of similar
    /// size are merged when there are half as many. With twice as many flushes wait.
    pub compact_runs: usize,
    /// Dead rows of a hundred before some are removed in the background (default 20), if they take more than a quarter
    /// of a memtable's bytes. With half as many more flushes wait. Once a database that was written is idle it is left with
    /// three at most.
    pub dead_percent: u64,
    /// Threads that parse, sort and encode (default: as many as there are cores).
    pub threads: usize,
    /// Whether commits, flushes and compactions run on threads of their own (default true). Without, the calls that
    /// need them run them: slower, and every step happens in a known order, which is what tests want.
    pub background: bool,
    /// How long files that nobody needs are kept for readers in other processes, in seconds; written into the manifest
    /// when a database is created (default 0).
    pub retention_seconds: u64,
}

/// Bytes that are kept in memory of the files of runs, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// Of decoded footers.
    pub footers: usize,
    /// Of rows that were looked up, until [`Options::kept_row_bytes`] says more.
    pub rows: usize,
    /// Of decompressed pages.
    pub pages: usize,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            create: true,
            memory_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            wal_segment_bytes: 64 << 20,
            wal_bytes: 512 << 20,
            sst_rows: 16 << 20,
            sst_bytes: 512 << 20,
            compact_runs: 10,
            dead_percent: 20,
            threads,
            background: true,
            retention_seconds: 0,
        }
    }
}

impl Options {
    /// Options for a memory limit in bytes: memtables have a quarter of it, at most 128 MiB; the rest is as by default.
    pub fn with_memory(memory_bytes: usize) -> Self {
        let memtable_bytes = (memory_bytes / 4).clamp(64 << 10, 128 << 20);
        Self { memory_bytes, memtable_bytes, ..Self::default() }
    }

    /// Bytes of the rows of one row group of an SST, at most, unless it has hundreds of columns; three of them are in
    /// memory while one is written.
    pub fn row_group_bytes(&self) -> usize {
        (self.memory_bytes / 12).clamp(1 << 20, 64 << 20)
    }

    /// Refuses tables of more columns than there is memory for. Each takes part in every row group, page and footer that
    /// is in memory, however few its bytes; so hundreds of columns need hundreds of megabytes.
    ///
    /// # Errors
    /// [`Error::TooManyColumns`].
    pub fn check_columns(&self, table: &str, columns: usize) -> Result<()> {
        if columns <= COLUMNS || columns <= self.memory_bytes / COLUMN_BYTES {
            return Ok(());
        }
        let (needed_mib, limit_mib) = ((columns * COLUMN_BYTES).div_ceil(1 << 20), self.memory_bytes >> 20);
        Err(Error::TooManyColumns { table: table.to_owned(), columns, needed_mib, limit_mib })
    }

    /// Bytes that are kept of runs for the next reader: of decoded footers, of rows, and of decompressed pages a
    /// sixteenth of the memory each.
    pub fn kept_bytes(&self) -> KeptBytes {
        let part = self.memory_bytes / 16;
        KeptBytes { footers: part, rows: part, pages: part }
    }

    /// Bytes of the rows that are kept while memtables, and write batches on their way into them, take so many: a
    /// sixteenth of the memory, and what those leave of their half, in steps of a sixty-fourth of the memory.
    pub fn kept_row_bytes(&self, written: usize) -> usize {
        let (left, step) = ((self.memory_bytes / 2).saturating_sub(written), (self.memory_bytes / 64).max(1));
        self.memory_bytes / 16 + left / step * step
    }

    /// Bytes that a merge of runs may hold of them at one time: an eighth of the memory, unless two runs need more.
    pub fn merge_bytes(&self) -> usize {
        self.memory_bytes / 8
    }

    /// Bytes of one write batch, at most: a quarter of the memory, as many as a memtable may have, or 1 MiB if that is
    /// more. What is larger is to be split, or loaded in bulk.
    pub fn batch_bytes_max(&self) -> usize {
        (self.memory_bytes / 4).max(1 << 20)
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`Error::BadOption`].
    pub fn check(&self) -> Result<()> {
        let refuse = |option, value: usize, expected| Err(Error::BadOption { option, value: value as u64, expected });
        if self.memory_bytes < 1 << 20 {
            return refuse("memory_bytes", self.memory_bytes, "at least 1 MiB");
        }
        if self.memtable_bytes == 0 || self.memtable_bytes > self.memory_bytes / 2 {
            return refuse("memtable_bytes", self.memtable_bytes, "from 1 to half of memory_bytes");
        }
        if self.threads == 0 || self.threads > 1024 {
            return refuse("threads", self.threads, "from 1 to 1024");
        }
        if self.sst_rows == 0 || self.sst_bytes == 0 {
            return refuse("sst_rows", 0, "at least 1");
        }
        if self.compact_runs < 2 {
            return refuse("compact_runs", self.compact_runs, "at least 2");
        }
        if !(1..=100).contains(&self.dead_percent) {
            return refuse("dead_percent", usize::try_from(self.dead_percent).unwrap_or(usize::MAX), "from 1 to 100");
        }
        Ok(())
    }
}
