//! A table with a key, as operators that read by key see it.
//!
//! In: a table at one sequence number; sets of keys. Out: how to read such a set; what operators have in common.
//! Invariants: no way of reading misses a key of the set, or gives one twice.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;

use crate::error::external;
use crate::key_predicate::KeyColumns;
use crate::key_ranges::{KeyRanges, at_most, disjoint};
use crate::key_set::{KeyBox, KeySet, Values, products};

/// Keys that are looked up one by one, at most.
const LOOKUP_KEYS_MAX: usize = 10_000;
/// So many keys are looked up in any table: a few milliseconds.
const LOOKUP_KEYS_FEW: usize = 1_024;
/// Ranges that are read one after the other, at most: each is searched for in every run.
const RANGES_MAX: usize = 256;
/// So many keys in ranges are read in order in any table: they are half a row group, less than which no scan reads.
const RANGE_KEYS_FEW: u64 = 65_536;
/// Of more keys one in so many of the table's at most. A row that is looked up, or merged with what may supersede it,
/// costs several times what it costs a scan, which also has all threads; from here on a scan that prunes is no worse.
const TABLE_SHARE: u64 = 16;

/// A table with a key.
#[derive(Clone, Debug)]
pub struct KeyedTable {
    /// It at one sequence number.
    pub snapshot: TableSnapshot,
    /// The user's columns, as they are shown.
    pub columns: SchemaRef,
    /// Its keys, at most.
    pub keys_max: u64,
}

/// How to read some keys.
#[derive(Clone, Debug)]
pub enum KeyAccess {
    /// As a scan, which the keys do not help.
    Scan,
    /// Not at all: there are none.
    Nothing,
    /// One by one: a batch of the key columns, no key twice.
    Lookup(RecordBatch),
    /// In order.
    Ranges(KeyRanges),
}

impl KeyedTable {
    /// A table with a key. Cost: hardly any.
    ///
    /// # Errors
    /// The engine's, crossing as external errors.
    pub fn new(snapshot: TableSnapshot, columns: SchemaRef) -> Result<Self> {
        let keys_max = snapshot.keys_in(&KeyInterval::ALL).map_err(external)?;
        Ok(Self { snapshot, columns, keys_max })
    }

    /// Indexes of the key columns, in key order.
    pub fn key(&self) -> &[usize] {
        self.snapshot.schema().key()
    }

    /// The key columns for conditions over columns of which some are the user's: for each of them its index.
    pub fn key_columns(&self, columns: impl Iterator<Item = Option<usize>>) -> KeyColumns {
        let stored = self.snapshot.schema().stored();
        let types = self.key().iter().map(|index| stored.field(*index).data_type().clone()).collect();
        let place = |column: Option<usize>| self.key().iter().position(|key| Some(*key) == column);
        KeyColumns::new(types, columns.map(place).collect())
    }

    /// The key columns for conditions over all columns.
    pub fn all_key_columns(&self) -> KeyColumns {
        self.key_columns((0..self.columns.fields().len()).map(Some))
    }

    /// How to read the keys of a set. Cost: some searches in the key index of each run; blocking.
    ///
    /// # Errors
    /// The engine's, crossing as external errors.
    pub fn access(&self, keys: &KeySet) -> Result<KeyAccess> {
        let KeySet::Boxes(boxes) = keys else { return Ok(KeyAccess::Scan) };
        let share = self.keys_max / TABLE_SHARE;
        if let Some(keys) = keys.keys(LOOKUP_KEYS_MAX) {
            if keys.is_empty() {
                return Ok(KeyAccess::Nothing);
            }
            if keys.len() <= LOOKUP_KEYS_FEW || keys.len() as u64 <= share {
                return Ok(KeyAccess::Lookup(self.key_batch(&keys, self.key().len())?));
            }
        }
        let ranges = self.ranges(boxes)?;
        if ranges.is_empty() {
            return Ok(KeyAccess::Nothing);
        }
        if ranges == [KeyInterval::ALL] {
            return Ok(KeyAccess::Scan);
        }
        let most = RANGE_KEYS_FEW.max(share);
        let keys_max = self.keys_in(&ranges, most)?;
        let ranges = KeyRanges { ranges: ranges.into(), keys_max };
        Ok(if keys_max <= most { KeyAccess::Ranges(ranges) } else { KeyAccess::Scan })
    }

    /// Keys in ranges, at most; if they are more than `enough`, perhaps not all of them.
    fn keys_in(&self, ranges: &[KeyInterval], enough: u64) -> Result<u64> {
        let keys_in = |range: &KeyInterval| self.snapshot.keys_in(range).map_err(external);
        // Changes in memory count as a whole, in every range.
        let in_memory = keys_in(&KeyInterval::NONE)?;
        let mut keys = in_memory;
        for range in ranges {
            if keys > enough {
                break;
            }
            keys += keys_in(range)?.saturating_sub(in_memory);
        }
        Ok(keys)
    }

    /// Ranges that hold all keys of some boxes, ascending, with nothing in common.
    ///
    /// # Errors
    /// The engine's, crossing as external errors.
    pub fn ranges(&self, boxes: &[KeyBox]) -> Result<Vec<KeyInterval>> {
        let mut ranges = Vec::new();
        for values in boxes {
            let room = RANGES_MAX.saturating_sub(ranges.len());
            ranges.extend(self.ranges_of(values, room)?);
        }
        Ok(at_most(disjoint(ranges), RANGES_MAX))
    }

    /// As [`KeyedTable::ranges`], if these hold no other keys.
    ///
    /// # Errors
    /// The engine's, crossing as external errors.
    pub fn exact_ranges(&self, boxes: &[KeyBox]) -> Result<Option<Vec<KeyInterval>>> {
        let mut count = 0_usize;
        for values in boxes {
            let lists = values.iter().map_while(|values| match values {
                Values::OneOf(values) => Some(values.len()),
                Values::Any | Values::Between(..) => None,
            });
            let (mut columns, mut ranges) = (0, 1_usize);
            for length in lists {
                (columns, ranges) = (columns + 1, ranges.saturating_mul(length));
            }
            count = count.saturating_add(ranges);
            let behind = values.iter().skip(columns + 1);
            if count > RANGES_MAX || behind.into_iter().any(|values| *values != Values::Any) {
                return Ok(None);
            }
        }
        self.ranges(boxes).map(Some)
    }

    /// The ranges of a box: one for each way to take values of its first columns, as far as these are listed and the ways
    /// are no more than `limit`; within it the bounds of the next column.
    fn ranges_of(&self, values: &KeyBox, limit: usize) -> Result<Vec<KeyInterval>> {
        let (mut prefixes, mut columns) = (vec![Vec::new()], 0);
        while columns < values.len()
            && let Some(longer) = products(&values[..=columns], limit)
        {
            (prefixes, columns) = (longer, columns + 1);
        }
        let (start, end) = match values.get(columns) {
            Some(Values::Between(start, end)) => (start.clone(), end.clone()),
            Some(Values::OneOf(values)) => extremes(values),
            Some(Values::Any) | None => (Bound::Unbounded, Bound::Unbounded),
        };
        prefixes.iter().map(|prefix| self.range(prefix, &start, &end)).collect()
    }

    /// The keys that start with some values and then have one between two bounds.
    fn range(
        &self,
        prefix: &[ScalarValue],
        start: &Bound<ScalarValue>,
        end: &Bound<ScalarValue>,
    ) -> Result<KeyInterval> {
        let batch = |bound: &Bound<ScalarValue>| -> Result<Bound<RecordBatch>> {
            let of = |value: Option<&ScalarValue>| {
                let key: Vec<ScalarValue> = prefix.iter().chain(value).cloned().collect();
                self.key_batch(std::slice::from_ref(&key), key.len())
            };
            Ok(match bound {
                Bound::Included(value) => Bound::Included(of(Some(value))?),
                Bound::Excluded(value) => Bound::Excluded(of(Some(value))?),
                Bound::Unbounded if prefix.is_empty() => Bound::Unbounded,
                Bound::Unbounded => Bound::Included(of(None)?),
            })
        };
        let (start, end) = (batch(start)?, batch(end)?);
        self.snapshot.key_range(start.as_ref(), end.as_ref()).map_err(external)
    }

    /// Keys, or the first columns of keys, as a batch.
    fn key_batch(&self, keys: &[Vec<ScalarValue>], columns: usize) -> Result<RecordBatch> {
        let schema = self.snapshot.schema().key_schema().project(&Vec::from_iter(0..columns))?;
        let column = |place: usize| ScalarValue::iter_to_array(keys.iter().map(|key| key[place].clone()));
        let arrays: Vec<ArrayRef> = (0..columns).map(column).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(Arc::new(schema), arrays)?)
    }

    /// The key columns among some of the user's, up to the first one that is not there, as an order.
    pub fn sort_exprs(&self, columns: &[usize], schema: &SchemaRef, order: KeyOrder) -> Vec<PhysicalSortExpr> {
        let descending = order == KeyOrder::Descending;
        // NULL is in no key, so where it would come is all the same.
        let options = SortOptions { descending, nulls_first: descending };
        let places = self.key().iter().map_while(|index| columns.iter().position(|column| column == index));
        let column = |place: usize| Arc::new(Column::new(schema.field(place).name(), place));
        places.map(|place| PhysicalSortExpr::new(column(place), options)).collect()
    }
}

/// The names of columns, as plans show them.
pub fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

/// The least and the greatest of some values.
fn extremes(values: &[ScalarValue]) -> (Bound<ScalarValue>, Bound<ScalarValue>) {
    let mut extremes: Option<(&ScalarValue, &ScalarValue)> = None;
    for value in values {
        let (least, greatest) = extremes.unwrap_or((value, value));
        let (Some(to_least), Some(to_greatest)) = (value.partial_cmp(least), value.partial_cmp(greatest)) else {
            return (Bound::Unbounded, Bound::Unbounded);
        };
        let least = if to_least == Ordering::Less { value } else { least };
        let greatest = if to_greatest == Ordering::Greater { value } else { greatest };
        extremes = Some((least, greatest));
    }
    match extremes {
        Some((least, greatest)) => (Bound::Included(least.clone()), Bound::Included(greatest.clone())),
        None => (Bound::Unbounded, Bound::Unbounded),
    }
}
