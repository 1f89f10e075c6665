//! `dump`: the files of a sound database, and of a damaged one.

use std::path::PathBuf;

use crate::fixture::Folder;

/// A file of the database, by its folder and the end of its name; the last one of several.
fn file(folder: &Folder, place: &str, end: &str) -> PathBuf {
    let names = folder.list(place);
    folder.path(&format!("{place}/{}", names.iter().rfind(|name| name.ends_with(end)).unwrap()))
}

fn flip(path: &PathBuf, byte: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[byte] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_log_is_shown_with_its_keys() {
    let folder = Folder::with_table();
    folder.ok(&["insert", "--table", "t", r#"{"id": 9}"#]);
    folder.ok(&["delete", "--table", "t", "1"]);
    let text = folder.ok(&["dump", "wal"]);
    for part in [
        "wal/00000000000000000001.wal: ",
        "  byte 40: ",
        ", manifest 1 was committed with digest ",
        ", write at seq 2\n    table 1 `t`: 1 rows, 0 deleted keys\n      write  9\n",
        ", write at seq 3\n    table 1 `t`: 0 rows, 1 deleted keys\n      delete 1\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_lost_key_index_is_named_by_verify_and_rebuilt_by_repair() {
    let folder = Folder::with_table();
    folder.write("again.csv", "id,name,price\n2,again,1\n");
    folder.ok(&["load", "again.csv", "--table", "t", "--on-conflict", "update"]);
    let said = |args: &[&str]| {
        let ran = folder.run(args);
        (ran.code, ran.stdout, ran.stderr)
    };
    let (code, out, sound) = said(&["verify"]);
    assert_eq!((code, &*out), (Some(0), ""));
    assert!(sound.starts_with("verified 1 table, 2 runs, ") && sound.contains("4 rows, 1 of them dead"), "{sound}");
    for end in [".keys", ".dv"] {
        let lost = file(&folder, "db/tables/0000000001", end);
        let name = format!("tables/0000000001/{}", lost.file_name().unwrap().to_string_lossy());
        std::fs::remove_file(&lost).unwrap();
        let missing = format!("{name}: the file is missing; close the database and rebuild it with `repair`\n");
        assert_eq!(folder.failed(&["sql", "SELECT 1"]), format!("error: {missing}"));
        let (code, out, _) = said(&["verify", "--table", "t"]);
        assert_eq!((code, out), (Some(1), missing));
        let (code, out, text) = said(&["repair"]);
        assert_eq!((code, &*out), (Some(0), ""), "{text}");
        assert!(text.starts_with(&format!("rebuilt {name}\nrepaired 1 file; nothing is wrong")), "{text}");
        let (code, _, text) = said(&["verify"]);
        assert_eq!((code, text), (Some(0), sound.clone()));
    }
    assert_eq!(folder.value("SELECT name FROM t WHERE id = 2"), "again");
    let rows = file(&folder, "db/tables/0000000001", ".parquet");
    flip(&rows, 100);
    let (code, out, _) = said(&["repair"]);
    assert_eq!(code, Some(1));
    assert!(out.contains(".parquet: digest is ") && out.ends_with("; restore it from a backup\n"), "{out}");
    assert_eq!(folder.failed(&["verify", "--table", "x"]), "error: there is no table `x`; there are: t\n");
}

#[test]
fn the_manifest_is_shown_as_json() {
    let folder = Folder::with_table();
    let text = folder.ok(&["dump", "manifest"]);
    assert!(text.starts_with("{\n") && text.ends_with("}\n") && text.contains("\"name\": \"t\""), "{text}");
}

#[test]
fn runs_are_listed_checked_and_their_keys_shown() {
    let folder = Folder::with_table();
    let list = folder.ok(&["dump", "sst"]);
    assert!(list.starts_with("table 1 `t`: 1 runs\n  run "), "{list}");
    assert!(list.contains(": 3 rows, 0 deleted keys, ") && list.ends_with("keys 1 to 3\n"), "{list}");
    assert_eq!(list, folder.ok(&["dump", "keys", "--table", "t"]));
    let run = list.split("run ").nth(1).unwrap().split(':').next().unwrap();
    let sst = folder.ok(&["dump", "sst", run]);
    for part in
        ["  column 1 `id`: Int64 not null\n", "  column 2 `name`: Utf8\n", ", intact\n", "  row group 0: 3 rows, "]
    {
        assert!(sst.contains(part), "{part}: {sst}");
    }
    assert_eq!(folder.ok(&["dump", "keys", run]), "0\t1\n1\t2\n2\t3\n");
    insta::assert_snapshot!(folder.failed(&["dump", "sst", "77"]), @"error: there is no run 77; list the runs and name one of them");
    insta::assert_snapshot!(folder.failed(&["dump", "sst", "--table", "x"]), @"error: there is no table `x`; there are: t");
}

#[test]
fn deleted_keys_of_a_run_are_shown() {
    let folder = Folder::with_table();
    folder.ok(&["delete", "--table", "t", "2"]);
    folder.ok(&["flush"]);
    let list = folder.ok(&["dump", "keys"]);
    let newest = list.lines().find(|line| line.contains(" 1 deleted keys")).unwrap();
    let run = newest.trim().strip_prefix("run ").unwrap().split(':').next().unwrap();
    assert_eq!(folder.ok(&["dump", "keys", run]), "deleted\t2\n");
    assert!(folder.ok(&["dump", "sst", run]).contains(".del: "));
}

#[test]
fn damage_in_the_log_is_pointed_at_and_the_records_behind_it_are_shown() {
    let folder = Folder::with_table();
    for id in 10..14 {
        folder.ok(&["insert", "--table", "t", &format!("{{\"id\": {id}}}")]);
    }
    let whole = folder.ok(&["dump", "wal"]);
    let damaged = whole.lines().find(|line| line.contains("write at seq 3")).unwrap();
    let offset: usize = damaged.trim().strip_prefix("byte ").unwrap().split(':').next().unwrap().parse().unwrap();
    flip(&file(&folder, "db/wal", ".wal"), offset + 41);
    let refused = folder.failed(&["sql", "SELECT 1"]);
    assert!(refused.contains(&format!("wal/00000000000000000001.wal at byte {offset}: ")), "{refused}");
    let ran = folder.run(&["dump", "wal"]);
    assert_eq!(ran.code, Some(1));
    let place = format!("error: wal/00000000000000000001.wal at byte {offset}: checksum is ");
    assert!(ran.stderr.starts_with(&place) && ran.stderr.lines().count() == 1, "{ran}");
    assert!(!ran.stdout.contains("write at seq 3"), "{ran}");
    assert!(ran.stdout.contains("the next intact record\n") && ran.stdout.contains("write at seq 4\n"), "{ran}");
    assert!(ran.stdout.contains("      write  13\n"), "{ran}");
}

#[test]
fn a_tail_that_was_never_acknowledged_is_no_damage_and_is_said_once() {
    let folder = Folder::with_table();
    let log = file(&folder, "db/wal", ".wal");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend_from_slice(b"RWAL and then the power went");
    std::fs::write(&log, bytes).unwrap();
    let text = folder.ok(&["dump", "wal"]);
    assert!(text.contains("28 bytes that were never acknowledged ("), "{text}");
    let ran = folder.run(&["get", "--table", "t", "1"]);
    assert_eq!(ran.stdout, "{\"id\":1,\"name\":\"one\",\"price\":\"1.50\"}\n");
    assert!(ran.stderr.starts_with("note: the database was not closed in order; wal/"), "{ran}");
    assert!(ran.stderr.contains(" were cut off: ") && ran.stderr.contains("only 28 are left"), "{ran}");
    assert_eq!(folder.run(&["get", "--table", "t", "1"]).stderr, "");
}

#[test]
fn a_damaged_manifest_is_shown_and_said_to_be_damaged() {
    let folder = Folder::with_table();
    let manifest = file(&folder, "db/manifest", ".json");
    let middle = std::fs::metadata(&manifest).unwrap().len() / 2;
    flip(&manifest, usize::try_from(middle).unwrap());
    let ran = folder.run(&["dump", "manifest"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stdout.starts_with("{\n") && ran.stderr.starts_with("error: manifest/"), "{ran}");
    // The log can still be read, without the names of its tables.
    let ran = folder.run(&["dump", "wal"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("was committed"), "{ran}");
}

#[test]
fn damage_in_the_files_of_a_run_is_pointed_at() {
    let folder = Folder::with_table();
    let list = folder.ok(&["dump", "sst"]);
    let run = list.split("run ").nth(1).unwrap().split(':').next().unwrap();
    flip(&file(&folder, "db/tables/0000000001", ".parquet"), 10);
    let ran = folder.run(&["dump", "sst", run]);
    assert_eq!(ran.code, Some(1), "{ran}");
    let errors: Vec<&str> = ran.stderr.lines().collect();
    assert!(errors.len() == 2 && errors[0].contains(".parquet: digest is "), "{ran}");
    assert!(errors[1].contains(".parquet at byte 0: checksum is "), "{ran}");
    assert!(ran.stdout.contains("row group 0: 3 rows"), "the footer is intact: {ran}");
    flip(&file(&folder, "db/tables/0000000001", ".keys"), 3);
    assert_eq!(folder.run(&["dump", "keys", run]).code, Some(1));
}
