//! Hostile input: one body per decoder, which takes any bytes and panics where the decoder breaks a promise.
//!
//! Everything that reads bytes promises: it never panics, it never takes more memory than the bytes imply, it ends
//! with a typed error or with a value that keeps the invariants of its type. A body tells that promise as code. Two
//! runners call the same bodies: `tests/campaigns.rs` with seeded mutations of the corpus, on any toolchain, and
//! `cargo-fuzz/` with libFuzzer, which sees what code an input reaches. Corpus entries are small and good, made by the
//! engine itself; an entry named `regression-...` is an input that once broke a promise.

#![expect(clippy::panic, clippy::expect_used, reason = "a panic is how a body tells that a promise is broken")]

// Ground: memory and randomness.
pub mod allocation;
pub mod mutate;

// How bodies take bytes apart.
pub mod input;

// Good tables, good bytes of them, and checksums for bad ones.
pub mod tables;
pub mod seal;

// One file per decoder.
pub mod targets;

// What is kept on disk, and running it.
pub mod corpus;
pub mod run;
