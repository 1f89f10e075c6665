//! The table: its columns, its queries, and the digest of its rows.

use rustling_db::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use rustling_db::arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type};
use serde_json::{Value, json};

/// Its name.
pub(crate) const TABLE: &str = "lineitem";

/// Its key.
pub(crate) const KEY: [&str; 2] = ["l_orderkey", "l_linenumber"];

/// Its columns.
pub(crate) const COLUMNS: &str = "l_orderkey bigint not null, l_partkey bigint, l_suppkey bigint, \
    l_linenumber int not null, l_quantity decimal(15,2), l_extendedprice decimal(15,2), l_discount decimal(15,2), \
    l_tax decimal(15,2), l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, \
    l_receiptdate date, l_shipinstruct text, l_shipmode text, l_comment text";

/// The queries over all of it.
pub(crate) const QUERIES: [(&str, &str); 5] = [
    ("count", "SELECT count(*) FROM lineitem"),
    (
        "q1",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), \
         sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), \
         avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) FROM lineitem \
         WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus",
    ),
    (
        "q6",
        "SELECT sum(l_extendedprice * l_discount) FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' \
         AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    ),
    ("sum", "SELECT sum(l_quantity) FROM lineitem"),
    ("length", "SELECT max(length(l_comment)) FROM lineitem"),
];

/// Its columns in their order.
const NAMES: [&str; 16] = [
    "l_orderkey",
    "l_partkey",
    "l_suppkey",
    "l_linenumber",
    "l_quantity",
    "l_extendedprice",
    "l_discount",
    "l_tax",
    "l_returnflag",
    "l_linestatus",
    "l_shipdate",
    "l_commitdate",
    "l_receiptdate",
    "l_shipinstruct",
    "l_shipmode",
    "l_comment",
];
const MODULUS: i64 = 1_000_000_007;

/// Sums over rows: how many, order times price, and every column.
#[derive(Default)]
pub(crate) struct Digest {
    rows: i64,
    products: i64,
    columns: [i64; NAMES.len()],
}

impl Digest {
    /// Adds rows with some or all of the columns.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        let columns = NAMES.map(|name| rows.column_by_name(name).map(numbers));
        self.rows += i64::try_from(rows.num_rows()).unwrap_or(i64::MAX);
        if let (Some(orders), Some(prices)) = (&columns[0], &columns[5]) {
            let product = |(order, price): (&i64, &i64)| {
                i64::try_from(i128::from(*order) * i128::from(*price) % i128::from(MODULUS)).unwrap_or_default()
            };
            self.products += orders.iter().zip(prices).map(product).sum::<i64>();
        }
        for (sum, column) in self.columns.iter_mut().zip(&columns) {
            *sum += column.iter().flatten().sum::<i64>();
        }
    }

    pub(crate) fn json(&self) -> Value {
        let sums: Vec<i64> = [self.rows, self.products].into_iter().chain(self.columns).collect();
        json!(sums)
    }
}

/// A column as integers: decimals in hundredths, dates in days, text as sums of bytes.
fn numbers(column: &ArrayRef) -> Vec<i64> {
    let bytes = |text: Option<&str>| text.map_or(0, |text| text.bytes().map(i64::from).sum());
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
        DataType::Int32 => column.as_primitive::<Int32Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::Date32 => {
            column.as_primitive::<Date32Type>().values().iter().map(|value| i64::from(*value)).collect()
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values().iter();
            values.map(|value| i64::try_from(*value).unwrap_or_default()).collect()
        }
        DataType::Utf8View => column.as_string_view().iter().map(bytes).collect(),
        DataType::Utf8 => column.as_string::<i32>().iter().map(bytes).collect(),
        other => unreachable!("lineitem has no column of type {other}"),
    }
}

/// The key columns of some rows.
pub(crate) fn keys(rows: &RecordBatch) -> Option<RecordBatch> {
    let columns = KEY.map(|name| Some((name, rows.column_by_name(name)?.clone(), false)));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().collect::<Option<Vec<_>>>()?).ok()
}
