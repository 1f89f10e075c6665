//! Which runs a table consists of, and which state of the database is committed.

pub mod run;

pub mod history;

pub mod manifest;

pub mod table;

pub mod view;
