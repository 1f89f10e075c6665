//! The catalog shows the database as it is.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::{CatalogProvider, TableProvider};
use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_table_provider::catalog::RustlingCatalog;

use crate::fixture::{Fixture, number, rows, run, schema};

fn context(fixture: &Fixture) -> SessionContext {
    let config =
        SessionConfig::new().with_default_catalog_and_schema("rustling", "public").with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    context.register_catalog("rustling", Arc::new(RustlingCatalog::new(fixture.database.clone()).unwrap()));
    context
}

#[tokio::test]
async fn tables_appear_and_go() {
    let mut fixture = Fixture::new();
    let context = context(&fixture);
    fixture.upsert(0..10, 0);
    assert_eq!(number(&context, "SELECT count(*) FROM t").await, 10);
    assert!(run(&context, "SELECT * FROM late").await.unwrap_err().to_string().contains("late"));
    fixture.database.create_table("late", &schema(), &[]).unwrap();
    assert_eq!(number(&context, "SELECT count(*) FROM rustling.public.late").await, 0);
    assert_eq!(number(&context, "INSERT INTO late SELECT * FROM t").await, 10);
    let tables = rows(&context, "SHOW TABLES").await;
    assert!(tables.iter().filter(|row| row.starts_with("rustling|public|")).count() == 2, "{tables:?}");
    fixture.database.drop_table("late").unwrap();
    assert!(run(&context, "SELECT * FROM late").await.is_err());
}

#[tokio::test]
async fn nothing_can_be_registered() {
    let fixture = Fixture::new();
    let context = context(&fixture);
    for sql in ["CREATE TABLE x AS SELECT 1", "CREATE SCHEMA x", "CREATE VIEW x AS SELECT 1"] {
        let error = run(&context, sql).await.unwrap_err();
        assert!(error.to_string().contains("not supported"), "{sql}: {error}");
    }
    // DataFusion has a text of its own for a table that cannot be dropped.
    run(&context, "DROP TABLE t").await.unwrap_err();
    assert_eq!(number(&context, "SELECT count(*) FROM t").await, 0);
    let catalog = RustlingCatalog::new(fixture.database.clone()).unwrap();
    assert_eq!(catalog.schema_names(), ["public"]);
    assert!(catalog.schema("other").is_none());
}

/// What is unique in a table is not behind all that DataFusion does with it, and it would not know.
#[test]
fn the_key_is_no_constraint() {
    let fixture = Fixture::new();
    let catalog = RustlingCatalog::new(fixture.database.clone()).unwrap();
    let table = catalog.table("t").unwrap();
    assert!(table.constraints().is_none());
    let types: Vec<DataType> = table.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let text_as_views = [DataType::Utf8View, DataType::Int64, DataType::Int32, DataType::Float64];
    assert_eq!(types, text_as_views, "as DataFusion shows the text of any Parquet file");
    assert!(catalog.table("x").unwrap_err().to_string().contains("there is no table `x`; there are: t"));
}
