//! Calls to the disk fail: nothing panics, nothing acknowledged is lost, errors say what happened, and the database
//! goes on as soon as the disk does.
//!
//! `handle` does steps and judges every failure, `once` makes each call of the scripts fail once, `full` takes all space
//! away and gives it back, `opening` makes calls fail while a database recovers.

mod full;
mod handle;
mod once;
mod opening;
