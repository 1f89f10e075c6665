//! TPC-H: loaded from CSV into keyed tables, all 22 queries give the rows that DataFusion gives over plain Parquet.
//!
//! `TPCH_SCALE` sets the scale factor (default 0.01), `TPCH_FOLDER` a folder whose CSV files are used again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustling_db::arrow::array::RecordBatch;
use rustling_db::arrow::util::display::{ArrayFormatter, FormatOptions};
use rustling_db::datafusion::dataframe::DataFrameWriteOptions;
use rustling_db::datafusion::prelude::{CsvReadOptions, ParquetReadOptions, SessionContext};
use rustling_db::etl::schema_text;
use rustling_db::{CsvLoad, Db, DbOptions};
use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// Name, columns, key.
const TABLES: [(&str, &str, &str); 8] = [
    ("region", "r_regionkey bigint, r_name text, r_comment text", "r_regionkey"),
    ("nation", "n_nationkey bigint, n_name text, n_regionkey bigint, n_comment text", "n_nationkey"),
    (
        "part",
        "p_partkey bigint, p_name text, p_mfgr text, p_brand text, p_type text, p_size int, p_container text, \
         p_retailprice decimal(15,2), p_comment text",
        "p_partkey",
    ),
    (
        "supplier",
        "s_suppkey bigint, s_name text, s_address text, s_nationkey bigint, s_phone text, s_acctbal decimal(15,2), \
         s_comment text",
        "s_suppkey",
    ),
    (
        "partsupp",
        "ps_partkey bigint, ps_suppkey bigint, ps_availqty int, ps_supplycost decimal(15,2), ps_comment text",
        "ps_partkey,ps_suppkey",
    ),
    (
        "customer",
        "c_custkey bigint, c_name text, c_address text, c_nationkey bigint, c_phone text, c_acctbal decimal(15,2), \
         c_mktsegment text, c_comment text",
        "c_custkey",
    ),
    (
        "orders",
        "o_orderkey bigint, o_custkey bigint, o_orderstatus text, o_totalprice decimal(15,2), o_orderdate date, \
         o_orderpriority text, o_clerk text, o_shippriority int, o_comment text",
        "o_orderkey",
    ),
    (
        "lineitem",
        "l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber int, l_quantity decimal(15,2), \
         l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), l_returnflag text, \
         l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct text, \
         l_shipmode text, l_comment text",
        "l_orderkey,l_linenumber",
    ),
];

/// Writes the CSV files of all tables, unless they are there.
fn generate(folder: &Path, scale: f64) {
    macro_rules! write {
        ($name:literal, $generator:ident, $csv:ident) => {
            let path = folder.join(concat!($name, ".csv"));
            if !path.exists() {
                let mut file = BufWriter::new(File::create(&path).unwrap());
                writeln!(file, "{}", $csv::header()).unwrap();
                for row in $generator::new(scale, 1, 1).iter() {
                    writeln!(file, "{}", $csv::new(row)).unwrap();
                }
                file.flush().unwrap();
            }
        };
    }
    write!("region", RegionGenerator, RegionCsv);
    write!("nation", NationGenerator, NationCsv);
    write!("part", PartGenerator, PartCsv);
    write!("supplier", SupplierGenerator, SupplierCsv);
    write!("partsupp", PartSuppGenerator, PartSuppCsv);
    write!("customer", CustomerGenerator, CustomerCsv);
    write!("orders", OrderGenerator, OrderCsv);
    write!("lineitem", LineItemGenerator, LineItemCsv);
}

/// DataFusion over plain Parquet of the same files, which DataFusion itself read and wrote.
async fn plain_parquet(folder: &Path) -> SessionContext {
    let context = SessionContext::new();
    for (name, columns, _) in TABLES {
        let schema = schema_text::parse(columns).unwrap();
        let csv = folder.join(format!("{name}.csv"));
        let parquet = folder.join(format!("{name}.parquet"));
        let parquet = parquet.to_str().unwrap();
        let options = CsvReadOptions::new().schema(&schema);
        let frame = context.read_csv(csv.to_str().unwrap(), options).await.unwrap();
        let single = DataFrameWriteOptions::new().with_single_file_output(true);
        frame.write_parquet(parquet, single, None).await.unwrap();
        context.register_parquet(name, parquet, ParquetReadOptions::default()).await.unwrap();
    }
    context
}

fn load(db: &Db, folder: &Path) {
    for (name, columns, key) in TABLES {
        let load = CsvLoad {
            key: key.split(',').map(str::to_owned).collect(),
            schema: Some(schema_text::parse(columns).unwrap()),
            ..CsvLoad::default()
        };
        db.load_csv(name, &[folder.join(format!("{name}.csv"))], &load).unwrap();
    }
}

/// The rows as text, sorted: queries leave ties in any order.
fn text(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    rows.sort();
    rows
}

#[test]
fn all_queries_give_what_plain_parquet_gives() {
    let scale: f64 = std::env::var("TPCH_SCALE").map_or(0.01, |scale| scale.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let folder = std::env::var("TPCH_FOLDER").map_or(scratch.path().to_owned(), PathBuf::from);
    generate(&folder, scale);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plain = runtime.block_on(plain_parquet(&folder));
    let db = Db::open_with(scratch.path().join("db"), &DbOptions::default()).unwrap();
    load(&db, &folder);
    let mut rows = 0;
    for query in 1..=22 {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/tpch/q{query:02}.sql"));
        let sql = std::fs::read_to_string(file).unwrap();
        let started = Instant::now();
        let want = runtime.block_on(async { plain.sql(&sql).await.unwrap().collect().await.unwrap() });
        let plain_took = started.elapsed();
        let started = Instant::now();
        let found = db.sql(&sql).unwrap();
        println!("query {query}: plain Parquet {plain_took:.0?}, rustling {:.0?}", started.elapsed());
        assert_eq!(text(&found), text(&want), "query {query}");
        rows += text(&found).len();
    }
    assert!(rows > 100, "the queries gave {rows} rows: too few to show anything");
    db.close().unwrap();
}
