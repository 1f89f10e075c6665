//! A log and a manifest that are whole and say what no writer says: opening names it, and counts no further.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path;
use rustling_engine::error::{Damage, Error, ErrorKind};
use rustling_engine::id::{Digest, NUMBER_LIMIT, RunId, SeqNo, TableId, WalId};
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::{SortedChanges, TableChanges, WriteBatch};
use rustling_engine::rows::key::KEY_BYTES_MAX;
use rustling_engine::rows::keys::Keys;
use rustling_engine::rows::row_form::RowForm;
use rustling_engine::rows::schema::TableSchema;
use rustling_engine::sst::meta::{DeletesMeta, FileMeta, KeyRange, SstMeta};
use rustling_engine::version::manifest::Manifest;
use rustling_engine::version::run::RunMeta;
use rustling_engine::wal::body::write_changes;
use rustling_engine::wal::record::{RecordKind, frame};

fn open(disk: &Arc<dyn Disk>) -> Result<Database, Error> {
    Database::open(disk.clone(), Options { background: false, threads: 1, ..Options::default() })
}

/// The tables of these tests: `notes` without a key, `words` with a key of text.
fn schema(table: &str) -> TableSchema {
    let key: &[&str] = if table == "notes" { &[] } else { &["word"] };
    TableSchema::new(table, &Schema::new(vec![Field::new("word", DataType::Utf8, false)]), key).unwrap()
}

/// A database with a row in each table, closed.
fn database() -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = open(&disk).unwrap();
    let word = RecordBatch::try_from_iter([("word", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    for table in ["notes", "words"] {
        let schema = schema(table);
        let key = if schema.has_key() { schema.key_names() } else { Vec::new() };
        db.create_table(table, schema.user(), &key).unwrap();
        db.write(WriteBatch::new().insert(table, word.clone())).unwrap();
    }
    db.close().unwrap();
    disk
}

/// Appends a record of one row to the log, with checksums and all.
fn append(disk: &Arc<dyn Disk>, table: &str, seq: u64, columns: Vec<ArrayRef>) {
    let schema = schema(table);
    let batch = RecordBatch::try_new(schema.stored().clone(), columns).unwrap();
    let mut keys = Keys::new(None);
    keys.push(b"the log holds the rows alone");
    let encoded = Some(RowForm::new(schema.stored().clone()).unwrap().encode(&batch).unwrap());
    let changes = SortedChanges { keys, rows: vec![0], batch, encoded };
    let table = TableId(if table == "notes" { 1 } else { 2 });
    let mut body = Vec::new();
    write_changes(&mut body, &schema, &TableChanges { table, changes, absent: Keys::new(None) }).unwrap();
    let path = path::wal(WalId(1));
    let length = disk.open(&path).unwrap().len();
    let mut record = Vec::new();
    frame(&mut record, WalId(1), length, RecordKind::Write, SeqNo(seq), &body);
    disk.append(&path, length).unwrap().append(&record).unwrap();
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

fn number(number: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![number]))
}

fn damage(opened: Result<Database, Error>) -> Damage {
    match opened {
        Err(Error::Corrupt { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_that_no_writer_wrote_is_refused() {
    let limit = i64::try_from(NUMBER_LIMIT).unwrap();
    for row_id in [limit, i64::MAX] {
        let disk = database();
        append(&disk, "notes", 9, vec![text("x"), number(row_id)]);
        assert!(matches!(damage(open(&disk)), Damage::Field { field: "__rowid", .. }), "{row_id}");
    }
    for seq in [NUMBER_LIMIT, u64::MAX] {
        let disk = database();
        append(&disk, "notes", seq, vec![text("x"), number(2)]);
        assert!(matches!(damage(open(&disk)), Damage::Field { field: "seq", value } if value == seq), "{seq}");
    }
    let disk = database();
    append(&disk, "words", 9, vec![text(&"x".repeat(KEY_BYTES_MAX + 1))]);
    let refused = damage(open(&disk));
    assert!(matches!(&refused, Damage::Refused(cause) if cause.to_string().contains("65536 bytes")), "{refused}");
}

#[test]
fn a_log_at_the_limits_is_read_and_written_on() {
    let disk = database();
    append(&disk, "words", 9, vec![text(&"x".repeat(KEY_BYTES_MAX))]);
    append(&disk, "notes", NUMBER_LIMIT - 1, vec![text("x"), number(i64::try_from(NUMBER_LIMIT).unwrap() - 1)]);
    let db = open(&disk).unwrap();
    let word = RecordBatch::try_from_iter([("word", text("b"))]).unwrap();
    assert_eq!(db.write(WriteBatch::new().insert("notes", word)).unwrap(), SeqNo(NUMBER_LIMIT));
    db.flush("notes").unwrap();
}

/// Opens the database with another manifest in the place of its own.
fn with_manifest(change: impl FnOnce(&mut Manifest)) -> Result<Database, Error> {
    let disk = database();
    let name = disk.list(path::MANIFESTS).unwrap().pop().unwrap();
    let (id, path) = (path::parse_manifest(&name).unwrap(), format!("{}/{name}", path::MANIFESTS));
    let bytes = disk.open(&path).unwrap().map().unwrap();
    let mut manifest = Manifest::decode(&path, id, &bytes).unwrap();
    change(&mut manifest);
    disk.remove(&path).unwrap();
    disk.create(&path).unwrap().append(&manifest.encode().unwrap()).unwrap();
    open(&disk)
}

/// A run that the manifest had not, with deleted keys, whose files nobody has asked for yet.
fn run_of(manifest: &mut Manifest) -> &mut SstMeta {
    let file = FileMeta { bytes: 1, digest: Digest(0) };
    let key_range = KeyRange { min: Vec::new(), max: Vec::new() };
    let deletes = Some(DeletesMeta { count: 1, file, key_range });
    let files = SstMeta { run: RunId(1), rows: 0, key_range: None, deletes, sst: file, keys: file, footer_checksum: 0 };
    manifest.next_run = RunId(2);
    // As format 1 had it, which says nothing of dead rows.
    (manifest.format, manifest.tables[0].deletions) = (1, None);
    manifest.tables[0].runs.push(RunMeta { files, min_seq: SeqNo(1), max_seq: SeqNo(1) });
    &mut manifest.tables[0].runs[0].files
}

#[test]
fn a_manifest_from_whose_numbers_nobody_can_go_on_is_refused() {
    type Change = fn(&mut Manifest, u64);
    let changes: [(&str, Change); 6] = [
        ("next_table", |manifest, value| manifest.next_table = TableId(value)),
        ("next_run", |manifest, value| manifest.next_run = RunId(value)),
        ("last_seq", |manifest, value| manifest.last_seq = SeqNo(value)),
        ("wal_floor", |manifest, value| manifest.wal_floor = WalId(value)),
        ("wal_end", |manifest, value| manifest.wal_end.segment = WalId(value)),
        ("length", |manifest, value| manifest.wal_end.length = value),
    ];
    for (name, change) in changes {
        for value in [NUMBER_LIMIT, i64::MAX.cast_unsigned(), u64::MAX] {
            match damage(with_manifest(|manifest| change(manifest, value))) {
                Damage::Field { field, value: found } => assert_eq!((field, found), (name, value)),
                other => panic!("{name}: {other}"),
            }
        }
    }
    for value in [i64::MIN, -1, 0, 1 << 62, i64::MAX] {
        let refused = damage(with_manifest(|manifest| manifest.tables[0].next_row_id = value));
        assert!(matches!(refused, Damage::Field { field: "next_row_id", .. }), "{value}");
    }
    let changes: [(&str, Change); 4] = [
        ("rows", |manifest, value| run_of(manifest).rows = value),
        ("bytes", |manifest, value| run_of(manifest).sst.bytes = value),
        ("bytes", |manifest, value| run_of(manifest).keys.bytes = value),
        ("count", |manifest, value| run_of(manifest).deletes.as_mut().unwrap().count = value),
    ];
    for (name, change) in changes {
        for value in [NUMBER_LIMIT, u64::MAX] {
            let refused = damage(with_manifest(|manifest| change(manifest, value)));
            assert!(matches!(refused, Damage::Field { field, value: found } if (field, found) == (name, value)));
        }
    }
    let refused = damage(with_manifest(|manifest| manifest.tables[0].flushed_through = SeqNo(99)));
    assert!(matches!(refused, Damage::Field { field: "flushed_through", value: 99 }), "{refused}");
}

#[test]
fn a_manifest_with_names_and_schemas_that_no_table_can_have_is_refused() {
    type Change = fn(&mut Manifest);
    let changes: [(&str, Change); 5] = [
        ("`__x` cannot name a table", |manifest| manifest.tables[0].name = "__x".to_owned()),
        ("cannot name a table: it is longer", |manifest| manifest.tables[0].name = "x".repeat(256)),
        ("it holds a control character", |manifest| manifest.tables[0].name = "a\0".to_owned()),
        ("has no column `other`", |manifest| manifest.tables[1].schema.key = vec!["other".to_owned()]),
        ("columns", |manifest| manifest.tables[1].schema.column_ids.clear()),
    ];
    for (want, change) in changes {
        let error = with_manifest(change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn two_thousand_columns_come_back() {
    let names: Vec<String> = (0..2000).map(|column| format!("column {column}")).collect();
    let columns = |row: i64| names.iter().map(move |name| (name.as_str(), number(row)));
    let batch = RecordBatch::try_from_iter(columns(7)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let open = |disk: &Arc<dyn Disk>| {
        Database::open(disk.clone(), Options { background: false, ..Options::with_memory(1 << 30) })
    };
    let db = open(&disk).unwrap();
    db.create_table("wide", &batch.schema(), &["column 1999"]).unwrap();
    db.write(WriteBatch::new().upsert("wide", batch.clone())).unwrap();
    db.flush("wide").unwrap();
    db.write(WriteBatch::new().upsert("wide", RecordBatch::try_from_iter(columns(8)).unwrap())).unwrap();
    db.close().unwrap();
    let db = open(&disk).unwrap();
    let table = db.snapshot().table("wide").unwrap();
    let all: Vec<usize> = (0..2000).collect();
    let read: Vec<RecordBatch> = table.scan(&KeyInterval::ALL, &all).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert!(read[0].columns().iter().all(|column| column.slice(0, 1).to_data() == number(7).to_data()));
}
