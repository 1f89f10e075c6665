//! Texts of errors: each says what happened, where, and what to do, in one line.

use std::fmt::Write;

use crate::fixture::Folder;

fn load(folder: &Folder, extra: &[&str]) -> String {
    let text = folder.failed(&[&["load", "f.csv", "--table", "new", "--key", "id"], extra].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_null_key_names_its_line() {
    let folder = Folder::new();
    folder.write("f.csv", "id,name\n1,one\n,two\n");
    insta::assert_snapshot!(load(&folder, &[]), @"error: f.csv:3:1: column `id`: the field is empty (NULL), but the column is not null");
}

#[test]
fn a_duplicate_key_names_both_lines() {
    let folder = Folder::new();
    folder.write("f.csv", "id,name\n7,one\n8,two\n7,three\n");
    insta::assert_snapshot!(load(&folder, &[]), @"error: key 7 occurs twice: f.csv:2 and f.csv:4; choose to update or to skip duplicates (--on-conflict update, or skip)");
}

#[test]
fn a_bad_date_deep_in_a_file_names_line_and_column() {
    let folder = Folder::new();
    let mut text = "id,day\n".to_owned();
    for line in 2..=50_000 {
        let day = if line == 48_211 { "2024-02-30" } else { "2024-02-29" };
        writeln!(text, "{line},{day}").unwrap();
    }
    folder.write("f.csv", &text);
    insta::assert_snapshot!(load(&folder, &["--schema", "id bigint, day date"]), @"error: f.csv:48211:7: column `day`: `2024-02-30` is not a value of type date");
}

#[test]
fn a_wrong_path_a_wrong_key_and_a_column_that_is_there_twice() {
    let folder = Folder::new();
    insta::assert_snapshot!(load(&folder, &[]), @"error: cannot open f.csv: No such file or directory (os error 2)");
    folder.write("f.csv", "number,name\n1,one\n");
    insta::assert_snapshot!(load(&folder, &[]), @"error: table `new` has no column `id`; there are: number, name");
    folder.write("f.csv", "id,name,id\n1,one,2\n");
    insta::assert_snapshot!(load(&folder, &[]), @"error: f.csv:1: columns 1 and 3 of the header are both named `id`; rename one, or read the file without a header");
    folder.write("f.csv", "id,name\n1,one,two\n");
    insta::assert_snapshot!(load(&folder, &[]), @"error: f.csv:2: the record has 3 fields, expected 2; put fields that hold the delimiter in double quotes");
}

#[test]
fn unknown_names_in_sql_say_which_there_are() {
    let folder = Folder::with_table();
    insta::assert_snapshot!(folder.failed(&["sql", "SELECT colour FROM t"]), @"error: line 1: Schema error: No field named colour. Valid fields are t.id, t.name, t.price.");
    let ran = folder.run(&["sql", "SELECT 1;\n\nSELECT *\nFROM trades", "--format", "csv"]);
    insta::assert_snapshot!(ran, @"
    exit 1
    Int64(1)
    1
    error: line 3: Error during planning: table 'rustling.public.trades' not found
    ");
    insta::assert_snapshot!(folder.failed(&["export", "--table", "x", "out.parquet"]), @"error: there is no table `x`; there are: t");
}

#[test]
fn a_damaged_manifest_is_named() {
    let folder = Folder::with_table();
    let names = folder.list("db/manifest");
    let newest = folder.path(&format!("db/manifest/{}", names.last().unwrap()));
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let text = folder.failed(&["sql", "SELECT * FROM t"]);
    let expected = format!("error: manifest/{}: checksum is ", names.last().unwrap());
    assert!(text.starts_with(&expected) && text.ends_with("; restore it from a backup\n"), "{text}");
    assert_eq!(folder.list("db/manifest"), names, "nothing is removed");
}
