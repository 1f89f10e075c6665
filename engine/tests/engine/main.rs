//! The engine as a whole: against a model, against crashes, against broken protocols.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

mod crash;
mod dump;
mod faults;
mod fixture;
mod golden;
mod ledger;
mod load;
mod model;
mod processes;
mod protocol;
mod seeded;
mod threads;
mod typed;
