//! Crashes that once lost a database, told one by one.

use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Effect, Failure, Fault, Operation, SimDisk};
use rustling_engine::error::Error;

use crate::crash::examine::examine;
use crate::crash::life::live;
use crate::crash::scripts::{Script, scripts};
use crate::fixture::{Step, Tables, contents, run, small_options};

fn write(key: i64) -> Step {
    Step::Write(vec![("a", key, Some(format!("value {key}")))])
}

/// Opens every image that a power cut now may leave; each must hold these tables.
fn check_power_cut(disk: &SimDisk, expected: &Tables) {
    let mut count = 0;
    disk.images(disk.boundaries() - 1, &mut |image| {
        count += 1;
        let origin = image.origin();
        examine(&image, &small_options(), std::slice::from_ref(expected))
            .unwrap_or_else(|problem| panic!("{origin}: {problem}"));
    });
    assert!(count > 1, "nothing was pending");
}

/// Runs a script, kills it behind every change that is told so, goes on with one write, and cuts the power.
fn kill_behind(name: &str, told: &str) {
    let script = scripts().into_iter().find(|script| script.name == name).unwrap();
    let Script { options, steps, .. } = &script;
    let open = |sim: &SimDisk| -> Arc<dyn Disk> { Arc::new(sim.clone()) };
    let sim = SimDisk::new();
    let states = live(&sim, &open(&sim), options, steps, &[Tables::new()]).unwrap();
    let boundaries = (0..sim.boundaries()).filter(|boundary| sim.describe_boundary(*boundary).contains(told));
    let mut killed = 0;
    for boundary in boundaries {
        killed += 1;
        let restarted = sim.restarted(boundary);
        let allowed = &states[sim.marks(boundary).len()];
        let later = live(&restarted, &open(&restarted), options, &[Step::Create("a"), write(1)], allowed).unwrap();
        check_power_cut(&restarted, &later[later.len() - 1][0]);
    }
    assert!(killed > 1, "`{told}` happens {killed} times");
}

/// The next process found the manifest, removed the one before, and acknowledged writes. Then the power took the name
/// of the new one, which nobody had synced, and not the removal.
#[test]
fn a_manifest_that_a_killed_process_had_not_synced_stays() {
    kill_behind("flush", "as manifest/");
}

/// The next process found the record that ends a segment, and acknowledged writes in the segment behind it. Then the
/// power took that record, which nobody had synced.
#[test]
fn the_end_of_a_segment_that_a_killed_process_had_not_synced_stays() {
    kill_behind("groups that fill segments", "write 48 bytes");
}

/// A sync of the log failed, and the system dropped the pages but still read them back. The database was opened again,
/// found the record and appended to it. Then the power went, and the record was a hole in the middle of the log.
#[test]
fn a_log_whose_sync_failed_is_written_again_before_it_goes_on() {
    for effect in [Effect::Before, Effect::After, Effect::Lost] {
        let sim = SimDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let mut db = Database::open(disk.clone(), small_options()).unwrap();
        run(&mut db, &disk, &small_options(), &Step::Create("a")).unwrap();
        run(&mut db, &disk, &small_options(), &write(1)).unwrap();
        // The next calls append the record and sync it.
        sim.fail_at(sim.calls().len() + 1, Fault { failure: Failure::Errno(5), effect });
        let error = run(&mut db, &disk, &small_options(), &write(2)).unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        assert_eq!(sim.calls().last().unwrap().operation, Operation::SyncFile);
        drop(db);
        let mut db = Database::open(disk.clone(), small_options()).unwrap();
        run(&mut db, &disk, &small_options(), &write(3)).unwrap();
        sim.create("staging/pending").unwrap();
        check_power_cut(&sim, &contents(&db).unwrap());
    }
}

/// A program that copies files may leave out folders that are empty. The folder of all tables was made again, but its
/// name was not synced, and the power took it with the first run in it.
#[test]
fn folders_that_a_copy_lacks_are_durable_before_runs_are_in_them() {
    let original = SimDisk::new();
    let db = Database::open(Arc::new(original.clone()), small_options()).unwrap();
    db.create_table("a", &crate::fixture::schema(), &["k"]).unwrap();
    db.close().unwrap();
    let copy = SimDisk::new();
    for (path, bytes) in original.killed_image(usize::MAX).files() {
        copy.create_dir(path.rsplit_once('/').map_or("", |(folder, _)| folder)).unwrap();
        copy.create(path).unwrap().append(bytes).unwrap();
    }
    let sim = copy.killed_image(usize::MAX).into_disk();
    assert!(!sim.list("").unwrap().contains(&"tables".to_owned()));
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut db = Database::open(disk.clone(), small_options()).unwrap();
    for step in [write(1), Step::Flush("a"), write(2)] {
        run(&mut db, &disk, &small_options(), &step).unwrap();
    }
    check_power_cut(&sim, &contents(&db).unwrap());
}

/// What removes files does not wait for it to be durable, so files come back.
#[test]
fn files_that_were_removed_come_back_in_images() {
    let script = scripts().into_iter().find(|script| script.name == "compaction").unwrap();
    let sim = SimDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    live(&sim, &disk, &script.options, &script.steps, &[Tables::new()]).unwrap();
    let removed = |boundary: &usize| sim.describe_boundary(*boundary).strip_prefix("remove ").map(str::to_owned);
    let (mut back, mut all) = (0, 0);
    for boundary in 0..sim.boundaries() {
        let Some(path) = removed(&boundary) else { continue };
        let mut found = false;
        sim.images(boundary, &mut |image| found |= image.file(&path).is_some());
        (all, back) = (all + 1, back + usize::from(found));
    }
    assert!(all > 10 && back == all, "of {all} files that were removed {back} come back");
}

/// Without this no image could be found again by its seed.
#[test]
fn a_script_leaves_the_same_bytes_whenever_it_runs() {
    for script in scripts() {
        let run = || {
            let sim = SimDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            live(&sim, &disk, &script.options, &script.steps, &[Tables::new()]).unwrap();
            sim
        };
        let (first, again) = (run(), run());
        for boundary in 0..first.boundaries() {
            let (image, other) = (first.killed_image(boundary), again.killed_image(boundary));
            let differs = image.files().zip(other.files()).find(|(a, b)| a != b);
            let place = format!("{}, {}", script.name, first.describe_boundary(boundary));
            if let Some(((path, a), (_, b))) = differs {
                let at = a.iter().zip(b).position(|(a, b)| a != b);
                panic!(
                    "{place}: {path} differs at {at:?}: {} {}",
                    String::from_utf8_lossy(a),
                    String::from_utf8_lossy(b)
                );
            }
        }
    }
}
