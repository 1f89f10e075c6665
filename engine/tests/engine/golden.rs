//! Databases that were written by earlier versions, one folder per format version, open and hold what they held.
//!
//! `GOLDEN_WRITE=<folder>` writes the folder of the current version anew; do that only with a new format version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::local::LocalDisk;
use rustling_engine::disk::path;
use rustling_engine::id::ManifestId;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::version::manifest::{FORMAT, Manifest};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

fn open(folder: &Path) -> Database {
    Database::open(Arc::new(LocalDisk::open(folder).unwrap()), options()).unwrap()
}

fn schema() -> SchemaRef {
    let tags = DataType::new_list(DataType::Int64, true);
    let place = DataType::Struct(vec![Field::new("x", DataType::Float64, true)].into());
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("region", DataType::Utf8, false),
        Field::new("number", DataType::Int32, false),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", at, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("tags", tags, true),
        Field::new("place", place, true),
    ]))
}

fn rows(numbers: std::ops::Range<i32>, word: &str) -> RecordBatch {
    let count = || numbers.clone();
    let price = Decimal128Array::from_iter_values(count().map(|n| i128::from(n) * 101)).with_precision_and_scale(15, 2);
    let at = TimestampMicrosecondArray::from_iter(count().map(|n| (n % 3 != 0).then_some(i64::from(n) * 1_000_003)));
    let tags = ListArray::from_iter_primitive::<Int64Type, _, _>(
        count().map(|n| (n % 4 != 0).then(|| (0..n % 3).map(|tag| Some(i64::from(tag))).collect::<Vec<_>>())),
    );
    let x = Arc::new(Float64Array::from_iter_values(count().map(|n| f64::from(n) / 2.0))) as ArrayRef;
    let place = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Float64, true)), x)]);
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from_iter_values(count().map(|n| format!("{word}\0{}", n % 2)))),
            Arc::new(Int32Array::from_iter_values(count())),
            Arc::new(price.unwrap()),
            Arc::new(Date32Array::from_iter_values(count())),
            Arc::new(at.with_timezone("+00:00")),
            Arc::new(BooleanArray::from_iter(count().map(|n| Some(n % 2 == 0)))),
            Arc::new(tags),
            Arc::new(place),
        ],
    )
    .unwrap()
}

fn notes(list: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("note", Arc::new(StringArray::from(list.to_vec())) as ArrayRef, true)])
        .unwrap()
}

/// Runs with and without deleted keys, a table without a key, and a log with rows in both forms.
fn write(folder: &Path) {
    let db = open(folder);
    db.create_table("typed", &schema(), &["region", "number"]).unwrap();
    db.create_table("notes", &notes(&[]).schema(), &[]).unwrap();
    db.write(WriteBatch::new().upsert("typed", rows(0..300, "north")).insert("notes", notes(&["first", "second"])))
        .unwrap();
    db.flush("typed").unwrap();
    let gone = rows(10..20, "north").project(&[0, 1]).unwrap();
    db.write(WriteBatch::new().delete("typed", gone).upsert("typed", rows(0..5, "south"))).unwrap();
    db.flush("typed").unwrap();
    db.write(WriteBatch::new().upsert("typed", rows(2..4, "north")).insert("notes", notes(&["third"]))).unwrap();
    db.write(WriteBatch::new().upsert("typed", rows(0..1100, "west"))).unwrap();
    db.close().unwrap();
}

fn text(db: &Database) -> String {
    let snapshot = db.snapshot();
    let mut text = String::new();
    for name in snapshot.table_names() {
        let table = snapshot.table(&name).unwrap();
        let all: Vec<usize> = (0..table.schema().stored().fields().len()).collect();
        let batches: Vec<RecordBatch> = table.scan(&KeyInterval::ALL, &all).unwrap().collect::<Result<_, _>>().unwrap();
        text += &format!("{name}\n{}\n", pretty_format_batches(&batches).unwrap());
    }
    text
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn databases_of_all_format_versions_open_and_hold_what_they_held() {
    if let Ok(target) = std::env::var("GOLDEN_WRITE") {
        write(Path::new(&target));
    }
    let wanted = tempfile::tempdir().unwrap();
    write(wanted.path());
    let wanted = text(&open(wanted.path()));
    for entry in std::fs::read_dir(folder()).unwrap() {
        let golden = entry.unwrap().path();
        let opened = tempfile::tempdir().unwrap();
        copy(&golden, opened.path());
        let db = open(opened.path());
        assert_eq!(text(&db), wanted, "{}", golden.display());
        assert_eq!(newest_manifest(opened.path()).format, FORMAT, "{}", golden.display());
        db.compact("typed").unwrap();
        assert_eq!(text(&db), wanted, "{}, compacted", golden.display());
        assert!(db.open_report().torn.is_none() && db.open_report().swept.is_empty(), "{:?}", db.open_report());
    }
}

fn newest_manifest(folder: &Path) -> Manifest {
    let names = std::fs::read_dir(folder.join(path::MANIFESTS)).unwrap().map(|entry| entry.unwrap().file_name());
    let id = names.filter_map(|name| path::parse_manifest(&name.to_string_lossy())).max().unwrap();
    let bytes = std::fs::read(folder.join(path::manifest(id))).unwrap();
    Manifest::decode("golden", id, &bytes).unwrap()
}

#[test]
fn files_written_today_have_the_bytes_of_the_golden_ones() {
    let today = tempfile::tempdir().unwrap();
    write(today.path());
    let golden = folder().join("v2");
    for file in ["tables/0000000001/00000000000000000001.keys", "tables/0000000001/00000000000000000002.keys"] {
        // A key index names the digest of its SST, whose bytes may change with the Parquet writer: compare the keys.
        let (today, golden) =
            (std::fs::read(today.path().join(file)).unwrap(), std::fs::read(golden.join(file)).unwrap());
        let groups = 8..today.len().min(600);
        assert_eq!(today[groups.clone()], golden[groups], "{file}");
    }
    let names: Vec<_> =
        std::fs::read_dir(golden.join(path::MANIFESTS)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let [name] = names.as_slice() else { panic!("one manifest, not {names:?}") };
    let id: ManifestId = path::parse_manifest(&name.to_string_lossy()).unwrap();
    let bytes = std::fs::read(golden.join(path::manifest(id))).unwrap();
    assert_eq!(Manifest::decode("golden", id, &bytes).unwrap().encode().unwrap(), bytes);
}
