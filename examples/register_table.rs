//! A table of the database in a DataFusion session of your own.
//!
//! `cargo run --example register_table`

use std::sync::Arc;

use rustling_db::Db;
use rustling_db::arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use rustling_db::arrow::datatypes::{DataType, Field, Schema};
use rustling_db::datafusion::prelude::SessionContext;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let db = Db::open(folder.path().join("db"))?;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("city", DataType::Utf8, false),
        Field::new("degrees", DataType::Float64, true),
    ]));
    db.create_table("weather", &schema, &["id"])?;
    let rows = RecordBatch::try_new(
        schema,
        vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec!["Bergen", "Lagos", "Bergen"])),
            Arc::new(Float64Array::from(vec![8.5, 29.0, 11.0])),
        ],
    )?;
    db.upsert("weather", rows)?;

    let context = SessionContext::new();
    context.register_table("weather", db.table("weather")?)?;
    let query = "SELECT city, avg(degrees) FROM weather GROUP BY city ORDER BY city";
    // The database's own calls block, so only the query runs in the runtime.
    tokio::runtime::Runtime::new()?.block_on(async { context.sql(query).await?.show().await })?;
    db.close()?;
    Ok(())
}
