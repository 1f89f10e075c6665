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
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::recover::open;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::state::{Current, State};

use crate::fixture::{keys, rows, schema};
use crate::hooked::{Call, HookedDisk};

/// A closed database with an empty table, opened without threads.
fn state_without_threads() -> Arc<State> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = Options { background: false, ..Options::default() };
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db.close().unwrap();
    drop(db);
    Arc::new(open(disk, options).unwrap().0)
}

fn pending(state: &State, batch: &WriteBatch, done: Done) -> Pending {
    let memory = Arc::new(state.reserve(0).unwrap());
    Pending { batch: prepare_batch(state, batch, &[], memory).unwrap(), done }
}

/// It was answered while the batch that it met in its group was not visible yet, so that its writer did not find the
/// key it was refused for.
#[test]
fn an_insert_that_is_refused_finds_the_row_it_was_refused_for() {
    let state = state_without_threads();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let insert = |value: &str| {
        let (looks, answers) = (state.clone(), answers.clone());
        let done = move |answer| {
            let Current { view, visible } = looks.current();
            let table = TableSnapshot::new(view.named("t").unwrap().clone(), visible);
            let found = table.get(&keys(&[7])).unwrap().is_some();
            answers.lock().unwrap().push((answer, found));
        };
        pending(&state, WriteBatch::new().insert("t", rows(&[(7, value.to_owned())])), Box::new(done))
    };
    let group = ["first", "second"].map(insert);
    commit_group(&state, group.into());
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    assert_eq!(answers.iter().filter(|(answer, _)| answer.is_ok()).count(), 1);
    assert!(answers.iter().any(|(answer, _)| matches!(answer, Err(Error::DuplicateKey { .. }))));
    assert!(answers.iter().all(|(_, found)| *found), "{answers:?}");
}

/// All batches are prepared before the first is committed, so what counts is what came since.
#[test]
fn an_insert_is_checked_against_the_groups_before_its_own_and_the_batches_before_it() {
    let state = state_without_threads();
    let (sender, answers) = channel();
    let batch = |name: &'static str, batch: &WriteBatch| {
        let sender = sender.clone();
        pending(&state, batch, Box::new(move |answer| sender.send((name, answer.is_ok())).unwrap()))
    };
    let insert = |name, key| batch(name, WriteBatch::new().insert("t", rows(&[(key, name.to_owned())])));
    let delete = |name, key| batch(name, WriteBatch::new().delete("t", keys(&[key])));
    let groups = [
        vec![insert("first", 1), insert("behind it in its group", 1), delete("gone", 2), insert("behind that", 2)],
        vec![insert("behind its group", 1), insert("behind it, too", 2), delete("gone later", 1)],
        vec![insert("behind the group that deletes", 1)],
    ];
    for group in groups {
        commit_group(&state, group);
    }
    let refused: Vec<&str> = answers.try_iter().filter(|(_, accepted)| !accepted).map(|(name, _)| name).collect();
    assert_eq!(refused, ["behind it in its group", "behind its group", "behind it, too"]);
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
