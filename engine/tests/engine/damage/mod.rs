//! Files that are not what was written: found, or without effect, but never a wrong answer.
//!
//! In: a small database, closed or killed ([`reference`]), and one thing wrong with its files. Out: a verdict of the
//! oracle: opening or reading says that a named file is damaged, or every answer is the model's. Anything else is a
//! violation: a wrong row, a panic, another error, memory out of proportion, a change of a folder that is refused.
//!
//! The long run, in shards of bytes: `SEEDS=0..50000 cargo nextest run -p rustling-engine --test engine
//! every_bit_of_a_larger_database --no-capture`.

mod oracle;
mod reference;

mod bits;
mod files;
mod killed;
mod lost;
mod manifest;
mod repair;
mod repair_cut;
mod report;
mod under_way;
