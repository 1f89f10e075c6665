//! The binary as a user meets it: arguments in; standard output, standard error and exit code out.

#![expect(clippy::unwrap_used, reason = "what fails outside of a test function fails the test all the same")]

mod fixture;

mod backup;
mod commands;
mod demo;
mod dump;
mod errors;
mod keyvalue;
mod load;
mod signals;
mod space;
mod sql;
