//! SQL over 1,000,000 rows: one clean run; the same with 50,000 newer rows in memory; with those and 100,000 more in runs.

use criterion::{Criterion, Throughput};
use rustling_db::Db;
use rustling_db::arrow::array::RecordBatch;
use rustling_db::engine::load::run::LoadOptions;

use crate::data;

const ROWS: i64 = 1_000_000;
const QUERY: &str = "SELECT mode, sum(price), avg(quantity), count(*) FROM lines WHERE shipped > 9000 GROUP BY mode";

fn database(flushed: Option<RecordBatch>, upserts: Option<RecordBatch>) -> Db {
    let db = Db::in_memory().expect("a database");
    db.create_table(data::TABLE, &data::schema(), &["order", "line"]).expect("a table");
    let mut source = data::Batches(vec![data::rows(0, ROWS, false, 7)].into_iter());
    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
    if let Some(rows) = flushed {
        db.upsert(data::TABLE, rows).expect("an upsert");
        db.flush(data::TABLE).expect("a flush");
    }
    if let Some(rows) = upserts {
        db.upsert(data::TABLE, rows).expect("an upsert");
    }
    db
}

pub(crate) fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20);
    let bytes = data::bytes(&data::rows(0, ROWS, false, 7));
    group.throughput(Throughput::ElementsAndBytes { elements: ROWS.unsigned_abs(), bytes });
    let newer = || Some(data::rows(0, 50_000, true, 8));
    let flushed = || Some(data::rows(400_000, 500_000, true, 9));
    for (name, flushed, upserts) in
        [("clean", None, None), ("newer in memory", None, newer()), ("a tenth superseded", flushed(), newer())]
    {
        let db = database(flushed, upserts);
        group.bench_function(name, |bencher| bencher.iter(|| db.sql(QUERY).expect("a query")));
    }
    group.finish();
}
