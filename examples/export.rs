//! The result of a query becomes a Parquet file that any reader opens.
//!
//! `cargo run --example export`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use rustling_db::Db;
use rustling_db::arrow::array::{Int64Array, RecordBatch};
use rustling_db::arrow::datatypes::{DataType, Field, Schema};
use rustling_db::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let db = Db::open(folder.path().join("db"))?;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("square", DataType::Int64, false),
    ]));
    db.create_table("squares", &schema, &["id"])?;
    let ids = || 0..1000i64;
    let columns: Vec<Arc<dyn rustling_db::arrow::array::Array>> = vec![
        Arc::new(Int64Array::from_iter_values(ids())),
        Arc::new(Int64Array::from_iter_values(ids().map(|id| id * id))),
    ];
    db.upsert("squares", RecordBatch::try_new(schema, columns)?)?;

    let file = folder.path().join("even.parquet");
    let report = db.export("SELECT * FROM squares WHERE id % 2 = 0", &file)?;
    println!("{} rows, {} bytes", report.rows, report.bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file)?)?.build()?;
    let rows: usize = reader.map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<usize, _>>()?;
    assert_eq!(rows as u64, report.rows);
    db.close()?;
    Ok(())
}
