//! Random schedules: any columns, any key, changes of every kind, snapshots, reopenings and crashes; random queries give
//! what DataFusion gives over the model's rows, and so does a merge of everything.

mod columns;
mod queries;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use datafusion::common::DFSchema;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;
use rustling_engine::database::{Database, Snapshot};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::sim::SimDisk;
use rustling_engine::error::{Error, Result as EngineResult};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::source::{BatchSource, Lines, SourceBatch};
use rustling_engine::verify::check::verify;
use rustling_table_provider::predicate::ExprPredicate;
use rustling_table_provider::shown::{shown, with_types};
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{session, text};
use crate::ledger;
use crate::schedules::columns::{Columns, reencoded};
use crate::schedules::queries::{condition, query};

const SCHEDULES: u64 = 150;
const STEPS: usize = 30;

/// Rows, as they are shown, by the numbers of their keys; of a table without a key by the order they came in.
type Model = BTreeMap<Vec<i64>, RecordBatch>;

/// A database under test and what it should hold.
struct Schedule {
    random: StdRng,
    columns: Columns,
    sim: SimDisk,
    options: Options,
    db: Arc<Database>,
    model: Model,
    snapshots: Vec<(Snapshot, Model)>,
    counter: i64,
    queries: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let columns = Columns::random(&mut random);
        let mut pick = |sizes: &[u64]| *sizes.choose(&mut random).unwrap();
        let options = Options {
            background: false,
            threads: 2,
            memtable_bytes: usize::try_from(pick(&[2000, 16 << 10, 1 << 20])).unwrap(),
            wal_segment_bytes: pick(&[4000, 1 << 20]),
            wal_bytes: pick(&[20_000, 8 << 20]),
            sst_rows: pick(&[40, 1 << 20]),
            compact_runs: usize::try_from(pick(&[2, 4, 100])).unwrap(),
            dead_percent: pick(&[10, 50]),
            ..Options::with_memory(64 << 20)
        };
        let sim = SimDisk::new();
        let db = Arc::new(Database::open(Arc::new(sim.clone()), options.clone()).unwrap());
        db.create_table("t", &columns.schema(), &columns.key_names()).unwrap();
        let (model, snapshots) = (Model::new(), Vec::new());
        Self { random, columns, sim, options, db, model, snapshots, counter: 0, queries: 0 }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..25) {
            0..=6 => self.upsert(),
            7 => self.insert(),
            8 | 9 => self.delete(),
            10 => self.delete_where(),
            11 | 12 => self.load(),
            13 | 14 => self.db.flush("t").unwrap(),
            15 => self.db.compact("t").unwrap(),
            16 => drop(self.db.compact_step(Effort::Steady).unwrap()),
            17 => drop(self.db.compact_step(Effort::Idle).unwrap()),
            18 => self.snapshots.push((self.db.snapshot(), self.model.clone())),
            19 => self.reopen(),
            _ => self.query().await,
        }
    }

    /// Keys of new rows; of a table without one, numbers that were not there.
    fn keys(&mut self) -> Vec<Vec<i64>> {
        let count = *[1, 3, 20, 20, 100].choose(&mut self.random).unwrap();
        if !self.columns.key().is_empty() {
            return self.columns.random_keys(&mut self.random, count);
        }
        self.counter += count as i64;
        (self.counter - count as i64..self.counter).map(|number| vec![number]).collect()
    }

    /// Rows with keys; the batch that is written, in some encoding.
    fn rows(&mut self) -> (Vec<(Vec<i64>, RecordBatch)>, RecordBatch) {
        let keys = self.keys();
        let batch = self.columns.rows(&mut self.random, &keys);
        let as_shown = with_types(&batch, &shown(&batch.schema())).unwrap();
        let rows = keys.into_iter().enumerate().map(|(row, key)| (key, as_shown.slice(row, 1))).collect();
        (rows, reencoded(&mut self.random, &batch))
    }

    fn upsert(&mut self) {
        let (rows, batch) = self.rows();
        let mut change = WriteBatch::new();
        if self.columns.key().is_empty() {
            change.insert("t", batch)
        } else {
            change.upsert("t", batch)
        };
        self.db.write(&change).unwrap();
        self.model.extend(rows);
    }

    fn insert(&mut self) {
        let (rows, batch) = self.rows();
        let distinct: Model = rows.iter().cloned().collect();
        let refused = distinct.len() < rows.len() || rows.iter().any(|(key, _)| self.model.contains_key(key));
        match self.db.write(WriteBatch::new().insert("t", batch)) {
            Ok(_) if !refused => self.model.extend(rows),
            Err(Error::DuplicateKey { .. }) if refused => {}
            other => panic!("{other:?}, but refused: {refused}"),
        }
    }

    fn delete(&mut self) {
        if self.columns.key().is_empty() {
            return self.delete_where();
        }
        let keys = self.keys();
        self.db.write(WriteBatch::new().delete("t", self.columns.key_batch(&keys))).unwrap();
        keys.iter().for_each(|key| drop(self.model.remove(key)));
    }

    fn delete_where(&mut self) {
        let text = condition(&self.columns, &mut self.random);
        println!("DELETE FROM t WHERE {text}");
        let schema = self.columns.schema();
        let known = DFSchema::try_from_qualified_schema("t", &shown(&schema)).unwrap();
        let context = session();
        let state = context.state();
        let expr = state.create_logical_expr(&text, &known).unwrap();
        let wanted = context.create_physical_expr(expr.clone(), &known).unwrap();
        let before = self.model.len();
        self.model.retain(|_, row| {
            let wanted = wanted.evaluate(row).unwrap().into_array(1).unwrap();
            wanted.as_boolean().iter().next().unwrap() != Some(true)
        });
        let mut predicate = ExprPredicate::new(&state, "t", &schema, expr).unwrap();
        let report = self.db.delete_where("t", &mut predicate).unwrap();
        assert_eq!(report.rows, (before - self.model.len()) as u64, "{text}");
    }

    fn load(&mut self) {
        let (rows, batch) = self.rows();
        let on_conflict = *[OnConflict::Update, OnConflict::Skip].choose(&mut self.random).unwrap();
        let mut source = Batches { batches: batch.num_rows().div_ceil(7), batch };
        self.db.load("t", &mut source, &LoadOptions { on_conflict, ..LoadOptions::default() }).unwrap();
        for (key, row) in rows {
            if on_conflict == OnConflict::Update || !self.model.contains_key(&key) {
                self.model.insert(key, row);
            }
        }
    }

    /// Closes the database, kills its process, or cuts the power; then opens it again.
    fn reopen(&mut self) {
        let how = self.random.random_range(0..3);
        if how == 0 {
            self.db.close().unwrap();
        }
        self.snapshots.clear();
        self.db = Arc::new(Database::open(Arc::new(MemoryDisk::new()), self.options.clone()).unwrap());
        if how == 2 {
            let (wanted, mut seen, mut chosen) = (self.random.random_range(0..30), 0, None);
            self.sim.images(usize::MAX, &mut |image| {
                if seen <= wanted {
                    chosen = Some(image);
                }
                seen += 1;
            });
            self.sim = chosen.unwrap().into_disk();
        } else {
            self.sim = self.sim.killed_image(usize::MAX).into_disk();
        }
        self.db = Arc::new(Database::open(Arc::new(self.sim.clone()), self.options.clone()).unwrap());
    }

    async fn query(&mut self) {
        let sql = query(&self.columns, &mut self.random);
        println!("{sql}");
        self.queries += 1;
        let table = RustlingTable::new(self.db.clone(), "t").unwrap();
        if let Some((snapshot, model)) = self.snapshots.choose(&mut self.random) {
            let expected = answer(&self.of_model(model), &sql).await;
            assert_eq!(answer(&of_table(table.at(snapshot.clone())), &sql).await, expected, "a snapshot: {sql}");
        }
        let expected = answer(&self.of_model(&self.model), &sql).await;
        assert_eq!(answer(&of_table(table), &sql).await, expected, "{sql}");
    }

    /// A session that has the model's rows as table `t`.
    fn of_model(&self, model: &Model) -> SessionContext {
        let schema = shown(&self.columns.schema());
        let rows = concat_batches(&schema, model.values()).unwrap();
        let context = session();
        context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![rows]]).unwrap())).unwrap();
        context
    }

    /// A scan, a merge of everything and the model have the same rows.
    async fn check_all(&self) {
        let all = "SELECT * FROM t";
        let expected = answer(&self.of_model(&self.model), all).await;
        let table = RustlingTable::new(self.db.clone(), "t").unwrap();
        assert_eq!(answer(&of_table(table), all).await, expected, "a scan");
        let snapshot = self.db.snapshot().table("t").unwrap();
        let merged: EngineResult<Vec<RecordBatch>> =
            snapshot.scan(&KeyInterval::ALL, &snapshot.user_projection()).unwrap().collect();
        let mut merged = text(&merged.unwrap());
        merged.sort();
        assert_eq!(merged, expected, "a merge of everything");
    }

    async fn end(mut self) -> u64 {
        self.check_all().await;
        self.reopen();
        self.check_all().await;
        self.db.close().unwrap();
        self.db = Arc::new(Database::open(Arc::new(MemoryDisk::new()), self.options.clone()).unwrap());
        let disk: Arc<dyn Disk> = Arc::new(self.sim.clone());
        assert_eq!(verify(&disk, &self.options, None).unwrap().findings.len(), 0);
        self.queries
    }
}

fn of_table(table: RustlingTable) -> SessionContext {
    let context = session();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// Rows as text, sorted unless the query orders them.
async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let mut rows = text(&collect(plan, context.task_ctx()).await.unwrap());
    if !sql.contains("ORDER BY") {
        rows.sort();
    }
    rows
}

/// Parts of a batch as a source.
struct Batches {
    batch: RecordBatch,
    /// Those that are left.
    batches: usize,
}

impl BatchSource for Batches {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.batch.schema()
    }

    fn next_batch(&mut self) -> EngineResult<Option<SourceBatch>> {
        if self.batches == 0 {
            return Ok(None);
        }
        let rows = self.batch.num_rows().div_ceil(self.batches);
        let batch = self.batch.slice(0, rows);
        self.batch = self.batch.slice(rows, self.batch.num_rows() - rows);
        self.batches -= 1;
        Ok(Some(SourceBatch { batch, source: "rows".into(), lines: Lines::From(1) }))
    }
}

fn run(seed: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            schedule.step().await;
        }
        schedule.end().await
    })
}

#[test]
fn queries_over_any_table_whatever_happened_to_it_give_what_the_model_gives() {
    let ledger = ledger::Run::begin("queries", 0..SCHEDULES);
    let mut queries = 0;
    for seed in ledger.seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed));
        queries += outcome.unwrap_or_else(|_| panic!("failed with SEEDS={seed}..{}", seed + 1));
    }
    let schedules = ledger.seeds().end - ledger.seeds().start;
    ledger.end(&[("schedules", schedules), ("queries", queries), ("violations", 0)]);
}
