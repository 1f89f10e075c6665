//! What a database consists of, for people.
//!
//! In: the state. Out: plain numbers per table, run, log and memory.

use std::time::Duration;

use crate::compact::step::shape;
use crate::id::{ManifestId, RunId, SeqNo, TableId};
use crate::state::{State, locked};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::version::history::History;
use crate::version::view::TableView;
use crate::wal::log::LogEnd;

/// A database in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseReport {
    /// The newest manifest.
    pub manifest: ManifestId,
    /// Highest visible sequence number.
    pub visible: SeqNo,
    /// Where the log ends.
    pub wal_end: LogEnd,
    /// Bytes of the log, about.
    pub wal_bytes: u64,
    /// Syncs of the log since the database was opened.
    pub wal_syncs: u64,
    /// Write batches committed since.
    pub commits: u64,
    /// Memtables flushed since.
    pub flushes: u64,
    /// Compactions since.
    pub compactions: u64,
    /// Times a writer waited for memory since.
    pub stalls: u64,
    /// Of these, times that memory was not given back because flushes waited for a compaction: a table had too many runs
    /// or dead rows.
    pub stalls_for_compaction: u64,
    /// How long writers waited, all together.
    pub stalled: Duration,
    /// How long they rested, all together, while compactions were behind.
    pub rested: Duration,
    /// Sorted parts spilled by loads since.
    pub spills: u64,
    /// Bytes spilled by loads since.
    pub spilled_bytes: u64,
    /// The tables.
    pub tables: Vec<TableReport>,
}

/// A table in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReport {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// Names of its key columns; empty without a key.
    pub key: Vec<String>,
    /// Number of columns.
    pub columns: usize,
    /// Its runs, newest first.
    pub runs: Vec<RunReport>,
    /// Memtables, the active one included.
    pub memtables: usize,
    /// Bytes of the memtables.
    pub memtable_bytes: usize,
    /// Bytes on the heap, about, that its runs take for as long as they are open: deletion vectors, checksums of blocks,
    /// deleted keys that were read, and which of their rows the keys in memory supersede.
    pub run_heap_bytes: usize,
    /// Every change up to here is in the runs.
    pub flushed_through: SeqNo,
    /// The files that say which rows are dead.
    pub deletion_files: Vec<RunId>,
    /// Runs that one key may be in, at most: what a lookup asks.
    pub depth: usize,
    /// What was written for it since it was created, and its last compactions.
    pub history: History,
}

impl TableReport {
    /// Numbers of the files in its folder: its runs', and those of the dead rows.
    pub fn files(&self) -> impl Iterator<Item = RunId> {
        self.runs.iter().map(|run| run.id).chain(self.deletion_files.iter().copied())
    }

    /// Rows of all runs, the dead ones included.
    pub fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).sum()
    }

    /// Rows of all runs that are dead.
    pub fn dead_rows(&self) -> u64 {
        self.runs.iter().map(|run| run.dead_rows).sum()
    }
}

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// Its id.
    pub id: RunId,
    /// Rows, the dead ones included.
    pub rows: u64,
    /// Rows whose keys newer runs know.
    pub dead_rows: u64,
    /// Keys it deletes from older runs.
    pub deletes: u64,
    /// Bytes of the SST.
    pub sst_bytes: u64,
    /// Bytes of the key index.
    pub key_index_bytes: u64,
    /// First sequence number.
    pub min_seq: SeqNo,
    /// Last sequence number.
    pub max_seq: SeqNo,
    /// First and last key as text; `None` without rows.
    pub keys: Option<(String, String)>,
}

/// Describes the database as it is now.
pub fn report(state: &State) -> DatabaseReport {
    let manifest = locked(&state.publisher).manifest.id;
    let (wal_end, wal_bytes, wal_syncs) = {
        let writer = locked(&state.writer);
        (writer.wal.end(), writer.wal.size_bytes(), writer.wal.syncs())
    };
    let current = state.current();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    DatabaseReport {
        manifest,
        visible: current.visible,
        wal_end,
        wal_bytes,
        wal_syncs,
        commits: count(&state.counters.commits),
        flushes: count(&state.counters.flushes),
        compactions: count(&state.counters.compactions),
        stalls: count(&state.counters.stalls),
        stalls_for_compaction: count(&state.counters.stalls_for_compaction),
        stalled: Duration::from_micros(count(&state.counters.stalled_micros)),
        rested: Duration::from_micros(count(&state.counters.rested_micros)),
        spills: count(&state.counters.spills),
        spilled_bytes: count(&state.counters.spilled_bytes),
        tables: current.view.tables().map(|table| describe(table)).collect(),
    }
}

fn run_heap_bytes(table: &TableView) -> usize {
    let runs = table.version.runs().iter().map(|run| run.heap_bytes());
    let dead = table.version.dead().iter().map(|dead| dead.heap_bytes());
    let superseded = table.memtables.iter().map(|memtable| memtable.superseded_bytes());
    runs.chain(dead).chain(superseded).sum()
}

fn describe(table: &TableView) -> TableReport {
    let runs = table.version.runs().iter().zip(table.version.dead()).map(|(run, dead)| {
        let meta = run.meta();
        let text = |key: &Vec<u8>| table.codec.text(key);
        RunReport {
            id: run.id(),
            rows: run.rows(),
            dead_rows: dead.len(),
            deletes: meta.files.deletes.as_ref().map_or(0, |deletes| deletes.count),
            sst_bytes: meta.files.sst.bytes,
            key_index_bytes: meta.files.keys.bytes,
            min_seq: meta.min_seq,
            max_seq: meta.max_seq,
            keys: meta.files.key_range.as_ref().map(|range| (text(&range.min), text(&range.max))),
        }
    });
    let key = if table.schema.has_key() { table.schema.key_names() } else { Vec::new() };
    TableReport {
        id: table.id,
        name: table.name.to_string(),
        key: key.into_iter().map(str::to_owned).collect(),
        columns: table.schema.user().fields().len(),
        runs: runs.collect(),
        memtables: table.memtables.len(),
        memtable_bytes: table.memtable_bytes(),
        run_heap_bytes: run_heap_bytes(table),
        flushed_through: table.version.flushed_through(),
        deletion_files: table.version.deletion_files().iter().map(|file| file.id).collect(),
        depth: shape(&table.version).depth(),
        history: (**table.version.history()).clone(),
    }
}
