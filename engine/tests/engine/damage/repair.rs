//! What can be rebuilt is rebuilt, whatever happened to it; what cannot is said to be lost.

use std::sync::Arc;

use arrow::array::BooleanArray;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::deletion::file::{DeadCount, DeletionsManifest, read_all, write};
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::path;
use rustling_engine::disk::sim::Image;
use rustling_engine::error::{Damage, Error, ErrorKind};
use rustling_engine::id::RunId;
use rustling_engine::sst::meta::SstMeta;
use rustling_engine::verify::check::{Finding, verify};
use rustling_engine::verify::repair::repair;
use rustling_engine::version::manifest::Manifest;

use crate::damage::oracle::check_model;
use crate::damage::reference::{Reference, Scale, kind, options};
use crate::fixture::Where;

/// What happens to a file; the ways, and the image with the file so.
fn mishaps(image: &Image, path: &str, bytes: &[u8]) -> Vec<(&'static str, Image)> {
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() / 2] ^= 4;
    let mut last = bytes.to_vec();
    *last.last_mut().unwrap() ^= 1;
    vec![
        ("lost", image.without_file(path)),
        ("cut", image.with_file(path, bytes[..bytes.len() / 2].to_vec())),
        ("grown", image.with_file(path, [bytes, &[0]].concat())),
        ("flipped", image.with_file(path, flipped)),
        ("flipped at its end", image.with_file(path, last)),
        ("zeroed", image.with_file(path, vec![0; bytes.len()])),
    ]
}

fn named(findings: &[Finding]) -> Vec<(&str, bool)> {
    findings
        .iter()
        .map(|finding| match &finding.error {
            Error::Corrupt { path, .. } => (&**path, finding.is_derived),
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn lost_and_damaged_key_indexes_and_deletion_vectors_are_rebuilt() {
    let reference = Reference::closed(Scale::Small);
    let options = options(Scale::Small);
    let open = |disk| Database::open(disk, options.clone()).unwrap();
    let written = |db: &Database| -> Vec<String> {
        db.report().tables.iter().map(|table| format!("{}: {:?}", table.name, table.history)).collect()
    };
    let written_before = written(&open(Arc::new(reference.image.clone().into_disk())));
    let mut rebuilt = 0;
    for (path, bytes) in reference.files().iter().filter(|(path, _)| matches!(kind(path), "keys" | "dv")) {
        for (mishap, image) in mishaps(&reference.image, path, bytes) {
            let disk: Arc<dyn Disk> = Arc::new(image.into_disk());
            let found = verify(&disk, &options, None).unwrap();
            assert_eq!(named(&found.findings), [(&**path, true)], "{path} {mishap}");
            let report = repair(&disk, &options, None).unwrap();
            assert_eq!((report.rebuilt, report.left.len()), (vec![path.clone()], 0), "{path} {mishap}");
            assert_eq!(verify(&disk, &options, None).unwrap().findings.len(), 0, "{path} {mishap}");
            let db = open(disk);
            check_model(&db, &reference.model).unwrap_or_else(|text| panic!("{path} {mishap}: {text}"));
            assert_eq!(written(&db), written_before, "{path} {mishap}");
            rebuilt += 1;
        }
    }
    assert!(rebuilt >= 24, "{rebuilt}");
}

/// A copy that was made without empty folders can be repaired as it is.
#[test]
fn a_key_index_is_rebuilt_where_the_staging_folder_is_not_there() {
    let reference = Reference::closed(Scale::Small);
    let (path, _) = reference.files().into_iter().find(|(path, _)| kind(path) == "keys").unwrap();
    let sim = reference.image.without_file(&path).into_disk();
    sim.remove_dir(path::STAGING).unwrap();
    let report = repair(&(Arc::new(sim) as Arc<dyn Disk>), &options(Scale::Small), None).unwrap();
    assert_eq!((report.rebuilt, report.left.len()), (vec![path], 0));
}

/// Whoever relies on them finds no key outside of them.
#[test]
fn bounds_of_keys_that_are_not_those_of_the_manifest_are_noticed() {
    let reference = Reference::closed(Scale::Small);
    let forgeries: [fn(&mut SstMeta); 3] = [
        |files| files.key_range.iter_mut().for_each(|range| range.max = range.min.clone()),
        |files| files.key_range.iter_mut().for_each(|range| range.min = range.max.clone()),
        |files| files.deletes.iter_mut().for_each(|deletes| deletes.key_range.min.push(0)),
    ];
    for forge in forgeries {
        let mut forged = 0;
        let image = with_manifest(&reference.image, |manifest| {
            for run in manifest.tables.iter_mut().flat_map(|table| &mut table.runs) {
                let before = run.files.clone();
                forge(&mut run.files);
                forged += usize::from(run.files != before);
            }
        });
        let disk: Arc<dyn Disk> = Arc::new(image.into_disk());
        let found = verify(&disk, &options(Scale::Small), None).unwrap().findings;
        let is_of_bounds =
            |finding: &&Finding| matches!(finding.error, Error::Corrupt { damage: Damage::KeyBounds { .. }, .. });
        assert!(forged > 0, "nothing was forged");
        assert_eq!(found.iter().filter(is_of_bounds).count(), forged, "{found:?}");
    }
}

#[test]
fn what_is_the_truth_is_lost_and_nothing_is_changed() {
    let reference = Reference::closed(Scale::Small);
    let options = options(Scale::Small);
    for (path, bytes) in reference.files().iter().filter(|(path, _)| matches!(kind(path), "sst" | "del")) {
        for (mishap, image) in mishaps(&reference.image, path, bytes) {
            let (digest, sim) = (image.digest(), image.into_disk());
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            for left in [verify(&disk, &options, None).unwrap().findings, repair(&disk, &options, None).unwrap().left] {
                assert_eq!(named(&left), [(&**path, false)], "{path} {mishap}");
            }
            assert_eq!(sim.killed_image(sim.boundaries()).digest(), digest, "{path} {mishap}");
        }
    }
}

#[test]
fn a_whole_database_has_nothing_to_repair() {
    for scale in [Scale::Small, Scale::Large] {
        let reference = Reference::closed(scale);
        let (digest, sim) = (reference.image.digest(), reference.image.clone().into_disk());
        let (disk, options): (Arc<dyn Disk>, _) = (Arc::new(sim.clone()), options(scale));
        let report = verify(&disk, &options, None).unwrap();
        assert_eq!((report.findings.len(), report.orphans.len()), (0, 0), "{report:?}");
        assert!(report.dead_rows > 0 && report.rows > report.dead_rows && report.runs > 2, "{report:?}");
        assert_eq!(repair(&disk, &options, None).unwrap().rebuilt, Vec::<String>::new());
        assert_eq!(sim.killed_image(sim.boundaries()).digest(), digest);
        let unknown = verify(&disk, &options, Some("other")).unwrap_err();
        assert!(matches!(&unknown, Error::NoSuchTable { name, .. } if name == "other"), "{unknown}");
        let db = Database::open(disk.clone(), options.clone()).unwrap();
        let locked = verify(&disk, &options, None).unwrap_err();
        assert!(matches!(locked, Error::Locked { .. }), "{locked}");
        drop(db);
    }
}

/// The newest manifest of an image, changed, behind its right checksum.
fn with_manifest(image: &Image, change: impl FnOnce(&mut Manifest)) -> Image {
    let (path, bytes) = image.files().filter(|(path, _)| kind(path) == "manifest").max().unwrap();
    let id = path::parse_manifest(path.rsplit('/').next().unwrap()).unwrap();
    let mut manifest = Manifest::decode(path, id, bytes).unwrap();
    change(&mut manifest);
    image.with_file(path, manifest.encode().unwrap())
}

/// Somebody wrote a deletion vector, and its digests, with a row too many or too few.
#[test]
fn deletion_vectors_that_are_whole_but_wrong_are_noticed_and_found_again() {
    let reference = Reference::closed(Scale::Small);
    let options = options(Scale::Small);
    for too_many in [false, true] {
        let sim = reference.image.clone().into_disk();
        let mut file = None;
        with_manifest(&reference.image, |manifest| {
            let table = &mut manifest.tables[0];
            let deletions = table.deletions.clone().unwrap();
            let mut dead = read_all(&sim, table.id, &deletions).unwrap();
            let place =
                (0..dead.len()).find(|run| !dead[*run].is_empty() && dead[*run].len() < table.runs[*run].files.rows);
            let vector = &mut dead[place.unwrap()];
            if too_many {
                let live = (0..).find(|row| !vector.contains(*row)).unwrap();
                vector.insert(live);
            } else {
                *vector = vector.rows().skip(1).collect();
            }
            file = Some((table.id, deletions, dead));
        });
        let (table, deletions, dead) = file.unwrap();
        let rows = deletions.runs.iter().map(|count| count.run).zip(dead.iter().cloned()).collect();
        let written = write(&sim, table, RunId(900), &rows).unwrap();
        sim.sync_dir(&path::table(table)).unwrap();
        let runs = deletions.runs.iter().zip(&dead).map(|(count, dead)| DeadCount::new(count.run, dead)).collect();
        let forged = with_manifest(&sim.killed_image(sim.boundaries()), |manifest| {
            manifest.next_run = RunId(1000);
            manifest.tables[0].deletions = Some(DeletionsManifest { files: vec![written], runs });
        });
        let forged_disk = || -> Arc<dyn Disk> { Arc::new(forged.clone().into_disk()) };
        // Looked at before the result is written, or beside it.
        for background in [false, true] {
            if let Ok(db) = Database::open(forged_disk(), Options { background, ..options.clone() }) {
                let refused = db.compact("plain").unwrap_err();
                assert!(matches!(&refused, Error::Corrupt { path, .. } if path.ends_with(".dv")), "{refused}");
            }
        }
        if !too_many && let Ok(db) = Database::open(forged_disk(), options.clone()) {
            // A key has two rows that live.
            let mut all = Where::new(&[], |rows| Ok(BooleanArray::from(vec![true; rows.num_rows()])));
            let refused = db.delete_where("plain", &mut all).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        }
        let disk = forged_disk();
        let found = verify(&disk, &options, None).unwrap().findings;
        assert!(matches!(&*found, [Finding { is_derived: true, .. }]), "{found:?}");
        let report = repair(&disk, &options, None).unwrap();
        assert!(report.left.is_empty() && report.rebuilt.len() == 1, "{report:?}");
        let db = Database::open(disk, options.clone()).unwrap();
        check_model(&db, &reference.model).unwrap();
        db.compact("plain").unwrap();
        check_model(&db, &reference.model).unwrap();
    }
}
