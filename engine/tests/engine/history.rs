//! What several threads wrote, by sequence number, and whether what others read fits it.
//!
//! In: acknowledged changes, and reads with the sequence numbers of their snapshots. Out: a panic where they disagree.
//! Invariants: nothing here waits, so that it works under any schedule of threads. Reads are checked when all writers
//! are done, since a read may see a write before its writer hears of it.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::error::{Error, Result};
use rustling_engine::id::{SeqNo, TableId};
use rustling_engine::read::plan::ScanPlan;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{Rows, keys, rows};

/// A change of one row.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Upsert(&'static str, i64, String),
    Insert(&'static str, i64, String),
    Delete(&'static str, i64),
}

impl Change {
    fn table(&self) -> &'static str {
        match self {
            Self::Upsert(table, ..) | Self::Insert(table, ..) | Self::Delete(table, _) => table,
        }
    }
}

/// How a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By merging all sources.
    Merge,
    /// By the parts of a scan plan.
    Plan,
    /// By merging a range of keys.
    Range,
    /// One key.
    Get,
}

/// What a snapshot showed.
#[derive(Debug)]
struct Read {
    how: How,
    seq: SeqNo,
    table: TableId,
    keys: RangeInclusive<i64>,
    found: Rows,
}

/// An insert that was refused, and what was visible before it was called and after it returned.
#[derive(Debug)]
struct Refused {
    change: (&'static str, i64),
    before: SeqNo,
    after: SeqNo,
}

/// What one thread did and saw.
#[derive(Debug, Default)]
pub(crate) struct Log {
    written: Vec<(SeqNo, Vec<Change>)>,
    refused: Vec<Refused>,
    reads: Vec<Read>,
    newest_read: Option<SeqNo>,
    /// Tables as they were made: name, and the highest sequence number that belongs to the table of that name before.
    created: Vec<(TableId, &'static str, SeqNo)>,
}

impl Log {
    /// Creates a table that is not there; all its changes come after what is visible now.
    pub(crate) fn create(&mut self, db: &Database, table: &'static str) {
        let before = db.snapshot().seq();
        let id = db.create_table(table, &crate::fixture::schema(), &["k"]).unwrap();
        self.created.push((id, table, before));
    }

    /// Writes changes as one batch. That a key was there or a table was not is an answer like any other.
    ///
    /// # Errors
    /// All other refusals.
    pub(crate) fn write(&mut self, db: &Database, changes: Vec<Change>) -> Result<()> {
        let mut batch = WriteBatch::new();
        for change in &changes {
            match change {
                Change::Upsert(table, key, value) => batch.upsert(table, rows(&[(*key, value.clone())])),
                Change::Insert(table, key, value) => batch.insert(table, rows(&[(*key, value.clone())])),
                Change::Delete(table, key) => batch.delete(table, keys(&[*key])),
            };
        }
        let before = db.snapshot().seq();
        match db.write(&batch) {
            Ok(seq) => self.written.push((seq, changes)),
            Err(Error::NoSuchTable { .. } | Error::Dropped { .. }) => {}
            Err(Error::DuplicateKey { table, key }) => {
                let after = db.snapshot().seq();
                let is_it =
                    |change: &&Change| matches!(change, Change::Insert(t, k, _) if *t == table && k.to_string() == key);
                let change = changes.iter().find(is_it).map(|change| match change {
                    Change::Insert(table, key, _) => (*table, *key),
                    other => panic!("{other:?} was refused"),
                });
                let change = change.unwrap_or_else(|| panic!("{changes:?}: `{table}` has no {key}"));
                self.refused.push(Refused { change, before, after });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notes rows that were loaded at a sequence number, in place of those with their keys or as `new` ones.
    pub(crate) fn loaded(&mut self, seq: SeqNo, table: &'static str, list: &[(i64, String)], new: bool) {
        let change = if new { Change::Insert } else { Change::Upsert };
        let changes = list.iter().map(|(key, value)| change(table, *key, value.clone())).collect();
        self.written.push((seq, changes));
    }

    /// Notes that all rows of these keys were deleted at a sequence number.
    pub(crate) fn deleted(&mut self, seq: SeqNo, table: &'static str, keys: impl Iterator<Item = i64>) {
        self.written.push((seq, keys.map(|key| Change::Delete(table, key)).collect()));
    }

    /// Reads a table of a snapshot; a table that is not there has nothing to check.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot,
        table: &str,
        how: How,
        range: RangeInclusive<i64>,
    ) -> Result<()> {
        let Ok(table) = snapshot.table(table) else { return Ok(()) };
        let (found, range) = match how {
            How::Merge => (found(table.scan(&KeyInterval::ALL, &[0, 1])?)?, i64::MIN..=i64::MAX),
            How::Plan => (planned(&table)?, i64::MIN..=i64::MAX),
            How::Range => {
                let (start, end) = (keys(&[*range.start()]), keys(&[*range.end()]));
                let interval = table.key_range(Bound::Included(&start), Bound::Included(&end))?;
                (found(table.scan(&interval, &[0, 1])?)?, range)
            }
            How::Get => {
                let key = *range.start();
                (found(table.get(&keys(&[key]))?.map(Ok).into_iter())?, key..=key)
            }
        };
        self.newest_read = self.newest_read.max(Some(snapshot.seq()));
        self.reads.push(Read { how, seq: snapshot.seq(), table: table.table().id, keys: range, found });
        Ok(())
    }

    /// The highest sequence number that was read at.
    pub(crate) fn newest_read(&self) -> Option<SeqNo> {
        self.newest_read
    }

    /// Number of reads.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.len() as u64
    }

    /// Number of batches that were written.
    pub(crate) fn writes(&self) -> u64 {
        self.written.len() as u64
    }
}

fn found(batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<Rows> {
    let mut found = Rows::new();
    for batch in batches {
        let batch = batch?;
        let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        for row in 0..batch.num_rows() {
            let before = found.insert(keys.value(row), values.value(row).to_owned());
            assert_eq!(before, None, "key {} came twice", keys.value(row));
        }
    }
    Ok(found)
}

fn planned(table: &TableSnapshot) -> Result<Rows> {
    let plan = ScanPlan::new(table, 2)?;
    let rows = found(plan.open(&[0, 1])?)?;
    assert!(plan.row_count().is_none_or(|count| count == rows.len() as u64), "the plan's count is wrong");
    Ok(rows)
}

/// All that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By table name and key, ascending in sequence number.
    changes: BTreeMap<(&'static str, i64), BTreeMap<SeqNo, Option<String>>>,
    tables: BTreeMap<TableId, (&'static str, SeqNo)>,
}

impl History {
    /// Checks that the logs of all threads fit together.
    pub(crate) fn check(logs: &[Log]) -> Self {
        let mut history = Self::default();
        for log in logs {
            history.tables.extend(log.created.iter().map(|(id, name, before)| (*id, (*name, *before))));
            log.written.iter().for_each(|(seq, changes)| history.note(*seq, changes));
        }
        for log in logs {
            log.written.iter().for_each(|(seq, changes)| history.check_inserts(*seq, changes));
            log.refused.iter().for_each(|refused| history.check_refused(refused));
            for read in &log.reads {
                let want = history.rows(read.table, read.seq, &read.keys);
                assert_eq!(read.found, want, "{:?} of {} at {} is wrong", read.how, read.table, read.seq);
            }
        }
        history
    }

    fn note(&mut self, seq: SeqNo, changes: &[Change]) {
        for change in changes {
            let (key, value) = match change {
                Change::Upsert(_, key, value) | Change::Insert(_, key, value) => (*key, Some(value.clone())),
                Change::Delete(_, key) => (*key, None),
            };
            let before = self.changes.entry((change.table(), key)).or_default().insert(seq, value);
            assert!(before.is_none(), "{seq} was given to two batches");
        }
    }

    /// Where the table starts that the name meant at a sequence number.
    fn start(&self, table: &str, seq: SeqNo) -> SeqNo {
        let starts = self.tables.values().filter(|(name, start)| *name == table && *start < seq);
        starts.map(|(_, start)| *start).max().unwrap_or(SeqNo::NONE)
    }

    /// An insert that was applied found no row.
    fn check_inserts(&self, seq: SeqNo, changes: &[Change]) {
        for change in changes {
            let Change::Insert(table, key, _) = change else { continue };
            let before = self.value(table, *key, self.start(table, seq), SeqNo(seq.0 - 1));
            assert_eq!(before, None, "{change:?} at {seq} was applied, though the key was there");
        }
    }

    /// An insert that was refused met a row at some time while it ran.
    fn check_refused(&self, refused: &Refused) {
        let (table, key) = refused.change;
        let start = self.start(table, refused.before);
        let before = self.value(table, key, start, refused.before).is_some();
        let changes = self.changes.get(&refused.change);
        let range = (Bound::Excluded(refused.before), Bound::Included(refused.after));
        let while_running = changes.is_some_and(|changes| {
            refused.before < refused.after && changes.range(range).any(|(_, value)| value.is_some())
        });
        assert!(before || while_running, "{refused:?}: at no time was the key there");
    }

    fn value(&self, table: &'static str, key: i64, start: SeqNo, seq: SeqNo) -> Option<&String> {
        let newest = self.changes.get(&(table, key))?.range(..=seq).next_back();
        newest.filter(|(at, _)| **at > start)?.1.as_ref()
    }

    /// What a table held at a sequence number.
    pub(crate) fn rows(&self, table: TableId, seq: SeqNo, keys: &RangeInclusive<i64>) -> Rows {
        let (name, start) = self.tables[&table];
        let among = self.changes.range((name, *keys.start())..=(name, *keys.end()));
        let rows = among.filter_map(|((_, key), _)| Some((*key, self.value(name, *key, start, seq)?.clone())));
        rows.collect()
    }

    /// Checks a database that nobody changes any more, every way of reading it.
    pub(crate) fn check_end(&self, db: &Database) {
        let mut log = Log::default();
        for table in db.snapshot().table_names() {
            for how in [How::Merge, How::Plan] {
                // A flush may expire a snapshot as soon as it is taken.
                while let Err(error) = log.read(&db.snapshot(), &table, how, 0..=0) {
                    assert!(matches!(error, Error::SnapshotTooOld { .. }), "{error}");
                }
            }
        }
        for read in log.reads {
            let want = self.rows(read.table, SeqNo::MAX, &read.keys);
            assert_eq!(read.found, want, "{:?} of {} at the end is wrong", read.how, read.table);
        }
    }
}
