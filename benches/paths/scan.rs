//! SQL over 1,000,000 rows: one clean run; the same with a memtable on top, which is merged.

use criterion::{Criterion, Throughput};
use rustling_db::Db;
use rustling_db::arrow::array::RecordBatch;
use rustling_db::engine::load::run::LoadOptions;

use crate::data;

const ROWS: i64 = 1_000_000;
const QUERY: &str = "SELECT mode, sum(price), avg(quantity), count(*) FROM lines WHERE shipped > 9000 GROUP BY mode";

fn database(upserts: Option<RecordBatch>) -> Db {
    let db = Db::in_memory().expect("a database");
    db.create_table(data::TABLE, &data::schema(), &["order", "line"]).expect("a table");
    let mut source = data::Batches(vec![data::rows(0, ROWS, false, 7)].into_iter());
    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
    if let Some(rows) = upserts {
        db.upsert(data::TABLE, rows).expect("an upsert");
    }
    db
}

pub(crate) fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    for (name, upserts) in [("clean", None), ("merged", Some(data::rows(0, 50_000, true, 8)))] {
        let db = database(upserts);
        group.bench_function(name, |bencher| bencher.iter(|| db.sql(QUERY).expect("a query")));
    }
    group.finish();
}
