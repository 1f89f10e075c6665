//! What a table answers by key.
//!
//! In: keys, or bounds of keys, as batches of the key columns; columns. Out: rows of the user's columns.
//! Invariants: the newest change of a key decides, in memory or in a run; what is kept of earlier reads changes the cost
//! alone. A key has the exact types of the key columns; floats are found whatever their form of zero and NaN.

use std::ops::Bound;

use arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::id::SeqNo;
use crate::read::fetch::fetch;
use crate::read::key_range::{KeyOrder, KeyRange};
use crate::read::locate::{Place, locate, locate_one};
use crate::read::snapshot::TableSnapshot;
use crate::read::source::KeyInterval;
use crate::sst::counts::ReadCounts;
use crate::sst::table_file::Access;

/// The rows with some keys.
#[derive(Clone, Debug)]
pub struct FoundRows {
    /// The rows that are there, in the order of the keys that were asked for.
    pub rows: RecordBatch,
    /// For each key its row in `rows`, if it has one.
    pub row_of: Vec<Option<u32>>,
}

impl TableSnapshot {
    /// The row with a key, given as a batch of one row with the key columns in key order; the user's columns. Cost: a
    /// search in each memtable, and in each run whose key bounds and filter do not exclude the key, newest first; then
    /// microseconds for a row that is kept, else a page of each column.
    ///
    /// # Errors
    /// A key that does not fit the table; [`Error::Corrupt`]; the disk's.
    pub fn get(&self, key: &RecordBatch) -> Result<Option<RecordBatch>> {
        self.get_columns(key, &self.user_projection(), &mut ReadCounts::default())
    }

    /// As [`TableSnapshot::get`], some of the user's columns (by index, ascending), counting what it takes.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn get_columns(
        &self,
        key: &RecordBatch,
        projection: &[usize],
        counts: &mut ReadCounts,
    ) -> Result<Option<RecordBatch>> {
        let keys = self.table().codec.encode(key.columns())?;
        let Some(place) = locate_one(self, keys.first().ok_or(Error::NoColumns)?, counts)? else { return Ok(None) };
        fetch(self, &[place], projection, Access::Keys, counts).map(Some)
    }

    /// The row with an encoded key; the user's columns.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; the disk's.
    pub fn get_encoded(&self, key: &[u8]) -> Result<Option<RecordBatch>> {
        let mut counts = ReadCounts::default();
        let Some(place) = locate_one(self, key, &mut counts)? else { return Ok(None) };
        fetch(self, &[place], &self.user_projection(), Access::Keys, &mut counts).map(Some)
    }

    /// The rows with some keys, given as a batch with the key columns in key order, in any order and any of them more
    /// than once; some of the user's columns (by index, ascending). Cost: the keys are sorted, so that each source is gone
    /// through once.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn get_many(&self, keys: &RecordBatch, projection: &[usize], counts: &mut ReadCounts) -> Result<FoundRows> {
        let Located { places, place_of } = self.locate_many(keys, counts)?;
        let (mut row_of, mut wanted): (Vec<Option<u32>>, Vec<Place>) = (Vec::with_capacity(place_of.len()), Vec::new());
        for place in place_of {
            let place = &places[place as usize];
            row_of.push(place.as_ref().and_then(|_| u32::try_from(wanted.len()).ok()));
            wanted.extend(place.iter().cloned());
        }
        Ok(FoundRows { rows: fetch(self, &wanted, projection, Access::Keys, counts)?, row_of })
    }

    /// Which of some keys, given as for [`TableSnapshot::get_many`], have a row.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn contains_many(&self, keys: &RecordBatch, counts: &mut ReadCounts) -> Result<Vec<bool>> {
        let Located { places, place_of } = self.locate_many(keys, counts)?;
        Ok(place_of.iter().map(|place| places[*place as usize].is_some()).collect())
    }

    /// Rows of a key interval in key order, at most `limit`; some of the user's columns (by index, ascending). It reads as
    /// it is asked, so who stops early has read little.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn range(
        &self,
        interval: &KeyInterval,
        projection: &[usize],
        order: KeyOrder,
        limit: Option<usize>,
    ) -> Result<KeyRange> {
        KeyRange::new(self, interval, projection, order, limit)
    }

    /// A range of keys, its ends given as batches of one row with the key columns, or with the first few of them: such a
    /// bound takes in, or leaves out, all keys that begin so.
    ///
    /// # Errors
    /// A key that does not fit the table.
    pub fn key_range(&self, start: Bound<&RecordBatch>, end: Bound<&RecordBatch>) -> Result<KeyInterval> {
        let (start, end) = (self.encode_bound(start)?, self.encode_bound(end)?);
        let start = match start {
            // A prefix is less than all keys that begin so; behind them comes the next one of its length.
            Bound::Excluded((prefix, true)) => match next_of_length(prefix) {
                Some(next) => Bound::Included(next),
                None => return Ok(KeyInterval::NONE),
            },
            other => other.map(|(key, _)| key),
        };
        let end = match end {
            Bound::Included((prefix, true)) => next_of_length(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            other => other.map(|(key, _)| key),
        };
        Ok(KeyInterval { start, end })
    }

    /// Keys of an interval, at most: those that superseded rows and changes in memory have count, too. Cost: two searches
    /// in each run.
    ///
    /// # Errors
    /// As [`TableSnapshot::get`].
    pub fn keys_in(&self, interval: &KeyInterval) -> Result<u64> {
        let table = self.table();
        let mut keys = 0;
        for memtable in &table.memtables {
            keys += memtable.chunks(self.seq())?.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        }
        for run in table.version.runs().iter().filter(|run| run.rows() > 0) {
            let rows = interval.rows(run.sst().key_index())?;
            keys += rows.end - rows.start;
        }
        Ok(keys)
    }

    /// A bound, and whether it is a prefix of keys.
    fn encode_bound(&self, bound: Bound<&RecordBatch>) -> Result<Bound<(Vec<u8>, bool)>> {
        let encode = |key: &RecordBatch| -> Result<(Vec<u8>, bool)> {
            let columns = key.num_columns();
            let codec = self.table().codec.prefix(columns);
            let key = codec.encode(key.columns())?.first().ok_or(Error::NoColumns)?.to_vec();
            Ok((key, columns < self.schema().key().len()))
        };
        Ok(match bound {
            Bound::Included(key) => Bound::Included(encode(key)?),
            Bound::Excluded(key) => Bound::Excluded(encode(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    }

    fn locate_many(&self, keys: &RecordBatch, counts: &mut ReadCounts) -> Result<Located> {
        let keys = self.table().codec.encode(keys.columns())?;
        let order = keys.sort_order();
        let mut place_of = vec![0; order.len()];
        let mut distinct: Vec<u32> = Vec::with_capacity(order.len());
        for index in order {
            if distinct.last().is_none_or(|last| keys.get(*last as usize) != keys.get(index as usize)) {
                distinct.push(index);
            }
            place_of[index as usize] = u32::try_from(distinct.len() - 1).unwrap_or(u32::MAX);
        }
        Ok(Located { places: locate(self, &keys.take(&distinct), SeqNo::NONE, counts)?, place_of })
    }
}

/// Where the rows of different keys are, and for each key that was asked for which of these it is.
struct Located {
    places: Vec<Option<Place>>,
    place_of: Vec<u32>,
}

/// The least byte string of the same length, or a shorter one, that is greater than all that begin with this one.
fn next_of_length(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return Some(bytes);
        }
        bytes.pop();
    }
    None
}
