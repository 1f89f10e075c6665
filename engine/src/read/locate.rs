//! Which of many keys are in a table.
//!
//! In: a snapshot, ascending keys. Out: for each key whether it has a row.
//! Invariants: sources are asked newest first and a key is asked no more once one of them knew it.

use crate::error::Result;
use crate::id::SeqNo;
use crate::read::probe::Probe;
use crate::read::snapshot::TableSnapshot;
use crate::rows::keys::Keys;

/// For each of the ascending `keys` whether its newest change above `after` is a row. With [`SeqNo::NONE`]: whether it
/// is in the table.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn contains(snapshot: &TableSnapshot, keys: &Keys, after: SeqNo) -> Result<Vec<bool>> {
    let mut has_row: Vec<Option<bool>> = vec![None; keys.len()];
    for memtable in &snapshot.table().memtables {
        if memtable.seq_range().is_some_and(|(_, last)| last > after) {
            for (key, has_row) in keys.iter().zip(&mut has_row) {
                if has_row.is_none() {
                    *has_row = memtable.find(key, after, snapshot.seq())?;
                }
            }
        }
    }
    let open = has_row.iter().enumerate().filter(|(_, has_row)| has_row.is_none()).map(|(index, _)| index).collect();
    let mut probe = Probe::new(keys, open);
    for run in snapshot.table().version.runs().iter().filter(|run| run.meta().max_seq > after) {
        probe.ask(run, &snapshot.table().codec, |index, row| has_row[index] = Some(row.is_some()))?;
    }
    Ok(has_row.into_iter().map(|has_row| has_row.unwrap_or(false)).collect())
}
