//! The seam's contract, run against every disk.

use std::io::ErrorKind;

use crate::disk::api::{Disk, WriteFile};
use crate::disk::local::LocalDisk;
use crate::disk::map::read_whole;
use crate::disk::memory::MemoryDisk;
use crate::disk::sim::SimDisk;

/// Runs a body against an empty disk of each kind.
fn check(body: fn(&dyn Disk)) {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalDisk::open(&folder.path().join("db")).unwrap();
    for disk in [&local as &dyn Disk, &MemoryDisk::new(), &SimDisk::new()] {
        disk.create_dir("").unwrap();
        body(disk);
    }
}

fn write(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Box<dyn WriteFile> {
    let mut file = disk.create(path).unwrap_or_else(|error| panic!("{disk:?}: {path}: {error}"));
    file.append(bytes).unwrap();
    file
}

fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
    read_whole(&*disk.open(path).unwrap()).unwrap().to_vec()
}

#[track_caller]
fn refused<T>(disk: &dyn Disk, result: std::io::Result<T>, kind: ErrorKind) {
    let found = result.err().map(|error| error.kind());
    assert_eq!(found, Some(kind), "{disk:?}");
}

#[test]
fn a_file_grows_by_what_is_appended_and_is_read_back() {
    check(|disk| {
        let mut file = write(disk, "a", b"one ");
        file.append(b"").unwrap();
        file.sync().unwrap();
        file.append(b"two").unwrap();
        file.sync().unwrap();
        let file = disk.open("a").unwrap();
        let mut middle = [0; 4];
        file.read_at(2, &mut middle).unwrap();
        assert_eq!((file.len(), &middle), (7, b"e tw"));
        assert_eq!(file.map().unwrap(), b"one two".as_slice());
        file.read_at(7, &mut []).unwrap();
        for (offset, length) in [(4, 4), (7, 1), (8, 1), (i64::MAX.unsigned_abs() - 3, 3)] {
            assert!(file.read_at(offset, &mut vec![0; length]).is_err(), "{disk:?}: {offset}");
        }
        refused(disk, file.read_at(5, &mut [0; 3]), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_file_keeps_the_length_it_had_when_opened() {
    check(|disk| {
        let mut writer = write(disk, "a", b"one");
        let file = disk.open("a").unwrap();
        writer.append(b" two").unwrap();
        assert_eq!((file.len(), file.map().unwrap().as_ref()), (3, b"one".as_slice()));
        assert_eq!(read(disk, "a"), b"one two");
    });
}

#[test]
fn an_empty_file_is_mapped_as_no_bytes() {
    check(|disk| {
        disk.create("a").unwrap();
        assert!(disk.open("a").unwrap().map().unwrap().is_empty());
    });
}

#[test]
fn appending_goes_on_after_the_length_given() {
    check(|disk| {
        drop(write(disk, "a", b"kept and torn"));
        let mut file = disk.append("a", 5).unwrap();
        assert_eq!(read(disk, "a"), b"kept ");
        file.append(b"on").unwrap();
        disk.append("a", 7).unwrap().append(b"!").unwrap();
        assert_eq!(read(disk, "a"), b"kept on!");
        refused(disk, disk.append("a", 9), ErrorKind::InvalidInput);
        refused(disk, disk.append("b", 0), ErrorKind::NotFound);
        assert_eq!(read(disk, "a"), b"kept on!", "a refused call changes nothing");
    });
}

#[test]
fn what_is_appended_overwrites_what_was_reserved() {
    check(|disk| {
        let mut file = write(disk, "a", b"one");
        file.reserve(6).unwrap();
        file.sync().unwrap();
        assert_eq!(read(disk, "a"), b"one\0\0\0\0\0\0");
        file.append(b" two").unwrap();
        assert_eq!(read(disk, "a"), b"one two\0\0");
        file.append(b" three").unwrap();
        file.sync().unwrap();
        assert_eq!(read(disk, "a"), b"one two three");
        file.reserve(2).unwrap();
        file.give_back().unwrap();
        assert_eq!(read(disk, "a"), b"one two three");
        file.reserve(2).unwrap();
        disk.append("a", 7).unwrap().append(b"!").unwrap();
        assert_eq!(read(disk, "a"), b"one two!");
    });
}

#[test]
fn a_taken_name_is_not_created_or_linked_again() {
    check(|disk| {
        drop(write(disk, "a", b"a"));
        drop(write(disk, "b", b"b"));
        disk.create_dir("d").unwrap();
        refused(disk, disk.create("a"), ErrorKind::AlreadyExists);
        refused(disk, disk.create("d"), ErrorKind::AlreadyExists);
        refused(disk, disk.link("a", "b"), ErrorKind::AlreadyExists);
        refused(disk, disk.link("a", "a"), ErrorKind::AlreadyExists);
        refused(disk, disk.create_dir("a"), ErrorKind::AlreadyExists);
        assert_eq!((read(disk, "a"), read(disk, "b")), (b"a".to_vec(), b"b".to_vec()));
    });
}

#[test]
fn a_linked_file_is_one_file_with_two_names() {
    check(|disk| {
        let mut file = write(disk, "a", b"1");
        disk.create_dir("d").unwrap();
        disk.link("a", "d/b").unwrap();
        file.append(b"2").unwrap();
        disk.remove("a").unwrap();
        assert_eq!(read(disk, "d/b"), b"12");
        refused(disk, disk.link("a", "c"), ErrorKind::NotFound);
    });
}

#[test]
fn a_rename_replaces_and_leaves_open_files_readable() {
    check(|disk| {
        drop(write(disk, "a", b"new"));
        drop(write(disk, "b", b"old"));
        let old = disk.open("b").unwrap();
        disk.rename("a", "b").unwrap();
        assert_eq!((read(disk, "b"), read_whole(&*old).unwrap().to_vec()), (b"new".to_vec(), b"old".to_vec()));
        assert_eq!(disk.list("").unwrap(), ["b"]);
        refused(disk, disk.rename("a", "b"), ErrorKind::NotFound);
        disk.create_dir("d").unwrap();
        refused(disk, disk.rename("b", "d"), ErrorKind::IsADirectory);
        refused(disk, disk.rename("d", "e"), ErrorKind::IsADirectory);
        refused(disk, disk.rename("b", "no/b"), ErrorKind::NotFound);
        disk.rename("b", "d/b").unwrap();
        assert_eq!((disk.list("").unwrap(), read(disk, "d/b")), (vec!["d".to_owned()], b"new".to_vec()));
    });
}

#[test]
fn renaming_one_of_two_names_of_a_file_to_the_other_changes_nothing() {
    check(|disk| {
        drop(write(disk, "a", b"x"));
        disk.link("a", "b").unwrap();
        disk.rename("a", "b").unwrap();
        disk.rename("a", "a").unwrap();
        assert_eq!(disk.list("").unwrap(), ["a", "b"]);
    });
}

#[test]
fn a_removed_file_stays_readable_where_it_is_open() {
    check(|disk| {
        drop(write(disk, "a", b"bytes"));
        let file = disk.open("a").unwrap();
        let mapped = file.map().unwrap();
        disk.remove("a").unwrap();
        drop(write(disk, "a", b"other"));
        assert_eq!((read_whole(&*file).unwrap(), mapped.as_ref()), (mapped.clone(), b"bytes".as_slice()));
        disk.remove("a").unwrap();
        refused(disk, disk.remove("a"), ErrorKind::NotFound);
        refused(disk, disk.open("a"), ErrorKind::NotFound);
    });
}

#[test]
fn a_folder_lists_its_own_files_and_folders_in_order() {
    check(|disk| {
        disk.create_dir("b/inner").unwrap();
        disk.create_dir("b").unwrap();
        disk.create_dir("b/inner").unwrap();
        for path in ["b/z", "b/a", "b/inner/deep", "b-", "a"] {
            disk.create(path).unwrap();
        }
        assert_eq!(disk.list("").unwrap(), ["a", "b", "b-"]);
        assert_eq!(disk.list("b").unwrap(), ["a", "inner", "z"]);
        assert_eq!(disk.list("b/inner").unwrap(), ["deep"]);
        for dir in ["", "b", "b/inner"] {
            disk.sync_dir(dir).unwrap();
        }
    });
}

#[test]
fn a_folder_is_removed_when_it_is_empty() {
    check(|disk| {
        disk.create_dir("d/inner").unwrap();
        drop(write(disk, "d/inner/a", b"x"));
        refused(disk, disk.remove_dir("d/inner"), ErrorKind::DirectoryNotEmpty);
        refused(disk, disk.remove_dir("d"), ErrorKind::DirectoryNotEmpty);
        refused(disk, disk.remove_dir("d/inner/a"), ErrorKind::NotADirectory);
        disk.remove("d/inner/a").unwrap();
        disk.remove_dir("d/inner").unwrap();
        disk.remove_dir("d").unwrap();
        refused(disk, disk.remove_dir("d"), ErrorKind::NotFound);
        assert!(disk.list("").unwrap().is_empty());
        disk.create_dir("d/inner").unwrap();
        assert!(disk.list("d/inner").unwrap().is_empty());
    });
}

#[test]
fn a_file_gets_a_name_on_another_disk_where_both_can_share_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| LocalDisk::open(&folder.path().join(name)).unwrap());
    let memory = MemoryDisk::new();
    for disk in [&one as &dyn Disk, &other, &memory] {
        disk.create_dir("d").unwrap();
    }
    drop(write(&one, "d/a", b"bytes"));
    drop(write(&memory, "d/a", b"bytes"));
    assert!(other.link_from(&one, "d/a", "d/b").unwrap());
    one.remove("d/a").unwrap();
    assert_eq!(read(&other, "d/b"), b"bytes");
    refused(&one, one.link_from(&other, "d/b", "d/none/b"), ErrorKind::NotFound);
    refused(&one, one.link_from(&other, "d/none", "d/b"), ErrorKind::NotFound);
    assert!(one.link_from(&other, "d/b", "d/b").unwrap());
    refused(&one, one.link_from(&other, "d/b", "d/b"), ErrorKind::AlreadyExists);
    std::os::unix::fs::symlink(folder.path().join("one/d/b"), folder.path().join("one/d/symbolic")).unwrap();
    assert!(!other.link_from(&one, "d/symbolic", "d/c").unwrap());
    assert!(!other.link_from(&memory, "d/a", "d/c").unwrap());
    assert!(!memory.link_from(&one, "d/b", "d/c").unwrap());
}

#[test]
fn a_missing_folder_is_not_found_and_a_file_is_no_folder() {
    check(|disk| {
        disk.create("a").unwrap();
        disk.create_dir("d").unwrap();
        refused(disk, disk.create("no/a"), ErrorKind::NotFound);
        refused(disk, disk.list("no"), ErrorKind::NotFound);
        refused(disk, disk.sync_dir("no/deeper"), ErrorKind::NotFound);
        refused(disk, disk.link("a", "no/a"), ErrorKind::NotFound);
        refused(disk, disk.open("no/a"), ErrorKind::NotFound);
        refused(disk, disk.lock("no/LOCK"), ErrorKind::NotFound);
        refused(disk, disk.list("a"), ErrorKind::NotADirectory);
        refused(disk, disk.create("a/b"), ErrorKind::NotADirectory);
        refused(disk, disk.create_dir("a/b"), ErrorKind::AlreadyExists);
        refused(disk, disk.open("d"), ErrorKind::IsADirectory);
        refused(disk, disk.append("d", 0), ErrorKind::IsADirectory);
        refused(disk, disk.remove("d"), ErrorKind::IsADirectory);
    });
}

#[test]
fn a_lock_is_held_once_until_it_is_dropped() {
    check(|disk| {
        let lock = disk.lock("LOCK").unwrap().unwrap();
        assert!(disk.lock("LOCK").unwrap().is_none(), "{disk:?}");
        assert!(disk.lock("OTHER").unwrap().is_some());
        assert!(disk.lock("LOCK").unwrap().is_none(), "a refused call does not release it");
        drop(lock);
        assert!(disk.lock("LOCK").unwrap().is_some());
        assert_eq!(disk.list("").unwrap(), ["LOCK", "OTHER"]);
    });
}

#[test]
fn paths_that_may_lead_out_of_the_root_are_refused() {
    check(|disk| {
        disk.create("a").unwrap();
        for path in ["/a", "../a", "..", ".", "a/../b", "./a", "d//a", "d/", "a\0b"] {
            let kind = ErrorKind::InvalidInput;
            refused(disk, disk.create_dir(path), kind);
            refused(disk, disk.list(path), kind);
            refused(disk, disk.sync_dir(path), kind);
            refused(disk, disk.create(path), kind);
            refused(disk, disk.append(path, 0), kind);
            refused(disk, disk.open(path), kind);
            refused(disk, disk.link("a", path), kind);
            refused(disk, disk.link(path, "b"), kind);
            refused(disk, disk.rename("a", path), kind);
            refused(disk, disk.rename(path, "b"), kind);
            refused(disk, disk.remove(path), kind);
            refused(disk, disk.remove_dir(path), kind);
            refused(disk, disk.lock(path), kind);
        }
        refused(disk, disk.create(""), ErrorKind::InvalidInput);
        assert_eq!(disk.list("").unwrap(), ["a"]);
    });
}
