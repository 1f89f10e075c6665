//! What all commands share: help, exit codes, folders that are created or refused, one process at a time.

use std::io::Write;
use std::process::Stdio;

use crate::fixture::{Folder, Ran};

/// Bytes, of which a pipe holds a part only.
const MORE_THAN_A_PIPE: usize = 4 << 20;

#[test]
fn help_and_version_are_data_and_no_failure() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for command in [
        "load", "sql", "insert", "get", "delete", "export", "backup", "restore", "inspect", "dump", "flush", "compact",
        "drop", "demo",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}: {help}");
        let own = folder.run(&[command, "--help"]);
        assert!(own.code == Some(0) && own.stdout.contains("Usage: rustling"), "{own}");
    }
    assert!(folder.ok(&["--version"]).starts_with("rustling "));
    assert!(!folder.has("db"));
}

#[test]
fn wrong_usage_exits_2_and_creates_nothing() {
    let folder = Folder::new();
    for args in [
        &["frobnicate"][..],
        &[],
        &["load", "x.csv"],
        &["load", "--table", "t"],
        &["load", "x.csv", "--table", "t", "--key", "id", "--delimiter", "ab"],
        &["load", "x.csv", "--table", "t", "--key", "id", "--schema", "id bigints"],
        &["load", "x.csv", "--table", "t", "--key", "id", "--no-key"],
        &["load", "x.csv", "--table", "t", "--on-conflict", "ignore"],
        &["load", "x.csv", "--table", "t"],
        &["sql", "SELECT 1", "-f", "x.sql"],
        &["insert", "key"],
        &["insert", "a", "b", "c"],
        &["export", "out.parquet"],
        &["export", "--table", "t", "--query", "SELECT 1", "out.parquet"],
        &["sql", "SELECT 1", "--memory", "lots"],
        &["demo", "--scale", "0"],
        &["backup"],
        &["restore"],
        &["backup", "b", "--copy", "--no-verify"],
    ] {
        let ran = folder.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran}");
        assert!(ran.stderr.starts_with("error: ") || args.is_empty(), "{args:?}: {ran}");
    }
    assert!(!folder.has("db"));
}

#[test]
fn load_insert_and_sql_create_a_database_in_a_folder_that_is_missing_or_empty() {
    for empty in [false, true] {
        for args in
            [&["load", "t.csv", "--table", "t", "--key", "id"][..], &["insert", "key", "value"], &["sql", "SELECT 1"]]
        {
            let folder = Folder::new();
            folder.write("t.csv", "id\n1\n");
            if empty {
                std::fs::create_dir(folder.path("db")).unwrap();
            }
            folder.ok(args);
            assert!(folder.has("db/manifest"), "{args:?}");
        }
    }
}

#[test]
fn all_other_commands_refuse_a_folder_without_a_database() {
    for args in [
        &["get", "key"][..],
        &["delete", "key"],
        &["export", "--table", "t", "out.parquet"],
        &["inspect"],
        &["backup", "backup"],
        &["dump", "wal"],
        &["dump", "manifest"],
        &["dump", "sst"],
        &["dump", "keys", "1"],
        &["flush"],
        &["compact"],
    ] {
        let folder = Folder::new();
        let expected = "error: there is no database in db; `load`, `insert` and `sql` create one\n";
        assert_eq!(folder.failed(args), expected, "{args:?}");
        assert!(!folder.has("db"), "{args:?}");
        std::fs::create_dir(folder.path("db")).unwrap();
        assert_eq!(folder.failed(args), expected, "{args:?}");
        assert!(folder.list("db").is_empty(), "{args:?}");
    }
}

#[test]
fn a_folder_with_something_else_is_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("db")).unwrap();
    folder.write("db/holiday.jpg", "");
    insta::assert_snapshot!(folder.failed(&["sql", "SELECT 1"]), @"error: db is not a rustling database (it holds `holiday.jpg` but no manifest); name another folder");
    assert_eq!(folder.list("db"), ["holiday.jpg"]);
}

#[test]
fn the_option_wins_over_the_environment() {
    let folder = Folder::new();
    folder.ok(&["--db", "other", "insert", "key", "value"]);
    assert_eq!(folder.ok(&["get", "key", "--db", "other"]), "value\n");
    assert!(folder.has("other/manifest") && !folder.has("db"));
}

#[test]
fn the_database_is_closed_in_order_by_failures_too() {
    let folder = Folder::with_table();
    folder.failed(&["sql", "SELECT nothing FROM t"]);
    folder.failed(&["insert", "--table", "t", r#"{"id": 1}"#]);
    // A clean close leaves one manifest, and a log without a record behind the recorded end.
    let log = folder.run(&["sql", "-v", "SELECT 1"]);
    assert!(log.stderr.contains("replayed: 0") && log.stderr.contains("torn: None"), "{log}");
}

#[test]
fn a_second_process_is_told_that_the_database_is_open() {
    let folder = Folder::with_table();
    let mut first = folder
        .command(&["load", "-", "--table", "t", "--on-conflict", "update"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A load reads only once it holds the database: more than a pipe takes cannot be written before.
    let mut rows = first.stdin.take().unwrap();
    rows.write_all(b"id,name,price\n").unwrap();
    rows.write_all(&b"4,four,4.00\n".repeat(MORE_THAN_A_PIPE / 12)).unwrap();
    let second = folder.failed(&["sql", "SELECT 1"]);
    drop(rows);
    let first = first.wait_with_output().unwrap();
    insta::assert_snapshot!(second, @"error: db is open in another process; a database has one writer at a time: close the other one first");
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4");
}

#[test]
fn memory_is_limited_and_too_little_is_refused() {
    let folder = Folder::with_table();
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
    folder.ok(&["sql", "SELECT count(*) FROM t", "--memory", "64MiB"]);
    insta::assert_snapshot!(folder.failed(&["sql", "SELECT 1", "--memory", "1KB"]), @"error: option `memory_bytes` is 500, it must be at least 1 MiB");
}

#[test]
fn inspect_flush_and_compact_show_and_change_the_runs() {
    let folder = Folder::with_table();
    folder.ok(&["insert", "--table", "t", "--replace", r#"{"id": 2, "name": "zwei"}"#, r#"{"id": 4}"#]);
    folder.ok(&["insert", "greeting", "hello"]);
    let text = folder.ok(&["inspect"]);
    for part in ["| folder ", "| log (WAL) ", "| in memory ", "| t     | id  | 3 ", "| kv    | key | 2 ", "first key"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let flushed = folder.run(&["flush", "--table", "t"]);
    assert_eq!((flushed.code, flushed.stdout.as_str()), (Some(0), ""));
    assert!(flushed.stderr.starts_with("flushed `t`: 2 runs of 5 rows, "), "{flushed}");
    let compacted = folder.run(&["compact"]);
    assert!(compacted.stderr.contains("compacted `t`: 2 runs of 5 rows, "), "{compacted}");
    assert!(compacted.stderr.contains(", now 1 run of 4 rows, "), "{compacted}");
    assert!(compacted.stderr.contains("compacted `kv`: "), "{compacted}");
    let text = folder.ok(&["inspect"]);
    for part in
        ["| compacted | because of ", "| t         | asked for  | 2 to 1 | 5 ", "| runs of a key | written again |"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    insta::assert_snapshot!(folder.failed(&["flush", "--table", "x"]), @"error: there is no table `x`; there are: t, kv");
}

#[test]
fn a_standard_error_that_cannot_be_written_ends_nothing() {
    let folder = Folder::with_table();
    let full = std::fs::File::create("/dev/full").unwrap();
    let status = folder.command(&["-vv", "compact"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// Each run of a database keeps a file open, and shells allow few.
#[cfg(unix)]
#[test]
fn a_database_of_more_runs_than_files_may_be_open_opens() {
    let folder = Folder::new();
    folder.write("rows.csv", "id\n1\n");
    let tables = || (0..40).map(|table| format!("t{table}"));
    for table in tables() {
        folder.ok(&["load", "rows.csv", "--table", &table, "--key", "id"]);
    }
    let counts: Vec<String> = tables().map(|table| format!("(SELECT count(*) FROM {table})")).collect();
    let mut shell = std::process::Command::new("sh");
    let command = "ulimit -S -n 30 && exec \"$0\" \"$@\"";
    let sql = format!("SELECT {} AS n", counts.join(" + "));
    shell.args(["-c", command, env!("CARGO_BIN_EXE_rustling"), "sql", &sql, "--format", "csv"]);
    let ran: Ran = shell.current_dir(folder.path("")).env("RUSTLING_DB", "db").output().unwrap().into();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "n\n40\n"), "{ran}");
}
