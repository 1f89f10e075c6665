//! Gets, many gets in one call, a prepared `SELECT`, ranges.

use std::ops::Bound;

use rustling_db::KeyOrder;
use rustling_db::arrow::array::{ArrayRef, RecordBatch};
use rustling_db::datafusion::common::ScalarValue;

use crate::lineitem::{Digest, TABLE};
use crate::run::{Result, Run, one_by_one};

/// Columns `l_orderkey`, `l_extendedprice`, `l_shipdate`.
const FEW: [usize; 3] = [0, 5, 10];

/// How many budgets warming up may take: less than all of it would leave the cold part to be measured.
const WARM_BUDGETS: u32 = 4;

/// Gets of the keys of a file, one after the other.
pub(crate) fn gets(run: &Run, file: &str, warm: &str, count: &str) -> Result<()> {
    let (warm, count) = (run.input.number(warm)?, run.input.number(count)?);
    let keys = one_by_one(&run.input.read(file)?);
    let get = |key: &RecordBatch| Ok(run.db.get(TABLE, key)?);
    run.each(&keys[..warm], WARM_BUDGETS * run.budget, get, drop)?;
    let mut digest = Digest::default();
    let counted = &keys[warm..keys.len().min(warm + count)];
    let latencies = run.each(counted, run.budget, get, |row| row.iter().for_each(|row| digest.add(row)))?;
    let ops = latencies.len();
    run.latencies(latencies, 1);
    run.digest(ops, digest.json());
    Ok(())
}

/// Calls with many keys each: each call with others, or all with the same ones, which the first call warms up.
pub(crate) fn gets_many(run: &Run, is_hot: bool) -> Result<()> {
    let many = run.input.number("many")?;
    let get = |keys: &RecordBatch| Ok(run.db.get_many(TABLE, keys)?);
    let calls: Vec<RecordBatch> = if is_hot {
        let keys = run.input.read("gets_hot.arrow")?.slice(0, many);
        get(&keys)?;
        vec![keys; run.input.number("many_hot_calls")?]
    } else {
        let keys = run.input.read("gets_uniform.arrow")?;
        (0..run.input.number("many_calls")?).map(|call| keys.slice(call * many, many)).collect()
    };
    let mut digest = Digest::default();
    let latencies = run.each(&calls, run.budget, get, |found| digest.add(&found.rows))?;
    let ops = latencies.len() * many;
    run.latencies(latencies, many);
    run.digest(ops, digest.json());
    Ok(())
}

pub(crate) fn gets_sql(run: &Run) -> Result<()> {
    let (warm, count) = (run.input.number("sql_warm")?, run.input.number("sql_gets")?);
    let keys = run.input.read("gets_uniform.arrow")?;
    let mut parameters = Vec::new();
    for row in 0..warm + count {
        let values = keys.columns().iter().map(|column| ScalarValue::try_from_array(column, row));
        parameters.push(values.collect::<std::result::Result<Vec<_>, _>>()?);
    }
    let select = run.db.prepare("SELECT * FROM lineitem WHERE l_orderkey = $1 AND l_linenumber = $2")?;
    let get = |parameters: &Vec<ScalarValue>| Ok(select.query(parameters)?);
    run.each(&parameters[..warm], WARM_BUDGETS * run.budget, get, drop)?;
    let mut digest = Digest::default();
    let latencies =
        run.each(&parameters[warm..], run.budget, get, |rows| rows.iter().for_each(|rows| digest.add(rows)))?;
    let ops = latencies.len();
    run.latencies(latencies, 1);
    run.digest(ops, digest.json());
    Ok(())
}

/// Orders that follow each other, by bounds of the first key column.
pub(crate) fn ranges(run: &Run) -> Result<()> {
    let ends = run.input.read("ranges.arrow")?;
    let bound = |column: usize, row: usize| {
        RecordBatch::try_from_iter([("l_orderkey", ends.column(column).slice(row, 1) as ArrayRef)])
    };
    let mut bounds = Vec::new();
    for row in 0..ends.num_rows() {
        bounds.push((bound(0, row)?, bound(1, row)?));
    }
    let columns: Vec<usize> = if run.step == "w5c" { FEW.to_vec() } else { (0..16).collect() };
    let read = |(first, last): &(RecordBatch, RecordBatch)| -> Result<Vec<RecordBatch>> {
        let table = run.db.snapshot().table(TABLE)?;
        let interval = table.key_range(Bound::Included(first), Bound::Included(last))?;
        let rows = table.range(&interval, &columns, KeyOrder::Ascending, None)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    };
    let mut digest = Digest::default();
    let latencies = run.each(&bounds, run.budget, read, |rows| rows.iter().for_each(|rows| digest.add(rows)))?;
    let ops = latencies.len();
    run.latencies(latencies, 1);
    run.digest(ops, digest.json());
    Ok(())
}
