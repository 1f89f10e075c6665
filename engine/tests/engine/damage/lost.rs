//! Manifests that are gone, or others than the log knows of: nothing is made, and no older state is taken, that would
//! hide or sweep away what is left of a database.

use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::path;
use rustling_engine::disk::sim::{Image, SimDisk};
use rustling_engine::error::{Damage, Error};
use rustling_engine::version::manifest::Manifest;

use crate::damage::reference::{Reference, Scale, Script, kind, options};

/// Opens what is left; also whether that changed anything.
fn open(image: &Image, create: bool) -> (Result<Database, Error>, bool) {
    let disk = image.clone().into_disk();
    let opened = Database::open(Arc::new(disk.clone()), Options { create, ..options(Scale::Small) });
    let changed = disk.killed_image(disk.boundaries()).digest() != image.digest();
    (opened, changed)
}

fn without(image: &Image, kinds: &[&str]) -> Image {
    let paths: Vec<String> = image.files().map(|(path, _)| path.to_owned()).collect();
    let gone = paths.iter().filter(|path| kinds.contains(&kind(path)));
    gone.fold(image.clone(), |image, path| image.without_file(path))
}

#[test]
fn a_database_that_lost_its_manifest_is_not_made_anew() {
    let closed = Reference::closed(Scale::Small).image;
    // Either of what is left shows that there was a database; a new one would remove the runs as files nobody names.
    for lost in [vec!["manifest"], vec!["manifest", "log"], vec!["manifest", "sst", "keys", "del", "dv"]] {
        for create in [true, false] {
            let (opened, changed) = open(&without(&closed, &lost), create);
            let error = opened.unwrap_err();
            let named = matches!(&error, Error::Corrupt { path, damage: Damage::Missing, .. } if path == "manifest");
            assert!(named && !changed, "{lost:?}, create {create}, changed {changed}: {error}");
        }
    }
}

#[test]
fn a_database_is_made_only_where_the_caller_asked_for_it() {
    let begun = SimDisk::new();
    let database: Arc<dyn rustling_engine::disk::api::Disk> = Arc::new(begun.clone());
    ["manifest", "wal", "tables", "staging"].iter().for_each(|folder| database.create_dir(folder).unwrap());
    // An empty folder, and one that an attempt to make a database left.
    for image in [begun.killed_image(0), begun.killed_image(1), begun.killed_image(begun.boundaries())] {
        let (opened, changed) = open(&image.with_file("LOCK", Vec::new()), false);
        assert!(matches!(opened, Err(Error::NoDatabase { .. })) && !changed, "{opened:?}, changed {changed}");
        let (opened, _) = open(&image, true);
        assert!(opened.unwrap().open_report().created);
    }
}

/// A manifest's path and bytes.
type File = (String, Vec<u8>);

/// A database that was killed after a flush, the manifest of that flush, and the one before it.
fn flushed() -> (Image, File, File) {
    let manifest = |image: &Image| {
        let (path, bytes) = image.files().find(|(path, _)| kind(path) == "manifest").unwrap();
        (path.to_owned(), bytes.to_vec())
    };
    let mut script = Script::new(Scale::Small);
    script.write(0..3, 0..0, "");
    let before = manifest(&script.image());
    script.db.flush("log").unwrap();
    let image = script.image();
    let newest = manifest(&image);
    (image, newest, before)
}

#[test]
fn an_older_manifest_is_not_taken_for_the_newest_one_that_the_log_knows_of() {
    let (image, (newest, _), (before, bytes)) = flushed();
    let (opened, changed) = open(&image.without_file(&newest).with_file(&before, bytes), true);
    let error = opened.unwrap_err();
    let named = matches!(&error, Error::Corrupt { path, damage: Damage::Missing, .. } if *path == newest);
    assert!(named && !changed, "changed {changed}: {error}");
}

#[test]
fn another_manifest_with_the_number_that_the_log_knows_is_refused() {
    let (image, (newest, bytes), _) = flushed();
    let id = path::parse_manifest(newest.rsplit('/').next().unwrap()).unwrap();
    let mut other = Manifest::decode(&newest, id, &bytes).unwrap();
    other.commit.0 ^= 1;
    let (opened, changed) = open(&image.with_file(&newest, other.encode().unwrap()), true);
    let error = opened.unwrap_err();
    let named = matches!(&error, Error::Corrupt { path, damage: Damage::Digest { .. }, .. } if *path == newest);
    assert!(named && !changed, "changed {changed}: {error}");
}

#[test]
fn a_folder_of_other_files_is_refused_and_a_stray_file_in_a_database_is_left_alone() {
    let others = SimDisk::new().killed_image(0).with_file("holiday.jpg", b"x".to_vec());
    for create in [true, false] {
        let (opened, changed) = open(&others, create);
        let error = opened.unwrap_err();
        assert!(matches!(&error, Error::NotADatabase { found, .. } if found == "holiday.jpg") && !changed, "{error}");
    }
    let (opened, _) = open(&Reference::closed(Scale::Small).image.with_file("notes.txt", b"x".to_vec()), false);
    opened.unwrap();
}
