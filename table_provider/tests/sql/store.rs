//! The registered store serves runs, and only reads.

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use rustling_table_provider::store::RunStore;
use std::sync::Arc;

use crate::fixture::{Fixture, explain, number};

async fn listed(store: &RunStore) -> Vec<Path> {
    store.list(None).map(|meta| meta.unwrap().location).collect().await
}

#[tokio::test]
async fn runs_are_listed_and_read_and_nothing_is_written() {
    let mut fixture = Fixture::new();
    let store = RunStore::new(&fixture.database);
    assert!(listed(&store).await.is_empty());
    fixture.upsert(0..1000, 0);
    fixture.flush();
    let paths = listed(&store).await;
    assert_eq!(paths.len(), 1);
    let bytes = store.get(&paths[0]).await.unwrap().bytes().await.unwrap();
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    assert_eq!(store.head(&paths[0]).await.unwrap().size, bytes.len() as u64);
    let ranges = store.get_ranges(&paths[0], &[4..10, 100..200]).await.unwrap();
    assert_eq!(ranges, [bytes.slice(4..10), bytes.slice(100..200)]);
    assert!(matches!(store.put(&paths[0], "x".into()).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.delete(&paths[0]).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.copy(&paths[0], &"x".into()).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.rename(&paths[0], &"x".into()).await, Err(Error::NotSupported { .. })));
    assert!(matches!(store.get(&"0/0.parquet".into()).await, Err(Error::NotFound { .. })));
    assert_eq!(store.list_with_delimiter(None).await.unwrap().common_prefixes.len(), 1);
}

#[tokio::test]
async fn a_store_keeps_no_database_open() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    fixture.flush();
    let store = RunStore::new(&fixture.database);
    assert_eq!(listed(&store).await.len(), 1);
    let weak = Arc::downgrade(&fixture.database);
    drop(fixture);
    assert!(weak.upgrade().is_none());
    assert!(listed(&store).await.is_empty());
}

#[tokio::test]
async fn two_databases_in_one_session_do_not_mix() {
    let (mut one, mut two) = (Fixture::new(), Fixture::new());
    one.upsert(0..1000, 0);
    two.upsert(0..1000, 7);
    one.flush();
    two.flush();
    let table = rustling_table_provider::table::RustlingTable::new(two.database.clone(), "t").unwrap();
    one.context.register_table("u", Arc::new(table)).unwrap();
    let sql = "SELECT count(*) FROM t JOIN u ON t.k = u.k WHERE u.n = t.n + 7000";
    assert_eq!(number(&one.context, sql).await, 1000);
    let plan = explain(&one.context, "SELECT t.k FROM t JOIN u USING (k)").await;
    assert!(plan.contains("parquet"), "{plan}");
    ObjectStoreUrl::parse("rustling://0123456789abcdef").unwrap();
}
