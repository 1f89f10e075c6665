//! Signals: what runs is given up, and the database opens again.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::fixture::{Folder, Ran};

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Starts a load of standard input and gives it rows until it takes them.
fn start_load(folder: &Folder) -> Child {
    let mut child = folder
        .command(&["load", "-", "--table", "t", "--key", "id", "--on-conflict", "update"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(b"id,name,price\n").unwrap();
    // More than any buffer on the way: when all is written, rows are being taken.
    for id in 0..400_000 {
        writeln!(stdin, "{id},some text to fill the buffers on the way to the table,{id}.50").unwrap();
    }
    child
}

fn end(mut child: Child) -> Ran {
    // The load may have closed its end already.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(b"1,one,1\n");
    }
    child.wait_with_output().unwrap().into()
}

#[test]
fn an_interrupted_load_applies_nothing() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let folder = Folder::with_table();
        let before = folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]);
        let child = start_load(&folder);
        send(signal, &child);
        let ran = end(child);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran}");
        assert_eq!(ran.stderr, "error: the load was stopped; nothing was loaded\n");
        assert_eq!(folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]), before);
        assert_eq!(folder.list("db/staging"), Vec::<String>::new());
    }
}

#[test]
fn an_interrupted_load_into_a_new_table_leaves_no_table() {
    let folder = Folder::new();
    let child = start_load(&folder);
    send("-INT", &child);
    assert_eq!(end(child).code, Some(130));
    assert!(folder.failed(&["sql", "SELECT * FROM t"]).contains("table 'rustling.public.t' not found"));
}

#[test]
fn an_interrupted_query_is_dropped() {
    let folder = Folder::with_table();
    // The first row comes at once, so the query runs when it was read; the last one would take hours.
    let query =
        "SELECT 1 AS ready UNION ALL SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let child = folder
        .command(&["sql", query, "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lock = folder.path("db/LOCK");
    while std::fs::File::open(&lock).unwrap().try_lock().is_ok() {
        std::thread::yield_now();
    }
    send("-INT", &child);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(130), "{ran}");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
}
