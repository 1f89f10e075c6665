//! `load`: policies, schemas, keys, standard input, and what a failed load leaves behind.

use crate::fixture::{Folder, SCHEMA};

#[test]
fn a_load_says_what_it_did_on_standard_error_only() {
    let folder = Folder::new();
    folder.write("a.csv", "id,name\n1,one\n");
    folder.write("b.csv", "name,id\ntwo,2\n");
    let ran = folder.run(&["load", "a.csv", "b.csv", "--table", "t", "--key", "id"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.starts_with("loaded 2 rows into `t` in "), "{ran}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
    assert_eq!(folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]), "id,name\n1,one\n2,two\n");
}

#[test]
fn conflicts_are_refused_updated_or_skipped() {
    let folder = Folder::with_table();
    folder.write("more.csv", "id,name,price\n3,three,3.00\n4,four,4.00\n4,vier,4.50\n");
    let load = |policy: &str| folder.run(&["load", "more.csv", "--table", "t", "--on-conflict", policy]);
    let rows = || folder.ok(&["sql", "SELECT * FROM t WHERE id > 2 ORDER BY id", "--format", "csv"]);
    insta::assert_snapshot!(load("error"), @"
    exit 1
    error: key 4 occurs twice: more.csv:3 and more.csv:4; choose to update or to skip duplicates (--on-conflict update, or skip)
    ");
    assert_eq!(rows(), "id,name,price\n3,,\n");
    let skipped = load("skip");
    assert!(skipped.stderr.starts_with("loaded 1 row into `t`, left 2 out in "), "{skipped}");
    assert_eq!(rows(), "id,name,price\n3,,\n4,four,4.00\n");
    let updated = load("update");
    assert!(updated.stderr.starts_with("loaded 2 rows into `t`, left 1 out in "), "{updated}");
    assert_eq!(rows(), "id,name,price\n3,three,3.00\n4,vier,4.50\n");
}

#[test]
fn a_table_that_exists_brings_its_own_and_what_is_given_again_must_agree() {
    let folder = Folder::with_table();
    folder.write("more.csv", "id,name,price\n4,four,4.00\n");
    folder.ok(&["load", "more.csv", "--table", "t", "--key", "id", "--schema", SCHEMA, "--on-conflict", "update"]);
    folder.ok(&["load", "more.csv", "--table", "t", "--on-conflict", "update"]);
    let ran = folder.failed(&["load", "more.csv", "--table", "t", "--key", "name"]);
    insta::assert_snapshot!(ran, @"error: table `t` has the key id, not name; leave the option out or load into another table");
    let ran = folder.failed(&["load", "more.csv", "--table", "t", "--schema", "id bigint, name text"]);
    insta::assert_snapshot!(ran, @"error: table `t` has the columns id bigint, name text, price decimal(10,2), not id bigint, name text; leave the option out or load into another table");
}

#[test]
fn a_new_table_needs_a_key_or_a_word_that_it_has_none() {
    let folder = Folder::new();
    folder.write("t.csv", "id\n1\n");
    let ran = folder.run(&["load", "t.csv", "--table", "t"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    error: there is no database at db yet; to make one, name the columns of the key of `t` with --key, or say --no-key
    ");
    assert!(!folder.has("db"));
    folder.ok(&["load", "t.csv", "--table", "t", "--no-key"]);
    folder.ok(&["load", "t.csv", "--table", "t"]);
    assert_eq!(folder.value("SELECT count(*) FROM t"), "2");
    let ran = folder.run(&["load", "t.csv", "--table", "u"]);
    insta::assert_snapshot!(ran, @"
    exit 2
    error: there is no table `u` yet; name the columns of its key with --key, or say --no-key
    ");
}

#[test]
fn delimiters_headers_and_standard_input() {
    let folder = Folder::new();
    let args = ["load", "-", "--table", "t", "--key", "id", "--schema", SCHEMA, "--no-header", "--delimiter", "tab"];
    let ran = folder.run_with_stdin(&args, "1\tone\t1.5\n2\t\"\"\t\n");
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(
        folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]),
        "id,name,price\n1,one,1.50\n2,\"\",\n"
    );
    folder.write("pipes", "id|name|price\n3|a,b|7\n");
    folder.ok(&["load", "pipes", "--table", "t", "--delimiter", "|"]);
    assert_eq!(folder.value("SELECT name FROM t WHERE id = 3"), "\"a,b\"");
}

#[test]
fn columns_of_standard_input_are_inferred_without_losing_a_row() {
    let folder = Folder::new();
    let ran =
        folder.run_with_stdin(&["load", "-", "--table", "t", "--key", "id"], "id,day\n1,2024-02-29\n2,2024-03-01\n");
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(
        folder.ok(&["sql", "SELECT * FROM t ORDER BY id", "--format", "csv"]),
        "id,day\n1,2024-02-29\n2,2024-03-01\n"
    );
}

#[test]
fn a_load_into_a_new_table_that_fails_leaves_no_table() {
    let folder = Folder::new();
    folder.write("bad.csv", "id\n1\nx\n");
    let ran = folder.failed(&["load", "bad.csv", "--table", "t", "--key", "id", "--schema", "id int"]);
    insta::assert_snapshot!(ran, @"error: bad.csv:3:1: column `id`: `x` is not a value of type int");
    assert_eq!(folder.failed(&["sql", "SELECT * FROM t"]).lines().count(), 1);
    folder.write("bad.csv", "id\n1\n");
    folder.ok(&["load", "bad.csv", "--table", "t", "--key", "id"]);
}

#[test]
fn what_is_printed_as_csv_loads_as_the_same_table() {
    let folder = Folder::new();
    folder.write("odd.csv", "id,text,note\n1,\"a \"\"b\"\"\",\"x,y\"\n2,\"two\nlines\",\"\"\n3,,NULL\n");
    let args = ["--key", "id", "--schema", "id int, text text, note text"];
    folder.ok(&[&["load", "odd.csv", "--table", "a"], &args[..]].concat());
    let printed = folder.ok(&["sql", "SELECT * FROM a ORDER BY id", "--format", "csv"]);
    folder.write("again.csv", &printed);
    folder.ok(&[&["load", "again.csv", "--table", "b"], &args[..]].concat());
    assert_eq!(printed, folder.ok(&["sql", "SELECT * FROM b ORDER BY id", "--format", "csv"]));
    assert_eq!(folder.value("SELECT count(*) FROM (SELECT * FROM a EXCEPT SELECT * FROM b)"), "0");
    assert_eq!(folder.value("SELECT count(*) FROM b WHERE text IS NULL OR note = ''"), "2");
}

#[test]
fn options_that_contradict_the_table_are_refused() {
    let folder = Folder::with_table();
    folder.write("u.csv", "id,name,price\n7,,\n");
    insta::assert_snapshot!(folder.run(&["load", "u.csv", "--table", "t", "--no-key"]), @"
    exit 2
    error: table `t` has a key; leave --no-key out or load into another table
    ");
    let strict = "id bigint, name text not null, price decimal(10,2)";
    let said = folder.failed(&["load", "u.csv", "--table", "t", "--schema", strict]);
    assert!(said.contains("name text not null"), "{said}");
    folder.ok(&["load", "u.csv", "--table", "n", "--no-key"]);
    insta::assert_snapshot!(folder.run(&["load", "u.csv", "--table", "n", "--on-conflict", "skip"]), @"
    exit 2
    error: --on-conflict is about keys that are there, and table `n` has no key
    ");
    folder.ok(&["load", "u.csv", "--table", "t", "--schema", "id bigint, name text, price decimal(10,2)"]);
}
