//! What is refused, and how it is said.

use rustling_engine::error::{Error, ErrorKind};
use rustling_engine::source::BatchSource;
use rustling_etl::csv::source::{CsvOptions, CsvSource};
use rustling_etl::error::CsvError;

use crate::{files, given, load, load_every_way, without_header};

/// The content is refused with this text, whatever the threads and chunks.
fn check(content: impl AsRef<[u8]>, schema: &str, want: &str) {
    let error = load_every_way(content.as_ref(), &given(schema)).unwrap_err();
    assert_eq!(error, want);
}

#[test]
fn a_bad_date_far_down_is_named_exactly() {
    let mut content = String::from("id,day,note\n");
    for line in 2..=50_001 {
        let day = if line == 48_211 || line == 48_300 { "1995-02-30" } else { "1995-02-28" };
        content.push_str(&format!("{line},{day},\"a, b\"\n"));
    }
    let files = files(&[&content]);
    for threads in 1..=4 {
        for chunk_bytes in [1000, 77_777, 1 << 20] {
            let options = CsvOptions { threads, chunk_bytes, ..given("id int, day date, note text") };
            let error = files.load(&options).unwrap_err();
            assert_eq!(error, "1.csv:48211:7: column `day`: `1995-02-30` is not a value of type date");
        }
    }
}

#[test]
fn places_are_physical_lines_and_bytes() {
    let schema = "a text, b int";
    check("a,b\nx,1\n\ny,é\n", schema, "1.csv:4:3: column `b`: `é` is not a value of type int");
    check("a,b\r\n\"x\r\ny\",oh no\r\n", schema, "1.csv:3:4: column `b`: `oh no` is not a value of type int");
    check("a,b\r\"x\ry\",z\r", schema, "1.csv:2:7: column `b`: `z` is not a value of type int");
    check("a,b\n\"x\"\"\n\",\"1\n2\"", schema, "1.csv:3:3: column `b`: `1\\n2` is not a value of type int");
    check(b"\xef\xbb\xbfb,a\nz,x", schema, "1.csv:2:1: column `b`: `z` is not a value of type int");
}

#[test]
fn the_first_error_of_the_file_is_the_one_reported() {
    let schema = "a int, b int";
    check("a,b\n1,x\ny,1\n1\n", schema, "1.csv:2:3: column `b`: `x` is not a value of type int");
    check("b,a\nx,y\n", schema, "1.csv:2:1: column `b`: `x` is not a value of type int");
    let want = "1.csv:2: the record has 3 fields, expected 2; put fields that hold the delimiter in double quotes";
    check("a,b\nx,1,2\nz,z\n", schema, want);
    check("a,b\nx,1\n\"", schema, "1.csv:2:1: column `a`: `x` is not a value of type int");
}

#[test]
fn null_is_the_unquoted_empty_field_alone() {
    let want = "1.csv:2:3: column `b`: the field is empty (NULL), but the column is not null";
    check("a,b\n1,", "a int, b text not null", want);
    assert_eq!(load("a,b\n1,\"\"", &given("a int, b text not null")).unwrap().text(), ["1|"]);
    check("a,b\n1,\"\"", "a int, b int", "1.csv:2:3: column `b`: `` is not a value of type int");
}

#[test]
fn values_that_a_type_cannot_hold_are_refused() {
    let place = "1.csv:2:1: column `a`:";
    for (data_type, text, want) in [
        ("int", "2147483648", "`2147483648` is out of range for type int"),
        ("tinyint unsigned", "-1", "`-1` is out of range for type tinyint unsigned"),
        ("decimal(5,2)", "1000", "`1000` is out of range for type decimal(5,2)"),
        ("decimal(5,2)", "1.005", "`1.005` has more digits behind the point than the 2 that type decimal(5,2) keeps"),
        ("boolean", "yes", "`yes` is not a value of type boolean"),
        ("double", "1e999", "`1e999` is out of range for type double"),
        (
            "timestamp",
            "2024-01-01T00:00:00+02:00",
            "`2024-01-01T00:00:00+02:00` has an offset from UTC, which type timestamp would lose; use timestamp with time zone",
        ),
    ] {
        check(format!("a\n{text}\n"), &format!("a {data_type}"), &format!("{place} {want}"));
    }
    let long = "x".repeat(200);
    let want = format!("{place} `{}…` is not a value of type int", "x".repeat(80));
    check(format!("a\n{long}"), "a int", &want);
}

#[test]
fn text_must_be_utf8_and_binary_need_not() {
    let content = b"b,a\n\xff,x\n\xff,caf\xe9\n";
    let want = "1.csv:3:3: column `a`: `caf\\xe9` is not valid UTF-8; convert the file to UTF-8";
    check(content, "a text, b binary", want);
    assert_eq!(load(content, &given("a binary, b binary")).unwrap().text(), ["78|ff", "636166e9|ff"]);
    check(
        b"a\n\"\"\"\xe9\"\n",
        "a text",
        "1.csv:2:1: column `a`: `\\\"\\xe9` is not valid UTF-8; convert the file to UTF-8",
    );
    // Two halves of a character in two fields are not one character.
    check(
        b"a,b\n\xc3,\xa9\n",
        "a text, b text",
        "1.csv:2:1: column `a`: `\\xc3` is not valid UTF-8; convert the file to UTF-8",
    );
}

#[test]
fn records_must_have_as_many_fields_as_columns() {
    let text = |line, found| {
        format!(
            "1.csv:{line}: the record has {found} fields, expected 2; put fields that hold the delimiter in double quotes"
        )
    };
    check("a,b\n1,2\n3", "a int, b int", &text(3, 1));
    check("a,b\n\n1,2,\n", "a int, b int", &text(3, 3));
    check("a,b\n\"1\n\",2,3\n", "a text, b int", &text(2, 3));
}

#[test]
fn a_quote_that_is_never_closed_is_named_where_it_opens() {
    let schema = "a text, b text";
    let text = |place: &str| {
        format!("{place}: the quote that opens here is never closed; a quote inside of a quoted field is written twice")
    };
    check("a,b\n1,2\n\"x\ny\",\"z\n\n", schema, &text("1.csv:4:4"));
    check("a,b\n1,\"", schema, &text("1.csv:2:3"));
    check("a,\"b\n", schema, &text("1.csv:1:3"));
}

#[test]
fn a_record_longer_than_the_limit_is_refused() {
    let with_limit = |record_bytes_max| CsvOptions { record_bytes_max, ..without_header(given("a text, b text")) };
    let content = "1,2\n\"x\nx\",y\n1,2\n";
    assert_eq!(load_every_way(content, &with_limit(7)).unwrap().origins.len(), 3);
    let want = "1.csv:2: the record that starts here is longer than 6 bytes (a record has at most 64 MiB, and less where \
         there is little memory)";
    assert_eq!(load_every_way(content, &with_limit(6)).unwrap_err(), want);
    let want = "1.csv:2: the record that starts here is longer than 4 bytes (a record has at most 64 MiB, and less where \
         there is little memory); a quote that opens on line 2 is not closed by then";
    assert_eq!(load_every_way(content, &with_limit(4)).unwrap_err(), want);
    for end in ["", "\n", "\r", "\r\n"] {
        let content = format!("1234,{end}");
        assert_eq!(load_every_way(&content, &with_limit(5)).unwrap().origins.len(), 1, "{end:?}");
        assert!(load_every_way(&content, &with_limit(4)).is_err());
    }
}

#[test]
fn headers_must_fit() {
    let refused = |content: &[u8], options: &CsvOptions| load(content, options).unwrap_err();
    let schema = given("a int, b int");
    assert_eq!(refused(b"\na,c\n", &schema), "1.csv:2: the header has no column `b`; it has: a, c");
    assert_eq!(refused(b"b,a,c\n", &schema), "1.csv:1: the header has the column `c`, which is none of: a, b");
    assert_eq!(refused(b"", &schema), "1.csv: the file is empty, but a header was expected");
    for options in [schema, CsvOptions::default()] {
        let want =
            "1.csv:1: columns 1 and 3 of the header are both named `a`; rename one, or read the file without a header";
        assert_eq!(refused(b"a,b,a\n", &options), want);
        let want = "1.csv:1: column 2 of the header has no name; name it, or read the file without a header";
        assert_eq!(refused(b"a, \n", &options), want);
        assert_eq!(
            refused(b"a,\xff\n", &options),
            "1.csv:1: the name of column 2 is not valid UTF-8; convert the file to UTF-8"
        );
    }
    let second = files(&["a,b\n1,2\n", "a,c\n1,2\n"]).load(&CsvOptions::default()).unwrap_err();
    assert_eq!(second, "2.csv:1: the header has no column `b`; it has: a, c");
}

#[test]
fn other_kinds_of_file_are_refused() {
    for (content, want) in [
        (&b"\x1f\x8b\x08rest"[..], "1.csv: this is gzip, not CSV in UTF-8; decompress it first"),
        (b"\x28\xb5\x2f\xfdrest", "1.csv: this is zstd"),
        (b"\xff\xfea\0,\0", "1.csv: this is UTF-16, not CSV in UTF-8; convert it first"),
        (b"\xfe\xff\0a", "1.csv: this is UTF-16"),
        (b"PAR1\x15\x04", "1.csv: this is Parquet"),
    ] {
        let error = load(content, &given("a int")).unwrap_err();
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn files_and_options_are_checked_at_the_door() {
    let open = |paths: &[&str], options: CsvOptions| {
        let paths: Vec<_> = paths.iter().map(Into::into).collect();
        CsvSource::open(&paths, options).map(|_| ()).unwrap_err().to_string()
    };
    let options = given("a int");
    assert!(open(&[], options.clone()).contains("no input file"));
    assert!(open(&["-", "-"], options.clone()).contains("named twice"));
    assert!(open(&["/nowhere/x.csv"], options.clone()).starts_with("cannot open /nowhere/x.csv: No such file"));
    assert!(open(&["/"], options.clone()).starts_with("cannot open /: is a directory"));
    let zero = CsvOptions { threads: 0, ..options.clone() };
    assert_eq!(open(&["x"], zero), "option `threads` is 0, it must be from 1 to 1024");
    assert!(open(&["x"], CsvOptions { chunk_bytes: usize::MAX, ..options }).starts_with("option `chunk_bytes`"));
}

#[test]
fn an_error_is_the_engines_and_ends_the_source() {
    let files = files(&[b"a\n1\nx\n"]);
    let mut source = CsvSource::open(&files.paths, given("a int")).unwrap();
    let error = source.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let Error::Source(cause) = error else { panic!("{error}") };
    let Some(CsvError::Value(bad)) = cause.downcast_ref::<CsvError>() else { panic!("{cause}") };
    assert_eq!((bad.line, bad.byte, bad.column.as_str(), bad.text.as_str()), (3, 1, "a", "x"));
    assert!(matches!(source.next_batch(), Err(Error::Cancelled)));
}
