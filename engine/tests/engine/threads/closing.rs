//! Groups and closing, in the orders in which they once went wrong.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustling_engine::commit::{Done, Pending, commit_group, prepare_batch};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::recover::open;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{keys, rows, schema};
use crate::hooked::{Call, HookedDisk};

/// It was answered while the batch that it met in its group was not visible yet, so that its writer did not find the
/// key it was refused for.
#[test]
fn an_insert_that_is_refused_finds_the_row_it_was_refused_for() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = Options { background: false, ..Options::default() };
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db.close().unwrap();
    drop(db);
    let state = Arc::new(open(disk, options).unwrap().0);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let pending = |value: &str| {
        let memory = Arc::new(state.reserve(0).unwrap());
        let batch =
            prepare_batch(&state, WriteBatch::new().insert("t", rows(&[(7, value.to_owned())])), memory).unwrap();
        let (state, answers) = (state.clone(), answers.clone());
        let done: Done = Box::new(move |answer| {
            let found = state.snapshot("t").unwrap().get(&keys(&[7])).unwrap().is_some();
            answers.lock().unwrap().push((answer, found));
        });
        Pending { batch, done }
    };
    let group = ["first", "second"].map(pending);
    commit_group(&state, group.into());
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    assert_eq!(answers.iter().filter(|(answer, _)| answer.is_ok()).count(), 1);
    assert!(answers.iter().any(|(answer, _)| matches!(answer, Err(Error::DuplicateKey { .. }))));
    assert!(answers.iter().all(|(_, found)| *found), "{answers:?}");
}

/// Closing released the lock while a flush was running, which then published into a folder that another process may
/// have had open.
#[test]
fn closing_waits_for_a_flush_that_runs() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (reached, flushing) = channel();
    let (go_on, wait) = channel::<()>();
    let (noted, wait) = (calls.clone(), Mutex::new(Some(wait)));
    let hook = move |call, path: &str| {
        let is_run = path.starts_with("staging/") && path.ends_with(".parquet");
        if is_run && let Some(wait) = wait.lock().unwrap().take() {
            reached.send(()).unwrap();
            wait.recv().unwrap();
        }
        noted.lock().unwrap().push((call, path.to_owned()));
        Ok(())
    };
    let disk = Arc::new(HookedDisk::new(Arc::new(MemoryDisk::new()), hook));
    let db = Database::open(disk, Options { background: false, ..Options::default() }).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db.write(WriteBatch::new().upsert("t", rows(&[(1, "one".to_owned())]))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| db.flush("t").unwrap());
        flushing.recv().unwrap();
        let (closed, answer) = channel();
        let db = &db;
        scope.spawn(move || closed.send(db.close()).unwrap());
        // Time for a closing that does not wait to show it.
        let early = answer.recv_timeout(Duration::from_millis(50));
        go_on.send(()).unwrap();
        early.unwrap_or_else(|_| answer.recv().unwrap()).unwrap();
    });
    let calls = calls.lock().unwrap();
    let unlocked = calls.iter().position(|(call, _)| *call == Call::Unlock).unwrap();
    assert_eq!(calls[unlocked + 1..], [], "after closing");
    assert!(matches!(db.flush("t"), Err(Error::Closed)));
}
