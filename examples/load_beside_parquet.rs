//! Loads TPC-H `lineitem` from CSV into a keyed table, in file order and shuffled, beside DataFusion turning the same
//! file into plain Parquet without a key (same codec, synced). Each case runs in a process of its own.
//!
//! `cargo run --release --example load_beside_parquet -- FOLDER [SCALE [ROUNDS]]`
//!
//! The files are made in FOLDER, once for each scale.
//! Prints for each case: seconds, CPU seconds, rows per second, peak anonymous memory, spilled parts.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustling_db::datafusion::config::TableParquetOptions;
use rustling_db::datafusion::dataframe::DataFrameWriteOptions;
use rustling_db::datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use rustling_db::etl::schema_text;
use rustling_db::{CsvLoad, Db, DbOptions};
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::LineItemGenerator;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const COLUMNS: &str = "l_orderkey bigint not null, l_partkey bigint, l_suppkey bigint, l_linenumber int not null, \
    l_quantity decimal(15,2), l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), \
    l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, \
    l_shipinstruct text, l_shipmode text, l_comment text";

/// What is measured: name, input, memory limit (0: plain Parquet).
const CASES: [(&str, &str, usize); 5] = [
    ("plain Parquet, no key", IN_ORDER, 0),
    ("keyed, in order", IN_ORDER, 1 << 30),
    ("keyed, shuffled", SHUFFLED, 1 << 30),
    ("keyed, in order, 256 MiB", IN_ORDER, 256 << 20),
    ("keyed, shuffled, 256 MiB", SHUFFLED, 256 << 20),
];
/// Inputs, in a folder for each scale.
const IN_ORDER: &str = "in_order.csv";
const SHUFFLED: &str = "shuffled.csv";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first().map(PathBuf::from) else {
        return Err("usage: load_beside_parquet FOLDER [SCALE [ROUNDS]]".into());
    };
    if let Ok(case) = std::env::var("LOAD_CASE") {
        return measure(&folder, case.parse()?);
    }
    let scale: f64 = arguments.get(1).map_or(Ok(1.0), |scale| scale.parse())?;
    let rounds: usize = arguments.get(2).map_or(Ok(3), |rounds| rounds.parse())?;
    let folder = folder.join(format!("scale-{scale}"));
    generate(&folder, scale)?;
    println!("{:<28} {:>8} {:>8} {:>12} {:>10} {:>7}", "case", "s", "CPU s", "rows/s", "RssAnon", "spills");
    for _ in 0..rounds {
        for case in 0..CASES.len() {
            let status =
                Command::new(std::env::current_exe()?).arg(&folder).env("LOAD_CASE", case.to_string()).status()?;
            if !status.success() {
                return Err(format!("case {case} failed").into());
            }
        }
    }
    Ok(())
}

/// Writes `lineitem` in key order and shuffled, unless the files are there.
fn generate(folder: &Path, scale: f64) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let (in_order, shuffled) = (folder.join(IN_ORDER), folder.join(SHUFFLED));
    if !in_order.exists() {
        write_lines(&in_order, LineItemGenerator::new(scale, 1, 1).iter().map(LineItemCsv::new))?;
    }
    if !shuffled.exists() {
        let text = std::fs::read_to_string(&in_order)?;
        let mut lines: Vec<&str> = text.lines().skip(1).collect();
        lines.shuffle(&mut StdRng::seed_from_u64(1));
        write_lines(&shuffled, lines.into_iter())?;
    }
    Ok(())
}

/// Writes a header and lines into a file, which has its name once it is complete.
fn write_lines(path: &Path, lines: impl Iterator<Item = impl std::fmt::Display>) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut file = BufWriter::new(File::create(&partial)?);
    writeln!(file, "{}", LineItemCsv::header())?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(std::fs::rename(partial, path)?)
}

fn measure(folder: &Path, case: usize) -> Result<()> {
    let (name, input, memory) = CASES[case];
    let input = folder.join(input);
    let scratch = tempfile::tempdir_in(folder)?;
    let peak = PeakMemory::start();
    let started = Instant::now();
    let (rows, spills) = if memory == 0 {
        plain_parquet(&input, &scratch.path().join("plain.parquet"))?
    } else {
        keyed(&input, &scratch.path().join("db"), memory)?
    };
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak.stop();
    let rate = rows as f64 / seconds;
    let cpu = cpu_seconds()?;
    println!("{name:<28} {seconds:>8.2} {cpu:>8.2} {rate:>12.0} {:>6} MiB {spills:>7}", peak >> 20);
    Ok(())
}

fn plain_parquet(input: &Path, output: &Path) -> Result<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let schema = schema_text::parse(COLUMNS)?;
    let threads = std::thread::available_parallelism()?.get();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    let written = runtime.block_on(async {
        let options = CsvReadOptions::new().schema(&schema);
        let frame = context.read_csv(input.to_str().unwrap_or_default(), options).await?;
        let mut parquet = TableParquetOptions::default();
        parquet.global.compression = Some("lz4_raw".to_owned());
        let single = DataFrameWriteOptions::new().with_single_file_output(true);
        frame.write_parquet(output.to_str().unwrap_or_default(), single, Some(parquet)).await
    })?;
    File::open(output)?.sync_all()?;
    let counts = written.first().map(|batch| batch.column(0).clone());
    let counts = counts.as_ref().and_then(|column| {
        column.as_any().downcast_ref::<rustling_db::arrow::array::UInt64Array>().map(|counts| counts.value(0))
    });
    Ok((counts.unwrap_or(0), 0))
}

fn keyed(input: &Path, folder: &Path, memory_bytes: usize) -> Result<(u64, u64)> {
    let db = Db::open_with(folder, &DbOptions { memory_bytes, ..DbOptions::default() })?;
    let load = CsvLoad {
        key: vec!["l_orderkey".to_owned(), "l_linenumber".to_owned()],
        schema: Some(schema_text::parse(COLUMNS)?),
        ..CsvLoad::default()
    };
    let report = db.load_csv("lineitem", &[input.to_owned()], &load)?;
    db.close()?;
    Ok((report.rows_loaded, report.spills as u64))
}

/// The most anonymous memory that the process had, looked at every few milliseconds.
struct PeakMemory {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl PeakMemory {
    fn start() -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, seen) = (stop.clone(), peak.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(anonymous_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, peak, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.peak.load(Ordering::Relaxed)
    }
}

fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// User and system time of this process, in seconds: fields 14 and 15 of `/proc/self/stat`, in hundredths.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}
