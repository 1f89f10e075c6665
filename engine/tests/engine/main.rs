//! The engine as a whole: against a model, against crashes, against broken protocols.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "tests tell how much they covered")]

mod allocations;
mod backup;
mod by_key;
mod backup_faults;
mod compaction;
mod crash;
mod damage;
mod delete_where;
mod dump;
mod faults;
mod fixture;
mod golden;
mod groups;
mod history;
mod hooked;
mod hostile;
mod kept;
mod ledger;
mod load;
mod model;
mod names;
mod nested;
mod panics;
mod processes;
mod protocol;
mod publishing;
mod seeded;
mod threads;
mod two_folders;
mod typed;
mod wide;
