//! `insert`, `get` and `delete`, with and without a table.

use crate::fixture::Folder;

#[test]
fn keys_and_values_come_and_go() {
    let folder = Folder::new();
    let inserted = folder.run(&["insert", "greeting", "hello, wörld"]);
    insta::assert_snapshot!(inserted, @"
    exit 0
    inserted 1 row
    ");
    assert_eq!(folder.run(&["get", "greeting"]).to_string(), "exit 0\nhello, wörld\n");
    insta::assert_snapshot!(folder.failed(&["insert", "greeting", "again"]), @"error: key 'greeting' is in table `kv` already; use upsert to replace its row (--replace)");
    folder.ok(&["insert", "--replace", "greeting", "good morning"]);
    assert_eq!(folder.ok(&["get", "greeting"]), "good morning\n");
    assert_eq!(folder.run(&["delete", "greeting"]).to_string(), "exit 0\ndeleted 1 row\n");
    assert_eq!(folder.run(&["get", "greeting"]).to_string(), "exit 1\n");
    assert_eq!(folder.run(&["delete", "greeting"]).to_string(), "exit 0\ndeleted 0 rows\n");
    assert_eq!(folder.value("SELECT count(*) FROM kv"), "0");
}

#[test]
fn empty_and_odd_texts_are_kept() {
    let folder = Folder::new();
    for (key, value) in [("", "empty key"), ("empty value", ""), ("a\"b,c\nd", "\"x\"\n"), ("-1", "-2")] {
        folder.ok(&["insert", key, value]);
        assert_eq!(folder.ok(&["get", key]), format!("{value}\n"), "{key:?}");
    }
    assert_eq!(folder.failed(&["get", "other"]), "");
}

#[test]
fn rows_of_a_table_are_written_and_read_as_json() {
    let folder = Folder::with_table();
    let row = r#"{"id": 4, "name": "four", "price": 12345678.90}"#;
    assert_eq!(folder.run(&["insert", "--table", "t", row, r#"{"id":5}"#]).stderr, "inserted 2 rows\n");
    insta::assert_snapshot!(folder.ok(&["get", "--table", "t", "4"]), @r#"{"id":4,"name":"four","price":"12345678.90"}"#);
    insta::assert_snapshot!(folder.ok(&["get", "--table", "t", "5"]), @r#"{"id":5,"name":null,"price":null}"#);
    insta::assert_snapshot!(folder.failed(&["insert", "--table", "t", row]), @"error: key 4 is in table `t` already; use upsert to replace its row (--replace)");
    folder.ok(&["insert", "--table", "t", "--replace", r#"{"id": 4, "price": "0.05"}"#]);
    insta::assert_snapshot!(folder.ok(&["get", "--table", "t", "4"]), @r#"{"id":4,"name":null,"price":"0.05"}"#);
    assert_eq!(folder.run(&["delete", "--table", "t", "4"]).stderr, "deleted 1 row\n");
    assert_eq!(folder.run(&["get", "--table", "t", "4"]).to_string(), "exit 1\n");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "4");
}

#[test]
fn a_key_of_several_columns_is_given_in_its_order() {
    let folder = Folder::new();
    folder.write("lines.csv", "day,line,text\n2024-02-29,1,leap\n2024-02-29,2,day\n");
    let schema = "day date, line int, text text";
    folder.ok(&["load", "lines.csv", "--table", "lines", "--key", "day,line", "--schema", schema]);
    insta::assert_snapshot!(folder.ok(&["get", "--table", "lines", "2024-02-29", "2"]), @r#"{"day":"2024-02-29","line":2,"text":"day"}"#);
    let ran = folder.run(&["get", "--table", "lines", "2024-02-29"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    error: the key of table `lines` is (day, line), not 1 values
    ");
    let bad = folder.failed(&["get", "--table", "lines", "2024-02-30", "2"]);
    insta::assert_snapshot!(bad, @"error: column `day`: `2024-02-30` is not a value of type date");
    let bad = folder.failed(&["delete", "--table", "lines", "2024-02-29", "two"]);
    insta::assert_snapshot!(bad, @"error: column `line`: `two` is not a value of type int");
}

#[test]
fn nothing_is_rounded() {
    let folder = Folder::with_table();
    let bad = folder.failed(&["insert", "--table", "t", r#"{"id": 9, "price": 1.239}"#]);
    insta::assert_snapshot!(bad, @"error: column `price`: `1.239` has more digits behind the point than the 2 that type decimal(10,2) keeps");
    let bad = folder.failed(&["insert", "--table", "t", r#"{"id": 9223372036854775808}"#]);
    insta::assert_snapshot!(bad, @"error: column `id`: `9223372036854775808` is out of range for type bigint");
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
}

/// As `get` prints them.
#[test]
fn bytes_are_hexadecimal() {
    let folder = Folder::new();
    folder.write("b.csv", "id,bytes\n1,ab\n");
    folder.ok(&["load", "b.csv", "--table", "b", "--key", "id", "--schema", "id int, bytes binary"]);
    assert_eq!(folder.ok(&["get", "--table", "b", "1"]), "{\"id\":1,\"bytes\":\"6162\"}\n");
    folder.ok(&["insert", "--table", "b", r#"{"id": 2, "bytes": "00fF"}"#]);
    assert_eq!(folder.ok(&["get", "--table", "b", "2"]), "{\"id\":2,\"bytes\":\"00ff\"}\n");
    let bad = folder.failed(&["insert", "--table", "b", r#"{"id": 3, "bytes": "abc"}"#]);
    insta::assert_snapshot!(bad, @"error: column `bytes`: `abc` is not bytes in hexadecimal, two digits for each");
}

/// A row is found by what it was inserted as, and printed as.
#[test]
fn keys_of_bytes_are_hexadecimal_too() {
    let folder = Folder::new();
    folder.write("b.csv", "bytes,part,n\n");
    let schema = "bytes binary, part int, n int";
    folder.ok(&["load", "b.csv", "--table", "b", "--key", "bytes,part", "--schema", schema]);
    folder.ok(&["insert", "--table", "b", r#"{"bytes": "00fF", "part": 1, "n": 2}"#]);
    assert_eq!(folder.ok(&["get", "--table", "b", "00ff", "1"]), "{\"bytes\":\"00ff\",\"part\":1,\"n\":2}\n");
    let bad = folder.failed(&["get", "--table", "b", "key", "1"]);
    insta::assert_snapshot!(bad, @"error: column `bytes`: `key` is not bytes in hexadecimal, two digits for each");
    assert_eq!(folder.run(&["delete", "--table", "b", "00FF", "1"]).stderr, "deleted 1 row\n");
}

#[test]
fn a_table_that_is_named_makes_no_database() {
    let folder = Folder::new();
    let said = folder.failed(&["insert", "--table", "t", r#"{"id": 1}"#]);
    assert!(said.contains("no database"), "{said}");
    assert!(!folder.has("db"));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let folder = Folder::with_table();
    let refused = |row: &str| folder.failed(&["insert", "--table", "t", row]);
    insta::assert_snapshot!(refused(r#"{"name": "no key"}"#), @"error: column `id` of table `t` is NULL in row 0, but it must have a value because it is part of the key");
    insta::assert_snapshot!(refused(r#"{"id": 9, "colour": "red"}"#), @"error: cannot read the row: Json error: column 'colour' missing from schema");
    insta::assert_snapshot!(refused(r#"{"id": 9"#), @"error: cannot read the row: Json error: Truncated record whilst reading number");
    insta::assert_snapshot!(refused("nine"), @"error: cannot read the row: Json error: Encountered unexpected 'i' whilst parsing literal");
    assert_eq!(folder.run(&["insert", "--table", "t", ""]).code, Some(2));
    insta::assert_snapshot!(folder.failed(&["insert", "--table", "x", "{}"]), @"error: there is no table `x`; there are: t");
    // All rows or none.
    folder.failed(&["insert", "--table", "t", r#"{"id": 9}"#, r#"{"id": 1}"#]);
    assert_eq!(folder.value("SELECT count(*) FROM t"), "3");
}

#[test]
fn a_table_named_kv_that_is_none_is_used_by_name_only() {
    let folder = Folder::new();
    folder.write("kv.csv", "key,value\n1,2\n");
    folder.ok(&["load", "kv.csv", "--table", "kv", "--key", "key"]);
    for args in [&["get", "1"][..], &["delete", "1"], &["insert", "1", "2"]] {
        assert_eq!(
            folder.failed(args),
            "error: the table `kv` is not one of keys and values; name it with --table to use it as it is\n"
        );
    }
    assert_eq!(folder.ok(&["get", "--table", "kv", "1"]), "{\"key\":1,\"value\":2}\n");
}

#[test]
fn a_table_without_a_key_has_no_row_to_get() {
    let folder = Folder::new();
    folder.write("log.csv", "text\nhello\n");
    folder.ok(&["load", "log.csv", "--table", "log", "--no-key"]);
    let ran = folder.run(&["get", "--table", "log", "1"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    error: table `log` has no key; find its rows with `rustling sql`
    ");
    folder.ok(&["insert", "--table", "log", r#"{"text": "again"}"#]);
    assert_eq!(folder.value("SELECT count(*) FROM log"), "2");
}
