//! What crashes may leave.

mod faults;

use std::collections::BTreeSet;
use std::io;

use super::*;
use crate::disk::api::{Disk, WriteFile};
use crate::disk::map::read_whole;

fn images(disk: &SimDisk, boundary: usize) -> Vec<Image> {
    let mut images = Vec::new();
    disk.images(boundary, &mut |image| images.push(image));
    images
}

fn last_images(disk: &SimDisk) -> Vec<Image> {
    images(disk, disk.boundaries() - 1)
}

/// What a file may hold after a crash now; `None` is no file.
fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    last_images(disk).iter().map(|image| image.file(path).map(<[u8]>::to_vec)).collect()
}

fn expect(disk: &SimDisk, path: &str, expected: &[Option<&[u8]>]) {
    let expected = expected.iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect();
    assert_eq!(outcomes(disk, path), expected);
}

/// A disk with a durable file `a`, and the file.
fn disk_with(bytes: &[u8]) -> (SimDisk, Box<dyn WriteFile>) {
    let disk = SimDisk::new();
    let mut file = disk.create("a").unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    (disk, file)
}

#[test]
fn nothing_pending_leaves_one_image() {
    let (disk, _file) = disk_with(b"abc");
    let images = last_images(&disk);
    assert_eq!(images.len(), 1, "{images:?}");
    assert_eq!(images[0].files().collect::<Vec<_>>(), [("a", b"abc".as_slice())]);
    assert_eq!(super::tests::images(&disk, 0).len(), 1, "before the first change the disk is empty");
}

#[test]
fn bytes_that_were_not_synced_are_lost_torn_or_zeros() {
    let (disk, mut file) = disk_with(b"ab");
    file.append(b"cdef").unwrap();
    expect(&disk, "a", &[Some(b"ab"), Some(b"abcd"), Some(b"ab\0\0\0\0"), Some(b"abcdef")]);
}

#[test]
fn any_prefix_of_appends_is_left_or_all_but_one() {
    let (disk, mut file) = disk_with(b"");
    for bytes in [b"11", b"22", b"33"] {
        file.append(bytes).unwrap();
    }
    let expected: [&[u8]; 12] = [
        b"",
        b"11",
        b"1122",
        b"112233",
        b"1",
        b"112",
        b"11223",
        b"\0\0",
        b"11\0\0",
        b"1122\0\0",
        b"\0\x002233",
        b"11\0\x0033",
    ];
    expect(&disk, "a", &expected.map(Some));
}

#[test]
fn an_append_over_sectors_is_also_cut_at_a_sector() {
    let (disk, mut file) = disk_with(&[1; 500]);
    file.append(&[2; 1000]).unwrap();
    let lengths: BTreeSet<usize> = outcomes(&disk, "a").iter().flatten().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([500, 512, 1000, 1500]));
}

#[test]
fn sectors_of_an_append_are_lost_while_later_ones_are_there() {
    let (disk, mut file) = disk_with(&[1; 500]);
    file.append(&[2; 1000]).unwrap();
    // Sectors end at 512 and 1024, so the append has twelve bytes in the first one.
    let sectors = |bytes: Vec<u8>| [bytes[500], bytes[512], bytes[1024]];
    let outcomes: Vec<Vec<u8>> =
        outcomes(&disk, "a").into_iter().flatten().filter(|bytes| bytes.len() == 1500).collect();
    assert!(outcomes.iter().all(|bytes| bytes[..500] == [1; 500]));
    let found: BTreeSet<[u8; 3]> = outcomes.into_iter().map(sectors).collect();
    assert!(found.is_superset(&BTreeSet::from([[0, 0, 0], [2, 2, 2], [0, 2, 2]])), "{found:?}");
    assert!(found.len() > 3, "{found:?}");
}

#[test]
fn a_cut_that_was_not_synced_may_come_after_what_was_appended_to_it() {
    let (disk, file) = disk_with(b"old tail");
    drop(file);
    let mut file = disk.append("a", 4).unwrap();
    file.append(b"x").unwrap();
    expect(&disk, "a", &[Some(b"old tail"), Some(b"old "), Some(b"old x"), Some(b"old \0"), Some(b"old xail")]);
    file.sync().unwrap();
    expect(&disk, "a", &[Some(b"old x")]);
}

#[test]
fn synced_bytes_without_a_synced_name_vanish() {
    let disk = SimDisk::new();
    let mut file = disk.create("a").unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    expect(&disk, "a", &[None, Some(b"x")]);
    disk.sync_dir("").unwrap();
    expect(&disk, "a", &[Some(b"x")]);
}

#[test]
fn a_synced_name_without_synced_bytes_is_an_empty_file() {
    let disk = SimDisk::new();
    disk.create("a").unwrap().append(b"xy").unwrap();
    disk.sync_dir("").unwrap();
    expect(&disk, "a", &[Some(b""), Some(b"x"), Some(b"\0\0"), Some(b"xy")]);
}

#[test]
fn a_rename_is_lost_until_its_folder_is_synced_and_never_half_done() {
    let (disk, _file) = disk_with(b"new");
    disk.rename("a", "b").unwrap();
    let both = |image: &Image| (image.file("a").is_some(), image.file("b").is_some());
    let found: BTreeSet<_> = last_images(&disk).iter().map(both).collect();
    assert_eq!(found, BTreeSet::from([(true, false), (false, true)]));
    disk.sync_dir("").unwrap();
    let found: BTreeSet<_> = last_images(&disk).iter().map(both).collect();
    assert_eq!(found, BTreeSet::from([(false, true)]));
}

#[test]
fn a_rename_between_folders_needs_both_synced() {
    let (disk, _file) = disk_with(b"x");
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.rename("a", "d/a").unwrap();
    disk.sync_dir("").unwrap();
    expect(&disk, "d/a", &[None, Some(b"x")]);
    expect(&disk, "a", &[None]);
    disk.sync_dir("d").unwrap();
    expect(&disk, "d/a", &[Some(b"x")]);
}

#[test]
fn a_removed_file_comes_back_until_its_folder_is_synced() {
    let (disk, _file) = disk_with(b"x");
    disk.remove("a").unwrap();
    expect(&disk, "a", &[None, Some(b"x")]);
    disk.sync_dir("").unwrap();
    expect(&disk, "a", &[None]);
}

#[test]
fn a_removed_folder_comes_back_until_the_one_it_was_in_is_synced() {
    let disk = SimDisk::new();
    disk.create_dir("d").unwrap();
    disk.create("d/a").unwrap();
    disk.sync_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    disk.remove("d/a").unwrap();
    disk.remove_dir("d").unwrap();
    let found: BTreeSet<_> =
        last_images(&disk).iter().map(|image| (image.folders().count(), image.files().count())).collect();
    assert_eq!(found, BTreeSet::from([(2, 1), (2, 0), (1, 0)]));
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    expect(&disk, "d/a", &[None]);
}

#[test]
fn a_folder_without_a_synced_name_takes_its_files_with_it() {
    let disk = SimDisk::new();
    disk.create_dir("d/e").unwrap();
    disk.create("d/e/a").unwrap().sync().unwrap();
    disk.sync_dir("d/e").unwrap();
    disk.sync_dir("d").unwrap();
    expect(&disk, "d/e/a", &[None, Some(b"")]);
    let folders: BTreeSet<usize> = last_images(&disk).iter().map(|image| image.folders().count()).collect();
    assert_eq!(folders, BTreeSet::from([1, 3]));
    disk.sync_dir("").unwrap();
    expect(&disk, "d/e/a", &[Some(b"")]);
}

#[test]
fn names_are_lost_from_the_last_one_on_or_one_alone() {
    let disk = SimDisk::new();
    for path in ["a", "b", "c"] {
        disk.create(path).unwrap();
    }
    let names = |image: &Image| image.files().map(|(path, _)| path).collect::<String>();
    let found: BTreeSet<String> = last_images(&disk).iter().map(names).collect();
    assert_eq!(found, ["", "a", "ab", "abc", "bc", "ac"].map(str::to_owned).into());
}

#[test]
fn files_are_varied_one_at_a_time_beside_all_or_nothing_of_the_others_and_sometimes_two() {
    let (disk, mut a) = disk_with(b"");
    let mut b = disk.create("b").unwrap();
    disk.sync_dir("").unwrap();
    a.append(b"AA").unwrap();
    b.append(b"BB").unwrap();
    let both = |image: &Image| [image.file("a").unwrap().to_vec(), image.file("b").unwrap().to_vec()];
    let found: BTreeSet<_> = last_images(&disk).iter().map(both).collect();
    let whole = |bytes: &[u8]| bytes.is_empty() || bytes.len() == 2 && bytes[0] != 0;
    let (one, two): (Vec<_>, Vec<_>) = found.iter().partition(|[a, b]| whole(a) || whole(b));
    assert_eq!(one.len(), 12, "four of one with two of the other, both ways: {found:?}");
    assert!(found.contains(&[b"A".to_vec(), b"BB".to_vec()]) && found.contains(&[b"AA".to_vec(), b"\0\0".to_vec()]));
    assert!(!two.is_empty(), "{found:?}");
}

#[test]
fn a_killed_process_loses_nothing() {
    let (disk, mut file) = disk_with(b"a");
    file.append(b"b").unwrap();
    disk.rename("a", "c").unwrap();
    let boundary = disk.boundaries() - 1;
    let killed = disk.killed_image(boundary);
    assert_eq!(killed.files().collect::<Vec<_>>(), [("c", b"ab".as_slice())]);
    assert_eq!(images(&disk, boundary)[0].digest(), killed.digest());
}

#[test]
fn boundaries_are_the_same_in_any_order() {
    let (disk, mut file) = disk_with(b"a");
    file.append(b"b").unwrap();
    disk.link("a", "c").unwrap();
    let digests = |boundary: usize| images(&disk, boundary).iter().map(Image::digest).collect::<Vec<_>>();
    let ascending: Vec<_> = (0..disk.boundaries()).map(digests).collect();
    let mut descending: Vec<_> = (0..disk.boundaries()).rev().map(digests).collect();
    descending.reverse();
    assert_eq!(ascending, descending);
    assert!(ascending.iter().all(|digests| digests.iter().collect::<BTreeSet<_>>().len() == digests.len()));
}

#[test]
fn an_image_becomes_a_disk_that_crashes_again() {
    let (disk, _file) = disk_with(b"first");
    disk.create_dir("d").unwrap();
    disk.link("a", "d/b").unwrap();
    let lock = disk.lock("LOCK").unwrap();
    let image = disk.killed_image(disk.boundaries() - 1);
    let again = image.clone().into_disk();
    drop(lock);
    assert!(again.lock("LOCK").unwrap().is_some(), "a lock does not outlive a crash");
    assert_eq!((again.list("").unwrap(), again.boundaries()), (disk.list("").unwrap(), 1));
    assert_eq!(again.killed_image(0).digest(), image.digest());
    again.append("d/b", 5).unwrap().append(b"!").unwrap();
    assert_eq!(read_whole(&*again.open("a").unwrap()).unwrap(), b"first!".as_slice(), "links stay links");
    assert_eq!(image.file("a"), Some(b"first".as_slice()), "an image never changes");
    again.create("c").unwrap().append(b"c").unwrap();
    expect(&again, "a", &[Some(b"first"), Some(b"first\0"), Some(b"first!")]);
}

#[test]
fn after_a_restart_what_was_pending_may_still_be_lost() {
    let (disk, mut file) = disk_with(b"a");
    file.append(b"b").unwrap();
    disk.create("new").unwrap();
    disk.remove("a").unwrap();
    let again = disk.restarted(disk.boundaries() - 1);
    assert_eq!(again.list("").unwrap(), ["new"], "the next process finds everything as it was left");
    let names = |image: &Image| image.files().map(|(path, _)| path).collect::<String>();
    let found: BTreeSet<String> = last_images(&again).iter().map(names).collect();
    assert_eq!(found, ["a", "anew", "new", ""].map(str::to_owned).into(), "the power may still take it");
    again.create("b").unwrap().append(b"bb").unwrap();
    again.sync_dir("").unwrap();
    expect(&again, "a", &[None]);
    expect(&again, "b", &[Some(b""), Some(b"b"), Some(b"\0\0"), Some(b"bb")]);
}

#[test]
fn random_numbers_are_the_same_in_every_run_and_others_on_every_image() {
    let (disk, again) = (SimDisk::new(), SimDisk::new());
    let first = disk.random();
    assert_eq!((first, disk.random()), (again.random(), again.random()));
    disk.create("a").unwrap();
    let image = disk.killed_image(1);
    let later = image.clone().into_disk().random();
    assert_eq!(later, image.into_disk().random());
    assert_eq!(BTreeSet::from([first, disk.random(), later, disk.restarted(1).random()]).len(), 4);
}

#[test]
fn digests_tell_folders_names_and_contents_apart() {
    let digest = |build: &dyn Fn(&SimDisk)| {
        let disk = SimDisk::new();
        build(&disk);
        disk.killed_image(usize::MAX).digest()
    };
    let write = |disk: &SimDisk, path: &str, bytes: &[u8]| disk.create(path).unwrap().append(bytes).unwrap();
    let digests = [
        digest(&|_| {}),
        digest(&|disk| disk.create_dir("a").unwrap()),
        digest(&|disk| write(disk, "a", b"")),
        digest(&|disk| write(disk, "a", b"x")),
        digest(&|disk| write(disk, "b", b"x")),
        digest(&|disk| (write(disk, "a", b"x"), write(disk, "b", b"")).1),
        digest(&|disk| (write(disk, "b", b"x"), write(disk, "a", b"")).1),
    ];
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
    assert_eq!(
        digests[5],
        digest(&|disk| (write(disk, "b", b""), write(disk, "a", b"x")).1),
        "order of making is nothing"
    );
}

/// Which step of the protocol is left out.
#[derive(Clone, Copy, PartialEq)]
enum Omit {
    Nothing,
    FileSync,
    DirSync,
    AckAfterSync,
}

/// Publishes `name` as the engine does: made aside, synced, linked, folder synced, acknowledged.
fn publish(disk: &SimDisk, omit: Omit) -> io::Result<()> {
    let mut file = disk.create("staging/1")?;
    file.append(b"whole ")?;
    file.append(b"content")?;
    if omit != Omit::FileSync {
        file.sync()?;
    }
    disk.link("staging/1", "manifest/1")?;
    if omit == Omit::AckAfterSync {
        disk.mark(1);
    }
    if omit != Omit::DirSync {
        disk.sync_dir("manifest")?;
    }
    disk.mark(1);
    disk.remove("staging/1")
}

/// Images that break the promise: no file or the whole one, and the whole one once it was acknowledged.
fn violations(omit: Omit) -> usize {
    let disk = SimDisk::new();
    disk.create_dir("staging").unwrap();
    disk.create_dir("manifest").unwrap();
    disk.sync_dir("").unwrap();
    publish(&disk, omit).unwrap();
    let mut count = 0;
    for boundary in 0..disk.boundaries() {
        let acknowledged = !disk.marks(boundary).is_empty();
        disk.images(boundary, &mut |image| {
            let good = match image.file("manifest/1") {
                None => !acknowledged,
                Some(bytes) => bytes == b"whole content",
            };
            count += usize::from(!good);
        });
    }
    count
}

#[test]
fn publishing_by_link_is_all_or_nothing_and_every_omission_is_seen() {
    assert_eq!(violations(Omit::Nothing), 0);
    for omit in [Omit::FileSync, Omit::DirSync, Omit::AckAfterSync] {
        assert!(violations(omit) > 0);
    }
}

#[test]
fn a_boundary_and_an_image_say_how_they_came_to_be() {
    let (disk, mut file) = disk_with(b"ab");
    file.append(b"cd").unwrap();
    disk.mark(7);
    assert_eq!(disk.describe_boundary(0), "nothing");
    assert_eq!(disk.describe_boundary(5), "write 2 bytes to inode 0 at 2");
    assert_eq!(disk.describe_boundary(6), "mark 7");
    assert_eq!((disk.marks(5), disk.marks(6)), (vec![], vec![7]));
    let origins: Vec<String> = last_images(&disk).iter().map(|image| image.origin().to_string()).collect();
    assert_eq!(origins[0], "process killed, nothing lost");
    let torn = "power cut: the first 0 pending names; no pending bytes, but of inode 0 its first 0 pending changes and 1 bytes of the next";
    assert!(origins.iter().any(|origin| origin == torn), "{origins:?}");
}

#[test]
fn an_image_with_one_file_changed_shares_the_others() {
    let (disk, _file) = disk_with(b"abc");
    disk.link("a", "b").unwrap();
    let image = disk.killed_image(disk.boundaries());
    let changed = image.with_file("a", b"abd".to_vec());
    let files = |image: &Image| image.clone().into_disk().open("b").and_then(|file| read_whole(&*file)).unwrap();
    assert_eq!(changed.files().collect::<Vec<_>>(), [("a", &b"abd"[..]), ("b", b"abc")]);
    assert_eq!(files(&changed), &b"abc"[..], "another name of the file keeps its bytes");
    assert_ne!(changed.digest(), image.digest());
    assert_eq!(changed.with_file("a", b"abc".to_vec()).digest(), image.digest());
    let without = image.without_file("a");
    assert_eq!(without.files().collect::<Vec<_>>(), [("b", &b"abc"[..])]);
}
