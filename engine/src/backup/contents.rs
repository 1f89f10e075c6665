//! What a copy of a database is made from: all tables at one sequence number, held fast.
//!
//! In: an open database, or the folder of a closed one. Out: runs and changes that are in no run.
//! Invariants: whatever is written, flushed, compacted or dropped meanwhile, the contents stay: the files of a run are
//! not removed while somebody holds it, and changes are taken from the memtables at once, so that no flush gives them
//! up. Nothing is written to the source, not even what opening it would clean up.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::Options;
use crate::disk::api::{Disk, DiskLock, at};
use crate::disk::path;
use crate::error::{Error, Result};
use crate::id::{RunId, SeqNo, TableId};
use crate::memtable::visible::VisibleChunk;
use crate::recover::{check_folder, newest_manifest, read_back};
use crate::rows::key::KeyCodec;
use crate::rows::schema::TableSchema;
use crate::run_writer::SeqRange;
use crate::sst::store::Store;
use crate::state::{Current, State, locked};
use crate::version::run::Run;
use crate::version::view::TableView;
use crate::wal::replay::TornTail;

/// All tables at one sequence number.
#[derive(Debug)]
pub struct Contents {
    /// The sequence number.
    pub seq: SeqNo,
    /// The tables, ascending by id.
    pub tables: Vec<TableContents>,
    /// The next table id; every one in use is lower.
    pub next_table: TableId,
    /// The next run id; every one in use is lower.
    pub next_run: RunId,
    /// How long the database keeps files that nobody needs.
    pub retention_seconds: u64,
    /// The torn end of a closed database's log, which was left out.
    pub torn: Option<TornTail>,
}

/// One table at that sequence number.
#[derive(Debug)]
pub struct TableContents {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: Arc<str>,
    /// Its columns.
    pub schema: Arc<TableSchema>,
    /// Its key encoding.
    pub codec: Arc<KeyCodec>,
    /// The next row id of a table without a key.
    pub next_row_id: i64,
    /// Its runs.
    pub runs: Vec<Arc<Run>>,
    /// What is in no run, oldest first.
    pub changes: Vec<Changes>,
}

/// Changes that are in no run, those of one memtable.
#[derive(Debug)]
pub struct Changes {
    /// Their sequence numbers.
    pub seqs: SeqRange,
    /// Newest first.
    pub chunks: Vec<VisibleChunk>,
}

impl Contents {
    /// What readers of an open database see now.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn of_open(state: &State) -> Result<Self> {
        if state.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let (seq, tables) = {
            // A flush gives up memtables; let none end while their changes are taken.
            let _flushing = locked(&state.flushing);
            let current = state.current();
            (current.visible, hold(&current)?)
        };
        let (next_table, retention_seconds) = {
            let publisher = locked(&state.publisher);
            (publisher.manifest.next_table, publisher.manifest.retention_seconds)
        };
        let next_run = RunId(state.next_run.load(Ordering::Relaxed));
        Ok(Self { seq, tables, next_table, next_run, retention_seconds, torn: None })
    }

    /// What opening a closed database would give, and the lock that keeps it closed; none where nobody can take it,
    /// as on a medium that cannot be written.
    ///
    /// # Errors
    /// [`Error::NoDatabase`], [`Error::Locked`], [`Error::Corrupt`], and the others of opening.
    pub fn of_closed(disk: &Arc<dyn Disk>, options: &Options) -> Result<(Self, Option<Box<dyn DiskLock>>)> {
        options.check()?;
        let no_database = || Error::NoDatabase { path: disk.describe() };
        check_folder(&**disk)?;
        newest_manifest(&**disk)?.ok_or_else(no_database)?;
        let lock = match disk.lock(path::LOCK) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(Error::Locked { path: disk.describe() }),
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => None,
            Err(error) => return Err(at("lock", path::LOCK)(error)),
        };
        let id = newest_manifest(&**disk)?.ok_or_else(no_database)?;
        let found = read_back(&Store::new(disk.clone(), options.kept_bytes()), options, id)?;
        let seq = found.manifest.last_seq.max(found.replayed.last_seq);
        let contents = Self {
            seq,
            tables: found.tables.values().map(|table| TableContents::new(table, seq)).collect::<Result<_>>()?,
            next_table: found.manifest.next_table,
            next_run: found.manifest.next_run,
            retention_seconds: found.manifest.retention_seconds,
            torn: found.replayed.torn,
        };
        Ok((contents, lock))
    }
}

/// What can be seen now, though writers add to its memtables.
fn hold(current: &Current) -> Result<Vec<TableContents>> {
    current.view.tables().map(|table| TableContents::new(table, current.visible)).collect()
}

impl TableContents {
    fn new(table: &TableView, seq: SeqNo) -> Result<Self> {
        let mut changes = Vec::new();
        for memtable in table.memtables.iter().rev() {
            let Some((first, last)) = memtable.seq_range() else { continue };
            let chunks = memtable.visible(seq)?;
            if !chunks.is_empty() {
                changes.push(Changes { seqs: SeqRange { first, last: last.min(seq) }, chunks });
            }
        }
        Ok(Self {
            id: table.id,
            name: table.name.clone(),
            schema: table.schema.clone(),
            codec: table.codec.clone(),
            // Given out before a row is visible, so this is higher than that of every row.
            next_row_id: table.next_row_id.load(Ordering::Relaxed),
            runs: table.version.runs().to_vec(),
            changes,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;
    use crate::commit::{Pending, commit_group, prepare_batch};
    use crate::database::Database;
    use crate::disk::memory::MemoryDisk;
    use crate::recover::open;
    use crate::rows::change::WriteBatch;

    #[test]
    fn changes_that_come_while_a_memtable_is_read_are_left_out() {
        let row = |id: i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = Options { background: false, ..Options::default() };
        let db = Database::open(disk.clone(), options.clone()).unwrap();
        db.create_table("t", &row(0).schema(), &["id"]).unwrap();
        drop(db);
        let (state, _) = open(disk, options).unwrap();
        let write = |id: i64| {
            let memory = Arc::new(state.reserve(0).unwrap());
            let batch = prepare_batch(&state, WriteBatch::new().upsert("t", row(id)), &[], memory).unwrap();
            let (sender, answer) = std::sync::mpsc::channel();
            commit_group(&state, vec![Pending { batch, done: Box::new(move |written| drop(sender.send(written))) }]);
            answer.recv().unwrap().unwrap();
        };
        write(1);
        let current = state.current();
        write(2);
        let tables = hold(&current).unwrap();
        let [changes] = &*tables[0].changes else { panic!("{tables:?}") };
        assert_eq!(changes.seqs, SeqRange { first: SeqNo(1), last: SeqNo(1) });
        assert_eq!(changes.chunks.iter().map(|chunk| chunk.keys.len()).sum::<usize>(), 1);
    }
}
