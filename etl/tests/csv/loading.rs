//! What is loaded.

use std::io::Write;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::source::BatchSource;
use rustling_etl::csv::dialect::Dialect;
use rustling_etl::csv::source::{CsvOptions, CsvSource};

use crate::{files, given, load, load_every_way, without_header};

#[test]
fn rows_lines_and_types_are_those_of_the_file() {
    let content = "id,name,price,day\r\n1,\"a, \"\"b\"\"\nc\",1.50,2024-02-29\r\n\r\n2,,,\r\n3,\"\",-0.25,1969-12-31";
    let loaded = load_every_way(content, &given("id bigint, name text, price decimal(15,2), day date")).unwrap();
    assert_eq!(loaded.text(), ["1|a, \"b\"\nc|1.50|2024-02-29", "2|~|~|~", "3||-0.25|1969-12-31"]);
    assert_eq!(loaded.origins, ["1.csv:2", "1.csv:5", "1.csv:6"]);
}

#[test]
fn every_kind_of_line_end_ends_a_record() {
    for end in ["\n", "\r\n", "\r"] {
        for last in ["", end] {
            let content = format!("a,b{end}1,\"x{end}y\"{end}{end}2,z{last}");
            let loaded = load_every_way(&content, &given("a int, b text")).unwrap();
            assert_eq!(loaded.text(), [format!("1|x{end}y"), "2|z".to_owned()]);
            // A lone CR within quotes ends no line.
            let second = if end == "\r" { 4 } else { 5 };
            assert_eq!(loaded.origins, ["1.csv:2".to_owned(), format!("1.csv:{second}")]);
        }
    }
    let mixed = load_every_way("a\n1\r2\r\n3\n\r4", &given("a int")).unwrap();
    assert_eq!(mixed.text(), ["1", "2", "3", "4"]);
    assert_eq!(mixed.origins, ["1.csv:2", "1.csv:3", "1.csv:4", "1.csv:6"]);
}

#[test]
fn bytes_within_quotes_are_kept() {
    let content = b"a,b\n\" x\t\0\r\n\",\"\xff,\"\n x , y\n\"ab\"cd,\"e\"\"\"\nf\"g,\"h\" \"i\"\n";
    let loaded = load_every_way(content, &given("a text, b binary")).unwrap();
    assert_eq!(
        loaded.text(),
        [" x\t\0\r\n|ff2c", " x |2079", "abcd|6522", "f\"g|68202269 22".replace(' ', "").as_str()]
    );
}

#[test]
fn a_byte_order_mark_and_other_delimiters_are_read() {
    let tab = CsvOptions { dialect: Dialect::parse("tab", true).unwrap(), ..given("a int, \"b,c\" text") };
    let loaded = load_every_way(b"\xef\xbb\xbf\"a\"\tb,c\n1\t2,3\n", &tab).unwrap();
    assert_eq!(loaded.text(), ["1|2,3"]);
    let bare = without_header(given("a text"));
    assert_eq!(load_every_way(b"\xef\xbb\xbfx\n\xef\xbb\xbfy", &bare).unwrap().text(), ["x", "\u{feff}y"]);
}

#[test]
fn columns_are_matched_by_name_in_every_file() {
    let options = given("id int, name text, day date");
    let files = files(&["day, name ,id\n2024-01-01,a,1\n", "id,name,day\n2,b,2024-01-02\n", "name,id,day\n"]);
    let loaded = files.load(&options).unwrap();
    assert_eq!(loaded.text(), ["1|a|2024-01-01", "2|b|2024-01-02"]);
    assert_eq!(loaded.origins, ["1.csv:2", "2.csv:2"]);
}

#[test]
fn without_a_header_columns_are_matched_by_position() {
    let loaded = load_every_way("1,a\n2,b", &without_header(given("id int, name text"))).unwrap();
    assert_eq!(
        (loaded.text(), loaded.origins),
        (vec!["1|a".into(), "2|b".into()], vec!["1.csv:1".into(), "1.csv:2".into()])
    );
    let inferred = load_every_way("\n1,a\n2,b", &without_header(CsvOptions::default())).unwrap();
    assert_eq!(inferred.rows.schema().field(1).name(), "column_2");
    assert_eq!(inferred.text(), ["1|a", "2|b"]);
    let two = files(&["", "1,a", "", "2,b\n"]).load(&without_header(CsvOptions::default())).unwrap();
    assert_eq!(two.text(), ["1|a", "2|b"]);
    assert_eq!(load("", &without_header(given("id int"))).unwrap().text(), [""; 0]);
}

#[test]
fn threads_and_chunks_do_not_matter_on_random_input() {
    let seed = 48_211;
    let mut random = StdRng::seed_from_u64(seed);
    let schema = given("a bigint, b text, c decimal(9,2), d date, e double, f binary");
    let good = "12,\"x,\n\"\"y\"\"\",3.5,2024-01-01,1e3,zz\r\n7,,,,,\n-1,é,-0.01,1999-12-31,nan,\"\"\n";
    let pieces = ["\"", ",", "\n", "\r", "", "9", ".", "-", "\"\"", "x", "99999999999999999999", "\u{0}", "2024-13-01"];
    let (mut loads, mut refusals) = (0, 0);
    for _ in 0..60 {
        let mut content = format!("a,b,c,d,e,f\n{}", good.repeat(random.random_range(1..4))).into_bytes();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(12..content.len());
            let piece = pieces[random.random_range(0..pieces.len())].as_bytes();
            content.splice(at..(at + random.random_range(0..3)).min(content.len()), piece.iter().copied());
        }
        let files = files(&[&content]);
        let want = files.load(&schema);
        *if want.is_ok() { &mut loads } else { &mut refusals } += 1;
        for (threads, chunk_bytes) in [(1, 1), (2, 9), (3, 31), (4, 200)] {
            let got = files.load(&CsvOptions { threads, chunk_bytes, ..schema.clone() });
            assert_eq!(got, want, "seed {seed}, {threads} threads, chunks of {chunk_bytes}: {content:?}");
        }
    }
    assert!(loads > 10 && refusals > 10, "{loads} loads, {refusals} refusals");
}

#[test]
fn progress_counts_bytes_and_rows() {
    let files = files(&["a\n1\n2\n", "a\n3\n"]);
    let mut source = CsvSource::open(&files.paths, given("a int")).unwrap();
    let progress = source.progress();
    assert_eq!((progress.rows(), progress.bytes_total()), (0, Some(10)));
    while source.next_batch().unwrap().is_some() {}
    assert_eq!((progress.rows(), progress.bytes_read()), (3, 10));
}

#[test]
fn a_source_can_be_dropped_early() {
    let content = format!("a\n{}", "1\n".repeat(100_000));
    let files = files(&[&content]);
    for threads in 1..5 {
        let options = CsvOptions { threads, chunk_bytes: 100, ..given("a int") };
        let mut source = CsvSource::open(&files.paths, options.clone()).unwrap();
        source.next_batch().unwrap().unwrap();
        assert!(source.progress().bytes_read() < 50_000);
        drop(source);
        drop(CsvSource::open(&files.paths, options).unwrap());
    }
}

#[test]
fn a_pipe_is_read_and_can_be_left() {
    let files = files::<&str>(&[]);
    let path = files.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::File::create(path).unwrap()
    });
    let source = CsvSource::open(&[path], without_header(given("a int"))).unwrap();
    assert_eq!(source.progress().bytes_total(), None);
    let mut pipe = writer.join().unwrap();
    // The reader waits for more than this, so the source is dropped while it is blocked.
    pipe.write_all(b"1\n2\n").unwrap();
    drop(source);
}

#[test]
fn a_schema_is_shared_and_its_nullability_kept() {
    let options = given("a int not null, b text");
    let loaded = load("b,a\n,1", &options).unwrap();
    assert!(Arc::ptr_eq(options.schema.as_ref().unwrap(), &loaded.rows.schema()));
    assert_eq!(loaded.text(), ["1|~"]);
}
