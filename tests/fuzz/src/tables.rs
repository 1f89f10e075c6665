//! The tables of the corpus: keys of one width, keys of any length, no key; and a database that holds rows of them.
//!
//! In: nothing. Out: schemas, codecs, rows, a small database on a disk in memory.
//! Invariants: the tables have the ids 1, 2 and 3 in the database, in this order.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::error::Result;
use rustling_engine::id::TableId;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::rows::key::KeyCodec;
use rustling_engine::rows::schema::TableSchema;

/// A table as decoders know it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns and key.
    pub schema: Arc<TableSchema>,
    /// Its key encoding.
    pub codec: KeyCodec,
}

/// The tables.
pub fn tables() -> &'static [Table; 3] {
    static TABLES: OnceLock<[Table; 3]> = OnceLock::new();
    TABLES.get_or_init(|| [table("numbers", &["k"]), table("typed", &["name", "number"]), table("notes", &[])])
}

/// The table that some id means; there is one for every id.
pub fn table_of(id: TableId) -> &'static Table {
    let index = id.0.wrapping_sub(1) % 3;
    &tables()[usize::try_from(index).unwrap_or(0)]
}

fn table(name: &'static str, key: &[&str]) -> Table {
    let schema = Arc::new(TableSchema::new(name, &rows(name, 0..0, "").schema(), key).expect("a good schema"));
    let codec = KeyCodec::new(name, &schema).expect("a good key");
    Table { name, schema, codec }
}

/// Rows of a table, for some numbers; `word` tells versions of a row apart.
pub fn rows(table: &str, numbers: std::ops::Range<i32>, word: &str) -> RecordBatch {
    let count = || numbers.clone();
    let keys = Arc::new(Int64Array::from_iter_values(count().map(i64::from))) as ArrayRef;
    let words = Arc::new(StringArray::from_iter(count().map(|n| (n % 3 != 0).then(|| format!("{word}{}", n % 5)))));
    let columns = match table {
        "numbers" => vec![("k", keys, false), ("v", words as ArrayRef, true)],
        "notes" => vec![("note", words as ArrayRef, true)],
        _ => return typed(numbers, word),
    };
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn typed_schema() -> SchemaRef {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let place = DataType::Struct(vec![Field::new("x", DataType::Float64, true)].into());
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("number", DataType::Int32, false),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("at", at, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("tag", DataType::FixedSizeBinary(3), true),
        Field::new("text", DataType::Utf8View, true),
        Field::new("blob", DataType::BinaryView, true),
        Field::new("list", DataType::new_list(DataType::Int32, true), true),
        Field::new("place", place, true),
    ]))
}

fn typed(numbers: std::ops::Range<i32>, word: &str) -> RecordBatch {
    let count = || numbers.clone();
    let some = |n: i32| n % 4 != 0;
    let price = Decimal128Array::from_iter_values(count().map(|n| i128::from(n) * 101)).with_precision_and_scale(15, 2);
    let at = TimestampMicrosecondArray::from_iter(count().map(|n| some(n).then_some(i64::from(n) * 1_000_003)));
    let tags = count().map(|n| some(n).then_some([b'a', b'b', u8::try_from(n % 200).unwrap_or(0)]));
    let text = count().map(|n| some(n).then(|| "text that is long enough ".repeat(usize::from(n % 2 == 0)) + word));
    let list = count().map(|n| some(n).then(|| (0..n % 3).map(Some).collect::<Vec<_>>()));
    let x = Arc::new(Float64Array::from_iter_values(count().map(|n| f64::from(n) / 2.0))) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(count().map(|n| format!("{word}\0{}", n % 3)))),
        Arc::new(Int32Array::from_iter_values(count())),
        Arc::new(price.expect("a decimal")),
        Arc::new(at.with_timezone("+00:00")),
        Arc::new(BooleanArray::from_iter(count().map(|n| Some(n % 2 == 0)))),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(tags, 3).expect("three bytes")),
        Arc::new(StringViewArray::from_iter(text)),
        Arc::new(BinaryViewArray::from_iter(count().map(|n| some(n).then_some([0xff, 0, 1])))),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(list)),
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", DataType::Float64, true)), x)])),
    ];
    RecordBatch::try_new(typed_schema(), columns).expect("columns of one length")
}

/// The key columns of rows.
pub fn keys(table: &Table, rows: &RecordBatch) -> RecordBatch {
    rows.project(table.schema.key()).expect("key columns")
}

/// Options under which one thread does everything, in a known order.
pub fn options() -> Options {
    Options { background: false, threads: 1, ..Options::default() }
}

/// A closed database with the tables, to which something was written.
///
/// # Errors
/// The engine's.
pub fn database(write: impl FnOnce(&Database) -> Result<()>) -> Result<Arc<dyn Disk>> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let db = Database::open(disk.clone(), options())?;
    for table in tables() {
        let key = if table.schema.has_key() { table.schema.key_names() } else { Vec::new() };
        db.create_table(table.name, table.schema.user(), &key)?;
    }
    write(&db)?;
    db.close()?;
    Ok(disk)
}

/// Writes a few rows to all tables, and deletes some.
///
/// # Errors
/// The engine's.
pub fn write_some(db: &Database, word: &str) -> Result<()> {
    let [numbers, typed, _] = tables();
    let mut batch = WriteBatch::new();
    batch.upsert("numbers", rows("numbers", 0..6, word)).upsert("typed", rows("typed", 0..4, word));
    db.write(batch.insert("notes", rows("notes", 0..3, word)))?;
    let mut batch = WriteBatch::new();
    batch.delete("numbers", keys(numbers, &rows("numbers", 2..4, word)));
    batch.delete("typed", keys(typed, &rows("typed", 1..2, word)));
    db.write(batch.upsert("numbers", rows("numbers", 5..7, "new")))?;
    Ok(())
}

/// Writes so many rows that the log takes them in column form, with some deletions.
///
/// # Errors
/// The engine's.
pub fn write_many(db: &Database) -> Result<()> {
    let mut batch = WriteBatch::new();
    batch.upsert("numbers", rows("numbers", 100..1200, "many"));
    db.write(batch.delete("numbers", keys(&tables()[0], &rows("numbers", 1200..1203, ""))))?;
    Ok(())
}
