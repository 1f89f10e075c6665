//! Real processes on real files: killed at any moment, kept out by a lock, robbed of their folder.
//!
//! `SEEDS=0..42` makes 504 kills. tests/strace_faults.sh uses the children here for what needs other programs.

mod life;
mod script;
mod work;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustling_engine::backup::file::BackupOptions;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::path;
use rustling_engine::error::{Error, Result};
use tempfile::TempDir;

use crate::fixture::{contents, run_model, schema, write_batch};
use crate::ledger;
use life::{Counted, Life};
use script::{check, follow_script};
use work::{Positions, Work, differences, empty_tables, with_all_tables};
use worker::{Heard, Says, TASK, do_task, open, work_on};

#[test]
fn a_killed_process_leaves_what_it_acknowledged() {
    let run = ledger::Run::begin("kill-9", 0..4);
    let mut total = Counted::default();
    for seed in run.seeds() {
        let life = Life::new(seed).live();
        total.kills += life.kills;
        total.torn += life.torn;
        total.acknowledged += life.acknowledged;
        total.in_flight_kept += life.in_flight_kept;
        total.replayed += life.replayed;
        total.cleaned += life.cleaned;
        total.violations.extend(life.violations);
    }
    run.end(&[
        ("kills", total.kills),
        ("torn", total.torn),
        ("acknowledged", total.acknowledged),
        ("in_flight_kept", total.in_flight_kept),
        ("replayed", total.replayed),
        ("cleaned", total.cleaned),
        ("violations", total.violations.len() as u64),
    ]);
    assert!(total.violations.is_empty(), "{}", total.violations.join("\n"));
    assert!(total.acknowledged > total.kills && total.replayed > 0, "nothing was tested: {total:?}");
}

/// The child of the tests in this file. Started by hand it does some steps of everything here, in this process.
#[test]
fn worker() {
    if let Ok(task) = std::env::var(TASK) {
        return do_task(&task);
    }
    let folder = TempDir::new().unwrap();
    let mut model = empty_tables();
    for work in Work::ALL {
        let done: [AtomicU64; work::STREAMS_MAX] = Default::default();
        let hears = |stream: usize, serial| {
            assert_eq!(done[stream].fetch_add(1, Ordering::Relaxed), serial, "steps come in order");
            serial < 5
        };
        work_on(work, 1, Positions::default(), folder.path(), &hears);
        for (stream, done) in done.iter().enumerate().take(work.streams()) {
            (0..done.load(Ordering::Relaxed)).for_each(|serial| run_model(&mut model, &work.step(1, stream, serial)));
        }
    }
    let db = open(folder.path()).unwrap();
    let found = with_all_tables(contents(&db).unwrap());
    assert_eq!(differences(&model, &found), "");
}

#[test]
fn a_script_without_failures_is_done_and_what_it_did_not_say_is_seen() {
    let parent = TempDir::new().unwrap();
    let (folder, said) = (parent.path().join("db"), parent.path().join("said"));
    follow_script(&folder, &Says::in_file(&said));
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.lines().all(|line| line.starts_with("done ")), "{said}");
    assert_eq!(check(&folder, &said), Ok(()));
    let all_but_the_last = said.trim_end().rsplit_once('\n').unwrap().0;
    assert_eq!(check(&folder, all_but_the_last), Ok(()), "it may have been in flight");
    let half: Vec<&str> = said.lines().take(30).collect();
    assert!(check(&folder, &half.join("\n")).is_err());
    let more = said.replacen("done 6 ", "refused 6 ", 1);
    assert!(more != said && check(&folder, &more).is_err());
}

#[test]
fn a_second_process_is_kept_out_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let task = format!("hold {}", folder.path().display());
    let first = Heard::start(&task);
    assert_eq!(first.next().as_deref(), Some("open"));
    let asked = Instant::now();
    assert!(matches!(open(folder.path()), Err(Error::Locked { .. })));
    assert!(asked.elapsed() < Duration::from_secs(5), "it waited");
    let second = Heard::start(&task);
    assert_eq!(second.next().as_deref(), Some("locked"));
    assert!(second.child.wait_with_output().unwrap().status.success());
    assert_eq!(first.kill().1, "", "it lived until it was killed");
    drop(open(folder.path()).unwrap());
}

#[test]
fn of_many_who_open_at_once_one_succeeds() {
    let folder = TempDir::new().unwrap();
    for _ in 0..20 {
        let all_tried = std::sync::Barrier::new(4);
        let opened = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let tried = open(folder.path());
                    match &tried {
                        Ok(_) => drop(opened.fetch_add(1, Ordering::Relaxed)),
                        Err(Error::Locked { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    all_tried.wait();
                    drop(tried);
                });
            }
        });
        assert_eq!(opened.into_inner(), 1);
    }
}

type Call = dyn Fn(&Database) -> Result<()>;

/// The folder is renamed, and a backup takes its place, in which a run lives that the process would remove.
#[test]
fn a_backup_that_took_the_place_of_a_database_keeps_what_that_would_remove() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("db");
    let old = open(&folder).unwrap();
    old.create_table("t", &schema(), &["k"]).unwrap();
    for keys in [&[1, 2][..], &[1]] {
        let rows: Vec<_> = keys.iter().map(|key| ("t", *key, Some("x".to_owned()))).collect();
        old.write(&write_batch(&rows)).unwrap();
        old.flush("t").unwrap();
    }
    let backup = parent.path().join("backup");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk::open(&backup).unwrap());
    old.backup(disk, BackupOptions::default()).unwrap();
    let model = contents(&old).unwrap();
    let reader = old.snapshot();
    old.compact("t").unwrap();
    std::fs::rename(&folder, parent.path().join("moved")).unwrap();
    std::fs::rename(&backup, &folder).unwrap();
    drop(reader);
    assert!(matches!(old.close(), Err(Error::Poisoned { .. })));
    assert_eq!(contents(&open(&folder).unwrap()).unwrap(), model);
}

/// Another process may write to the log by now.
#[test]
fn a_database_whose_lock_was_removed_cuts_nothing_off_its_log() {
    let folder = TempDir::new().unwrap();
    let db = open(folder.path()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    db.write(&write_batch(&[("t", 1, Some("x".to_owned()))])).unwrap();
    let log = folder.path().join(path::wal(db.report().wal_end.segment));
    let length = || std::fs::metadata(&log).unwrap().len();
    let reserved = length();
    assert!(reserved > db.report().wal_end.length);
    std::fs::remove_file(folder.path().join("LOCK")).unwrap();
    assert!(matches!(db.close(), Err(Error::Poisoned { .. })));
    assert_eq!(length(), reserved);
}

/// The process goes on in a folder that nobody finds any more, while its name leads to nothing or another database.
#[test]
fn a_database_whose_folder_was_removed_or_replaced_acknowledges_nothing_more() {
    let write = |db: &Database| db.write(&write_batch(&[("t", 1, Some("x".to_owned()))])).map(drop);
    let create = |db: &Database| db.create_table("u", &schema(), &["k"]).map(drop);
    let flush = |db: &Database| db.flush("t");
    let tries: [&Call; 3] = [&write, &create, &flush];
    for (replaced, first) in [(false, 0), (false, 1), (false, 2), (true, 0), (true, 1), (true, 2)] {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("db");
        let old = open(&folder).unwrap();
        old.create_table("t", &schema(), &["k"]).unwrap();
        write(&old).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let new = replaced.then(|| open(&folder).unwrap());
        let refused = tries[first](&old).unwrap_err();
        assert!(
            matches!(&refused, Error::Poisoned { source } if matches!(**source, Error::Displaced { .. })),
            "{refused}"
        );
        for again in tries {
            assert!(matches!(again(&old), Err(Error::Poisoned { .. })));
        }
        assert_eq!(contents(&old).unwrap()["t"].len(), 1, "reads go on");
        assert!(matches!(old.close(), Err(Error::Poisoned { .. })));
        match new {
            Some(new) => {
                create(&new).unwrap();
                drop(new);
                let found = contents(&open(&folder).unwrap()).unwrap();
                assert_eq!(found.keys().collect::<Vec<_>>(), ["u"]);
            }
            None => assert!(!folder.exists(), "it was made again"),
        }
    }
}
