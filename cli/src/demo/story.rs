//! What the demo does, step by step.
//!
//! Invariants: every step that changes something is checked by exact sums; a check that fails fails the demo. The
//! folder goes again unless it is to be kept.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustling_db::arrow::array::RecordBatch;
use rustling_db::etl::schema_text;
use rustling_db::export::ExportReport;
use rustling_db::export::write_parquet;
use rustling_db::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustling_db::parquet::errors::ParquetError;
use rustling_db::{CsvLoad, Db, OnConflict};

use crate::args::{DemoArgs, Global};
use crate::demo::ask::{QUESTIONS, Total};
use crate::demo::change::{check, delete_last, double_prices, total};
use crate::demo::generate::{TABLES, write_csv};
use crate::failure::{Failure, Outcome, say};
use crate::interrupt::Interrupt;
use crate::output::stdout;
use crate::session::{Missing, with_db};
use crate::size::{bytes, count, counted, per_second, seconds};

/// Shows what the database does.
///
/// # Errors
/// What fails; a check that does not hold.
pub(crate) fn demo(global: &Global, args: &DemoArgs, interrupt: &Interrupt) -> Outcome {
    let folder = Folder::create(args.keep.as_deref())?;
    let started = Instant::now();
    interrupt.patiently(|| {
        generate(&folder.path, args.scale, interrupt)?;
        let db = folder.path.join("db");
        let global = Global { db, memory: global.memory, verbose: global.verbose };
        with_db(&global, Missing::Create, |db| tell(db, &folder.path, interrupt))
    })?;
    say(&format!("done in {}: every check held", seconds(started.elapsed())));
    if folder.keep {
        let db = folder.path.join("db");
        say(&format!("kept in {}; try: rustling --db {} sql 'SHOW TABLES'", folder.path.display(), db.display()));
    }
    Ok(())
}

/// Where the demo works.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn create(keep: Option<&Path>) -> Outcome<Self> {
        let name = format!("rustling-demo-{}", std::process::id());
        let path = keep.map_or_else(|| std::env::temp_dir().join(name), Path::to_owned);
        let failed = |operation| {
            let path = path.display().to_string();
            move |source: io::Error| Failure::File { operation, path, source }
        };
        std::fs::create_dir_all(&path).map_err(failed("create"))?;
        if std::fs::read_dir(&path).map_err(failed("list"))?.next().is_some() {
            return Err(Failure::Usage(format!("{} is not empty; name a new folder", path.display())));
        }
        Ok(Self { path, keep: keep.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What is left over is in the folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn generate(folder: &Path, scale: f64, interrupt: &Interrupt) -> Outcome {
    let started = Instant::now();
    let (mut rows, mut size) = (0, 0);
    for table in &TABLES {
        let path = csv_path(folder, table.name);
        let failed = |source| Failure::File { operation: "write", path: path.display().to_string(), source };
        let written = write_csv(table.name, scale, &path, interrupt).map_err(failed)?;
        rows += written.0;
        size += written.1;
    }
    step(&format!("generated TPC-H at scale {scale} as CSV: {}", amount(rows, size, started.elapsed())));
    Ok(())
}

fn csv_path(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.csv"))
}

/// Everything after the files are there.
fn tell(db: &Db, folder: &Path, interrupt: &Interrupt) -> Outcome {
    load(db, folder, interrupt)?;
    let before = ask(db, interrupt)?;
    let first = total(db, interrupt)?;

    let started = Instant::now();
    let (number, expected) = double_prices(db, first, interrupt)?;
    step(&format!("doubled the prices of {} in one atomic write: {}", counted(number, "row"), took(started)));
    let changed = total(db, interrupt)?;
    check("after the prices were doubled", changed, expected)?;

    let started = Instant::now();
    let (number, expected) = delete_last(db, changed, interrupt)?;
    step(&format!("deleted {}: {}", counted(number, "row"), took(started)));
    let last = total(db, interrupt)?;
    check("after rows were deleted", last, expected)?;

    let after = ask(db, interrupt)?;
    compare(&before, &after)?;
    export(db, &folder.join("lineitem.parquet"), last, interrupt)
}

fn load(db: &Db, folder: &Path, interrupt: &Interrupt) -> Outcome {
    for table in &TABLES {
        let started = Instant::now();
        let load = CsvLoad {
            key: table.key.iter().map(|column| (*column).to_owned()).collect(),
            schema: Some(schema_text::parse(table.schema).map_err(rustling_db::Error::from)?),
            // At scales below 0.01 the generator gives some parts the same supplier twice.
            on_conflict: if table.name == "partsupp" { OnConflict::Skip } else { OnConflict::Error },
            cancel: interrupt.cancel.clone(),
            ..CsvLoad::default()
        };
        let path = csv_path(folder, table.name);
        let report = db.load_csv(table.name, std::slice::from_ref(&path), &load)?;
        let size = path.metadata().map_or(0, |file| file.len());
        let key = table.key.join(", ");
        let what = amount(report.rows_loaded, size, started.elapsed());
        step(&format!("loaded `{}` with the key {key}: {what}", table.name));
    }
    Ok(())
}

/// Asks every question and prints the answers.
fn ask(db: &Db, interrupt: &Interrupt) -> Outcome<Vec<String>> {
    let mut answers = Vec::new();
    for question in &QUESTIONS {
        let (answer, duration) = question.answer(db, interrupt)?;
        step(&format!("{}, {}: {}", question.name, question.asks, seconds(duration)));
        let mut out = stdout();
        writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(Failure::Output)?;
        answers.push(answer);
    }
    Ok(answers)
}

/// Says which answers changed. That of the question about all rows must.
fn compare(before: &[String], after: &[String]) -> Outcome {
    for ((question, before), after) in QUESTIONS.iter().zip(before).zip(after) {
        let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after).count();
        let what = if changed == 0 { "the same answer".to_owned() } else { counted(changed as u64, "changed line") };
        step(&format!("{} after the changes: {what}", question.name));
    }
    if before.first() == after.first() {
        return Err(Failure::Said("the answer did not change; this is a defect, please report it".to_owned()));
    }
    Ok(())
}

/// Exports a table and reads the file back with a plain Parquet reader.
fn export(db: &Db, path: &Path, expected: Total, interrupt: &Interrupt) -> Outcome {
    let started = Instant::now();
    let statements = db.statements("SELECT * FROM lineitem")?;
    let mut report = ExportReport { rows: 0, bytes: 0 };
    for statement in &statements {
        let rows = db.run(statement)?.until(&interrupt.stop);
        report = write_parquet(path, rows.schema().clone(), rows)?;
    }
    step(&format!("exported `lineitem` to Parquet: {}", amount(report.rows, report.bytes, started.elapsed())));
    let started = Instant::now();
    let batches = read_parquet(path)?;
    let found = Total::of_rows(&batches, "l_extendedprice")?;
    check("the exported file", found, expected)?;
    step(&format!("read the file back: {}, the sums are equal: {}", counted(found.rows, "row"), took(started)));
    Ok(())
}

fn read_parquet(path: &Path) -> Outcome<Vec<RecordBatch>> {
    let read = |source: io::Error| Failure::File { operation: "read", path: path.display().to_string(), source };
    let decode = |source: ParquetError| Failure::Said(format!("cannot read {}: {source}", path.display()));
    let file = File::open(path).map_err(read)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()).map_err(decode)?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn step(text: &str) {
    say(&format!("• {text}"));
}

fn took(since: Instant) -> String {
    seconds(since.elapsed())
}

fn amount(rows: u64, size: u64, duration: Duration) -> String {
    format!(
        "{}, {} in {} ({} rows/s, {}/s)",
        counted(rows, "row"),
        bytes(size),
        seconds(duration),
        count(per_second(rows, duration)),
        bytes(per_second(size, duration)),
    )
}
