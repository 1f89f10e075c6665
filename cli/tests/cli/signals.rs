//! Signals: what runs is given up, and the database opens again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

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

/// Nothing comes any more, and nobody closes the input.
#[test]
fn a_load_that_waits_for_its_input_ends_with_the_first_signal() {
    let folder = Folder::with_table();
    let mut child = start_load(&folder);
    let input = child.stdin.take();
    send("-TERM", &child);
    let ran: Ran = child.wait_with_output().unwrap().into();
    drop(input);
    assert_eq!(ran.code, Some(143), "{ran}");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
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
fn a_killed_load_leaves_nothing_either() {
    let folder = Folder::with_table();
    let before = folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]);
    let child = start_load(&folder);
    send("-KILL", &child);
    assert_eq!(end(child).code, None);
    assert_eq!(folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]), before);
    assert_eq!(folder.list("db/staging"), Vec::<String>::new());
}

/// Would take years.
const ENDLESS: &str =
    "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000000) b";

/// Starts statements and reads the first line of what they give.
fn start_sql(folder: &Folder, statements: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let arguments = [&["sql", "--format", "csv"], statements].concat();
    let mut child = folder.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    (child, stdout)
}

fn end_sql((child, mut stdout): (Child, BufReader<ChildStdout>)) -> Ran {
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let mut ran: Ran = child.wait_with_output().unwrap().into();
    ran.stdout = rest;
    ran
}

#[test]
fn a_stopped_query_gives_what_was_done_before_it() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let folder = Folder::with_table();
        let sql = start_sql(&folder, &["SELECT count(*) AS n FROM t", ENDLESS]);
        send(signal, &sql.0);
        let ran = end_sql(sql);
        let (first, rest) = ran.stdout.split_once('\n').unwrap();
        assert_eq!((ran.code, first), (Some(code), "3"), "{ran}");
        assert!(rest.is_empty() || rest.starts_with("sum") && rest.lines().count() == 1, "{ran}");
        assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
    }
}

#[test]
fn a_stopped_insert_inserts_nothing_and_the_one_before_it_stays() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let folder = Folder::with_table();
        let endless = "INSERT INTO t SELECT value, 'new', 1 FROM generate_series(10, 1000000000000)";
        let one = "INSERT INTO t VALUES (4, 'four', 4)";
        let sql = start_sql(&folder, &[one, "SELECT 'begun'", endless]);
        send(signal, &sql.0);
        let ran = end_sql(sql);
        assert_eq!(ran.code, Some(code), "{ran}");
        assert_eq!(ran.stderr.matches("inserted").count(), 1, "{ran}");
        assert_eq!(folder.value("SELECT max(id) FROM t"), "4");
    }
}

#[test]
fn a_stopped_export_keeps_the_file_that_was_there() {
    let folder = Folder::with_table();
    folder.ok(&["export", "--table", "t", "t.parquet"]);
    let before = std::fs::read(folder.path("t.parquet")).unwrap();
    let query = "SELECT value, value * 3 AS third FROM generate_series(1, 100000000000)";
    let child = folder.command(&["export", "--query", query, "t.parquet"]).stderr(Stdio::piped()).spawn().unwrap();
    let partial = format!(".t.{}-0.partial.parquet", child.id());
    while !folder.has(&partial) {
        std::thread::yield_now();
    }
    send("-TERM", &child);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.contains("wrote")), (Some(143), false), "{ran}");
    assert_eq!(std::fs::read(folder.path("t.parquet")).unwrap(), before);
    assert!(!folder.has(&partial));
}

/// Nobody reads the rows, so the command cannot end in order.
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let folder = Folder::with_table();
    let (mut child, stdout) = start_sql(&folder, &["SELECT value FROM generate_series(1, 1000000000)"]);
    let status = loop {
        send("-INT", &child);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    drop(stdout);
    assert_eq!(status.code(), Some(130));
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
}
