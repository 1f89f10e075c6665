//! Upserts into TPC-H `lineitem`, batch after batch, each durable before the next; then scans beside the same files read
//! as plain Parquet.
//!
//! `cargo run --release --example sustained_upserts -- FOLDER [SCALE [BATCHES [MEMORY_MIB]]]`
//!
//! A batch has 50,000 rows, nine of ten with keys that are there, drawn evenly. Prints rows per second until every
//! memtable is flushed, how long batches took, the share of dead rows, what compactions wrote, CPU time by threads; then
//! each query's median of five, right after, and once background work has come to rest.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_db::arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use rustling_db::arrow::compute::concat_batches;
use rustling_db::arrow::datatypes::{Int32Type, Int64Type};
use rustling_db::datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use rustling_db::engine::disk::path::{self, RunFile};
use rustling_db::engine::report::TableReport;
use rustling_db::etl::schema_text;
use rustling_db::table_provider::shown::with_types;
use rustling_db::{CsvLoad, Db, DbOptions};
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::LineItemGenerator;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const COLUMNS: &str = "l_orderkey bigint not null, l_partkey bigint, l_suppkey bigint, l_linenumber int not null, \
    l_quantity decimal(15,2), l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), \
    l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, \
    l_shipinstruct text, l_shipmode text, l_comment text";
const BATCH_ROWS: usize = 50_000;
const QUERIES: [(&str, &str); 5] = [
    ("count", "SELECT count(*) FROM lineitem"),
    (
        "Q1",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), \
         sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), \
         avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) FROM lineitem \
         WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus",
    ),
    (
        "Q6",
        "SELECT sum(l_extendedprice * l_discount) FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' \
         AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    ),
    ("sum", "SELECT sum(l_quantity) FROM lineitem"),
    ("length", "SELECT max(length(l_comment)) FROM lineitem"),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        return Err("usage: sustained_upserts FOLDER [SCALE [BATCHES [MEMORY_MIB]]]".into());
    };
    let scale: f64 = arguments.get(1).map_or(Ok(1.0), |scale| scale.parse())?;
    let batches: usize = arguments.get(2).map_or(Ok(20), |batches| batches.parse())?;
    let memory_mib: usize = arguments.get(3).map_or(Ok(1024), |mib| mib.parse())?;
    if batches == 0 {
        return Err("BATCHES is 0; name at least one".into());
    }
    std::fs::create_dir_all(&folder)?;
    let scratch = tempfile::tempdir_in(&folder)?;
    let db = Db::open_with(scratch.path(), &DbOptions { memory_bytes: memory_mib << 20, ..DbOptions::default() })?;
    load(&db, &folder, scale)?;
    let mut upserts = Upserts::new(&db)?;
    upsert(&db, &mut upserts, batches)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    scan(&db, scratch.path(), &runtime, "right after")?;
    rest(&db, scratch.path())?;
    scan(&db, scratch.path(), &runtime, "at rest")?;
    db.close()?;
    Ok(())
}

fn load(db: &Db, folder: &Path, scale: f64) -> Result<()> {
    use std::io::Write;
    let file = folder.join(format!("lineitem-{scale}.csv"));
    if !file.exists() {
        // Under its name once it is complete.
        let partial = file.with_extension("partial");
        let mut out = std::io::BufWriter::new(std::fs::File::create(&partial)?);
        writeln!(out, "{}", LineItemCsv::header())?;
        for row in LineItemGenerator::new(scale, 1, 1).iter() {
            writeln!(out, "{}", LineItemCsv::new(row))?;
        }
        out.flush()?;
        std::fs::rename(partial, &file)?;
    }
    let key = vec!["l_orderkey".to_owned(), "l_linenumber".to_owned()];
    let load = CsvLoad { key, schema: Some(schema_text::parse(COLUMNS)?), ..CsvLoad::default() };
    let report = db.load_csv("lineitem", &[file], &load)?;
    println!("loaded {} rows", report.rows_loaded);
    Ok(())
}

/// Makes batches: keys that are there or follow, with the other columns of a few real rows.
struct Upserts {
    keys: Vec<(i64, i32)>,
    rows: RecordBatch,
    random: StdRng,
    next_order: i64,
}

impl Upserts {
    fn new(db: &Db) -> Result<Self> {
        let mut keys = Vec::new();
        for batch in db.sql("SELECT l_orderkey, l_linenumber FROM lineitem")? {
            let (orders, lines) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1));
            keys.extend(
                orders.values().iter().copied().zip(lines.as_primitive::<Int32Type>().values().iter().copied()),
            );
        }
        let rows = db.sql(&format!("SELECT * FROM lineitem WHERE l_orderkey % 4 = 1 LIMIT {BATCH_ROWS}"))?;
        let schema = schema_text::parse(COLUMNS)?;
        let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if found < BATCH_ROWS {
            return Err(format!(
                "{found} rows are too few to make batches of {BATCH_ROWS}; take a SCALE of 0.05 or more"
            )
            .into());
        }
        let rows = concat_batches(&rows[0].schema(), &rows)?;
        let rows = with_types(&rows, &Arc::new(schema))?;
        let next_order = keys.iter().map(|(order, _)| *order).max().unwrap_or(0) + 1;
        Ok(Self { keys, rows, random: StdRng::seed_from_u64(1), next_order })
    }

    fn next(&mut self) -> Result<RecordBatch> {
        let count = self.rows.num_rows();
        let keys: Vec<(i64, i32)> = (0..count)
            .map(|row| {
                if row % 10 == 9 {
                    self.next_order += 1;
                    self.keys.push((self.next_order, 1));
                    return (self.next_order, 1);
                }
                self.keys[self.random.random_range(0..self.keys.len())]
            })
            .collect();
        let mut columns = self.rows.columns().to_vec();
        columns[0] = Arc::new(Int64Array::from_iter_values(keys.iter().map(|(order, _)| *order))) as ArrayRef;
        columns[3] = Arc::new(Int32Array::from_iter_values(keys.iter().map(|(_, line)| *line)));
        Ok(RecordBatch::try_new(self.rows.schema(), columns)?)
    }
}

fn upsert(db: &Db, upserts: &mut Upserts, batches: usize) -> Result<()> {
    let (mut took, mut dead, mut depth) = (Vec::new(), 0, 0);
    let (cpu, threads) = (cpu_seconds("/proc/self/stat")?, cpu_of_threads()?);
    let (mut user_bytes, all_written) = (0, bytes_written()?);
    let mut clock = Duration::ZERO;
    for _ in 0..batches {
        let batch = upserts.next()?;
        user_bytes += batch.get_array_memory_size() as u64;
        let started = Instant::now();
        db.upsert("lineitem", batch)?;
        took.push(started.elapsed());
        clock += started.elapsed();
        let table = table(db);
        (dead, depth) = (dead.max(table.dead_rows() * 1000 / table.rows().max(1)), depth.max(table.depth));
    }
    let started = Instant::now();
    db.flush("lineitem")?;
    clock += started.elapsed();
    let rows = (batches * BATCH_ROWS) as f64;
    let rate = |part: &[Duration]| (part.len() * BATCH_ROWS) as f64 / part.iter().sum::<Duration>().as_secs_f64();
    println!("{batches} batches, flushed: {:.0} rows/s, {:.2} CPU us a row", rows / clock.as_secs_f64(), {
        (cpu_seconds("/proc/self/stat")? - cpu) * 1e6 / rows
    });
    for (name, seconds) in cpu_of_threads()? {
        let spent = seconds - threads.get(&name).copied().unwrap_or_default();
        if spent * 1e6 > 0.01 * rows {
            println!("  {:.2} CPU us a row in threads `{name}`", spent * 1e6 / rows);
        }
    }
    println!("second half of batches: {:.0} rows/s", rate(&took[batches / 2..]));
    let quarter = (batches / 4).max(1);
    let last = rate(&took[batches - quarter..]);
    let (first, third) = (rate(&took[..quarter]), rate(&took[batches / 2..][..quarter]));
    println!("last quarter beside first: {:.2}, beside third: {:.2}", last / first, last / third);
    took.sort_unstable();
    println!(
        "batch: median {:?}, p99 {:?}, worst {:?}",
        took[batches / 2],
        took[batches * 99 / 100],
        took[batches - 1]
    );
    let (report, table) = (db.engine().report(), table(db));
    println!("dead at most {}.{} %, runs of a key {depth}", dead / 10, dead % 10);
    let (stalls, held) = (report.stalls, report.stalls_for_compaction);
    println!("{stalls} stalls, {held} for compactions, {:?} in all; rested {:?}", report.stalled, report.rested);
    println!("flushed {:?}", table.history.flushed);
    println!("compacted {:?} in {} compactions", table.history.compacted, report.compactions);
    let written = table.history.flushed.bytes + table.history.compacted.bytes;
    println!(
        "{:.2} bytes of runs written for each of the {user_bytes} in the batches",
        written as f64 / user_bytes as f64
    );
    println!("{:.2} with the log and all else", (bytes_written()? - all_written) as f64 / user_bytes as f64);
    Ok(())
}

fn table(db: &Db) -> TableReport {
    db.engine().report().tables.swap_remove(0)
}

/// Waits until no compaction was done for six seconds.
fn rest(db: &Db, folder: &Path) -> Result<()> {
    let started = Instant::now();
    let (mut seen, mut since) = (db.engine().report().compactions, Instant::now());
    while since.elapsed() < Duration::from_secs(6) {
        std::thread::sleep(Duration::from_millis(100));
        let now = db.engine().report().compactions;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    let table = table(db);
    let dead = table.dead_rows() * 1000 / table.rows().max(1);
    let waited = since.duration_since(started).as_secs_f64();
    println!("at rest after {waited:.1} s: {}.{} % dead, {} runs", dead / 10, dead % 10, table.runs.len());
    let of_runs: u64 = table.runs.iter().map(|run| run.sst_bytes + run.key_index_bytes).sum();
    println!("at rest: {} MiB in the folder, {} of them runs", folder_bytes(folder)? >> 20, of_runs >> 20);
    Ok(())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Times queries over the table, and over the files of its folder as plain Parquet: the same rows and the dead ones.
fn scan(db: &Db, folder: &Path, runtime: &tokio::runtime::Runtime, when: &str) -> Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let plain = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    // Links of their own: compactions go on, and remove what they replaced.
    let files = tempfile::tempdir_in(folder.parent().unwrap_or(folder))?;
    let table = table(db);
    for run in &table.runs {
        let file = path::run(table.id, run.id, RunFile::Sst);
        std::fs::hard_link(folder.join(&file), files.path().join(format!("{}.parquet", run.id.0)))?;
    }
    let files = files.path().to_str().unwrap_or_default();
    runtime.block_on(plain.register_parquet("lineitem", files, ParquetReadOptions::default()))?;
    let started = Instant::now();
    db.sql(QUERIES[3].1)?;
    println!("{when}: first scan {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let table = crate::table(db);
    let bytes_a_row = table.run_heap_bytes as f64 / table.rows() as f64;
    println!("{when}: {bytes_a_row:.3} bytes on the heap for each row in runs, {} runs", table.runs.len());
    for (name, query) in QUERIES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let started = Instant::now();
            db.sql(query)?;
            ours.push(started.elapsed());
            let started = Instant::now();
            runtime.block_on(async { plain.sql(query).await?.collect().await })?;
            theirs.push(started.elapsed());
        }
        let median = |times: &mut Vec<Duration>| {
            times.remove(0);
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e3
        };
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!("{when}: {name:<7} {ours:>8.1} ms, plain Parquet {theirs:>8.1} ms: {:.2}x", ours / theirs);
    }
    Ok(())
}

/// User and system time of a process or thread, in seconds: fields 14 and 15 of its `stat`, in hundredths.
fn cpu_seconds(stat: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(stat)?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

/// The same for the threads there are, by their names.
fn cpu_of_threads() -> Result<BTreeMap<String, f64>> {
    let mut threads = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        let name = std::fs::read_to_string(thread.join("comm"))?.trim().to_owned();
        *threads.entry(name).or_default() += cpu_seconds(&thread.join("stat").display().to_string())?;
    }
    Ok(threads)
}

/// Bytes that the process wrote to files, in the page cache or beyond.
fn bytes_written() -> Result<u64> {
    let counters = std::fs::read_to_string("/proc/self/io")?;
    let written = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(written.map_or(Ok(0), str::parse)?)
}
