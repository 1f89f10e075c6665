//! Names of tables and columns are data: each is refused with its reason or comes back as it was, and none of them is
//! ever part of a path.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::error::{Error, NameProblem};
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::rows::schema::NAME_BYTES_MAX;

/// Short names that are refused, and why.
const REFUSED: [(&str, NameProblem); 11] = [
    ("", NameProblem::Empty),
    ("\0", NameProblem::ControlCharacter),
    ("a\0b", NameProblem::ControlCharacter),
    ("a\nb", NameProblem::ControlCharacter),
    ("a\r", NameProblem::ControlCharacter),
    ("\t", NameProblem::ControlCharacter),
    ("\u{1b}[31mred", NameProblem::ControlCharacter),
    ("\u{7f}", NameProblem::ControlCharacter),
    ("\u{85}", NameProblem::ControlCharacter),
    ("__rowid", NameProblem::Reserved),
    ("__", NameProblem::Reserved),
];

/// Short names that are names.
const ACCEPTED: [&str; 66] = [
    // Paths out of the folder, into it, and to what is there.
    "../x",
    "..",
    ".",
    "../../../etc/passwd",
    "/etc/passwd",
    "/",
    "//",
    "a/b",
    "a/../b",
    "..\\x",
    "C:\\Windows\\x",
    "\\\\server\\share",
    "%2e%2e%2fx",
    "~",
    "~root/x",
    "file:///etc/passwd",
    "tables/0000000001/00000000000000000001.parquet",
    "0000000001",
    "wal",
    "LOCK",
    "staging",
    "#1",
    "x#1",
    // What some file systems change or refuse.
    "x.",
    "x ",
    " x",
    " ",
    "CON",
    "nul.txt",
    "a:b",
    "a*?<>|b",
    "T",
    "t",
    "\u{e9}",
    "e\u{301}",
    "\u{212a}",
    "K",
    "k",
    "\u{df}",
    "SS",
    // What languages mean something by.
    "select",
    "SELECT * FROM t",
    "\"a\"\"; drop table b--\"",
    "'; drop table t; --",
    "a\"b",
    "`x`",
    "$(touch x)",
    "${HOME}",
    "{}",
    "%s%n",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "-rf",
    "a.b.c",
    "a,b",
    "null",
    "_rowid",
    // Writing of all kinds.
    "\u{1f980}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{202e}txt.exe",
    "\u{feff}x",
    "\u{200b}",
    "\u{a0}",
    "\u{ffff}",
    "\u{10ffff}",
];

/// Names that are refused, and why.
fn bad_names() -> Vec<(String, NameProblem)> {
    let mut names: Vec<(String, NameProblem)> =
        REFUSED.iter().map(|(name, problem)| ((*name).to_owned(), *problem)).collect();
    // 256 bytes, though they are only 128 characters.
    names.push(("\u{e9}".repeat(NAME_BYTES_MAX / 2 + 1), NameProblem::TooLong));
    names.push(("n".repeat(NAME_BYTES_MAX + 1), NameProblem::TooLong));
    names.push(("n".repeat(64 * 1024), NameProblem::TooLong));
    names.push(("../".repeat(1 << 20), NameProblem::TooLong));
    names
}

fn good_names() -> Vec<String> {
    let mut names: Vec<String> = ACCEPTED.iter().map(|name| (*name).to_owned()).collect();
    names.push("n".repeat(NAME_BYTES_MAX));
    names.push("\u{e9}".repeat(NAME_BYTES_MAX / 2));
    names
}

fn open(folder: &Path) -> Database {
    let disk = Arc::new(LocalDisk::open(folder).unwrap());
    Database::open(disk, Options { background: false, threads: 1, ..Options::default() }).unwrap()
}

/// One row, the same number in every column; the first column is the key.
fn row(columns: &[String], number: i64) -> RecordBatch {
    let column = || Arc::new(Int64Array::from(vec![number])) as ArrayRef;
    RecordBatch::try_from_iter(columns.iter().map(|name| (name.as_str(), column()))).unwrap()
}

fn create(db: &Database, table: &str, columns: &[String]) -> Result<(), Error> {
    db.create_table(table, &row(columns, 0).schema(), &[&columns[0]]).map(drop)
}

/// The one row of a table: names of its columns, and the number in all of them.
fn read(db: &Database, table: &str) -> (Vec<String>, i64) {
    let snapshot = db.snapshot();
    let table = snapshot.table(table).unwrap();
    let all = table.user_projection();
    let batches: Vec<RecordBatch> = table.scan(&KeyInterval::ALL, &all).unwrap().collect::<Result<_, _>>().unwrap();
    let [batch] = batches.as_slice() else { panic!("one batch, not {}", batches.len()) };
    let number = batch.column(0).as_primitive::<Int64Type>().value(0);
    let same = |column: &ArrayRef| column.len() == 1 && column.as_primitive::<Int64Type>().value(0) == number;
    assert!(batch.columns().iter().all(same));
    (batch.schema().fields().iter().map(|field| field.name().clone()).collect(), number)
}

/// Paths of all files and folders below a folder, relative to it.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// Whether a path is made of ids and fixed words, as FORMAT.md has them.
fn is_known(path: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["db"] | ["db", "LOCK" | "manifest" | "wal" | "tables" | "staging"] => true,
        ["db", "manifest", name] => name.strip_suffix(".json").is_some_and(|id| digits(id, 20)),
        ["db", "wal", name] => name.strip_suffix(".wal").is_some_and(|id| digits(id, 20)),
        ["db", "tables", table] => digits(table, 10),
        ["db", "tables", table, name] => {
            let extension = name.split_once('.').filter(|(id, _)| digits(id, 20)).map(|(_, extension)| extension);
            digits(table, 10) && matches!(extension, Some("parquet" | "keys" | "del"))
        }
        _ => false,
    }
}

fn assert_known(root: &Path) {
    let foreign: Vec<String> = listing(root).into_iter().filter(|path| !is_known(path)).collect();
    assert!(foreign.is_empty(), "names became paths: {foreign:?}");
}

#[test]
fn bad_names_are_refused_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let db = open(&root.path().join("db"));
    for (name, want) in bad_names() {
        let column = vec!["k".to_owned(), name.clone()];
        for (what, result) in [("table", create(&db, &name, &["k".to_owned()])), ("column", create(&db, "t", &column))]
        {
            match result {
                Err(Error::BadName { what: found, name: refused, reason }) => {
                    assert_eq!((found, refused == name, reason), (what, true, want));
                }
                other => panic!("{what} {name:?}: {other:?}"),
            }
        }
        // Nobody has such a table either.
        let written = db.write(WriteBatch::new().upsert(&name, row(&["k".to_owned()], 1)));
        assert!(matches!(written, Err(Error::NoSuchTable { .. })), "{name:?}: {written:?}");
    }
    assert!(db.snapshot().table_names().is_empty());
    assert_known(root.path());
}

#[test]
fn all_other_names_come_back_and_are_no_paths() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("db");
    let names = good_names();
    assert!(names.len() > 60);
    let db = open(&folder);
    // Every name names a table; and a column of it, beside a key of another name.
    let columns = |name: &String| vec![name.clone(), format!("{}2", &name[..name.floor_char_boundary(200)])];
    for (name, number) in names.iter().zip(1..) {
        create(&db, name, &columns(name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert!(matches!(create(&db, name, &columns(name)), Err(Error::TableExists { .. })));
        db.write(WriteBatch::new().upsert(name, row(&columns(name), number))).unwrap();
    }
    // All of them together name the columns of one table.
    create(&db, "all", &names).unwrap();
    db.write(WriteBatch::new().upsert("all", row(&names, -1))).unwrap();
    for (name, number) in names.iter().zip(1..) {
        if number % 4 == 0 {
            db.flush(name).unwrap();
        }
    }
    db.flush("all").unwrap();
    db.close().unwrap();
    assert_known(root.path());

    let db = open(&folder);
    for (name, number) in names.iter().zip(1..) {
        assert_eq!(read(&db, name), (columns(name), number), "{name:?}");
    }
    assert_eq!(read(&db, "all"), (names.clone(), -1));
    assert_eq!(db.snapshot().table_names().len(), names.len() + 1);
    for name in &names {
        db.drop_table(name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    assert_eq!(db.snapshot().table_names(), ["all"]);
    db.close().unwrap();
    assert_known(root.path());
    assert_eq!(read(&open(&folder), "all"), (names, -1));
}
