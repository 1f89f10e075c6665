//! Which of many keys are in a table.
//!
//! In: a snapshot, ascending keys. Out: for each key whether it has a row.
//! Invariants: sources are asked newest first and a key is asked no more once one of them knew it. Keys go to a run
//! as one ascending batch, so that its key index is walked once.

use crate::error::Result;
use crate::id::SeqNo;
use crate::read::snapshot::TableSnapshot;
use crate::rows::keys::Keys;
use crate::version::run::Run;

/// Ascending keys, some of which are known to have a row or to have none.
struct Probe<'a> {
    keys: &'a Keys,
    /// `None` as long as no source knew the key.
    has_row: Vec<Option<bool>>,
}

/// For each of the ascending `keys` whether its newest change above `after` is a row. With [`SeqNo::NONE`]: whether it
/// is in the table.
///
/// # Errors
/// [`crate::error::Error::Corrupt`]; the disk's.
pub fn contains(snapshot: &TableSnapshot, keys: &Keys, after: SeqNo) -> Result<Vec<bool>> {
    let mut probe = Probe { keys, has_row: vec![None; keys.len()] };
    for memtable in &snapshot.table().memtables {
        if memtable.seq_range().is_some_and(|(_, last)| last > after) {
            for (key, has_row) in keys.iter().zip(&mut probe.has_row) {
                if has_row.is_none() {
                    *has_row = memtable.find(key, after, snapshot.seq())?;
                }
            }
        }
    }
    for run in snapshot.table().version.runs().iter().filter(|run| run.meta().max_seq > after) {
        probe.ask(run, snapshot)?;
    }
    Ok(probe.has_row.into_iter().map(|has_row| has_row.unwrap_or(false)).collect())
}

impl Probe<'_> {
    /// Asks a run about the keys that are open and within its bounds.
    fn ask(&mut self, run: &Run, snapshot: &TableSnapshot) -> Result<()> {
        let Some((min, max)) = run.key_bounds() else { return Ok(()) };
        let open: Vec<usize> = (0..self.keys.len())
            .filter(|index| self.has_row[*index].is_none() && (min..=max).contains(&self.keys.get(*index)))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut keys = Keys::new(self.keys.width());
        open.iter().for_each(|index| keys.push(self.keys.get(*index)));
        run.sst().key_index().find_sorted(&keys, |index, _| self.has_row[open[index]] = Some(true))?;
        let deleted = run.deleted(&snapshot.table().codec)?;
        let mut from = 0;
        for index in open {
            match deleted.gallop(from, self.keys.get(index)) {
                Ok(at) => {
                    self.has_row[index] = self.has_row[index].or(Some(false));
                    from = at;
                }
                Err(at) => from = at,
            }
        }
        Ok(())
    }
}
