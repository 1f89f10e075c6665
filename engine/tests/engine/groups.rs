//! Write batches that are committed together: each is decided by those before it.

use std::sync::Arc;
use std::sync::mpsc::channel;

use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Error;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{MemorySource, contents, keys, rows, schema, small_options};

fn database() -> Database {
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db.write(WriteBatch::new().insert("t", rows(&[(1, "first".to_owned())]))).unwrap();
    db
}

fn insert(key: i64, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.insert("t", rows(&[(key, value.to_owned())]));
    batch
}

fn delete(key: i64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.delete("t", keys(&[key]));
    batch
}

/// The insert was refused for the sake of the row that the group deletes, in memory and in a run.
#[test]
fn an_insert_behind_a_delete_of_its_group_is_accepted() {
    for flushes in [false, true] {
        let db = database();
        if flushes {
            db.flush("t").unwrap();
        }
        let answers = db.write_group(&[delete(1), insert(1, "second")]).unwrap();
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(contents(&db).unwrap()["t"][&1], "second");
    }
}

#[test]
fn an_insert_behind_another_one_of_its_group_is_refused() {
    let db = database();
    let group = [insert(2, "a"), insert(2, "b"), delete(2), insert(2, "c"), insert(1, "d"), insert(3, "e")];
    let answers = db.write_group(&group).unwrap();
    let refused: Vec<bool> = answers.iter().map(|answer| matches!(answer, Err(Error::DuplicateKey { .. }))).collect();
    assert_eq!(refused, [false, true, false, false, true, false], "{answers:?}");
    let found = contents(&db).unwrap();
    assert_eq!(found["t"].values().collect::<Vec<_>>(), ["first", "c", "e"]);
}

/// It poisoned the database, and others of its group were told that their rows are not there.
#[test]
fn who_panics_over_an_answer_is_alone_with_it() {
    let db = database();
    db.write_then(&insert(2, "a"), Box::new(|_| panic!("nobody listens"))).unwrap();
    let (sender, answer) = channel();
    db.write_then(&insert(3, "b"), Box::new(move |written| sender.send(written).unwrap())).unwrap();
    answer.recv().unwrap().unwrap();
    db.write(&insert(4, "c")).unwrap();
    assert_eq!(contents(&db).unwrap()["t"].len(), 4);
}

/// It was written into a table that somebody else had made meanwhile.
#[test]
fn what_is_meant_for_a_table_that_was_dropped_is_refused_by_one_of_its_name() {
    let db = database();
    let meant = db.snapshot().table("t").unwrap().table().id;
    let mut batch = insert(2, "a");
    batch.expect("t", meant);
    let load = || {
        let options = LoadOptions { table: Some(meant), ..LoadOptions::default() };
        db.load("t", &mut MemorySource::new(vec![rows(&[(3, "b".to_owned())])]), &options)
    };
    db.write(&batch).unwrap();
    load().unwrap();
    for makes_another in [false, true] {
        if makes_another {
            db.create_table("t", &schema(), &["k"]).unwrap();
        } else {
            db.drop_table("t").unwrap();
        }
        let refused = [db.write(&batch).unwrap_err(), load().unwrap_err()];
        assert!(refused.iter().all(|error| matches!(error, Error::Dropped { table } if table == "t")), "{refused:?}");
    }
    assert_eq!(contents(&db).unwrap()["t"].len(), 0);
}
