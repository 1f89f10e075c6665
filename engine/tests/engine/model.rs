//! Random operations against a model that compares typed keys with its own order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::{Error, Result};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::plan::ScanPlan;
use rustling_engine::read::resolve::resolve_all;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::{BatchSource, Lines, SourceBatch};

use crate::by_key;
use crate::fixture::Where;
use crate::ledger;
use crate::typed::{KEY_KINDS, Key, KeyKind, Value};

type Rows = BTreeMap<Key, Value>;

const SEQUENCES: u64 = 1000;
const STEPS: usize = 25;

/// A database under test and what it should hold.
struct Pair {
    kind: KeyKind,
    random: StdRng,
    disk: Arc<dyn Disk>,
    options: Options,
    db: Database,
    model: Rows,
    snapshots: Vec<(Snapshot, Rows)>,
    counter: i64,
}

impl Pair {
    fn new(seed: u64, kind: KeyKind, options: Options) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let db = Database::open(disk.clone(), options.clone()).unwrap();
        db.create_table("t", &kind.schema(), kind.names()).unwrap();
        let random = StdRng::seed_from_u64(seed);
        Self { kind, random, disk, options, db, model: Rows::new(), snapshots: Vec::new(), counter: 0 }
    }

    fn row(&mut self) -> (Key, Value) {
        self.counter += 1;
        let number = self.random.random_bool(0.9).then_some(self.counter);
        (self.kind.random(&mut self.random), Value { number, text: format!("row {}", self.counter) })
    }

    fn rows(&mut self) -> Vec<(Key, Value)> {
        // Now and then more rows than the row form takes, so that they become a chunk of their own.
        let count = if self.random.random_bool(0.03) { 1100 } else { self.random.random_range(1..12) };
        (0..count).map(|_| self.row()).collect()
    }

    fn step(&mut self) {
        match self.random.random_range(0..22) {
            0..=6 => self.upsert(),
            7 | 8 => self.insert(),
            9 | 10 => self.delete(),
            11 => self.mixed(),
            12 | 13 => self.db.flush("t").unwrap(),
            14 => self.compact(),
            15 | 16 => self.load(),
            17 => self.snapshots.push((self.db.snapshot(), self.model.clone())),
            18 => self.reopen(),
            19 => self.delete_where(),
            _ => self.check_ranges(),
        }
    }

    fn upsert(&mut self) {
        let rows = self.rows();
        self.db.write(WriteBatch::new().upsert("t", self.kind.rows(&rows))).unwrap();
        self.model.extend(rows);
    }

    fn insert(&mut self) {
        let rows: Vec<_> = (0..self.random.random_range(1..3)).map(|_| self.row()).collect();
        let written = self.db.write(WriteBatch::new().insert("t", self.kind.rows(&rows)));
        let twice =
            rows.iter().enumerate().any(|(at, (key, _))| rows[..at].iter().any(|(other, _)| other.cmp(key).is_eq()));
        if twice || rows.iter().any(|(key, _)| self.model.contains_key(key)) {
            assert!(matches!(written, Err(Error::DuplicateKey { .. })), "{written:?}");
        } else {
            written.unwrap();
            self.model.extend(rows);
        }
    }

    fn delete(&mut self) {
        let keys: Vec<Key> = (0..self.random.random_range(1..10)).map(|_| self.kind.random(&mut self.random)).collect();
        self.db.write(WriteBatch::new().delete("t", self.kind.keys(&keys))).unwrap();
        keys.iter().for_each(|key| drop(self.model.remove(key)));
    }

    /// Several operations in one batch; the last change of a key counts.
    fn mixed(&mut self) {
        let (first, last) = (self.rows(), self.rows());
        let keys: Vec<Key> = first.iter().step_by(2).map(|(key, _)| key.clone()).collect();
        let mut batch = WriteBatch::new();
        batch.upsert("t", self.kind.rows(&first));
        batch.delete("t", self.kind.keys(&keys));
        batch.upsert("t", self.kind.rows(&last));
        self.db.write(&batch).unwrap();
        self.model.extend(first);
        keys.iter().for_each(|key| drop(self.model.remove(key)));
        self.model.extend(last);
    }

    /// By a column that is NULL in some rows, which are not to go.
    fn delete_where(&mut self) {
        let (of, left) = (self.random.random_range(2..5), self.random.random_range(0..2));
        let wants = |rows: &RecordBatch| {
            let numbers = rows.column(0).as_primitive::<Int64Type>();
            Ok(numbers.iter().map(|number| Some(number? % of == left)).collect())
        };
        let report = self.db.delete_where("t", &mut Where::new(&[0], wants)).unwrap();
        let before = self.model.len();
        self.model.retain(|_, value| value.number.is_none_or(|number| number % of != left));
        assert_eq!(report.rows, (before - self.model.len()) as u64);
        assert_eq!(report.seq.is_some(), report.rows > 0);
    }

    fn compact(&mut self) {
        let effort = match self.random.random_range(0..4) {
            0 => return self.db.compact("t").unwrap(),
            1 => Effort::Idle,
            _ => Effort::Steady,
        };
        // Not always to the end: what is left to do meets what comes.
        for _ in 0..self.random.random_range(1..8) {
            self.db.compact_step(effort).unwrap();
        }
    }

    fn load(&mut self) {
        let rows: Vec<_> = (0..self.random.random_range(1..60)).map(|_| self.row()).collect();
        let on_conflict = [OnConflict::Error, OnConflict::Update, OnConflict::Skip][self.random.random_range(0..3)];
        let size = self.random.random_range(1..20);
        let mut source = Chunks { kind: self.kind, rows: rows.clone(), at: 0, size };
        let options = LoadOptions { on_conflict, ..LoadOptions::default() };
        let loaded = self.db.load("t", &mut source, &options);
        let distinct: Rows = rows.iter().cloned().collect();
        let repeats = distinct.len() < rows.len();
        let meets = rows.iter().any(|(key, _)| self.model.contains_key(key));
        match on_conflict {
            OnConflict::Error if repeats || meets => {
                let error = loaded.unwrap_err();
                let named = matches!(error, Error::DuplicateInLoad { .. } | Error::DuplicateOfStored { .. });
                assert!(named, "{error}");
            }
            OnConflict::Error | OnConflict::Update => {
                assert_eq!(loaded.unwrap().rows_loaded, distinct.len() as u64);
                self.model.extend(rows);
            }
            OnConflict::Skip => {
                loaded.unwrap();
                for (key, value) in rows {
                    self.model.entry(key).or_insert(value);
                }
            }
        }
    }

    fn reopen(&mut self) {
        if self.random.random() {
            self.db.close().unwrap();
        }
        // Without closing first, this is what a killed process leaves.
        let fresh = Database::open(Arc::new(MemoryDisk::new()), self.options.clone()).unwrap();
        drop(std::mem::replace(&mut self.db, fresh));
        self.db = Database::open(self.disk.clone(), self.options.clone()).unwrap();
    }

    /// By merging, and by every way to read by key.
    fn check_ranges(&mut self) {
        let table = self.db.snapshot().table("t").unwrap();
        let low = self.kind.random(&mut self.random);
        let interval =
            table.key_range(Bound::Included(&self.kind.keys(std::slice::from_ref(&low))), Bound::Unbounded).unwrap();
        let found = read(self.kind, table.scan(&interval, &table.user_projection()).unwrap());
        let want: Vec<_> = self.model.range(low..).map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(found, want);
        by_key::check_random(self.kind, &table, &self.model, &mut self.random);
        for (snapshot, model) in &self.snapshots {
            by_key::check_random(self.kind, &snapshot.table("t").unwrap(), model, &mut self.random);
        }
    }

    fn check(&self) {
        check_table(self.kind, &self.db.snapshot(), &self.model);
        self.snapshots.iter().for_each(|(snapshot, model)| check_table(self.kind, snapshot, model));
    }
}

/// Merge-on-read and the parts of a scan plan both give exactly the model.
fn check_table(kind: KeyKind, snapshot: &Snapshot, model: &Rows) {
    let table = snapshot.table("t").unwrap();
    let want: Vec<(Key, Value)> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let scanned = read(kind, table.scan(&KeyInterval::ALL, &table.user_projection()).unwrap());
    assert_eq!(scanned, want, "merge-on-read");
    by_key::check_all(kind, &table, &want);
    let mut planned = read_plan(kind, &table);
    planned.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(planned, want, "the plan's parts");
    let version = &table.table().version;
    let by_keys = resolve_all(version.runs(), &table.table().codec).unwrap();
    assert!(by_keys.iter().eq(version.dead().iter().map(|dead| &**dead)), "the dead rows");
}

fn read_plan(kind: KeyKind, table: &TableSnapshot) -> Vec<(Key, Value)> {
    let plan = ScanPlan::new(table, 3).unwrap();
    let rows = read(kind, plan.open(&table.user_projection()).unwrap());
    if let Some(count) = plan.row_count() {
        assert_eq!(count, rows.len() as u64);
    }
    rows
}

fn read(kind: KeyKind, batches: impl Iterator<Item = Result<RecordBatch>>) -> Vec<(Key, Value)> {
    batches.flat_map(|batch| kind.read(&batch.unwrap())).collect()
}

/// Rows as a source of small batches.
struct Chunks {
    kind: KeyKind,
    rows: Vec<(Key, Value)>,
    at: usize,
    size: usize,
}

impl BatchSource for Chunks {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.kind.schema()
    }

    fn next_batch(&mut self) -> Result<Option<SourceBatch>> {
        let end = self.rows.len().min(self.at + self.size);
        if self.at == end {
            return Ok(None);
        }
        let batch = self.kind.rows(&self.rows[self.at..end]);
        let lines = Lines::From(self.at as u64 + 1);
        self.at = end;
        Ok(Some(SourceBatch { batch, source: "rows".into(), lines }))
    }
}

fn run(seed: u64) {
    let kind = KEY_KINDS[usize::try_from(seed).unwrap() % KEY_KINDS.len()];
    // Tiny and default sizes must give the same answers.
    let small = seed.is_multiple_of(2);
    let options = Options {
        background: false,
        threads: 1,
        memtable_bytes: if small { 2000 } else { 1 << 20 },
        wal_segment_bytes: if small { 3000 } else { 1 << 20 },
        wal_bytes: if small { 9000 } else { 8 << 20 },
        sst_rows: if small { 20 } else { 1 << 20 },
        compact_runs: if small { 2 } else { 4 },
        dead_percent: 10,
        ..Options::default()
    };
    let mut pair = Pair::new(seed, kind, options);
    for step in 0..STEPS {
        pair.step();
        if step % 5 == 4 {
            pair.check();
        }
    }
    pair.reopen();
    pair.check();
}

#[test]
fn random_operations_give_what_the_model_gives() {
    let ledger = ledger::Run::begin("model", 0..SEQUENCES);
    for seed in ledger.seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "failed with SEEDS={seed}..{}", seed + 1);
    }
    let sequences = ledger.seeds().end - ledger.seeds().start;
    ledger.end(&[("sequences", sequences), ("violations", 0)]);
}
