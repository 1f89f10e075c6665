//! Asks a database that may be damaged everything, and judges the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use rustling_engine::database::Database;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::disk::sim::Image;
use rustling_engine::error::{Error, Result};
use rustling_engine::read::plan::ScanPlan;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;

use crate::allocations::peak_of;
use crate::damage::reference::{Model, Reference, options};

/// Keys of each table that are looked up one by one.
const GETS: usize = 3;

/// Memory that opening and reading may take: the tables are a hundredth of that.
const PEAK_BYTES_MAX: usize = 16 << 20;

/// What a damaged database said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Opening named the damage.
    Refused,
    /// Reading named the damage, and no answer was wrong.
    Found,
    /// A tail of the log was cut off and reported; all answers are the model's.
    Cut,
    /// All answers are the model's.
    Harmless,
}

/// What the intact database answers.
struct Answers {
    tables: BTreeMap<String, TableAnswers>,
}

struct TableAnswers {
    scanned: RecordBatch,
    planned: RecordBatch,
    ranges: Vec<(KeyInterval, RecordBatch)>,
    /// Keys that are there and keys that are not, with their rows.
    gets: Vec<(RecordBatch, Option<RecordBatch>)>,
}

fn all(table: &TableSnapshot, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<RecordBatch> {
    let batches = batches.collect::<Result<Vec<_>>>()?;
    let schema = table.projected(&table.user_projection())?;
    // The schema's metadata is not part of an answer.
    let columns = concat_batches(&schema, batches.iter())?.columns().to_vec();
    Ok(RecordBatch::try_new(table.schema().user().clone(), columns)?)
}

fn scan(table: &TableSnapshot, interval: &KeyInterval) -> Result<RecordBatch> {
    all(table, table.scan(interval, &table.user_projection())?)
}

fn plan(table: &TableSnapshot) -> Result<RecordBatch> {
    let plan = ScanPlan::new(table, 2)?;
    all(table, plan.open(&table.user_projection())?)
}

impl Answers {
    /// Asks the intact database, and compares its answers with the model.
    fn of(db: &Database, model: &Model) -> Self {
        let snapshot = db.snapshot();
        let mut tables = BTreeMap::new();
        for name in snapshot.table_names() {
            let table = snapshot.table(&name).unwrap();
            let answers = TableAnswers::of(&table, &model.batch(&name));
            tables.insert(name, answers);
        }
        Self { tables }
    }
}

impl TableAnswers {
    fn of(table: &TableSnapshot, model: &RecordBatch) -> Self {
        let scanned = scan(table, &KeyInterval::ALL).unwrap();
        assert_eq!(scanned.columns(), model.columns(), "{}", table.table().name);
        let planned = plan(table).unwrap();
        assert_eq!(planned.num_rows(), model.num_rows());
        let gets = gets(table, model);
        let keys: Vec<&RecordBatch> = gets.iter().map(|(key, _)| key).collect();
        let (low, high) = (keys[0], keys[keys.len() / 2]);
        let bounds = [
            (Bound::Included(low), Bound::Excluded(high)),
            (Bound::Unbounded, Bound::Included(low)),
            (Bound::Excluded(high), Bound::Unbounded),
        ];
        let ranges = bounds.map(|(start, end)| {
            let interval = table.key_range(start, end).unwrap();
            let found = scan(table, &interval).unwrap();
            (interval, found)
        });
        Self { scanned, planned, ranges: ranges.into(), gets }
    }
}

/// The rows of all keys of the model, and of all keys that are in runs, some of which were deleted since.
fn gets(table: &TableSnapshot, model: &RecordBatch) -> Vec<(RecordBatch, Option<RecordBatch>)> {
    let schema = table.schema();
    let mut gets = Vec::new();
    if schema.has_key() {
        for row in 0..model.num_rows() {
            let row = model.slice(row, 1);
            let key = RecordBatch::try_new(schema.key_schema(), row.project(schema.key()).unwrap().columns().to_vec());
            let found = table.get(key.as_ref().unwrap()).unwrap();
            assert_eq!(found.as_ref().unwrap().columns(), row.columns(), "{}", table.table().name);
            gets.push((key.unwrap(), found));
        }
    }
    let projection: Vec<usize> = (0..schema.stored().fields().len()).collect();
    for run in table.table().version.runs() {
        for batch in run.sst().rows(0..run.rows(), &projection, 10_000).unwrap() {
            let keys = batch.unwrap().project(schema.key()).unwrap();
            for row in 0..keys.num_rows() {
                let key = RecordBatch::try_new(schema.key_schema(), keys.slice(row, 1).columns().to_vec()).unwrap();
                let found = table.get(&key).unwrap();
                gets.push((key, found));
            }
        }
    }
    gets
}

/// The verdict on one damaged image, and the memory that it took.
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) peak_bytes: usize,
}

/// Judges images of a database.
pub(crate) struct Oracle {
    pub(crate) reference: Reference,
    /// SSTs of runs without rows: deleted keys are all they have.
    pub(crate) unread: BTreeSet<String>,
    answers: Answers,
}

impl Oracle {
    pub(crate) fn new(reference: Reference) -> Self {
        let db = Database::open(Arc::new(reference.image.clone().into_disk()), options(reference.scale)).unwrap();
        let answers = Answers::of(&db, &reference.model);
        let snapshot = db.snapshot();
        let mut unread = BTreeSet::new();
        for name in snapshot.table_names() {
            let table = snapshot.table(&name).unwrap();
            let without_rows = table.table().version.runs().iter().filter(|run| run.rows() == 0);
            unread.extend(without_rows.map(|run| path::run(table.table().id, run.id(), RunFile::Sst)));
        }
        Self { reference, unread, answers }
    }

    /// Opens a damaged image and asks it everything; of single keys it asks for a few, other ones in other trials.
    /// Errors may name the files for which `may_name` says so.
    ///
    /// # Errors
    /// What is not as it must be.
    pub(crate) fn judge(&self, image: &Image, may_name: &dyn Fn(&str) -> bool, trial: usize) -> Result<Judged, String> {
        let (judged, peak_bytes) = peak_of(|| catch_unwind(AssertUnwindSafe(|| self.ask(image, may_name, trial))));
        if peak_bytes > PEAK_BYTES_MAX {
            return Err(format!("{peak_bytes} bytes of memory"));
        }
        let outcome = judged.map_err(|_| "a panic".to_owned())??;
        Ok(Judged { outcome, peak_bytes })
    }

    fn ask(&self, image: &Image, may_name: &dyn Fn(&str) -> bool, trial: usize) -> Result<Outcome, String> {
        let disk = image.clone().into_disk();
        let db = match Database::open(Arc::new(disk.clone()), options(self.reference.scale)) {
            Ok(db) => db,
            Err(error) if disk.boundaries() > 1 => return Err(format!("refused, but changed before: {error}")),
            Err(error) => return named(&error, may_name).map(|()| Outcome::Refused),
        };
        let snapshot = db.snapshot();
        let names = snapshot.table_names();
        if names.len() != self.answers.tables.len() || names.iter().any(|name| !self.answers.tables.contains_key(name))
        {
            return Err(format!("other tables: {names:?}"));
        }
        let mut found = false;
        for (name, answers) in &self.answers.tables {
            let table = snapshot.table(name).map_err(|error| error.to_string())?;
            answers.ask(&table, trial, &mut |what, answer| match answer {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("table `{name}`, {what}: a wrong answer")),
                Err(error) => named(&error, may_name).map(|()| found = true),
            })?;
            // What one file does to other tables' answers is asked now and then: it costs most of the time.
            if found && !trial.is_multiple_of(16) {
                break;
            }
        }
        Ok(match (found, &db.open_report().torn) {
            (true, _) => Outcome::Found,
            (false, Some(_)) => Outcome::Cut,
            (false, None) => Outcome::Harmless,
        })
    }
}

/// Takes the answer to one question: whether it is the right one, or what was said instead.
type Check<'a> = dyn FnMut(&str, Result<bool>) -> Result<(), String> + 'a;

impl TableAnswers {
    fn ask(&self, table: &TableSnapshot, trial: usize, check: &mut Check<'_>) -> Result<(), String> {
        check("scan", scan(table, &KeyInterval::ALL).map(|found| found == self.scanned))?;
        check("plan", plan(table).map(|found| found == self.planned))?;
        for (interval, expected) in &self.ranges {
            check("range", scan(table, interval).map(|found| found == *expected))?;
        }
        // Other keys in every trial; all trials together look up all of them many times.
        for probe in 0..GETS {
            let (key, expected) = &self.gets[(trial + probe * self.gets.len() / GETS) % self.gets.len()];
            check("get", table.get(key).map(|found| found == *expected))?;
        }
        Ok(())
    }
}

/// An error must say that one of the files that may be named is damaged.
fn named(error: &Error, may_name: &dyn Fn(&str) -> bool) -> Result<(), String> {
    match error {
        Error::Corrupt { path, .. } if may_name(path) => Ok(()),
        Error::Corrupt { .. } => Err(format!("another file is named: {error}")),
        _ => Err(format!("another error: {error}")),
    }
}

/// Whether the tables of an open database are exactly the model's.
pub(crate) fn check_model(db: &Database, model: &Model) -> Result<(), String> {
    let snapshot = db.snapshot();
    for name in ["plain", "pairs", "log"] {
        let table = snapshot.table(name).map_err(|error| error.to_string())?;
        let found = scan(&table, &KeyInterval::ALL).map_err(|error| error.to_string())?;
        if found.columns() != model.batch(name).columns() {
            return Err(format!("table `{name}` has {} rows that are not the model's", found.num_rows()));
        }
    }
    Ok(())
}
