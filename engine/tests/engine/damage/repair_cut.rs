//! A repair that does not come to its end: power is cut at each of its calls, or a call fails. What it leaves is as whole
//! as what it found, or wholer, and the next repair brings it to its end.

use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Effect, Failure, Fault, Image, SimDisk};
use rustling_engine::error::Error;
use rustling_engine::verify::check::{Finding, verify};
use rustling_engine::verify::repair::repair;

use crate::damage::oracle::check_model;
use crate::damage::reference::{Reference, Scale, kind, options};

/// A closed database, and images of it of which files are lost or damaged that can be rebuilt: each alone, one lost, the
/// next damaged; then all.
fn damaged() -> (Reference, Vec<(String, Image)>) {
    let reference = Reference::closed(Scale::Small);
    let derived: Vec<(String, Vec<u8>)> =
        reference.files().into_iter().filter(|(path, _)| matches!(kind(path), "keys" | "dv")).collect();
    assert!(derived.len() > 4, "{derived:?}");
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        bytes
    };
    let mut all = reference.image.clone();
    let mut images = Vec::new();
    for (index, (path, bytes)) in derived.iter().enumerate() {
        images.push(match index % 2 {
            0 => (format!("{path} lost"), reference.image.without_file(path)),
            _ => (format!("{path} flipped"), reference.image.with_file(path, flipped(bytes))),
        });
        all = all.without_file(path);
    }
    images.push(("all lost".to_owned(), all));
    (reference, images)
}

fn as_disk(sim: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(sim.clone())
}

/// The files that are damaged or not there.
fn damaged_files(image: &Image, options: &Options) -> Vec<String> {
    let found = verify(&as_disk(&image.clone().into_disk()), options, None).unwrap().findings;
    let path = |finding: Finding| match finding.error {
        Error::Corrupt { path, .. } => path,
        other => panic!("{other}"),
    };
    found.into_iter().map(path).collect()
}

/// What an interrupted repair left has no other damage than there was, can be repaired, and holds every row.
fn check_left(image: Image, options: &Options, reference: &Reference, before: &[String]) -> Result<(), String> {
    if let Some(path) = damaged_files(&image, options).iter().find(|path| !before.contains(path)) {
        return Err(format!("{path} was whole before"));
    }
    let disk = as_disk(&image.into_disk());
    let found = verify(&disk, options, None).map_err(|error| format!("is not checked: {error}"))?.findings;
    if let Some(finding) = found.iter().find(|finding| !finding.is_derived) {
        return Err(format!("lost {}", finding.error));
    }
    let report = repair(&disk, options, None).map_err(|error| format!("is not repaired: {error}"))?;
    if !report.left.is_empty() || report.rebuilt.is_empty() != found.is_empty() {
        return Err(format!("{found:?}, then {report:?}"));
    }
    let whole = verify(&disk, options, None).map_err(|error| format!("is not checked again: {error}"))?;
    if !whole.findings.is_empty() {
        return Err(format!("repaired it has {:?}", whole.findings));
    }
    let db = Database::open(disk, options.clone()).map_err(|error| format!("does not open: {error}"))?;
    check_model(&db, &reference.model)
}

#[test]
fn a_repair_goes_on_where_power_was_cut() {
    let (reference, images) = damaged();
    let options = options(Scale::Small);
    let (mut cuts, mut unfinished) = (0, 0);
    for (damage, image) in images {
        let before = damaged_files(&image, &options);
        let sim = image.into_disk();
        assert!(repair(&as_disk(&sim), &options, None).unwrap().left.is_empty(), "{damage}");
        for boundary in 0..sim.boundaries() {
            sim.images(boundary, &mut |image| {
                cuts += 1;
                let disk = as_disk(&image.clone().into_disk());
                unfinished += usize::from(!verify(&disk, &options, None).unwrap().findings.is_empty());
                if let Err(problem) = check_left(image.clone(), &options, &reference, &before) {
                    panic!(
                        "{damage}, boundary {boundary} ({}), {}: {problem}",
                        sim.describe_boundary(boundary),
                        image.origin()
                    );
                }
            });
        }
    }
    println!("{cuts} images, {unfinished} of repairs that had not come to their end");
    assert!(unfinished > 50 && cuts > unfinished, "{cuts} images, {unfinished} unfinished");
}

#[test]
fn a_repair_whose_calls_fail_says_so_and_the_next_one_is_whole() {
    let (reference, images) = damaged();
    let options = options(Scale::Small);
    let mut refused = 0;
    for (turn, (damage, image)) in images.into_iter().enumerate() {
        let before = damaged_files(&image, &options);
        let sim = image.clone().into_disk();
        repair(&as_disk(&sim), &options, None).unwrap();
        // Calls that are one apart are much the same, so they take turns.
        for (index, call) in sim.calls().iter().enumerate().skip(turn % 3).step_by(3) {
            let sim = image.clone().into_disk();
            sim.fail_at(index, Fault { failure: Failure::Errno(5), effect: Effect::Before });
            refused += usize::from(repair(&as_disk(&sim), &options, None).is_err());
            let left = sim.killed_image(sim.boundaries());
            if let Err(problem) = check_left(left, &options, &reference, &before) {
                panic!("{damage}, call {index} ({call:?}) fails: {problem}");
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
