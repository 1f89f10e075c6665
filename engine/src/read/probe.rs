//! Asks runs about many keys at once.
//!
//! In: ascending keys. Out: for each key that a run knows, where its row is or that it is deleted.
//! Invariants: a key is asked no more once one run knew it, so runs are to be asked newest first. Keys go to a run as
//! one ascending batch, so that its key index is walked once.

use crate::error::Result;
use crate::rows::key::KeyCodec;
use crate::rows::keys::Keys;
use crate::version::run::Run;

/// Ascending keys, some of which no run knew yet.
pub struct Probe<'a> {
    keys: &'a Keys,
    /// Indexes of the keys that no run knew yet, ascending.
    open: Vec<usize>,
}

impl<'a> Probe<'a> {
    /// Asks about those of the ascending `keys` whose indexes are in `open`, ascending.
    pub fn new(keys: &'a Keys, open: Vec<usize>) -> Self {
        Self { keys, open }
    }

    /// Whether nothing is left to ask.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Asks a run; calls `known` for each key that it knows, with the position of its row or, of a deleted one, without.
    /// Gives the number of keys to which its filter said no. Cost: the key blocks that the keys lie in, unless the filter
    /// says that they do not.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`]; the disk's.
    pub fn ask(&mut self, run: &Run, codec: &KeyCodec, mut known: impl FnMut(usize, Option<u64>)) -> Result<u64> {
        let Some((min, max)) = run.key_bounds() else { return Ok(0) };
        let start = self.open.partition_point(|index| self.keys.get(*index) < min);
        let end = self.open.partition_point(|index| self.keys.get(*index) <= max);
        if start >= end {
            return Ok(0);
        }
        let asked = &self.open[start..end];
        let mut keys = Keys::new(self.keys.width());
        for together in asked.chunk_by(|a, b| a + 1 == *b) {
            keys.extend(self.keys, together[0]..together[0] + together.len());
        }
        let mut is_known = vec![false; asked.len()];
        let denied = run.sst().key_index().find_sorted(&keys, |place, row| {
            is_known[place] = true;
            known(asked[place], Some(row));
        })?;
        let deleted = run.deleted(codec)?;
        let mut from = 0;
        for place in 0..keys.len() {
            match deleted.gallop(from, keys.headed(place)) {
                Ok(at) => {
                    from = at;
                    if !std::mem::replace(&mut is_known[place], true) {
                        known(asked[place], None);
                    }
                }
                Err(at) => from = at,
            }
            if from == deleted.len() {
                break;
            }
        }
        let mut place = 0;
        self.open.retain(|_| {
            let is_asked = (start..end).contains(&place);
            let keep = !is_asked || !is_known[place - start];
            place += 1;
            keep
        });
        Ok(denied)
    }
}
