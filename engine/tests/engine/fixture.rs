//! Two small tables, their model, and what the tests do to both.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::error::Result;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::{BatchSource, Lines, SourceBatch};

/// Rows of one table by key.
pub(crate) type Rows = BTreeMap<i64, String>;

/// What both tables hold.
pub(crate) type Tables = BTreeMap<String, Rows>;

/// One thing that happens to a database.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Changes to several tables at once: table, key, new value or deletion.
    Write(Vec<(&'static str, i64, Option<String>)>),
    /// Several write batches that are committed as one group.
    Group(Vec<(&'static str, i64, Option<String>)>),
    /// A bulk load that replaces what is there.
    Load(&'static str, Vec<(i64, String)>),
    Flush(&'static str),
    Compact(&'static str),
    /// Drops a table and creates it again, as two steps.
    Drop(&'static str),
    Create(&'static str),
    /// Closes the database and opens it again.
    Reopen,
}

/// The columns of both tables.
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

/// Does a step to a database.
pub(crate) fn run(db: &mut Database, disk: &Arc<dyn Disk>, options: &Options, step: &Step) -> Result<()> {
    if let Step::Reopen = step {
        db.close()?;
        *db = Database::open(disk.clone(), options.clone())?;
        return Ok(());
    }
    run_open(db, step)
}

/// Does a step to a database that stays open; reopening it is nothing.
pub(crate) fn run_open(db: &Database, step: &Step) -> Result<()> {
    match step {
        Step::Write(changes) => db.write(&write_batch(changes)).map(drop),
        Step::Group(changes) => {
            let batches: Vec<WriteBatch> = changes.chunks(1).map(write_batch).collect();
            db.write_group(&batches)?.into_iter().try_for_each(|answer| answer.map(drop))
        }
        Step::Load(table, list) => {
            let mut source = MemorySource::new(list.chunks(3).map(rows).collect());
            let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
            db.load(table, &mut source, &options).map(drop)
        }
        Step::Flush(table) => db.flush(table),
        Step::Compact(table) => db.compact(table),
        Step::Drop(table) => db.drop_table(table),
        Step::Create(table) => db.create_table(table, &schema(), &["k"]).map(drop),
        Step::Reopen => Ok(()),
    }
}

/// Changes as one write batch.
pub(crate) fn write_batch(changes: &[(&'static str, i64, Option<String>)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (table, key, value) in changes {
        match value {
            Some(value) => batch.upsert(table, rows(&[(*key, value.clone())])),
            None => batch.delete(table, keys(&[*key])),
        };
    }
    batch
}

/// Does a step to the model.
pub(crate) fn run_model(tables: &mut Tables, step: &Step) {
    match step {
        Step::Write(changes) | Step::Group(changes) => {
            for (table, key, value) in changes {
                let rows = tables.get_mut(*table).unwrap();
                match value {
                    Some(value) => rows.insert(*key, value.clone()),
                    None => rows.remove(key),
                };
            }
        }
        Step::Load(table, list) => tables.get_mut(*table).unwrap().extend(list.iter().cloned()),
        Step::Drop(table) => drop(tables.remove(*table)),
        Step::Create(table) => drop(tables.insert((*table).to_owned(), Rows::new())),
        Step::Flush(_) | Step::Compact(_) | Step::Reopen => {}
    }
}

/// Everything in a database, by merging all sources.
pub(crate) fn contents(db: &Database) -> Result<Tables> {
    let snapshot = db.snapshot();
    let mut tables = Tables::new();
    for name in snapshot.table_names() {
        let table = snapshot.table(&name)?;
        let mut found = Rows::new();
        for batch in table.scan(&KeyInterval::ALL, &[0, 1])? {
            let batch = batch?;
            let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
            for row in 0..batch.num_rows() {
                let before = found.insert(keys.value(row), values.value(row).to_owned());
                assert_eq!(before, None, "key {} came twice", keys.value(row));
            }
        }
        tables.insert(name, found);
    }
    Ok(tables)
}
