//! How a database is opened.

use rustling_engine::config::Options;

use crate::memory::available_bytes;

/// Memory for a database where the system does not say what there is.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;

/// How a database is opened. Start from [`DbOptions::default`] and change what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbOptions {
    /// Memory for everything, in bytes: half of it for the engine (memtables, sorting, encoding), half for queries,
    /// which spill to disk beyond it. What it does not count is told at [`Options::memory_bytes`]; and a process has
    /// what its allocator keeps of freed memory besides. Default: half of what the machine or the container has.
    pub memory_bytes: usize,
    /// Create the database if there is none (default true).
    pub create: bool,
    /// Threads for queries, and for parsing, sorting and encoding (default: as many as there are cores).
    pub threads: usize,
}

impl Default for DbOptions {
    fn default() -> Self {
        let memory = available_bytes().unwrap_or(2 * MEMORY_BYTES_UNKNOWN) / 2;
        Self {
            memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
            create: true,
            threads: Options::default().threads,
        }
    }
}

impl DbOptions {
    /// The engine's options.
    pub fn engine(&self) -> Options {
        Options { create: self.create, threads: self.threads, ..Options::with_memory(self.memory_bytes / 2) }
    }

    /// Memory for queries, in bytes.
    pub fn query_bytes(&self) -> usize {
        self.memory_bytes - self.memory_bytes / 2
    }
}
