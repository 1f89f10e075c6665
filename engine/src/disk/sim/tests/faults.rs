//! What planned faults do.

use std::io::ErrorKind;

use super::*;

fn fault(effect: Effect) -> Fault {
    Fault { failure: Failure::Errno(28), effect }
}

#[test]
fn every_call_is_counted_and_can_fail() {
    let (disk, _file) = disk_with(b"abc");
    let lock = disk.lock("LOCK").unwrap();
    disk.open("a").unwrap().map().unwrap();
    disk.open("a").unwrap().read_at(0, &mut [0; 2]).unwrap();
    disk.list("").unwrap();
    drop(lock);
    use Operation::*;
    let operations: Vec<Operation> = disk.calls().iter().map(|call| call.operation).collect();
    assert_eq!(operations, [Create, Append, SyncFile, SyncDir, Lock, Open, Map, Open, ReadAt, List]);
    assert_eq!(disk.calls()[6], Call { operation: Map, path: "a".to_owned() });
    disk.fail_at(10, fault(Effect::Before));
    assert_eq!(disk.list("").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.list("").unwrap(), ["LOCK", "a"], "a fault strikes once");
}

#[test]
fn a_call_may_fail_before_or_after_its_effect() {
    for (effect, made) in
        [(Effect::Before, false), (Effect::Short, false), (Effect::Lost, false), (Effect::After, true)]
    {
        let disk = SimDisk::new();
        disk.fail_at(0, fault(effect));
        assert!(disk.create("a").is_err());
        assert_eq!(disk.open("a").is_ok(), made, "{effect:?}");
        disk.fail_at(2, fault(effect));
        assert!(disk.lock("LOCK").is_err());
        assert!(disk.lock("LOCK").unwrap().is_some(), "a lock that was refused is not held");
    }
}

#[test]
fn a_short_append_leaves_half() {
    let (disk, mut file) = disk_with(b"ab");
    disk.fail_at(4, fault(Effect::Short));
    assert!(file.append(b"cdef").is_err());
    assert_eq!(disk.killed_image(usize::MAX).file("a"), Some(b"abcd".as_slice()));
}

#[test]
fn a_failed_sync_keeps_its_bytes_pending_or_drops_them() {
    let (lost, zero, kept) = (Some(b"ab".as_slice()), Some(b"ab\0".as_slice()), Some(b"abc".as_slice()));
    for (effect, expected) in [
        (Effect::Before, [lost, zero, kept].as_slice()),
        (Effect::After, &[kept]),
        // The whole file is what a killed process leaves: the system still has the bytes in memory.
        (Effect::Lost, &[lost, kept]),
    ] {
        let (disk, mut file) = disk_with(b"ab");
        file.append(b"c").unwrap();
        disk.fail_at(5, fault(effect));
        assert!(file.sync().is_err());
        expect(&disk, "a", expected);
        let whole = disk.open("a").unwrap();
        assert_eq!(read_whole(&*whole).unwrap(), b"abc".as_slice(), "readers still find them");
    }
}

#[test]
fn syncing_again_after_a_sync_that_dropped_bytes_does_not_bring_them_back() {
    let (disk, mut file) = disk_with(b"ab");
    file.append(b"cd").unwrap();
    disk.fail_at(5, fault(Effect::Lost));
    assert!(file.sync().is_err());
    file.append(b"ef").unwrap();
    file.sync().unwrap();
    expect(&disk, "a", &[Some(b"abcdef"), Some(b"ab\0\0ef")]);
}

#[test]
fn a_full_disk_refuses_what_takes_space_until_there_is_some_again() {
    let (disk, mut file) = disk_with(b"ab");
    disk.fill_at(disk.calls().len() + 1);
    file.append(b"c").unwrap();
    assert_eq!(file.append(b"d").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.create("b").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.link("a", "b").unwrap_err().kind(), ErrorKind::StorageFull);
    file.sync().unwrap();
    assert_eq!(disk.open("a").unwrap().len(), 3);
    disk.free_space();
    file.append(b"d").unwrap();
    expect(&disk, "a", &[Some(b"abc"), Some(b"abc\0"), Some(b"abcd")]);
}

#[test]
fn after_a_power_cut_nothing_works_and_nothing_is_noted() {
    let (disk, mut file) = disk_with(b"ab");
    let before = disk.boundaries();
    disk.fail_at(5, fault(Effect::PowerCut));
    file.append(b"c").unwrap();
    let reader = {
        assert!(file.sync().is_err());
        assert!(file.append(b"d").is_err());
        disk.open("a")
    };
    assert!(reader.is_err() && disk.create("b").is_err() && disk.lock("LOCK").is_err() && disk.list("").is_err());
    disk.mark(1);
    assert_eq!(disk.boundaries(), before + 1, "only the append before the cut");
    assert!(disk.marks(usize::MAX).is_empty());
    expect(&disk, "a", &[Some(b"ab"), Some(b"ab\0"), Some(b"abc")]);
}
