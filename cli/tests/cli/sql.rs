//! `sql` and `export`: where SQL comes from, how rows are printed, several statements, closed outputs.

use std::process::{Command, Stdio};

use crate::fixture::Folder;

#[test]
fn sql_comes_from_arguments_a_file_or_standard_input() {
    let folder = Folder::with_table();
    let expected = "n\n3\n";
    let query = "SELECT count(*) AS n FROM t";
    assert_eq!(folder.ok(&["sql", query, "--format", "csv"]), expected);
    folder.write("q.sql", query);
    assert_eq!(folder.ok(&["sql", "-f", "q.sql", "--format", "csv"]), expected);
    assert_eq!(folder.run_with_stdin(&["sql", "--format", "csv"], query).stdout, expected);
    assert_eq!(folder.run_with_stdin(&["sql", "-f", "-", "--format", "csv"], query).stdout, expected);
    assert_eq!(folder.ok(&["sql", query, query, "--format", "csv"]), expected.repeat(2));
    folder.write("q.sql", &format!("\u{feff}{query}"));
    assert_eq!(folder.ok(&["sql", "-f", "q.sql", "--format", "csv"]), expected);
    std::fs::write(folder.path("q.sql"), b"SELECT '\xff'").unwrap();
    insta::assert_snapshot!(folder.failed(&["sql", "-f", "q.sql"]), @"error: cannot read q.sql: it is not UTF-8");
    folder.write("q.sql", &"SELECT 'ö';".repeat(2 << 20));
    insta::assert_snapshot!(folder.failed(&["sql", "-f", "q.sql"]), @"error: q.sql: the SQL text has 16777217 bytes, the limit is 16777216; load many rows with a bulk load instead");
    insta::assert_snapshot!(folder.failed(&["sql", "-f", "missing.sql"]), @"error: cannot read missing.sql: No such file or directory (os error 2)");
}

#[test]
fn rows_are_printed_as_a_table_as_csv_or_as_json() {
    let folder = Folder::with_table();
    let query = "SELECT *, name = 'one' AS is_one FROM t ORDER BY id";
    insta::assert_snapshot!(folder.ok(&["sql", query]), @"
    +----+------+-------+--------+
    | id | name | price | is_one |
    +----+------+-------+--------+
    | 1  | one  | 1.50  | true   |
    | 2  | two  | 2.25  | false  |
    | 3  | NULL | NULL  | NULL   |
    +----+------+-------+--------+
    ");
    insta::assert_snapshot!(folder.ok(&["sql", query, "--format", "csv"]), @"
    id,name,price,is_one
    1,one,1.50,true
    2,two,2.25,false
    3,,,
    ");
    insta::assert_snapshot!(folder.ok(&["sql", query, "--format", "json"]), @r#"
    {"id":1,"name":"one","price":"1.50","is_one":true}
    {"id":2,"name":"two","price":"2.25","is_one":false}
    {"id":3,"name":null,"price":null,"is_one":null}
    "#);
}

#[test]
fn odd_values_keep_their_meaning() {
    let folder = Folder::new();
    let query = "SELECT '' AS empty, 'a,\"b\"' AS \"quo\"\"ted\", 'x\ny' AS lines, 0.1 + 0.2 AS sum, 'NaN'::double AS nan, \
        [1, NULL] AS list, '1969-07-20T20:17:40.5'::timestamp AS at, x'00ff' AS bytes";
    insta::assert_snapshot!(folder.ok(&["sql", query, "--format", "json"]), @r#"{"empty":"","quo\"ted":"a,\"b\"","lines":"x\ny","sum":0.30000000000000004,"nan":"NaN","list":[1,null],"at":"1969-07-20T20:17:40.500","bytes":"00ff"}"#);
    insta::assert_snapshot!(folder.ok(&["sql", "SELECT '' AS empty, NULL AS none, 'a,\"b\"' AS \"quo\"\"ted\", 'x\ny' AS lines", "--format", "csv"]), @r#"
    empty,none,"quo""ted",lines
    "",,"a,""b""","x
    y"
    "#);
}

#[test]
fn a_result_without_rows_has_its_header() {
    let folder = Folder::with_table();
    assert_eq!(folder.ok(&["sql", "SELECT * FROM t WHERE id > 9", "--format", "csv"]), "id,name,price\n");
    assert_eq!(folder.ok(&["sql", "SELECT * FROM t WHERE id > 9", "--format", "json"]), "");
    assert!(folder.ok(&["sql", "SELECT * FROM t WHERE id > 9"]).contains("| id | name | price |"));
}

#[test]
fn statements_run_in_order_and_writes_are_counted_on_standard_error() {
    let folder = Folder::with_table();
    let sql = "INSERT INTO t VALUES (4, 'four', 4), (5, 'five', 5);
        SELECT count(*) AS n FROM t;
        COPY (SELECT * FROM t) TO 'out.parquet';
        SET datafusion.execution.batch_size = 100;
        SELECT sum(price) AS total FROM t";
    let ran = folder.run(&["sql", sql, "--format", "csv"]);
    assert_eq!(ran.to_string(), "exit 0\nn\n5\ntotal\n12.75\ninserted 2 rows\nwrote 5 rows\n");
}

#[test]
fn an_error_names_its_line_and_what_was_before_it_has_run() {
    let folder = Folder::with_table();
    let sql = "INSERT INTO t VALUES (4, 'four', 4);\n\nINSERT INTO t VALUES (5, 'five', 5), (1, 'one', 1);\nSELECT 1";
    folder.write("q.sql", sql);
    let ran = folder.run(&["sql", "-f", "q.sql"]);
    insta::assert_snapshot!(ran, @"
    exit 1
    inserted 1 row
    error: q.sql: line 3: key 1 is in table `t` already; use upsert to replace its row
    ");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4");
    // What does not parse, or is not done here, stops everything.
    let sql = "INSERT INTO t VALUES (6, 'six', 6);\nSELEC 1";
    insta::assert_snapshot!(folder.failed(&["sql", sql]), @"error: line 2: Expected: an SQL statement, found: SELEC at Line: 2, Column: 1");
    folder.write("q.sql", "INSERT INTO t VALUES (6, 'six', 6);\n\n\nDELETE FROM t");
    insta::assert_snapshot!(folder.failed(&["sql", "-f", "q.sql"]), @"error: q.sql: line 4: DELETE is not supported; delete rows with `delete` (by key) or `delete_where` of the API");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4");
}

#[test]
fn a_long_table_is_cut_and_says_so_and_the_other_formats_are_whole() {
    let folder = Folder::new();
    let query = "SELECT * FROM generate_series(1, 25000)";
    let ran = folder.run(&["sql", query]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 10_000 + 4), "{}", ran.stderr);
    insta::assert_snapshot!(ran.stderr, @"note: the first 10,000 rows are shown, 15,000 rows left out; --format csv or json gives all");
    for (format, lines) in [("csv", 25_001), ("json", 25_000)] {
        let ran = folder.run(&["sql", query, "--format", format]);
        assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (lines, ""));
    }
}

#[test]
fn a_closed_output_ends_the_command_quietly() {
    let folder = Folder::new();
    let query = "SELECT * FROM generate_series(1, 100000000)";
    for format in ["csv", "json"] {
        let mut child = folder
            .command(&["sql", query, "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]));
    }
    folder.ok(&["sql", "SELECT 1"]);
}

#[test]
fn every_command_that_prints_ends_quietly_when_nobody_reads() {
    let folder = Folder::with_table();
    folder.ok(&["insert", "key", "value"]);
    let commands: [&[&str]; 6] = [
        &["get", "key"],
        &["get", "--table", "t", "1"],
        &["inspect"],
        &["dump", "wal"],
        &["dump", "manifest"],
        &["sql", "INSERT INTO t VALUES (4, 'four', 4)", "SELECT * FROM t"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = folder.command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.contains("error")), (Some(141), false), "{arguments:?}: {said}");
    }
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4", "what was written before is there");
}

/// A file of the database must not get the number of an output that was closed, or what is said falls into it.
#[test]
fn a_process_without_any_open_stream_leaves_a_database_that_is_whole() {
    let folder = Folder::with_table();
    for (statement, code) in [("INSERT INTO t VALUES (4, 'four', 4); SELECT * FROM t", 0), ("SELECT * FROM missing", 1)]
    {
        let binary = env!("CARGO_BIN_EXE_rustling");
        let script = format!("exec {binary} --db db -vv sql \"{statement}\" <&- >&- 2>&-");
        let status = Command::new("sh").args(["-c", &script]).current_dir(folder.path(".")).status().unwrap();
        assert_eq!(status.code(), Some(code), "{statement}");
    }
    folder.ok(&["compact"]);
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4");
}

#[test]
fn tables_and_queries_are_exported_to_parquet() {
    let folder = Folder::with_table();
    let ran = folder.run(&["export", "--table", "t", "t.parquet"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.starts_with("wrote 3 rows, ") && ran.stderr.ends_with(", to t.parquet\n"), "{ran}");
    assert_eq!(std::fs::read(folder.path("t.parquet")).unwrap()[..4], *b"PAR1");
    folder.ok(&["export", "--query", "SELECT sum(price) AS total FROM t", "t.parquet"]);
    insta::assert_snapshot!(folder.failed(&["export", "--table", "t", "missing/t.parquet"]), @"error: cannot create missing/t.parquet: No such file or directory (os error 2)");
    let ran = folder.run(&["export", "--query", "SELECT 1; SELECT 2", "x.parquet"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    error: --query takes one statement, not 2
    ");
    let ran = folder.run(&["export", "--query", "INSERT INTO t VALUES (9, '', 9)", "x.parquet"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(!folder.has("x.parquet"));
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
}

#[test]
fn a_copy_that_fails_leaves_the_file_that_was_there() {
    let folder = Folder::with_table();
    for name in ["good.parquet", "good.csv", "g o od%.json"] {
        folder.ok(&["sql", &format!("COPY (SELECT value FROM generate_series(1, 1000)) TO '{name}'")]);
        let before = std::fs::read(folder.path(name)).unwrap();
        let late = "SELECT 100 / (90000 - value) AS value FROM generate_series(1, 100000)";
        for explain in ["", "EXPLAIN ANALYZE "] {
            let said = folder.failed(&["sql", &format!("{explain}COPY ({late}) TO '{name}'")]);
            assert!(said.contains("Divide by zero"), "{said}");
            assert_eq!(std::fs::read(folder.path(name)).unwrap(), before);
        }
        folder.ok(&["sql", &format!("COPY (SELECT 1 AS value) TO '{name}'")]);
        let one = std::fs::read(folder.path(name)).unwrap();
        assert_ne!(one, before);
        for (text, rows) in [("EXPLAIN ANALYZE COPY", 2), ("COPY", 0)] {
            folder.ok(&["sql", &format!("{text} (SELECT * FROM t LIMIT {rows}) TO '{name}'")]);
            assert_ne!(std::fs::read(folder.path(name)).unwrap(), one, "{text}");
        }
    }
    std::fs::create_dir(folder.path("folder.csv")).unwrap();
    folder.ok(&["sql", "COPY t TO 'folder.csv/' STORED AS CSV"]);
    assert_eq!(folder.list("folder.csv").len(), 1);
    let entries = folder.list(".");
    assert!(!entries.iter().any(|name| name.contains("partial")), "{entries:?}");
}

#[test]
fn an_export_takes_the_place_of_regular_files_only() {
    let folder = Folder::with_table();
    std::fs::create_dir(folder.path("folder")).unwrap();
    for target in ["folder", "/dev/null"] {
        let said = folder.failed(&["export", "--table", "t", target]);
        assert_eq!(said, format!("error: cannot write {target}: not a regular file\n"));
    }
    assert!(std::process::Command::new("mkfifo").arg(folder.path("pipe.csv")).status().unwrap().success());
    let said = folder.failed(&["sql", "COPY t TO 'pipe.csv'"]);
    assert!(said.contains("cannot write /") && said.ends_with("/pipe.csv: not a regular file\n"), "{said}");
}

#[test]
fn a_column_named_count_of_a_prepared_query_is_no_insert() {
    let folder = Folder::with_table();
    let query = "PREPARE q AS SELECT arrow_cast(7, 'UInt64') AS count; EXECUTE q";
    assert_eq!(folder.run(&["sql", query, "--format", "csv"]).to_string(), "exit 0\ncount\n7\n");
    let insert = "PREPARE i AS INSERT INTO t VALUES ($1, 'four', 4); EXECUTE i(4)";
    assert_eq!(folder.run(&["sql", insert, "--format", "csv"]).to_string(), "exit 0\ninserted 1 row\n");
}

#[test]
fn a_date_without_a_text_is_an_error_and_not_the_text_of_one() {
    let folder = Folder::with_table();
    for (format, value) in ["json", "csv"].into_iter().flat_map(|format| {
        ["arrow_cast(2147483647, 'Date32')", "arrow_cast(arrow_cast(86400000000, 'Int64'), 'Time64(Microsecond)')"]
            .map(|value| (format, value))
    }) {
        let ran = folder.run(&["sql", &format!("SELECT {value} AS d"), "--format", format]);
        assert_eq!((ran.code, ran.stdout.contains("ERROR")), (Some(1), false), "{format}: {ran}");
    }
    let dates = "SELECT DATE '2024-02-29' AS d, TIMESTAMP '2024-02-29T12:30:00' AS t, arrow_cast(NULL, 'Date32') AS n";
    let printed = folder.ok(&["sql", dates, "--format", "json"]);
    assert_eq!(printed, "{\"d\":\"2024-02-29\",\"t\":\"2024-02-29T12:30:00\",\"n\":null}\n");
}

#[test]
fn columns_of_one_name_are_no_members_of_one_object() {
    let folder = Folder::with_table();
    let query = "SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id";
    insta::assert_snapshot!(folder.failed(&["sql", query, "--format", "json"]), @"error: two columns are named `id`, which JSON cannot tell apart; rename one with AS");
    assert_eq!(folder.ok(&["sql", query, "--format", "csv"]).lines().count(), 4);
}

/// Of a result of large values the first ones are shown, and the others are not kept.
#[test]
fn a_table_of_large_values_is_cut_by_its_bytes() {
    let folder = Folder::new();
    let small = "SET datafusion.execution.batch_size = 512";
    let long = "SELECT repeat('x', 20000) || value AS text FROM generate_series(1, 3000)";
    let ran = folder.run(&["sql", small, long]);
    assert_eq!(ran.stdout.lines().count(), 1_024 + 4);
    insta::assert_snapshot!(ran.stderr, @"note: the first 1,024 rows are shown, 1,976 rows left out; --format csv or json gives all");
}

#[test]
fn a_table_is_dropped() {
    let folder = Folder::with_table();
    assert!(folder.run(&["drop", "--table", "t"]).stderr.starts_with("dropped `t`: "));
    assert!(folder.failed(&["drop", "--table", "t"]).contains("no table"));
}

#[test]
fn a_cast_that_was_tried_may_make_a_key_null() {
    let folder = Folder::new();
    folder.write("d.csv", "d\n1.25\n");
    folder.ok(&["load", "d.csv", "--table", "d", "--key", "d", "--schema", "d decimal(50,2)"]);
    // In memory, where nothing but this looks at the condition before it is asked of each row.
    folder.ok(&["sql", "INSERT INTO d VALUES (77777.50)"]);
    let query = "SELECT d FROM d WHERE TRY_CAST(d AS DECIMAL(5,3)) IS NOT DISTINCT FROM NULL";
    assert_eq!(folder.value(query), "77777.50");
}
