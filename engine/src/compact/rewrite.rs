//! Rewrites some runs of a table into runs that do not overlap.
//!
//! In: runs that can be rewritten together. Out: runs with their live rows, and those of their deleted keys that older
//! runs still need; published in place of the inputs.
//! Invariants: which rows are live follows from keys alone, and must be what the deletion vectors say. Rows that die
//! while it runs are found by the keys of the runs that came, before the result takes the place of its inputs. Runs that
//! are flushed meanwhile are newer and stay on top. An aborted compaction removes what it wrote. Every block of the
//! inputs is compared with its checksum again, though readers did so before: what rotted since must not get fresh
//! checksums.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compact::catch_up::CatchUp;
use crate::compact::policy::Pick;
use crate::deletion::vector::DeletionVector;
use crate::disk::path;
use crate::error::{Error, Result};
use crate::id::{RunId, SeqNo};
use crate::publish::VersionEdit;
use crate::read::cursor::Cursor;
use crate::read::merge::{BLOCK_BYTES, Equal, Merge, MergeOptions};
use crate::read::probe::Probe;
use crate::read::resolve::{check_dead, resolve};
use crate::read::snapshot::{MERGED_BATCH_ROWS_MIN, merged_batch_rows};
use crate::rows::keys::{Ascent, Keys};
use crate::run_writer::{ClosedRuns, RunWriter, SeqRange};
use crate::seeded::{SeededFault, makes};
use crate::sst::meta::SstMeta;
use crate::sst::rows::ROW_BYTES;
use crate::state::{State, locked};
use crate::sweep::remove_run;
use crate::sync::atomic::Ordering;
use crate::version::history::{Amount, Compaction, Reason};
use crate::version::run::{Run, key_bounds};
use crate::version::table::{RunsEdit, overlap};
use crate::version::view::TableView;

/// Rewrites the picked runs of a table, which `places` are among all of its runs.
///
/// # Errors
/// [`Error::Corrupt`]; [`Error::Dropped`]; the disk's; [`Error::Poisoned`].
pub fn rewrite(state: &State, table: &Arc<TableView>, places: &[usize], pick: &Pick) -> Result<()> {
    let began = state.disk.clock();
    let all = opened_again(state, table, places)?;
    let inputs: Vec<Arc<Run>> = places.iter().map(|place| all[*place].clone()).collect();
    let dead: Vec<Arc<DeletionVector>> = places.iter().map(|place| table.version.dead()[*place].clone()).collect();
    check_dead_rows(table, &all, places)?;
    let mut writer = RunWriter::new(state, table.clone()).cut(pick.cuts.clone(), pick.rows_per_run);
    if !makes(SeededFault::CompactionForgetsDeletes) {
        writer.append_deletes(&deleted_keys(table, &all, places)?);
    }
    let mut merge = merge_live(table, &inputs, &dead, state.options.merge_bytes())?;
    let mut ascent = Ascent::default();
    while let Some(block) = merge.next_block()? {
        // Closing waits for what somebody asked for.
        if pick.reason != Reason::Asked && state.calls.are_ending() {
            return Err(Error::Closed);
        }
        // Keys of the inputs may be damaged where their checksums match.
        ascent.take(&block.keys).map_err(|damage| Error::corrupt(path::table(table.id), damage))?;
        writer.append(&block.keys, &block.batch)?;
    }
    let closed = writer.close()?;
    let took = state.disk.clock().saturating_sub(began).as_millis();
    let compaction = Compaction {
        reason: pick.reason,
        read: Amount::of(inputs.iter().map(AsRef::as_ref)),
        dead_rows: dead.iter().map(|dead| dead.len()).sum(),
        written: Amount::default(),
        millis: u64::try_from(took).unwrap_or(u64::MAX),
    };
    publish_in_place(state, table, &inputs, closed, compaction)
}

/// The runs of a table, those to be rewritten opened anew: their files are read as they are now.
fn opened_again(state: &State, table: &TableView, places: &[usize]) -> Result<Vec<Arc<Run>>> {
    let mut runs = table.version.runs().to_vec();
    for place in places {
        let meta = runs[*place].meta().clone();
        runs[*place] = Arc::new(Run::open(&state.store, table.id, &table.schema, meta)?);
    }
    Ok(runs)
}

/// Compares the deletion vectors of some of a table's runs with what their keys, and those of all newer runs, say.
fn check_dead_rows(table: &TableView, all: &[Arc<Run>], places: &[usize]) -> Result<()> {
    let mut dead: BTreeMap<RunId, DeletionVector> = BTreeMap::new();
    for (place, newer) in all.iter().enumerate() {
        let older = places.iter().filter(|other| **other > place).map(|other| all[*other].clone());
        let older: Vec<Arc<Run>> = older.filter(|older| overlap(newer, older)).collect();
        for (run, rows) in resolve(std::slice::from_ref(newer), &older, &table.codec)? {
            dead.entry(run).or_default().extend(&rows);
        }
    }
    let inputs: Vec<Arc<Run>> = places.iter().map(|place| all[*place].clone()).collect();
    let by_keys: Vec<DeletionVector> = inputs.iter().map(|run| dead.remove(&run.id()).unwrap_or_default()).collect();
    let known = places.iter().map(|place| &*table.version.dead()[*place]);
    check_dead(table.id, &inputs, known, &by_keys)
}

/// The deleted keys of some of a table's runs that still have something to hide: a row of an older run that stays.
fn deleted_keys(table: &TableView, all: &[Arc<Run>], places: &[usize]) -> Result<Keys> {
    let mut deleted = Keys::new(table.codec.width());
    let newest = places.first().copied().unwrap_or(0);
    // Closed sets: what stays, and is not newer than all of these, is older than any whose keys it may know.
    let stays: Vec<&Arc<Run>> = all
        .iter()
        .enumerate()
        .filter(|(place, _)| *place > newest && !places.contains(place))
        .map(|(_, run)| run)
        .collect();
    if stays.is_empty() {
        return Ok(deleted);
    }
    for place in places {
        let keys = all[*place].deleted(&table.codec)?;
        deleted.extend(&keys, 0..keys.len());
    }
    let mut order = deleted.sort_order();
    order.dedup_by_key(|index| deleted.get(*index as usize));
    let deleted = deleted.take(&order);
    let mut hides = vec![false; deleted.len()];
    let mut probe = Probe::new(&deleted, (0..deleted.len()).collect());
    for older in stays {
        probe.ask(older, &table.codec, |index, row| hides[index] = row.is_some())?;
    }
    let kept = hides.iter().enumerate().filter(|(_, hides)| **hides);
    let kept: Vec<u32> = kept.filter_map(|(index, _)| u32::try_from(index).ok()).collect();
    Ok(deleted.take(&kept))
}

/// Merges the live rows of some runs, whose batches take `bytes_max` together, about, and a block half of it.
fn merge_live(table: &TableView, inputs: &[Arc<Run>], dead: &[Arc<DeletionVector>], bytes_max: usize) -> Result<Merge> {
    let projection: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
    // Narrow rows hardly ever take as many bytes as their batch may.
    let rows_max = bytes_max / inputs.len().max(1) / ROW_BYTES;
    let batch_rows = merged_batch_rows(inputs.len()).min(rows_max.max(MERGED_BATCH_ROWS_MIN));
    let mut cursors = Vec::with_capacity(inputs.len());
    for (run, dead) in inputs.iter().zip(dead).filter(|(run, dead)| run.rows() > dead.len()) {
        let dead = if makes(SeededFault::CompactionKeepsDead) { Arc::default() } else { dead.clone() };
        cursors.push(Cursor::live_rows(run.clone(), dead, &projection, batch_rows)?);
    }
    // No two of them have a live row with one key: what writes the runs sees to that.
    let options = MergeOptions::keyed(table.schema.stored().clone(), table.codec.width(), Equal::All);
    Ok(Merge::new(cursors, MergeOptions { block_bytes: BLOCK_BYTES.min(bytes_max / 2), ..options }))
}

/// Publishes the result in place of its inputs, with what died meanwhile.
fn publish_in_place(
    state: &State,
    table: &TableView,
    inputs: &[Arc<Run>],
    closed: ClosedRuns<'_>,
    compaction: Compaction,
) -> Result<()> {
    let added = closed.open(|files| seqs_of(files, inputs))?;
    let removed: Vec<RunId> = inputs.iter().map(|run| run.id()).collect();
    if makes(SeededFault::RunsSweptBeforePublish) {
        removed.iter().for_each(|run| remove_run(&*state.disk, table.id, *run));
    }
    let compaction = Compaction { written: Amount::of(added.iter().map(AsRef::as_ref)), ..compaction };
    let (reason, read, written) = (compaction.reason.text(), compaction.read, compaction.written);
    let mut catch_up = CatchUp::new(table, &added);
    catch_up.resolve(state)?;
    // Nothing else changes the table's runs until this is published.
    let _flushing = locked(&state.flushing);
    catch_up.resolve(state)?;
    let dead = catch_up.finish(state, inputs)?;
    let edit = RunsEdit { table: table.id, removed, added, dead, through: SeqNo::NONE };
    closed.publish(VersionEdit::Compacted(edit, compaction))?;
    state.counters.compactions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(table = %table.name, reason, ?read, ?written, "compacted a table");
    Ok(())
}

/// The sequence numbers of the changes that a run of the result can have: those of the inputs that know its keys.
fn seqs_of(files: &SstMeta, inputs: &[Arc<Run>]) -> SeqRange {
    let keys = key_bounds(files);
    let knows = |run: &&Arc<Run>| {
        let both = keys.zip(run.key_bounds());
        both.is_none_or(|((min, max), (run_min, run_max))| min <= run_max && run_min <= max)
    };
    let metas = || inputs.iter().filter(knows).map(|run| run.meta());
    let first = metas().map(|meta| meta.min_seq).min().unwrap_or(SeqNo::NONE);
    let last = metas().map(|meta| meta.max_seq).max().unwrap_or(SeqNo::NONE);
    SeqRange { first, last }
}
