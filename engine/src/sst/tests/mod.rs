//! What the tests of a run's files share: a disk in memory, tables, runs.

mod damage;
mod key_block;
mod point;
mod round_trip;
mod single;
mod types;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::config::KeptBytes;
use crate::disk::api::Disk;
use crate::disk::memory::MemoryDisk;
use crate::disk::path::{self, RunFile};
use crate::error::Result;
use crate::id::{RunId, TableId};
use crate::rows::keys::Keys;
use crate::rows::schema::TableSchema;
use crate::sst::counts::ReadCounts;
use crate::sst::meta::SstMeta;
use crate::sst::reader::Sst;
use crate::sst::store::Store;
use crate::sst::table_file::Access;
use crate::sst::writer::{Encoder, SstWriter};

const TABLE: TableId = TableId(4);
const RUN: RunId = RunId(9);

fn disk() -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    for folder in [path::STAGING.to_owned(), path::table(TABLE)] {
        disk.create_dir(&folder).unwrap();
    }
    Arc::new(disk)
}

/// One row, as it is looked up.
fn row(sst: &Sst, position: u64, projection: &[usize]) -> Result<RecordBatch> {
    sst.rows_at(&[position], projection, Access::Keys, &mut ReadCounts::default())
}

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

fn encoder(pool: Arc<ThreadPool>) -> Encoder {
    Encoder { pool, row_group_bytes: 64 << 20 }
}

fn file(file: RunFile) -> String {
    path::run(TABLE, RUN, file)
}

fn contents(disk: &dyn Disk, path: &str) -> Vec<u8> {
    disk.open(path).unwrap().map().unwrap().to_vec()
}

/// Replaces the bytes of a file.
fn overwrite(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    disk.remove(path).unwrap();
    disk.create(path).unwrap().append(bytes).unwrap();
}

/// Rows in key order with their encoded keys.
#[derive(Clone)]
struct Rows {
    schema: Arc<TableSchema>,
    keys: Keys,
    batch: RecordBatch,
}

impl Rows {
    fn slice(&self, start: usize, rows: usize) -> (Keys, RecordBatch) {
        let mut keys = Keys::new(self.keys.width());
        keys.extend(&self.keys, start..start + rows);
        (keys, self.batch.slice(start, rows))
    }

    /// The key columns, as deletes have them.
    fn key_columns(&self) -> RecordBatch {
        self.batch.project(self.schema.key()).unwrap()
    }

    /// Writes the rows as one run, `step` rows at a time.
    fn write(&self, disk: &Arc<dyn Disk>, step: usize, deletes: Option<&Self>) -> SstMeta {
        let mut writer = SstWriter::create(disk.clone(), TABLE, RUN, self.schema.clone(), encoder(pool(2))).unwrap();
        for start in (0..self.keys.len()).step_by(step) {
            let (keys, batch) = self.slice(start, step.min(self.keys.len() - start));
            writer.append(&keys, &batch).unwrap();
        }
        if let Some(deletes) = deletes {
            writer.append_deletes(&deletes.keys, &deletes.key_columns()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn open(&self, disk: &Arc<dyn Disk>, meta: &SstMeta) -> Result<Sst> {
        self.open_in(&Store::new(disk.clone(), KeptBytes { footers: 1 << 20, rows: 1 << 20, pages: 1 << 20 }), meta)
    }

    fn open_in(&self, store: &Arc<Store>, meta: &SstMeta) -> Result<Sst> {
        Sst::open(store, TABLE, self.schema.clone(), meta.clone())
    }
}

fn encode_i64(value: i64) -> [u8; 8] {
    (value ^ i64::MIN).to_be_bytes()
}

fn encode_i32(value: i32) -> [u8; 4] {
    (value ^ i32::MIN).to_be_bytes()
}

fn rows(fields: Vec<Field>, key: &[&str], keys: Keys, columns: Vec<ArrayRef>) -> Rows {
    let schema = Arc::new(TableSchema::new("t", &Schema::new(fields), key).unwrap());
    let batch = RecordBatch::try_new(schema.stored().clone(), columns).unwrap();
    Rows { schema, keys, batch }
}

/// TPC-H's shape: sparse order keys with one to seven lines each.
fn lineitem(count: usize) -> Rows {
    let pairs: Vec<(i64, i32)> = (0i64..)
        .flat_map(|order| {
            let key = order / 8 * 32 + order % 8 + 1;
            (1..=(order * 5 % 7 + 1) as i32).map(move |line| (key, line))
        })
        .take(count)
        .collect();
    let keys = pairs.iter().flat_map(|(order, line)| [&encode_i64(*order)[..], &encode_i32(*line)].concat()).collect();
    let number = |index: usize| (index as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64);
    let fields = vec![
        Field::new("orderkey", DataType::Int64, false),
        Field::new("linenumber", DataType::Int32, false),
        Field::new("quantity", DataType::Decimal128(15, 2), true),
        Field::new("price", DataType::Float64, true),
        Field::new("comment", DataType::Utf8View, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(pairs.iter().map(|pair| pair.0).collect::<Int64Array>()),
        Arc::new(pairs.iter().map(|pair| pair.1).collect::<Int32Array>()),
        Arc::new(
            (0..count)
                .map(|row| (row % 11 != 0).then_some(i128::from(number(row).rem_euclid(50) * 100)))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(15, 2)
                .unwrap(),
        ),
        Arc::new((0..count).map(|row| number(row) as f64 / 1e6).collect::<Float64Array>()),
        Arc::new((0..count).map(|row| Some(format!("carefully ironic {}", number(row)))).collect::<StringViewArray>()),
    ];
    rows(fields, &["orderkey", "linenumber"], Keys::from_fixed(12, keys), columns)
}

/// A string key of different lengths.
fn names(count: usize) -> Rows {
    let mut names: Vec<String> =
        (0..count).map(|row| format!("{:x}/{row}", row.wrapping_mul(2_654_435_761) % 4_096)).collect();
    names.sort();
    let mut keys = Keys::new(None);
    names.iter().for_each(|name| keys.push(name.as_bytes()));
    let fields = vec![Field::new("value", DataType::Int64, true), Field::new("name", DataType::Utf8, false)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..count as i64).map(|row| (row % 3 != 0).then_some(row)).collect::<Int64Array>()),
        Arc::new(StringArray::from(names)),
    ];
    rows(fields, &["name"], keys, columns)
}

/// A composite key of a string and an integer.
fn sensors(count: usize) -> Rows {
    let pairs: Vec<(String, i64)> =
        (0..count).map(|row| (format!("sensor-{:03}", row / 1_000), row as i64 * 10)).collect();
    let mut keys = Keys::new(None);
    pairs.iter().for_each(|(name, time)| keys.push(&[name.as_bytes(), &[0], &encode_i64(*time)].concat()));
    let fields = vec![Field::new("name", DataType::Utf8, false), Field::new("time", DataType::Int64, false)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(pairs.iter().map(|pair| Some(pair.0.as_str())).collect::<StringArray>()),
        Arc::new(pairs.iter().map(|pair| pair.1).collect::<Int64Array>()),
    ];
    rows(fields, &["name", "time"], keys, columns)
}
