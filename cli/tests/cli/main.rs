//! The binary as a user meets it: arguments in; standard output, standard error and exit code out.

mod fixture;

mod commands;
mod demo;
mod dump;
mod errors;
mod keyvalue;
mod load;
mod signals;
mod space;
mod sql;
