//! `backup` and `restore`, what they refuse, and what is left when they are interrupted; copies made by other means.

use std::fmt::Write;
use std::process::{Child, Command, Stdio};

use crate::fixture::{Folder, Ran};

const ALL: [&str; 4] = ["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"];

fn rows(folder: &Folder, db: &str) -> String {
    folder.ok(&[&ALL[..], &["--db", db]].concat())
}

/// Contents of all files of a database but its lock, by name.
fn files(folder: &Folder, db: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for place in ["manifest", "wal", "tables/0000000001"] {
        for name in folder.list(&format!("{db}/{place}")) {
            let path = format!("{db}/{place}/{name}");
            found.push((format!("{place}/{name}"), std::fs::read(folder.path(&path)).unwrap()));
        }
    }
    found
}

/// Flips a bit in the SST of the first run.
fn damage(folder: &Folder, db: &str) {
    let path = folder.path(&format!("{db}/tables/0000000001/00000000000000000001.parquet"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    // A file of its own: the bytes of a linked one belong to the other folder, too.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_backup_is_a_database_and_so_is_what_is_restored_from_it() {
    let folder = Folder::with_table();
    folder.ok(&["insert", "--table", "t", "--replace", r#"{"id": 2, "name": "zwei"}"#, r#"{"id": 4}"#]);
    let (wanted, before) = (rows(&folder, "db"), files(&folder, "db"));
    let made = folder.run(&["backup", "backup"]);
    assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{made}");
    assert!(made.stderr.starts_with("backed up db into backup: 1 table at sequence number 2, 5 files with "), "{made}");
    assert!(made.stderr.ends_with("; 2 of them are linked and share their bytes with the database\n"), "{made}");
    assert_eq!(files(&folder, "db"), before, "the database is not changed");
    let made = folder.run(&["backup", "--copy", "copy"]);
    assert!(made.code == Some(0) && !made.stderr.contains("linked"), "{made}");
    folder.ok(&["delete", "--table", "t", "1"]);
    folder.ok(&["compact"]);
    for backup in ["backup", "copy"] {
        assert_eq!(rows(&folder, backup), wanted, "{backup}");
    }
    let before = files(&folder, "backup");
    let restored = folder.run(&["restore", "backup", "--db", "restored"]);
    let start = "restored backup into restored: 1 table at sequence number 2, 5 files with ";
    assert!(restored.stderr.starts_with(start) && restored.stderr.lines().count() == 1, "{restored}");
    assert_eq!((rows(&folder, "restored"), files(&folder, "backup")), (wanted.clone(), before));
    folder.ok(&["insert", "--table", "t", r#"{"id": 9}"#, "--db", "restored"]);
    assert_eq!(rows(&folder, "backup"), wanted);
}

#[test]
fn folders_that_cannot_be_backed_up_or_into_are_refused() {
    let folder = Folder::with_table();
    std::fs::create_dir(folder.path("photos")).unwrap();
    folder.write("photos/holiday.jpg", "");
    insta::assert_snapshot!(folder.failed(&["backup", "photos"]), @"error: photos is not empty (it holds `holiday.jpg`); name a new folder");
    insta::assert_snapshot!(folder.failed(&["backup", "db"]), @"error: db is not empty (it holds `manifest`); name a new folder");
    folder.ok(&["backup", "backup"]);
    insta::assert_snapshot!(folder.failed(&["backup", "backup"]), @"error: backup is not empty (it holds `manifest`); name a new folder");
    insta::assert_snapshot!(folder.failed(&["restore", "backup"]), @"error: db is not empty (it holds `manifest`); name a new folder");
    insta::assert_snapshot!(folder.failed(&["restore", "photos", "--db", "new"]), @"error: photos is not a rustling database (it holds `holiday.jpg` but no manifest); name another folder");
    insta::assert_snapshot!(folder.failed(&["restore", "nowhere", "--db", "new"]), @"error: there is no database in nowhere; `load`, `insert` and `sql` create one");
    insta::assert_snapshot!(folder.failed(&["backup", "photos/holiday.jpg"]), @"error: photos/holiday.jpg: cannot list the folder: Not a directory (os error 20)");
    assert!(!folder.has("new") && !folder.has("nowhere"));
    assert_eq!(folder.list("photos"), ["holiday.jpg"]);
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_left_of_the_copy() {
    let folder = Folder::with_table();
    folder.ok(&["backup", "backup"]);
    damage(&folder, "backup");
    let text = folder.failed(&["restore", "backup", "--db", "restored"]);
    let start = "error: backup: tables/0000000001/00000000000000000001.parquet: digest is ";
    assert!(text.starts_with(start) && text.ends_with("; restore it from a backup\n"), "{text}");
    assert!(!folder.has("restored"));
    damage(&folder, "db");
    for extra in [&[][..], &["--copy"]] {
        let text = folder.failed(&[&["backup", "again"], extra].concat());
        assert!(text.starts_with("error: db: tables/0000000001/00000000000000000001.parquet: digest is "), "{text}");
        assert!(!folder.has("again"));
    }
    // The damage is shared, as the help says.
    folder.ok(&["backup", "again", "--no-verify"]);
    assert!(folder.failed(&[&ALL[..], &["--db", "again"]].concat()).contains("checksum is "));
}

#[test]
fn a_database_that_is_open_is_backed_up_by_whoever_has_it_open() {
    let folder = Folder::with_table();
    let lock = std::fs::OpenOptions::new().write(true).open(folder.path("db/LOCK")).unwrap();
    lock.lock().unwrap();
    insta::assert_snapshot!(folder.failed(&["backup", "backup"]), @"error: db is open in another process; close it there first, or call `Db::backup` in that process");
    insta::assert_snapshot!(folder.failed(&["restore", "db", "--db", "new"]), @"error: db is open in another process; a database has one writer at a time: close the other one first");
    // To close the file would leave the lock to processes that other tests are starting.
    lock.unlock().unwrap();
    folder.ok(&["backup", "backup"]);
}

/// A database that takes a while to copy.
fn large() -> Folder {
    let folder = Folder::new();
    let mut text = "id,text\n".to_owned();
    for id in 0..20_000_u64 {
        writeln!(text, "{id},{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
    }
    folder.write("rows.csv", &text);
    for table in ["t", "t1", "t2", "t3", "t4", "t5"] {
        folder.ok(&["load", "rows.csv", "--table", table, "--key", "id"]);
    }
    folder
}

/// Starts a backup and waits until it has begun, or ended.
fn start(folder: &Folder) -> Child {
    let mut command = folder.command(&["backup", "backup", "--copy"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.has("backup/INCOMPLETE") && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child
}

fn send(signal: &str, child: &Child) {
    // The process may have ended.
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
}

#[test]
fn a_backup_that_is_killed_is_no_database_and_is_made_again() {
    let folder = large();
    let wanted = rows(&folder, "db");
    let child = start(&folder);
    send("-KILL", &child);
    let ended: Ran = child.wait_with_output().unwrap().into();
    if !folder.has("backup/manifest") || folder.list("backup/manifest").is_empty() {
        let text = folder.failed(&["sql", "SELECT 1", "--db", "backup"]);
        insta::assert_snapshot!(text, @"error: backup is an unfinished copy of a database; make it again, which starts over in this folder, or remove it");
        assert_eq!(folder.failed(&["restore", "backup", "--db", "new"]), text);
        folder.ok(&["backup", "backup"]);
    }
    assert_eq!(rows(&folder, "backup"), wanted, "{ended}");
    assert!(!folder.has("backup/INCOMPLETE"));
}

#[test]
fn a_backup_that_is_interrupted_leaves_nothing() {
    let folder = large();
    let child = start(&folder);
    send("-INT", &child);
    let ended: Ran = child.wait_with_output().unwrap().into();
    match ended.code {
        Some(0) => drop(rows(&folder, "backup")),
        code => {
            assert_eq!(
                (code, ended.stderr.as_str()),
                (Some(130), "error: it was stopped; nothing is left of the copy\n")
            );
            assert!(!folder.has("backup"));
        }
    }
}

#[test]
fn a_folder_that_is_copied_elsewhere_is_the_same_database() {
    let folder = Folder::with_table();
    folder.ok(&["insert", "--table", "t", r#"{"id": 4}"#]);
    folder.ok(&["flush"]);
    folder.ok(&["insert", "--table", "t", r#"{"id": 5}"#]);
    let copied = Command::new("cp").args(["-a", "db", "elsewhere"]).current_dir(folder.path(".")).status().unwrap();
    assert!(copied.success());
    let wanted = rows(&folder, "db");
    assert_eq!(rows(&folder, "elsewhere"), wanted);
    folder.ok(&["delete", "--table", "t", "1", "--db", "elsewhere"]);
    std::fs::rename(folder.path("elsewhere"), folder.path("moved")).unwrap();
    assert_eq!(rows(&folder, "moved").lines().count(), wanted.lines().count() - 1);
    assert_eq!(rows(&folder, "db"), wanted);
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[test]
fn a_newer_format_and_an_unknown_feature_are_named_and_left_alone() {
    for (old, new, expected) in [
        (
            "\"format\": 2,",
            "\"format\": 3,",
            "format 3 is newer than 2, the newest this version reads; use a newer version",
        ),
        (
            "\"features\": [],",
            "\"features\": [\"teleport\"],",
            "the database uses the feature `teleport`, which this version does not know; use a newer version",
        ),
    ] {
        let folder = Folder::with_table();
        let name = folder.list("db/manifest").pop().unwrap();
        let path = folder.path(&format!("db/manifest/{name}"));
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, text) = text.split_once('\n').unwrap();
        assert!(text.contains(old), "{text}");
        let text = text.replacen(old, new, 1);
        std::fs::write(&path, format!("rustling manifest crc32c {:08x}\n{text}", crc32c(text.as_bytes()))).unwrap();
        let before = files(&folder, "db");
        let refused = format!("error: manifest/{name}: {expected}\n");
        for args in [&["sql", "SELECT 1"][..], &["insert", "key", "value"], &["compact"], &["get", "key"]] {
            assert_eq!(folder.failed(args), refused, "{args:?}");
        }
        let refused = format!("error: db: manifest/{name}: {expected}\n");
        assert_eq!(folder.failed(&["backup", "backup"]), refused);
        assert_eq!(folder.failed(&["restore", "db", "--db", "new"]), refused);
        assert_eq!(files(&folder, "db"), before);
        assert!(!folder.has("backup") && !folder.has("new"));
    }
}
