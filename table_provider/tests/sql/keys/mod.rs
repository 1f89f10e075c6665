//! Reading by key: every way beside a table of DataFusion's own with the same rows, and what plans say of it.

mod join;
mod lookup;
mod order;
mod range;
mod types;

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::rows::change::WriteBatch;
use rustling_table_provider::shown::{shown, with_types};
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{explain, options, rows, session};

/// A table `t` whose rows are in every state, and DataFusion's own table with the rows that there should be.
pub(crate) struct Keyed {
    pub(crate) database: Arc<Database>,
    pub(crate) context: SessionContext,
    pub(crate) model: SessionContext,
}

/// Where a row is, by its number.
fn states(count: usize, wanted: impl Fn(usize) -> bool) -> Int64Array {
    (0..count).filter(|row| wanted(*row)).map(|row| row as i64).collect()
}

fn pick(rows: &RecordBatch, wanted: &Int64Array) -> RecordBatch {
    take_record_batch(rows, wanted).unwrap()
}

/// The same rows with one more column, `m`, their numbers.
fn numbered(rows: &RecordBatch) -> RecordBatch {
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("m", DataType::Int64, false)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The same rows with other numbers in column `m`.
fn older(rows: &RecordBatch) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    let last = columns.pop().unwrap();
    columns.push(Arc::new(last.as_primitive::<Int64Type>().unary::<_, Int64Type>(|m| -1 - m)));
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

impl Keyed {
    /// A table with some of these rows, which have different keys, and a column `m` more: of four one in the oldest run alone, one
    /// superseded in the next, one superseded in memory, and one deleted; some only in the second run, or only in memory.
    pub(crate) fn new(rows: &RecordBatch, key: &[&str]) -> Self {
        let rows = numbered(rows);
        let database = Arc::new(Database::open(Arc::new(MemoryDisk::new()), options()).unwrap());
        database.create_table("t", &rows.schema(), key).unwrap();
        let count = rows.num_rows();
        let of = |wanted: &dyn Fn(usize) -> bool| pick(&rows, &states(count, wanted));
        let late = |row: usize| row % 16 == 8 || row % 16 == 4;
        let old = older(&of(&|row| row % 4 != 0 && !late(row)));
        Self::write(&database, |change| change.upsert("t", of(&|row| row % 4 == 0 && !late(row))).upsert("t", old));
        database.flush("t").unwrap();
        let keys = |rows: RecordBatch| {
            let indexes: Vec<usize> = key.iter().map(|name| rows.schema().index_of(name).unwrap()).collect();
            rows.project(&indexes).unwrap()
        };
        Self::write(&database, |change| {
            change.upsert("t", of(&|row| row % 4 == 1 || row % 16 == 4)).delete("t", keys(of(&|row| row % 8 == 3)))
        });
        database.flush("t").unwrap();
        Self::write(&database, |change| {
            change.upsert("t", of(&|row| row % 4 == 2 || row % 16 == 8)).delete("t", keys(of(&|row| row % 8 == 7)))
        });
        Self::of(database, &of(&|row| row % 4 != 3))
    }

    /// A table with these rows, in one run.
    pub(crate) fn of_rows(rows: &RecordBatch, key: &[&str]) -> Self {
        let database = Arc::new(Database::open(Arc::new(MemoryDisk::new()), options()).unwrap());
        database.create_table("t", &rows.schema(), key).unwrap();
        Self::write(&database, |change| change.upsert("t", rows.clone()));
        database.flush("t").unwrap();
        Self::of(database, rows)
    }

    /// A table that has just these rows.
    fn of(database: Arc<Database>, rows: &RecordBatch) -> Self {
        let context = session();
        let table = RustlingTable::new(database.clone(), "t").unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let schema = shown(database.snapshot().table("t").unwrap().schema().user());
        let model = session();
        let rows = with_types(rows, &schema).unwrap();
        model.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![rows]]).unwrap())).unwrap();
        Self { database, context, model }
    }

    pub(crate) fn write<'a>(database: &Database, fill: impl FnOnce(&mut WriteBatch) -> &mut WriteBatch + 'a) {
        let mut change = WriteBatch::new();
        fill(&mut change);
        database.write(&change).unwrap();
    }

    /// Runs a query on both tables; both must say the same.
    pub(crate) async fn check(&self, sql: &str) {
        let expected = rows(&self.model, sql).await;
        assert_eq!(rows(&self.context, sql).await, expected, "{sql}\n{}", explain(&self.context, sql).await);
    }

    /// As [`Keyed::check`], for a query whose plan has some operators and lacks others.
    pub(crate) async fn check_plan(&self, sql: &str, wanted: &[&str], unwanted: &[&str]) {
        let plan = explain(&self.context, sql).await;
        assert!(wanted.iter().all(|name| plan.contains(name)), "{sql}: without one of {wanted:?}\n{plan}");
        assert!(!unwanted.iter().any(|name| plan.contains(name)), "{sql}: with one of {unwanted:?}\n{plan}");
        self.check(sql).await;
    }
}

/// The one batch of a query's rows in a session without tables, its columns not NULL but those whose name says so.
pub(crate) async fn values(sql: impl AsRef<str>) -> RecordBatch {
    let frame = session().sql(sql.as_ref()).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batch = arrow::compute::concat_batches(&schema, &frame.collect().await.unwrap()).unwrap();
    let nullable = |name: &str| name.starts_with("nullable");
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(nullable(field.name())));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), batch.columns().to_vec()).unwrap()
}

/// Numbers as a table of SQL with one column, `x`.
pub(crate) fn numbers(numbers: impl IntoIterator<Item = i64>) -> String {
    let rows: Vec<String> = numbers.into_iter().map(|number| format!("({number})")).collect();
    format!("(VALUES {}) AS numbers(x)", rows.join(", "))
}
