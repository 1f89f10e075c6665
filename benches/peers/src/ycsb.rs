//! YCSB: records of a text key and ten text fields; reads, updates, inserts, scans, read-modify-writes on one thread.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustling_db::KeyOrder;
use rustling_db::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use rustling_db::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use rustling_db::engine::error::Result as EngineResult;
use rustling_db::engine::load::run::LoadOptions;
use rustling_db::engine::source::{BatchSource, Lines, SourceBatch};
use serde_json::json;

use crate::machine::cpu_seconds;
use crate::run::{Result, Run};

const TABLE: &str = "usertable";
const FIELDS: usize = 10;

/// The records of a load, a batch after the other.
struct Records {
    schema: SchemaRef,
    batches: std::vec::IntoIter<RecordBatch>,
    line: u64,
}

impl BatchSource for Records {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next_batch(&mut self) -> EngineResult<Option<SourceBatch>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let lines = Lines::From(self.line);
        self.line += batch.num_rows() as u64;
        Ok(Some(SourceBatch { batch, source: "records".into(), lines }))
    }
}

pub(crate) fn load(run: &Run) -> Result<()> {
    let names = run.input.list("ycsb/load")?;
    let batches = names.iter().map(|name| run.input.read(name)).collect::<Result<Vec<_>>>()?;
    let fields = (0..FIELDS).map(|field| Field::new(format!("field{field}"), DataType::Utf8, true));
    let schema =
        Schema::new(std::iter::once(Field::new("key", DataType::Utf8, false)).chain(fields).collect::<Vec<_>>());
    let records = json!({"rows": run.input.number("ycsb_records")?});
    run.timed(records, || {
        run.db.create_table(TABLE, &schema, &["key"])?;
        let mut source = Records { schema: Arc::new(schema.clone()), batches: batches.into_iter(), line: 1 };
        Ok(run.db.load(TABLE, &mut source, &LoadOptions::default())?)
    })?;
    Ok(())
}

/// One operation.
struct Operation<'a> {
    kind: &'a str,
    key: RecordBatch,
    count: usize,
    field: usize,
    value: &'a str,
}

pub(crate) fn operate(run: &Run, letter: &str) -> Result<()> {
    let file = run.input.read(&format!("ycsb/{letter}.arrow"))?;
    let operations = operations(&file)?;
    let mut latencies: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let (mut records, mut bytes) = (0, 0);
    let (cpu, until) = (cpu_seconds()?, Instant::now() + run.budget);
    for operation in &operations {
        let started = Instant::now();
        if started >= until {
            break;
        }
        let read = perform(run, operation)?;
        let kind = match operation.kind {
            "read" | "scan" => operation.kind,
            _ => "write",
        };
        latencies.entry(kind).or_default().push(started.elapsed());
        for rows in &read {
            records += rows.num_rows();
            bytes += (1..=FIELDS).map(|field| byte_sum(rows.column(field))).sum::<u64>();
        }
    }
    let cpu = cpu_seconds()? - cpu;
    let ops: usize = latencies.values().map(Vec::len).sum();
    let seconds = latencies.values().flatten().sum::<Duration>().as_secs_f64();
    run.figure("rate", ops as f64 / seconds, "1/s", json!({"ops": ops, "cpu_s": cpu}));
    for (kind, latencies) in &mut latencies {
        run.percentiles(&format!("{kind}_"), latencies);
    }
    run.digest(ops, json!([records, bytes]));
    Ok(())
}

fn operations(file: &RecordBatch) -> Result<Vec<Operation<'_>>> {
    let text = |name: &str| {
        let column = file.column_by_name(name).ok_or_else(|| format!("operations have no column {name}"))?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(column.as_string::<i32>())
    };
    let number = |name: &str| {
        let column = file.column_by_name(name).ok_or_else(|| format!("operations have no column {name}"))?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(column.as_primitive::<Int32Type>())
    };
    let (kinds, keys, values) = (text("op")?, text("key")?, text("value")?);
    let (counts, fields) = (number("count")?, number("field")?);
    let mut operations = Vec::with_capacity(file.num_rows());
    for row in 0..file.num_rows() {
        let at = |column: &rustling_db::arrow::array::Int32Array| {
            if column.is_null(row) { 0 } else { usize::try_from(column.value(row)).unwrap_or(0) }
        };
        let key = Arc::new(keys.slice(row, 1)) as ArrayRef;
        operations.push(Operation {
            kind: kinds.value(row),
            key: RecordBatch::try_from_iter_with_nullable([("key", key, false)])?,
            count: at(counts),
            field: at(fields),
            value: if values.is_null(row) { "" } else { values.value(row) },
        });
    }
    Ok(operations)
}

/// Does an operation; gives the records that it read.
fn perform(run: &Run, operation: &Operation<'_>) -> Result<Vec<RecordBatch>> {
    match operation.kind {
        "read" => Ok(run.db.get(TABLE, &operation.key)?.into_iter().collect()),
        "scan" => {
            let table = run.db.snapshot().table(TABLE)?;
            let interval = table.key_range(Bound::Included(&operation.key), Bound::Unbounded)?;
            let all: Vec<usize> = (0..=FIELDS).collect();
            let rows = table.range(&interval, &all, KeyOrder::Ascending, Some(operation.count))?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        }
        "insert" => {
            let width = operation.value.len() / FIELDS;
            let values = (0..FIELDS).map(|field| &operation.value[field * width..(field + 1) * width]);
            write(
                run,
                &operation.key,
                values.map(|value| Arc::new(StringArray::from(vec![value])) as ArrayRef).collect(),
            )?;
            Ok(Vec::new())
        }
        // A row is replaced as a whole, so an update reads it, too.
        "update" | "rmw" => {
            let row = run.db.get(TABLE, &operation.key)?.ok_or("an update of a record that is not there")?;
            let mut fields = row.columns()[1..].to_vec();
            fields[operation.field] = Arc::new(StringArray::from(vec![operation.value]));
            write(run, &operation.key, fields)?;
            Ok(if operation.kind == "rmw" { vec![row] } else { Vec::new() })
        }
        other => Err(format!("unknown operation {other}").into()),
    }
}

fn write(run: &Run, key: &RecordBatch, fields: Vec<ArrayRef>) -> Result<()> {
    let schema = run.db.snapshot().table(TABLE)?.schema().user().clone();
    let columns = std::iter::once(key.column(0).clone()).chain(fields).collect();
    run.db.upsert(TABLE, RecordBatch::try_new(schema, columns)?)?;
    Ok(())
}

/// The sum of the bytes of all texts of a column.
fn byte_sum(column: &ArrayRef) -> u64 {
    column.as_string::<i32>().iter().flatten().flat_map(str::bytes).map(u64::from).sum()
}
