//! Small tables, their model, and what the tests do to both.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::delete_where::RowPredicate;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Result;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::{BatchSource, Lines, SourceBatch};
use rustling_engine::sst::counts::ReadCounts;

/// Rows of one table by key. Of a table without a key they are numbered in the order they came, and the value says
/// what was in both columns.
pub(crate) type Rows = BTreeMap<i64, String>;

/// What the tables hold.
pub(crate) type Tables = BTreeMap<String, Rows>;

/// One thing that happens to a database.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Changes to several tables at once: table, key, new value or deletion.
    Write(Vec<(&'static str, i64, Option<String>)>),
    /// Several write batches that are committed as one group.
    Group(Vec<(&'static str, i64, Option<String>)>),
    /// Rows of one table in one write batch.
    Upsert(&'static str, Vec<(i64, String)>),
    /// A bulk load that replaces what is there.
    Load(&'static str, Vec<(i64, String)>),
    /// Deletes the rows whose column `k` is a multiple of this.
    DeleteMultiples(&'static str, i64),
    Flush(&'static str),
    /// Flushes the memtables that are frozen, as a thread in the background does.
    FlushFrozen,
    Compact(&'static str),
    /// Compacts a table; before the call of that number to the disk other steps happen. Afterwards, where nobody tells of
    /// calls. They are none that wait for compactions.
    CompactWhile(&'static str, usize, Vec<Step>),
    /// What is to be done of any table, one step after the other, as a thread in the background does.
    CompactDue(Effort),
    Drop(&'static str),
    Create(&'static str),
    /// Closes the database and opens it again.
    Reopen,
    /// Opens the database again without closing it.
    Kill,
}

/// Of so many states of tables that are read, one is read by key, too: that takes longer than to merge it. The state
/// decides, and no count of reads, so that a script makes the same calls whenever it runs.
const BY_KEY_SHARE: u64 = 64;

/// The table of this name has no key.
pub(crate) const KEYLESS: &str = "keyless";

fn key_of(table: &str) -> &'static [&'static str] {
    if table == KEYLESS { &[] } else { &["k"] }
}

/// The columns of all tables.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("v", DataType::Utf8, true)]))
}

/// A batch of rows.
pub(crate) fn rows(list: &[(i64, String)]) -> RecordBatch {
    let keys = Int64Array::from_iter_values(list.iter().map(|(key, _)| *key));
    let values = StringArray::from_iter_values(list.iter().map(|(_, value)| value));
    RecordBatch::try_new(schema(), vec![Arc::new(keys) as ArrayRef, Arc::new(values)]).unwrap()
}

/// A batch of keys.
pub(crate) fn keys(list: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(list.to_vec())) as ArrayRef)]).unwrap()
}

/// Options under which every step happens in a known order, with everything small.
pub(crate) fn small_options() -> Options {
    Options { background: false, threads: 1, memtable_bytes: 4096, wal_segment_bytes: 600, ..Options::default() }
}

/// Batches from memory.
pub(crate) struct MemorySource {
    pub(crate) batches: std::vec::IntoIter<RecordBatch>,
    pub(crate) line: u64,
}

impl MemorySource {
    pub(crate) fn new(batches: Vec<RecordBatch>) -> Self {
        Self { batches: batches.into_iter(), line: 1 }
    }
}

impl BatchSource for MemorySource {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>> {
        Ok(self.batches.next().map(|batch| {
            let lines = Lines::From(self.line);
            self.line += batch.num_rows() as u64;
            SourceBatch { batch, source: "rows".into(), lines }
        }))
    }
}

/// A predicate that is a function of some columns.
pub(crate) struct Where<'a, F> {
    columns: &'a [usize],
    wants: F,
}

impl<'a, F: FnMut(&RecordBatch) -> Result<BooleanArray> + Send> Where<'a, F> {
    pub(crate) fn new(columns: &'a [usize], wants: F) -> Self {
        Self { columns, wants }
    }
}

impl<F: FnMut(&RecordBatch) -> Result<BooleanArray> + Send> RowPredicate for Where<'_, F> {
    fn columns(&self) -> &[usize] {
        self.columns
    }

    fn wants(&mut self, rows: &RecordBatch) -> Result<BooleanArray> {
        (self.wants)(rows)
    }
}

/// The rows whose first column is a multiple.
pub(crate) fn multiples(rows: &RecordBatch, of: i64) -> Result<BooleanArray> {
    Ok(rows.column(0).as_primitive::<Int64Type>().values().iter().map(|key| Some(key % of == 0)).collect())
}

/// Does a step to a database.
pub(crate) fn run(db: &mut Database, disk: &Arc<dyn Disk>, options: &Options, step: &Step) -> Result<()> {
    match step {
        Step::Reopen => db.close()?,
        Step::Kill => {
            // A database that is dropped does nothing any more; it has to go first, for the sake of its lock.
            let elsewhere = Database::open(Arc::new(MemoryDisk::new()), options.clone())?;
            drop(std::mem::replace(db, elsewhere));
        }
        _ => return run_open(db, step),
    }
    *db = Database::open(disk.clone(), options.clone())?;
    Ok(())
}

/// Does a step to a database that stays open; reopening it is nothing.
pub(crate) fn run_open(db: &Database, step: &Step) -> Result<()> {
    match step {
        Step::Write(changes) => db.write(&write_batch(changes)).map(drop),
        Step::Upsert(table, list) => {
            let mut batch = WriteBatch::new();
            add_rows(&mut batch, table, rows(list));
            db.write(&batch).map(drop)
        }
        Step::Group(changes) => {
            let batches: Vec<WriteBatch> = changes.chunks(1).map(write_batch).collect();
            db.write_group(&batches)?.into_iter().try_for_each(|answer| answer.map(drop))
        }
        Step::Load(table, list) => {
            let mut source = MemorySource::new(list.chunks(3.max(list.len() / 8)).map(rows).collect());
            let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
            db.load(table, &mut source, &options).map(drop)
        }
        Step::DeleteMultiples(table, of) => {
            db.delete_where(table, &mut Where::new(&[0], |rows| multiples(rows, *of))).map(drop)
        }
        Step::Flush(table) => db.flush(table),
        Step::FlushFrozen => db.flush_frozen(),
        Step::Compact(table) => db.compact(table),
        Step::CompactWhile(table, _, steps) => {
            db.compact(table)?;
            steps.iter().try_for_each(|step| run_open(db, step))
        }
        Step::CompactDue(effort) => {
            while db.compact_step(*effort)? {}
            Ok(())
        }
        Step::Drop(table) => db.drop_table(table),
        Step::Create(table) => db.create_table(table, &schema(), key_of(table)).map(drop),
        Step::Reopen | Step::Kill => Ok(()),
    }
}

fn add_rows(batch: &mut WriteBatch, table: &str, rows: RecordBatch) {
    match table {
        KEYLESS => batch.insert(table, rows),
        _ => batch.upsert(table, rows),
    };
}

/// Changes as one write batch: table, key, new value or deletion.
pub(crate) fn write_batch(changes: &[(&'static str, i64, Option<String>)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (table, key, value) in changes {
        match value {
            Some(value) => add_rows(&mut batch, table, rows(&[(*key, value.clone())])),
            None => drop(batch.delete(table, keys(&[*key]))),
        }
    }
    batch
}

/// Does a step to the model.
pub(crate) fn run_model(tables: &mut Tables, step: &Step) {
    match step {
        Step::Write(changes) | Step::Group(changes) => {
            for (table, key, value) in changes {
                match value {
                    Some(value) => put(tables, table, *key, value),
                    None => drop(tables.get_mut(*table).unwrap().remove(key)),
                }
            }
        }
        Step::Upsert(table, list) | Step::Load(table, list) => {
            list.iter().for_each(|(key, value)| put(tables, table, *key, value));
        }
        Step::DeleteMultiples(table, of) => {
            let rows = tables.get_mut(*table).unwrap();
            if *table == KEYLESS {
                let key = |value: &str| value.split_once(':').unwrap().0.parse::<i64>().unwrap();
                rows.retain(|_, value| key(value) % of != 0);
                *rows = (0..).zip(std::mem::take(rows).into_values()).collect();
            } else {
                rows.retain(|key, _| key % of != 0);
            }
        }
        Step::CompactWhile(_, _, steps) => steps.iter().for_each(|step| run_model(tables, step)),
        Step::Drop(table) => drop(tables.remove(*table)),
        Step::Create(table) => drop(tables.insert((*table).to_owned(), Rows::new())),
        Step::Flush(_) | Step::FlushFrozen | Step::Compact(_) | Step::CompactDue(_) | Step::Reopen | Step::Kill => {}
    }
}

fn put(tables: &mut Tables, table: &str, key: i64, value: &str) {
    let rows = tables.get_mut(table).unwrap();
    match table {
        KEYLESS => rows.insert(rows.len() as i64, both_columns(key, value)),
        _ => rows.insert(key, value.to_owned()),
    };
}

fn both_columns(key: i64, value: &str) -> String {
    format!("{key}: {value}")
}

/// Everything in a database, by merging all sources.
pub(crate) fn contents(db: &Database) -> Result<Tables> {
    contents_of(&db.snapshot())
}

/// Compares what was merged with what is found by key: all rows, the last one first; and each row, and keys beside it.
fn check_by_key(table: &TableSnapshot, merged: &Rows) -> Result<()> {
    let mut backward = Vec::new();
    for batch in table.range(&KeyInterval::ALL, &[0, 1], KeyOrder::Descending, None)? {
        backward.push(batch?);
    }
    let read = |batch: &RecordBatch| -> Vec<(i64, String)> {
        let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
        (0..batch.num_rows()).map(|row| (keys.value(row), values.value(row).to_owned())).collect()
    };
    let backward: Vec<_> = backward.iter().flat_map(read).collect();
    assert!(backward.iter().map(|(key, value)| (key, value)).eq(merged.iter().rev()), "{backward:?} is not {merged:?}");
    let asked: Vec<i64> = merged.keys().flat_map(|key| [*key, key.wrapping_add(1)]).collect();
    let found = table.get_many(&keys(&asked), &[0, 1], &mut ReadCounts::default())?;
    let rows = read(&found.rows);
    for (key, row) in asked.iter().zip(found.row_of) {
        let row = row.map(|row| &rows[row as usize]);
        assert_eq!(row, merged.get_key_value(key).map(|(key, value)| (*key, value.clone())).as_ref());
    }
    Ok(())
}

fn state_digest(table: &TableSnapshot, rows: &Rows) -> u64 {
    let mut hasher = DefaultHasher::new();
    (table.seq(), rows).hash(&mut hasher);
    hasher.finish()
}

/// Everything in a snapshot, by merging all sources.
pub(crate) fn contents_of(snapshot: &Snapshot) -> Result<Tables> {
    let mut tables = Tables::new();
    for name in snapshot.table_names() {
        let table = snapshot.table(&name)?;
        let mut found = Rows::new();
        for batch in table.scan(&KeyInterval::ALL, &[0, 1])? {
            let batch = batch?;
            let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
            for row in 0..batch.num_rows() {
                let (key, value) = (keys.value(row), values.value(row));
                let before = match name.as_str() {
                    KEYLESS => found.insert(found.len() as i64, both_columns(key, value)),
                    _ => found.insert(key, value.to_owned()),
                };
                assert_eq!(before, None, "key {key} came twice");
            }
        }
        if name != KEYLESS && state_digest(&table, &found).is_multiple_of(BY_KEY_SHARE) {
            check_by_key(&table, &found)?;
        }
        tables.insert(name, found);
    }
    Ok(tables)
}
