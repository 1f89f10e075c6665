//! What is done at a limit of memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_db::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use rustling_db::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rustling_db::engine::error::Result as EngineResult;
use rustling_db::engine::rows::change::WriteBatch;
use rustling_db::etl::schema_text;
use rustling_db::{CsvLoad, Db};
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::{LineItemGenerator, LineItemGeneratorIterator};

use crate::{MIB, Result};

/// An empty database and one query: what others are compared with.
pub(crate) const EMPTY: &str = "empty";
/// What is measured unless something is named.
pub(crate) const DEFAULT_WORKLOADS: [&str; 12] = [
    "small writes",
    "large writes",
    "wide rows",
    "wide load",
    "2000 columns",
    "columns",
    "load",
    "scan",
    "merge scan",
    "sort",
    "aggregate",
    "join",
];

/// Bytes of a row of the narrow table, about.
const ROW_BYTES: usize = 128;
const NARROW: &str = "id bigint not null, word text, amount bigint";
const WIDE: &str = "id bigint not null, cell text";
const LINEITEM: &str = "l_orderkey bigint not null, l_partkey bigint, l_suppkey bigint, l_linenumber int not null, \
    l_quantity decimal(15,2), l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), \
    l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, \
    l_shipinstruct text, l_shipmode text, l_comment text";

/// Bytes of CSV at scale factor 1, about.
const LINEITEM_BYTES: usize = 766_000_000;

/// One run of a workload.
pub(crate) struct Task<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) workload: &'a str,
    pub(crate) limit: usize,
    pub(crate) times: usize,
}

impl Task<'_> {
    fn bytes(&self) -> usize {
        self.times * self.limit
    }

    fn rows(&self) -> usize {
        self.bytes() / ROW_BYTES
    }
}

/// Makes what a workload reads, with all the memory there is.
pub(crate) fn prepare(task: &Task<'_>) -> Result<()> {
    let csv = task.folder.join("rows.csv");
    match task.workload {
        "load" => write_csv(&csv, "id,word,amount", task.rows(), narrow_line),
        "wide load" => write_csv(&csv, "id,cell", task.bytes() / MIB, wide_line),
        "lineitem" => pipe_lineitem(&csv, task.times),
        "scan" | "merge scan" | "sort" | "aggregate" | "join" => {
            write_csv(&csv, "id,word,amount", task.rows(), narrow_line)?;
            let db = Db::open(task.folder.join("db"))?;
            load(&db, &csv, NARROW, &["id"])?;
            std::fs::remove_file(csv)?;
            Ok(db.close()?)
        }
        _ => Ok(()),
    }
}

/// Does a workload. Gives the bytes that went through the database, and what came of it.
pub(crate) fn work(db: &Db, task: &Task<'_>) -> Result<(usize, String)> {
    let csv = task.folder.join("rows.csv");
    match task.workload {
        EMPTY => {
            db.create_table("t", &narrow_schema(), &["id"])?;
            Ok((0, query(db, "SELECT count(*) FROM t")?))
        }
        "small writes" => write_burst(db, task, 64),
        "large writes" => write_burst(db, task, 5_000),
        "wide rows" => write_wide(db, task),
        "wide load" => load(db, &csv, WIDE, &["id"]),
        "2000 columns" => write_columns(db, task, 2000),
        // As many as there may be.
        "columns" => write_columns(db, task, i64::try_from(task.limit >> 20)?),
        "load" => load(db, &csv, NARROW, &["id"]),
        "lineitem" => {
            let (_, outcome) = load(db, &csv, LINEITEM, &["l_orderkey", "l_linenumber"])?;
            Ok((task.times * LINEITEM_BYTES, outcome))
        }
        "scan" => Ok((task.bytes(), query(db, "SELECT count(*), min(word), max(word), sum(amount) FROM t")?)),
        "merge scan" => {
            overwrite_some(db, task)?;
            Ok((task.bytes(), query(db, "SELECT count(*), min(word), max(word), sum(amount) FROM t")?))
        }
        "sort" => Ok((task.bytes(), query(db, "SELECT id, word FROM t ORDER BY word, amount")?)),
        "aggregate" => Ok((task.bytes(), query(db, "SELECT word, count(*), sum(amount) FROM t GROUP BY word")?)),
        "join" => Ok((task.bytes(), query(db, "SELECT count(*) FROM t a JOIN t b ON a.word = b.word")?)),
        other => Err(format!("no workload is named {other}").into()),
    }
}

/// Eight threads upsert batches of rows as fast as they can, half of them rows that are there.
fn write_burst(db: &Db, task: &Task<'_>, batch_rows: usize) -> Result<(usize, String)> {
    const THREADS: usize = 8;
    db.create_table("t", &narrow_schema(), &["id"])?;
    let batches = task.rows() / THREADS / batch_rows;
    let ids = 0..i64::try_from(task.rows() / 2)?;
    in_threads(THREADS, |thread| {
        let mut random = StdRng::seed_from_u64(thread as u64);
        for _ in 0..batches {
            let ids: Vec<i64> = (0..batch_rows).map(|_| random.random_range(ids.clone())).collect();
            db.engine().write(WriteBatch::new().upsert("t", narrow_rows(&ids)?))?;
        }
        Ok(())
    })?;
    let rows = batches * THREADS * batch_rows;
    Ok((rows * ROW_BYTES, format!("{rows} rows")))
}

/// Four threads upsert rows with cells of 1 MiB, one by one.
fn write_wide(db: &Db, task: &Task<'_>) -> Result<(usize, String)> {
    const THREADS: usize = 4;
    let schema = Arc::new(schema_text::parse(WIDE)?);
    db.create_table("t", &schema, &["id"])?;
    let rows = task.bytes() / MIB;
    in_threads(THREADS, |thread| {
        for id in (thread..rows).step_by(THREADS) {
            let cell: ArrayRef = Arc::new(StringArray::from(vec![wide_cell(id)]));
            let id: ArrayRef = Arc::new(Int64Array::from(vec![id as i64]));
            let batch = RecordBatch::try_new(schema.clone(), vec![id, cell])?;
            db.engine().write(WriteBatch::new().upsert("t", batch))?;
        }
        Ok(())
    })?;
    db.engine().compact("t")?;
    let counted = query(db, "SELECT count(*), sum(length(cell)) FROM t")?;
    Ok((rows * MIB, format!("{rows} rows, compacted, {counted}")))
}

/// A table of many columns.
fn write_columns(db: &Db, task: &Task<'_>, columns: i64) -> Result<(usize, String)> {
    const BATCH_ROWS: i64 = 200;
    let fields = (0..columns).map(|column| Field::new(format!("c{column}"), DataType::Int64, column > 0));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    db.create_table("t", &schema, &["c0"])?;
    let batch_bytes = columns * BATCH_ROWS * 8;
    let batches = i64::try_from(task.bytes())? / batch_bytes;
    for batch in 0..batches {
        let column = |column: i64| {
            let values = (0..BATCH_ROWS).map(|row| (batch * BATCH_ROWS + row) * 7919 % 1_000_003 + column * 31);
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        };
        let rows = RecordBatch::try_new(schema.clone(), (0..columns).map(column).collect())?;
        db.engine().write(WriteBatch::new().upsert("t", rows))?;
    }
    db.engine().compact("t")?;
    let counted = query(db, &format!("SELECT count(*), sum(c7), max(c{}) FROM t", columns - 1))?;
    Ok((
        usize::try_from(batches * batch_bytes)?,
        format!("{} rows of {columns} columns, compacted, {counted}", batches * BATCH_ROWS),
    ))
}

/// Makes runs and memtables that overlap, so that a scan has to merge.
fn overwrite_some(db: &Db, task: &Task<'_>) -> Result<()> {
    let rows = i64::try_from(task.rows())?;
    for round in 0..6 {
        let ids: Vec<i64> = (0..5_000).map(|row| (row * 7919 + round) % rows).collect();
        db.engine().write(WriteBatch::new().upsert("t", narrow_rows(&ids)?))?;
        if round % 2 == 0 {
            db.engine().flush("t")?;
        }
    }
    Ok(())
}

fn in_threads(count: usize, write: impl Fn(usize) -> EngineResult<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let write = &write;
        let threads: Vec<_> = (0..count).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().try_for_each(|thread| Ok(thread.join().map_err(|_| "a writer panicked")??))
    })
}

/// Runs a query and lets its rows go as they come.
fn query(db: &Db, sql: &str) -> Result<String> {
    let statements = db.statements(sql)?;
    let statement = statements.first().ok_or("no statement")?;
    let mut rows = 0;
    for batch in db.run(statement)? {
        rows += batch?.num_rows();
    }
    Ok(format!("{rows} rows of a query"))
}

fn load(db: &Db, csv: &Path, columns: &str, key: &[&str]) -> Result<(usize, String)> {
    let load = CsvLoad {
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        schema: Some(schema_text::parse(columns)?),
        ..CsvLoad::default()
    };
    let report = db.load_csv("t", &[csv.to_owned()], &load)?;
    let bytes = usize::try_from(csv.metadata()?.len())?;
    Ok((bytes, format!("{} rows, {} spills", report.rows_loaded, report.spills)))
}

fn narrow_schema() -> SchemaRef {
    let word = Field::new("word", DataType::Utf8, true);
    let amount = Field::new("amount", DataType::Int64, true);
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), word, amount]))
}

fn narrow_rows(ids: &[i64]) -> EngineResult<RecordBatch> {
    let words: StringArray = ids.iter().map(|id| Some(word(id.cast_unsigned()))).collect();
    let amounts = Int64Array::from_iter_values(ids.iter().map(|id| id * 3));
    let ids = Int64Array::from(ids.to_vec());
    Ok(RecordBatch::try_new(narrow_schema(), vec![Arc::new(ids), Arc::new(words), Arc::new(amounts)])?)
}

/// 96 bytes that do not compress well, others for every number.
fn word(number: u64) -> String {
    let mut text = String::with_capacity(96);
    let mut state = number;
    for _ in 0..6 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(text, "{:016x}", state ^ state >> 29);
    }
    text
}

fn wide_cell(id: usize) -> String {
    word(id as u64).repeat(MIB / 96)
}

fn write_csv(path: &Path, header: &str, rows: usize, line: fn(usize) -> String) -> Result<()> {
    // A large prime as a step visits every id once, in an order that looks random.
    const STEP: usize = 1_000_000_007;
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{header}")?;
    for index in 0..rows {
        writeln!(file, "{}", line(index * STEP % rows))?;
    }
    Ok(file.flush()?)
}

fn narrow_line(id: usize) -> String {
    format!("{id},{},{}", word(id as u64), id * 3)
}

fn wide_line(id: usize) -> String {
    format!("{id},{}", wide_cell(id))
}

/// Makes a pipe out of which `lineitem` comes: as a file it would take as much disk as loading it does.
fn pipe_lineitem(path: &Path, scale: usize) -> Result<()> {
    if !Command::new("mkfifo").arg(path).status()?.success() {
        return Err("no pipe".into());
    }
    let path = path.to_owned();
    // An error ends the pipe early, which shows in the number of rows.
    std::thread::spawn(move || write_lineitem(&path, scale).map_err(|error| error.to_string()));
    Ok(())
}

/// `lineitem` in random order: each row is the next one of one of a thousand parts.
fn write_lineitem(path: &Path, scale: usize) -> Result<()> {
    const PARTS: i32 = 1000;
    let generators: Vec<LineItemGenerator<'static>> =
        (1..=PARTS).map(|part| LineItemGenerator::new(scale as f64, part, PARTS)).collect();
    let mut parts: Vec<LineItemGeneratorIterator<'_>> = generators.iter().map(LineItemGenerator::iter).collect();
    let mut random = StdRng::seed_from_u64(1);
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{}", LineItemCsv::header())?;
    while !parts.is_empty() {
        let part = random.random_range(0..parts.len());
        match parts[part].next() {
            Some(row) => writeln!(file, "{}", LineItemCsv::new(row))?,
            None => drop(parts.swap_remove(part)),
        }
    }
    Ok(file.flush()?)
}
