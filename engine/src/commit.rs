//! Commits write batches in groups: one sync of the log for all that wait.
//!
//! In: prepared write batches. Out: sequence numbers, once the batch is durable and visible.
//! Invariants: a batch gets its sequence number, its place in the log and its place in the memtables under one lock,
//! so all three orders agree. Nothing is visible before the log is synced. An insert is checked against everything
//! before it: against the tables before it entered the queue, and under the lock against what came since.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::PoisonError;

use crate::error::{Error, Result};
use crate::id::{SeqNo, TableId};
use crate::read::locate;
use crate::read::snapshot::TableSnapshot;
use crate::rows::change::{TableChanges, WriteBatch, by_table, prepare};
use crate::rows::keys::Keys;
use crate::seeded::{SeededFault, makes};
use crate::state::{PendingBytes, State, Writer, locked};
use crate::sync::atomic::Ordering;
use crate::version::view::{TableView, View};
use crate::wal::body::{manifest_body, write_changes};
use crate::wal::log::CommitFailure;
use crate::wal::record::{BODY_BYTES_MAX, RecordKind};

/// What becomes of a batch; called once, by the thread that commits, which others wait for.
pub type Done = Box<dyn FnOnce(Result<SeqNo>) + Send>;

/// A write batch that needs only its place.
pub struct Prepared {
    /// With the tables' names; their views would keep memtables that are flushed while the batch waits.
    parts: Vec<(Arc<str>, TableChanges)>,
    body: Vec<u8>,
    /// Inserts were checked against everything up to here.
    checked_at: SeqNo,
    /// Given back when the batch is in the memtables, or refused.
    memory: Arc<PendingBytes>,
}

/// A prepared batch in the queue.
pub struct Pending {
    /// The batch.
    pub batch: Prepared,
    /// Who waits for it.
    pub done: Done,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("size_bytes", &self.batch.size_bytes()).finish_non_exhaustive()
    }
}

/// Checks, keys, sorts and encodes a write batch, and checks its inserts against the tables as they are now; but not
/// where a batch before it in its group changes the same table, for that decides with it. All of this happens outside
/// the queue, in the caller's thread.
///
/// # Errors
/// Everything that can be wrong with a batch; [`Error::DuplicateKey`].
pub fn prepare_batch(
    state: &State,
    batch: &WriteBatch,
    before: &[Pending],
    memory: Arc<PendingBytes>,
) -> Result<Prepared> {
    let current = state.current();
    let mut checked_at = current.visible;
    let mut parts = Vec::new();
    let mut body = Vec::new();
    for (id, changes) in by_table(batch, |name| Ok(current.view.expected(name, batch.expected(name))?.id))? {
        let Some(table) = current.view.table(id) else { continue };
        let part = prepare(table.reference(), &changes, |rows| {
            table.next_row_id.fetch_add(i64::try_from(rows).unwrap_or(i64::MAX), Ordering::Relaxed)
        })?;
        if part.changes.keys.is_empty() {
            continue;
        }
        if before.iter().any(|pending| pending.batch.part_of(id).is_some()) {
            checked_at = SeqNo::NONE;
        } else {
            refuse_present_now(state, &part)?;
        }
        write_changes(&mut body, &table.schema, &part)?;
        parts.push((table.name.clone(), part));
    }
    let limit = usize::try_from(BODY_BYTES_MAX).unwrap_or(usize::MAX);
    if body.len() > limit {
        return Err(Error::BatchTooLarge { bytes: body.len(), limit });
    }
    Ok(Prepared { parts, body, checked_at, memory })
}

impl Prepared {
    /// Bytes of its record.
    pub fn size_bytes(&self) -> usize {
        self.body.len()
    }

    /// Whether no other batch is on its way, so that there is none to share a sync with, nor one to overtake.
    pub fn is_alone(&self) -> bool {
        self.memory.is_alone()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What it changes in a table.
    fn part_of(&self, table: TableId) -> Option<&TableChanges> {
        self.parts.iter().map(|(_, part)| part).find(|part| part.table == table)
    }
}

/// Refuses the first key of an insert that is there now. Looks again where flushes took what it was looking at.
fn refuse_present_now(state: &State, part: &TableChanges) -> Result<()> {
    loop {
        let current = state.current();
        // The commit says that it was dropped.
        let Some(table) = current.view.table(part.table) else { return Ok(()) };
        match refuse_present(&TableSnapshot::new(table.clone(), current.visible), &part.absent, SeqNo::NONE) {
            Err(Error::SnapshotTooOld { .. }) => {}
            checked => return checked,
        }
    }
}

/// Refuses the first of some keys whose newest change above `after` is a row.
fn refuse_present(snapshot: &TableSnapshot, keys: &Keys, after: SeqNo) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let present = locate::contains(snapshot, keys, after)?;
    match present.iter().position(|present| *present) {
        Some(index) => Err(duplicate(snapshot.table(), keys.get(index))),
        None => Ok(()),
    }
}

fn duplicate(table: &TableView, key: &[u8]) -> Error {
    Error::DuplicateKey { table: table.name.to_string(), key: table.codec.text(key) }
}

/// Commits a group of batches with one sync. Each gets its answer, and none before all are decided: a batch that was
/// refused for the sake of another one must find that one's rows.
pub fn commit_group(state: &State, group: Vec<Pending>) {
    let gate = state.gate.read().unwrap_or_else(PoisonError::into_inner);
    let mut writer = locked(&state.writer);
    let step = state.whole_step("committing");
    let view = state.current().view;
    let mut accepted: Vec<(SeqNo, Pending)> = Vec::with_capacity(group.len());
    let mut answers = Vec::new();
    for pending in group {
        match check(state, &view, &accepted, &pending.batch) {
            Ok(()) => {
                let seq = writer.take_seq();
                writer.wal.push(RecordKind::Write, seq, &pending.batch.body);
                accepted.push((seq, pending));
            }
            Err(error) => answers.push((pending.done, Err(error))),
        }
    }
    if !accepted.is_empty() {
        announce_manifest(&mut writer);
        match state.check_in_place().and_then(|()| writer.wal.commit()) {
            Err(failure) if failure.poisoned || !makes(SeededFault::AckWithoutAppend) => {
                let refused = answers.into_iter().map(|(done, _)| done);
                let dones = refused.chain(accepted.into_iter().map(|(_, pending)| pending.done)).collect();
                answers = refuse_all(state, dones, failure);
            }
            committed => {
                if committed.is_ok() {
                    writer.unannounced = None;
                }
                answers.extend(make_visible(state, &view, accepted));
                state.counters.wal_bytes.store(writer.wal.size_bytes(), Ordering::Relaxed);
                rotate_full(state, &writer);
            }
        }
    }
    drop(step);
    drop(writer);
    drop(gate);
    answers.into_iter().for_each(|(done, answer)| answer_one(done, answer));
}

/// Tells somebody what became of a batch. Who panics over it changes nothing for the others, nor for the batch.
fn answer_one(done: Done, answer: Result<SeqNo>) {
    if catch_unwind(AssertUnwindSafe(|| done(answer))).is_err() {
        tracing::error!("what a write was to call when it was durable, or refused, panicked");
    }
}

/// Tells the log of a manifest that it could not be told of when it was committed.
fn announce_manifest(writer: &mut Writer) {
    if let Some((id, digest)) = writer.unannounced {
        let seq = SeqNo(writer.next_seq.0 - 1);
        writer.wal.push(RecordKind::Manifest, seq, &manifest_body(id, digest));
    }
}

/// Checks a batch against what came since it was prepared.
fn check(state: &State, view: &View, accepted: &[(SeqNo, Pending)], batch: &Prepared) -> Result<()> {
    state.check_open()?;
    let visible = state.current().visible;
    for (name, part) in &batch.parts {
        let Some(table) = view.table(part.table) else {
            return Err(Error::Dropped { table: name.to_string() });
        };
        if makes(SeededFault::InsertNotCheckedAgain) {
            continue;
        }
        let undecided = decide_in_group(table, part, accepted)?;
        if visible > batch.checked_at {
            let snapshot = TableSnapshot::new(table.clone(), visible);
            refuse_present(&snapshot, undecided.as_ref().unwrap_or(&part.absent), batch.checked_at)?;
        }
    }
    Ok(())
}

/// Refuses a key of an insert that a batch before it in the group adds. What is left are the keys that none of them
/// changes; `None` if that is all.
fn decide_in_group(table: &TableView, part: &TableChanges, accepted: &[(SeqNo, Pending)]) -> Result<Option<Keys>> {
    let before: Vec<&TableChanges> =
        accepted.iter().rev().filter_map(|(_, pending)| pending.batch.part_of(part.table)).collect();
    if before.is_empty() {
        return Ok(None);
    }
    let mut undecided = Keys::new(part.absent.width());
    for key in part.absent.iter() {
        let newest = before
            .iter()
            .find_map(|before| before.changes.keys.position(key).ok().map(|index| before.changes.is_deleted(index)));
        match newest {
            Some(true) => {}
            Some(false) => return Err(duplicate(table, key)),
            None => undecided.push(key),
        }
    }
    Ok(Some(undecided))
}

/// The group is not in the log: nobody gets a sequence number. That goes for a batch that was refused, too: it may have
/// been refused for the sake of one that is not there now.
fn refuse_all(state: &State, dones: Vec<Done>, failure: CommitFailure) -> Vec<(Done, Result<SeqNo>)> {
    let source = Arc::new(*failure.error);
    if failure.poisoned {
        let shared = Error::Poisoned { source: source.clone() };
        state.poison(shared);
    }
    let error = || match (&*source, failure.poisoned) {
        (Error::Io { operation, path, source }, false) => {
            Error::Io { operation, path: path.clone(), source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        _ => Error::Poisoned { source: source.clone() },
    };
    dones.into_iter().map(|done| (done, Err(error()))).collect()
}

/// Applies durable batches to the memtables and lets readers see them.
fn make_visible(state: &State, view: &View, accepted: Vec<(SeqNo, Pending)>) -> Vec<(Done, Result<SeqNo>)> {
    let mut answers = Vec::with_capacity(accepted.len());
    let mut last = SeqNo::NONE;
    let mut failure = None;
    for (seq, pending) in accepted {
        for (_, part) in pending.batch.parts {
            let applied = view.table(part.table).map_or(Ok(()), |table| table.active().apply(seq, part.changes));
            // A change that is durable but cannot be applied here would be there after reopening: stop at once.
            failure = failure.or(applied.err());
        }
        last = seq;
        answers.push((pending.done, Ok(seq)));
    }
    if let Some(error) = failure {
        let source = Arc::new(error);
        state.poison(Error::Poisoned { source: source.clone() });
        return answers.into_iter().map(|(done, _)| (done, Err(Error::Poisoned { source: source.clone() }))).collect();
    }
    state.change_current(|current| current.visible = last);
    state.counters.commits.fetch_add(answers.len() as u64, Ordering::Relaxed);
    answers
}

/// Freezes memtables that are full, and the one that keeps the log from shrinking. The writer's lock is held.
fn rotate_full(state: &State, writer: &Writer) {
    let view = state.current().view;
    let mut full: BTreeMap<TableId, &Arc<TableView>> = (view.tables())
        .filter(|table| table.active().size_bytes() >= state.options.memtable_bytes)
        .map(|table| (table.id, table))
        .collect();
    if writer.wal.size_bytes() > state.options.wal_bytes {
        // One that is frozen is on its way into runs.
        let oldest = view.with_oldest_change().filter(|table| table.oldest_frozen().is_none());
        full.extend(oldest.map(|table| (table.id, table)));
    }
    for table in full.into_values() {
        rotate(state, table.id);
    }
}

/// Freezes the active memtable of a table, if it holds anything, and gives the table a new one. The caller keeps
/// writers out.
pub fn rotate(state: &State, id: TableId) {
    state.change_current(|current| {
        let Some(table) = current.view.table(id) else { return };
        if table.active().seq_range().is_none() {
            return;
        }
        table.active().freeze();
        let mut rotated = (**table).clone();
        let Ok(fresh) = table.new_memtable() else { return };
        rotated.memtables.insert(0, fresh);
        current.view = Arc::new(current.view.with(rotated));
    });
    state.work.raise();
}
