//! A full disk: the load says so, applies nothing, and works once there is space again.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::fixture::{Folder, Ran};

fn mount(target: &Path, size: &str, again: &str) -> bool {
    let options = format!("{again}size={size}");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(target).output();
    mounted.is_ok_and(|output| output.status.success())
}

/// A mounted folder; unmounted when it goes.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Rows that do not compress.
fn rows() -> String {
    let mut text = "id,text\n".to_owned();
    let mut state = 1_u64;
    for id in 0..60_000 {
        write!(text, "{id},").unwrap();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(text, "{state:016x}").unwrap();
        }
        text.push('\n');
    }
    text
}

const LOAD: [&str; 6] = ["load", "rows.csv", "--table", "new", "--key", "id"];

fn check(folder: &Folder, full: &Ran, texts: &[&str]) {
    assert_eq!((full.code, full.stdout.as_str()), (Some(1), ""), "{full}");
    assert!(full.stderr.starts_with("error: cannot ") && full.stderr.lines().count() == 1, "{full}");
    assert!(texts.iter().any(|text| full.stderr.contains(text)), "{full}");
    assert_eq!(folder.value("SELECT count(*) FROM kv"), "1", "what was there is there");
    folder.failed(&["sql", "SELECT count(*) FROM new"]);
}

#[test]
fn a_load_onto_a_full_disk_fails_and_works_when_there_is_space() {
    let folder = Folder::new();
    folder.write("rows.csv", &rows());
    let db = folder.path("db");
    std::fs::create_dir(&db).unwrap();
    if !mount(&db, "2m", "") {
        return a_load_past_a_limit_fails_and_works_without(&folder);
    }
    let mounted = Mounted(&db);
    folder.ok(&["insert", "key", "value"]);
    let full = folder.run(&LOAD);
    check(&folder, &full, &["No space left on device"]);
    assert!(mount(&db, "64m", "remount,"));
    folder.ok(&LOAD);
    assert_eq!(folder.value("SELECT count(*) FROM new"), "60000");
    drop(mounted);
}

/// Where nothing can be mounted: files that may not grow.
fn a_load_past_a_limit_fails_and_works_without(folder: &Folder) {
    folder.ok(&["insert", "key", "value"]);
    let binary = env!("CARGO_BIN_EXE_rustling");
    let script = format!("trap '' XFSZ; ulimit -f 2048; exec {binary} --db db {}", LOAD.join(" "));
    let full = Command::new("sh").args(["-c", &script]).current_dir(folder.path(".")).output().unwrap();
    check(folder, &full.into(), &["File too large", "No space left on device"]);
    folder.ok(&LOAD);
    assert_eq!(folder.value("SELECT count(*) FROM new"), "60000");
}
