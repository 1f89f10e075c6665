//! Turns the oldest frozen memtable of a table into runs.
//!
//! In: a frozen memtable, which nobody changes. Out: durable files and a [`VersionEdit::Flushed`], published.
//! Invariants: memtables of a table are published in order; each key comes out once, with its newest change; deleted
//! keys are kept only where an older run may hold them; the rows of older runs that the keys supersede die with the
//! same commit.

use std::sync::{Arc, PoisonError};

use crate::commit::rotate;
use crate::error::{Error, Result};
use crate::id::{SeqNo, TableId};
use crate::memtable::table::Memtable;
use crate::memtable::visible::VisibleChunk;
use crate::publish::VersionEdit;
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::resolve::resolve;
use crate::read::snapshot::SCAN_BATCH_ROWS;
use crate::read::source::Source;
use crate::rows::schema::TableSchema;
use crate::run_writer::{ClosedRuns, RunWriter, SeqRange};
use crate::seeded::{SeededFault, makes};
use crate::state::{State, locked};
use crate::sweep::sweep;
use crate::sync::atomic::Ordering;
use crate::version::table::RunsEdit;
use crate::version::view::TableView;

/// Flushes everything that is in a table's memtables now.
///
/// # Errors
/// The disk's; [`crate::error::Error::Poisoned`].
pub fn flush_table(state: &State, id: TableId) -> Result<()> {
    {
        let _gate = state.gate.write().unwrap_or_else(PoisonError::into_inner);
        rotate(state, id);
    }
    flush_all_frozen(state, id)
}

/// Flushes all memtables that are frozen, and removes what is not needed any more. A table that fails keeps no other
/// from it, and one that is dropped meanwhile has none.
///
/// # Errors
/// The disk's; [`crate::error::Error::Poisoned`].
pub fn flush_frozen(state: &State) -> Result<()> {
    let mut flushed = Ok(());
    for id in state.table_ids() {
        flushed = flushed.and(match flush_all_frozen(state, id) {
            Err(Error::Dropped { .. }) => Ok(()),
            outcome => outcome,
        });
    }
    sweep(state);
    flushed
}

fn flush_all_frozen(state: &State, id: TableId) -> Result<()> {
    while flush_oldest(state, id)? {}
    Ok(())
}

/// Flushes the oldest frozen memtable of a table; `false` if there is none.
///
/// # Errors
/// The disk's; [`crate::error::Error::Poisoned`].
pub fn flush_oldest(state: &State, id: TableId) -> Result<bool> {
    let _flushing = locked(&state.flushing);
    state.check_open()?;
    let view = state.current().view;
    let Some((table, memtable)) = view.table(id).and_then(|table| Some((table, table.oldest_frozen()?))) else {
        return Ok(false);
    };
    let Some((first, last)) = memtable.seq_range() else { return Ok(false) };
    let closed = write_runs(state, table, memtable).map_err(|error| match state.current().view.table(id) {
        Some(_) => error,
        // Its memtable may have been given up meanwhile.
        None => Error::Dropped { table: table.name.to_string() },
    })?;
    let rows = closed.rows();
    let runs = closed.open(|_| SeqRange { first, last })?;
    let through = if makes(SeededFault::FlushClaimsTooMuch) { last.next() } else { last };
    // Nothing else changes the table's runs until this is published.
    let _resolving = locked(&state.resolving);
    let view_now = state.current().view;
    let older = view_now.table(id).map_or(&[][..], |table| table.version.runs());
    let older = if makes(SeededFault::FlushNotResolved) { &[][..] } else { older };
    let dead = resolve(&runs, older, &table.codec)?;
    let edit = RunsEdit { table: id, removed: Vec::new(), added: runs, dead, through };
    closed.publish(VersionEdit::Flushed(edit, memtable.clone()))?;
    let name = table.name.clone();
    let retired = Arc::downgrade(memtable);
    // What these keep is kept by no snapshot.
    drop((view, view_now));
    state.retire(retired);
    state.counters.flushes.fetch_add(1, Ordering::Relaxed);
    tracing::info!(table = %name, rows, through = last.0, "flushed a memtable");
    Ok(true)
}

/// Writes the newest change of every key of a memtable.
fn write_runs<'a>(state: &'a State, table: &Arc<TableView>, memtable: &Memtable) -> Result<ClosedRuns<'a>> {
    let mut merge = merge_changes(&table.schema, table.codec.width(), memtable.visible(SeqNo::MAX)?)?;
    let mut writer = RunWriter::new(state, table.clone());
    while let Some(block) = merge.next_block()? {
        if table.version.runs().is_empty() || makes(SeededFault::FlushWithoutDeletes) {
            writer.append(&block.keys, &block.batch)?;
        } else {
            writer.append_with_deletes(&block)?;
        }
    }
    writer.close()
}

/// The newest change of every key in some chunks of a table, which come newest first.
///
/// # Errors
/// Arrow's.
pub fn merge_changes(schema: &TableSchema, key_width: Option<usize>, chunks: Vec<VisibleChunk>) -> Result<Merge> {
    let projection: Vec<usize> = (0..schema.stored().fields().len()).collect();
    let mut cursors = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let range = 0..chunk.keys.len();
        cursors.push(Source::Changes(chunk, range).open(&projection, SCAN_BATCH_ROWS)?);
    }
    Ok(Merge::new(cursors, MergeOptions::keyed(schema.stored().clone(), key_width, Equal::First)))
}
