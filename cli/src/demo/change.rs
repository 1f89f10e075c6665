//! Rows that change: what is written and deleted, and what the totals must be afterwards.

use rustling_db::arrow::array::RecordBatch;
use rustling_db::arrow::compute::concat_batches;
use rustling_db::{Db, WriteBatch};

use crate::demo::ask::{Total, rows};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::size::count;

/// Rows of each table that get another price.
pub(super) const ROWS_CHANGED: u64 = 1000;
/// Rows that are deleted.
pub(super) const ROWS_DELETED: u64 = 500;

/// The total that the checks look at.
///
/// # Errors
/// Those of the query.
pub(super) fn total(db: &Db, interrupt: &Interrupt) -> Outcome<Total> {
    Total::of_table(db, "lineitem", "l_extendedprice", interrupt)
}

/// Doubles the prices of the first line items and orders, as one atomic change; returns how many rows were written,
/// and what the total must be now.
///
/// # Errors
/// Those of the database.
pub(super) fn double_prices(db: &Db, before: Total, interrupt: &Interrupt) -> Outcome<(u64, Total)> {
    let doubled = |table: &str, price: &str, key: &str| {
        let sql = format!(
            "SELECT * REPLACE (CAST({price} * 2 AS decimal(15,2)) AS {price}) FROM {table} ORDER BY {key} LIMIT {ROWS_CHANGED}"
        );
        rows(db, &sql, interrupt)
    };
    let lineitem = doubled("lineitem", "l_extendedprice", "l_orderkey, l_linenumber")?;
    let orders = doubled("orders", "o_totalprice", "o_orderkey")?;
    let written = Total::of_rows(&lineitem, "l_extendedprice")?;
    let (lineitem, orders) = (one_batch(&lineitem)?, one_batch(&orders)?);
    let number = (lineitem.num_rows() + orders.num_rows()) as u64;
    let mut change = WriteBatch::new();
    change.upsert("lineitem", lineitem).upsert("orders", orders);
    db.write(&change)?;
    // Half of what was written was there before.
    Ok((number, Total { rows: before.rows, hundredths: before.hundredths + written.hundredths / 2 }))
}

/// Deletes the last line items; returns how many, and what the total must be now.
///
/// # Errors
/// Those of the database.
pub(super) fn delete_last(db: &Db, before: Total, interrupt: &Interrupt) -> Outcome<(u64, Total)> {
    let last = "FROM lineitem ORDER BY l_orderkey DESC, l_linenumber DESC";
    let deleted = Total::of_rows(
        &rows(db, &format!("SELECT l_extendedprice {last} LIMIT {ROWS_DELETED}"), interrupt)?,
        "l_extendedprice",
    )?;
    let keys = rows(db, &format!("SELECT l_orderkey, l_linenumber {last} LIMIT {ROWS_DELETED}"), interrupt)?;
    db.delete("lineitem", one_batch(&keys)?)?;
    let after = Total { rows: before.rows - deleted.rows, hundredths: before.hundredths - deleted.hundredths };
    Ok((deleted.rows, after))
}

/// Refuses a total that is not the one that must be.
///
/// # Errors
/// The totals differ.
pub(super) fn check(what: &str, found: Total, expected: Total) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Said(format!(
        "{what}: {} rows with a sum of {} hundredths, expected {} with {}; this is a defect, please report it",
        count(found.rows),
        found.hundredths,
        count(expected.rows),
        expected.hundredths
    )))
}

fn one_batch(batches: &[RecordBatch]) -> Outcome<RecordBatch> {
    let first = batches.first().ok_or_else(|| Failure::Said("a table of the demo is empty".to_owned()))?;
    Ok(concat_batches(&first.schema(), batches)?)
}
