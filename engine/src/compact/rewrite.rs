//! Rewrites some runs of a table into runs that do not overlap.
//!
//! In: runs that can be rewritten together. Out: runs with their live rows, and those of their deleted keys that older
//! runs still need; published in place of the inputs.
//! Invariants: which rows are live follows from keys alone, and must be what the deletion vectors say; that is found out
//! on a thread of its own beside the writing, and nothing is published before it was. Rows that die while it runs are
//! found by the keys of the runs that came, before the result takes the place of its inputs. Runs that are flushed
//! meanwhile are newer and stay on top. An aborted compaction removes what it wrote. Every block of the inputs is
//! compared with its checksum again, though readers did so before: what rotted since must not get fresh checksums.

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
use crate::sync::beside;
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
    let inputs = Inputs::open(state, table, places)?;
    let (check, write) = (|| inputs.check_dead_rows(), || inputs.write_live(state, pick));
    let closed = if state.options.background {
        let (checked, written) = beside("rustling-check", check, write).map_err(no_thread)?;
        checked.and(written)?
    } else {
        check().and_then(|()| write())?
    };
    let took = state.disk.clock().saturating_sub(began).as_millis();
    let compaction = Compaction {
        reason: pick.reason,
        read: Amount::of(inputs.runs().iter().map(AsRef::as_ref)),
        dead_rows: inputs.dead().map(|dead| dead.len()).sum(),
        written: Amount::default(),
        millis: u64::try_from(took).unwrap_or(u64::MAX),
    };
    publish_in_place(state, &inputs, closed, compaction)
}

/// What is rewritten.
struct Inputs<'a> {
    table: &'a Arc<TableView>,
    /// The table's runs, newest first, those to be rewritten opened anew: their files are read as they are now.
    all: Vec<Arc<Run>>,
    /// Which of them are rewritten.
    places: &'a [usize],
}

impl<'a> Inputs<'a> {
    fn open(state: &State, table: &'a Arc<TableView>, places: &'a [usize]) -> Result<Self> {
        let mut all = table.version.runs().to_vec();
        for place in places {
            let meta = all[*place].meta().clone();
            all[*place] = Arc::new(Run::open(&state.store, table.id, &table.schema, meta)?);
        }
        Ok(Self { table, all, places })
    }

    /// The runs that are rewritten.
    fn runs(&self) -> Vec<Arc<Run>> {
        self.places.iter().map(|place| self.all[*place].clone()).collect()
    }

    /// Which of their rows are dead.
    fn dead(&self) -> impl Iterator<Item = &Arc<DeletionVector>> {
        self.places.iter().map(|place| &self.table.version.dead()[*place])
    }

    /// Compares the deletion vectors with what the keys of the runs, and those of all newer ones, say.
    fn check_dead_rows(&self) -> Result<()> {
        let mut dead: BTreeMap<RunId, DeletionVector> = BTreeMap::new();
        for (place, newer) in self.all.iter().enumerate() {
            let older = self.places.iter().filter(|other| **other > place).map(|other| self.all[*other].clone());
            let older: Vec<Arc<Run>> = older.filter(|older| overlap(newer, older)).collect();
            for (run, rows) in resolve(std::slice::from_ref(newer), &older, &self.table.codec)? {
                dead.entry(run).or_default().extend(&rows);
            }
        }
        let runs = self.runs();
        let by_keys: Vec<DeletionVector> = runs.iter().map(|run| dead.remove(&run.id()).unwrap_or_default()).collect();
        check_dead(self.table.id, &runs, self.dead().map(AsRef::as_ref), &by_keys)
    }

    /// Writes the live rows, and the deleted keys that are still needed.
    fn write_live<'s>(&self, state: &'s State, pick: &Pick) -> Result<ClosedRuns<'s>> {
        let mut writer = RunWriter::new(state, self.table.clone()).cut(pick.cuts.clone(), pick.rows_per_run);
        if !makes(SeededFault::CompactionForgetsDeletes) {
            writer.append_deletes(&self.deleted_keys()?);
        }
        let mut merge = self.merge_live(state.options.merge_bytes())?;
        let mut ascent = Ascent::default();
        while let Some(block) = merge.next_block()? {
            // Closing waits for what somebody asked for.
            if pick.reason != Reason::Asked && state.calls.are_ending() {
                return Err(Error::Closed);
            }
            // Keys of the inputs may be damaged where their checksums match.
            ascent.take(&block.keys).map_err(|damage| Error::corrupt(path::table(self.table.id), damage))?;
            writer.append(&block.keys, &block.batch)?;
        }
        writer.close()
    }

    /// The deleted keys that still have something to hide: a row of an older run that stays.
    fn deleted_keys(&self) -> Result<Keys> {
        let (table, all, places) = (self.table, &self.all, self.places);
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
        for run in self.runs() {
            let keys = run.deleted(&table.codec)?;
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

    /// Merges the live rows, of which batches take `bytes_max` together, about, and a block half of it.
    fn merge_live(&self, bytes_max: usize) -> Result<Merge> {
        let table = self.table;
        let projection: Vec<usize> = (0..table.schema.stored().fields().len()).collect();
        // Narrow rows hardly ever take as many bytes as their batch may.
        let rows_max = bytes_max / self.places.len().max(1) / ROW_BYTES;
        let batch_rows = merged_batch_rows(self.places.len()).min(rows_max.max(MERGED_BATCH_ROWS_MIN));
        let mut cursors = Vec::with_capacity(self.places.len());
        for (run, dead) in self.runs().into_iter().zip(self.dead()).filter(|(run, dead)| run.rows() > dead.len()) {
            let dead = if makes(SeededFault::CompactionKeepsDead) { Arc::default() } else { dead.clone() };
            cursors.push(Cursor::live_rows(run, dead, &projection, batch_rows)?);
        }
        // No two of them have a live row with one key: what writes the runs sees to that.
        let options = MergeOptions::keyed(table.schema.stored().clone(), table.codec.width(), Equal::All);
        Ok(Merge::new(cursors, MergeOptions { block_bytes: BLOCK_BYTES.min(bytes_max / 2), ..options }))
    }
}

fn no_thread(source: std::io::Error) -> Error {
    Error::Io { operation: "start", path: "a thread of a compaction".to_owned(), source }
}

/// Publishes the result in place of its inputs, with what died meanwhile.
fn publish_in_place(state: &State, inputs: &Inputs<'_>, closed: ClosedRuns<'_>, compaction: Compaction) -> Result<()> {
    let (table, runs) = (inputs.table, inputs.runs());
    let added = closed.open(|files| seqs_of(files, &runs))?;
    let removed: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    if makes(SeededFault::RunsSweptBeforePublish) {
        removed.iter().for_each(|run| remove_run(&*state.disk, table.id, *run));
    }
    let compaction = Compaction { written: Amount::of(added.iter().map(AsRef::as_ref)), ..compaction };
    let (reason, read, written) = (compaction.reason.text(), compaction.read, compaction.written);
    let mut catch_up = CatchUp::new(table, &added);
    catch_up.resolve(state)?;
    // Nothing else changes the table's runs until this is published.
    let _resolving = locked(&state.resolving);
    catch_up.resolve(state)?;
    let dead = catch_up.finish(state, &runs)?;
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
