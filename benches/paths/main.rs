//! Benchmarks of the paths through the database: `cargo bench`, or one path: `cargo bench -- write`.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on stops")]

mod compact;
mod data;
mod flush;
mod get;
mod load;
mod resolve;
mod scan;
mod verify;
mod write;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    paths,
    write::write,
    flush::flush,
    compact::compact,
    scan::scan,
    resolve::find,
    verify::verify,
    get::get,
    load::load
);
criterion_main!(paths);
