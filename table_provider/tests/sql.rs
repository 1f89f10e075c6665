//! SQL on the engine: every answer against a model, every refusal by its text, every plan by its nodes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a random test prints what it did")]

#[path = "sql/fixture.rs"]
mod fixture;

// The same rows for the same ledger.
#[path = "../../engine/tests/engine/ledger.rs"]
mod ledger;

#[path = "sql/catalog.rs"]
mod catalog;
#[path = "sql/conclusions.rs"]
mod conclusions;
#[path = "sql/differential.rs"]
mod differential;
#[path = "sql/explain.rs"]
mod explain;
#[path = "sql/insert.rs"]
mod insert;
#[path = "sql/keys/mod.rs"]
mod keys;
#[path = "sql/live.rs"]
mod live;
#[path = "sql/prepared.rs"]
mod prepared;
#[path = "sql/refuse.rs"]
mod refuse;
#[path = "sql/scan.rs"]
mod scan;
#[path = "sql/schedules/mod.rs"]
mod schedules;
#[path = "sql/snapshot.rs"]
mod snapshot;
#[path = "sql/store.rs"]
mod store;
