//! Queries of TPC-H, and their answers before and after rows changed.

use std::time::{Duration, Instant};

use rustling_db::Db;
use rustling_db::arrow::array::{Array, AsArray, RecordBatch};
use rustling_db::arrow::datatypes::{Decimal128Type, Int64Type};
use rustling_db::arrow::util::pretty::pretty_format_batches;

use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;

/// A query and what it asks.
pub(super) struct Question {
    /// Its name in TPC-H.
    pub(super) name: &'static str,
    /// What it asks.
    pub(super) asks: &'static str,
    sql: &'static str,
}

/// What the demo asks: a grouping of everything, a sum over few rows, a join of three tables.
pub(super) const QUESTIONS: [Question; 3] = [
    Question {
        name: "Q1",
        asks: "what was shipped, by status",
        sql: "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
                sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
                sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
                avg(l_quantity) AS avg_qty, avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc,
                count(*) AS count_order
              FROM lineitem WHERE l_shipdate <= date '1998-12-01' - interval '90' day
              GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus",
    },
    Question {
        name: "Q6",
        asks: "what small discounts cost in 1994",
        sql: "SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
              WHERE l_shipdate >= date '1994-01-01' AND l_shipdate < date '1995-01-01'
                AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    },
    Question {
        name: "Q3",
        asks: "the ten orders with the highest revenue that were not shipped yet",
        sql: "SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority
              FROM customer, orders, lineitem
              WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey
                AND o_orderdate < date '1995-03-15' AND l_shipdate > date '1995-03-15'
              GROUP BY l_orderkey, o_orderdate, o_shippriority
              ORDER BY revenue DESC, o_orderdate, l_orderkey LIMIT 10",
    },
];

impl Question {
    /// The answer as a table, and how long it took.
    ///
    /// # Errors
    /// Those of the query.
    pub(super) fn answer(&self, db: &Db, interrupt: &Interrupt) -> Outcome<(String, Duration)> {
        let started = Instant::now();
        let rows = rows(db, self.sql, interrupt)?;
        let took = started.elapsed();
        Ok((pretty_format_batches(&rows)?.to_string(), took))
    }
}

/// The rows of a query.
///
/// # Errors
/// Those of the query.
pub(super) fn rows(db: &Db, sql: &str, interrupt: &Interrupt) -> Outcome<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for statement in db.statements(sql)? {
        batches = db.run(&statement)?.until(&interrupt.stop).collect::<Result<_, _>>()?;
    }
    Ok(batches)
}

/// How many rows a table has, and the exact sum of a column of the type decimal(15,2), in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    /// Rows.
    pub(super) rows: u64,
    /// The sum in hundredths.
    pub(super) hundredths: i128,
}

impl Total {
    /// The total of a table in the database.
    ///
    /// # Errors
    /// Those of the query.
    pub(super) fn of_table(db: &Db, table: &str, column: &str, interrupt: &Interrupt) -> Outcome<Self> {
        let found = rows(db, &format!("SELECT count(*), sum({column}) FROM {table}"), interrupt)?;
        let unexpected = || Failure::Said(format!("the sum of `{column}` is no decimal; this is a defect"));
        let batch = found.first().filter(|batch| batch.num_rows() == 1).ok_or_else(unexpected)?;
        let count = batch.column(0).as_primitive_opt::<Int64Type>().ok_or_else(unexpected)?;
        let sum = batch.column(1).as_primitive_opt::<Decimal128Type>().ok_or_else(unexpected)?;
        let hundredths = if sum.is_null(0) { 0 } else { sum.value(0) };
        Ok(Self { rows: u64::try_from(count.value(0)).map_err(|_| unexpected())?, hundredths })
    }

    /// The total of some rows.
    ///
    /// # Errors
    /// There is no such column of decimals.
    pub(super) fn of_rows(batches: &[RecordBatch], column: &str) -> Outcome<Self> {
        let mut total = Self { rows: 0, hundredths: 0 };
        for batch in batches {
            let values = batch.column_by_name(column).and_then(|values| values.as_primitive_opt::<Decimal128Type>());
            let values = values.ok_or_else(|| Failure::Said(format!("`{column}` is no column of decimals")))?;
            total.rows += batch.num_rows() as u64;
            total.hundredths += values.iter().flatten().sum::<i128>();
        }
        Ok(total)
    }
}
