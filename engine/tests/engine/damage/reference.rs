//! The databases that are damaged: three tables with every kind of file, and what they hold.
//!
//! Invariants: the same in every run but for the random numbers of database and commits, whose length is fixed; so the
//! bytes of its files can be counted through, and split into shards.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Image, SimDisk};
use rustling_engine::load::run::LoadOptions;
use rustling_engine::load::sink::OnConflict;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::wal::record::SEGMENT_HEADER_BYTES;

use crate::fixture::{MemorySource, keys, rows};

/// How large the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// More than 8 KiB: for an ordinary test run.
    Small,
    /// More than 64 KiB, with files of several blocks.
    Large,
}

/// What the three tables hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) plain: BTreeMap<i64, String>,
    pub(crate) pairs: BTreeMap<(String, i32), f64>,
    pub(crate) log: Vec<String>,
}

impl Model {
    /// The rows of a table in key order, as a scan gives them.
    pub(crate) fn batch(&self, table: &str) -> RecordBatch {
        match table {
            "plain" => {
                let list: Vec<(i64, String)> = self.plain.iter().map(|(key, text)| (*key, text.clone())).collect();
                rows(&list)
            }
            "pairs" => pair_rows(&self.pairs.iter().map(|(key, number)| (key.clone(), *number)).collect::<Vec<_>>()),
            "log" => notes(&self.log),
            other => panic!("no table `{other}`"),
        }
    }
}

/// A database on a disk, and what it should hold.
pub(crate) struct Script {
    pub(crate) disk: SimDisk,
    pub(crate) db: Database,
    pub(crate) model: Model,
    scale: Scale,
}

/// Options under which every step happens in a known order, with segments that are soon full.
pub(crate) fn options(scale: Scale) -> Options {
    // The defaults ask the system for the number of its cores: too slow for hundreds of thousands of openings.
    static DEFAULTS: LazyLock<Options> = LazyLock::new(Options::default);
    let wal_segment_bytes = if scale == Scale::Small { 700 } else { 9000 };
    Options { background: false, threads: 1, memtable_bytes: 1 << 20, wal_segment_bytes, ..DEFAULTS.clone() }
}

/// Text that neither LZ4 nor a dictionary makes much shorter, the same in every run.
fn text(seed: i64, length: usize) -> String {
    let mut state = seed.cast_unsigned().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"abcdefghijklmnopqrstuvwxyz012345"[usize::try_from(state >> 59).unwrap()])
    });
    letters.take(length).collect()
}

fn pair_keys(list: &[(String, i32)]) -> Vec<(&'static str, ArrayRef)> {
    let region = StringArray::from_iter_values(list.iter().map(|(region, _)| region));
    let number = Int32Array::from_iter_values(list.iter().map(|(_, number)| *number));
    vec![("region", Arc::new(region)), ("number", Arc::new(number))]
}

fn pair_rows(list: &[((String, i32), f64)]) -> RecordBatch {
    let keys: Vec<(String, i32)> = list.iter().map(|(key, _)| key.clone()).collect();
    let mut columns = pair_keys(&keys);
    columns.push(("price", Arc::new(Float64Array::from_iter_values(list.iter().map(|(_, price)| *price)))));
    RecordBatch::try_from_iter(columns).unwrap()
}

fn notes(list: &[String]) -> RecordBatch {
    RecordBatch::try_from_iter([("note", Arc::new(StringArray::from_iter_values(list)) as ArrayRef)]).unwrap()
}

impl Script {
    /// An empty database with the three tables.
    pub(crate) fn new(scale: Scale) -> Self {
        let disk = SimDisk::new();
        let db = Database::open(Arc::new(disk.clone()) as Arc<dyn Disk>, options(scale)).unwrap();
        db.create_table("plain", &rows(&[]).schema(), &["k"]).unwrap();
        db.create_table("pairs", &pair_rows(&[]).schema(), &["region", "number"]).unwrap();
        db.create_table("log", &notes(&[]).schema(), &[]).unwrap();
        Self { disk, db, model: Model::default(), scale }
    }

    /// Values of one row.
    fn row(&self, key: i64) -> ((i64, String), ((String, i32), f64)) {
        // Few long rows, so that a trial is quick and files have more than one block.
        let length = if self.scale == Scale::Large { 330 } else { 9 };
        let number = i32::try_from(key).unwrap();
        let pair = ((format!("{}{}", text(key % 5, 3), text(key, length)), number % 7), f64::from(number) / 4.0);
        ((key, text(key, length)), pair)
    }

    /// A batch over all three tables: rows with some keys, without others.
    pub(crate) fn batch(&mut self, new: std::ops::Range<i64>, gone: std::ops::Range<i64>, word: &str) -> WriteBatch {
        let mut batch = WriteBatch::new();
        if !gone.is_empty() {
            let plain: Vec<i64> = gone.clone().collect();
            let pairs: Vec<(String, i32)> = gone.map(|key| self.row(key).1.0).collect();
            plain.iter().for_each(|key| drop(self.model.plain.remove(key)));
            pairs.iter().for_each(|key| assert!(self.model.pairs.remove(key).is_none_or(f64::is_finite)));
            batch.delete("plain", keys(&plain));
            batch.delete("pairs", RecordBatch::try_from_iter(pair_keys(&pairs)).unwrap());
        }
        if !new.is_empty() {
            let (mut plain, mut pairs, mut log) = (Vec::new(), Vec::new(), Vec::new());
            for key in new {
                let ((key, value), (pair, price)) = self.row(key);
                plain.push((key, format!("{word}{value}")));
                pairs.push((pair, price + f64::from(u32::try_from(word.len()).unwrap())));
                if key % 4 == 0 {
                    log.push(format!("{word}{key}"));
                }
            }
            batch.upsert("plain", rows(&plain)).upsert("pairs", pair_rows(&pairs)).insert("log", notes(&log));
            self.model.plain.extend(plain);
            self.model.pairs.extend(pairs);
            self.model.log.extend(log);
        }
        batch
    }

    pub(crate) fn write(&mut self, new: std::ops::Range<i64>, gone: std::ops::Range<i64>, word: &str) {
        let batch = self.batch(new, gone, word);
        self.db.write(&batch).unwrap();
    }

    /// Writes until the log has just begun a segment; `wrote` is called after each batch.
    pub(crate) fn fill_segment(&mut self, mut wrote: impl FnMut(&Self)) {
        let mut key = 70;
        while self.db.report().wal_end.length > SEGMENT_HEADER_BYTES {
            self.write(key..key + 1, 0..0, "more ");
            wrote(self);
            key += 1;
        }
    }

    fn flush(&self, tables: &[&str]) {
        tables.iter().for_each(|table| self.db.flush(table).unwrap());
    }

    fn load(&mut self, range: std::ops::Range<i64>) {
        let list: Vec<(i64, String)> =
            range.map(|key| self.row(key).0).map(|(key, value)| (key, value + "l")).collect();
        let options = LoadOptions { on_conflict: OnConflict::Update, ..LoadOptions::default() };
        self.db.load("plain", &mut MemorySource::new(vec![rows(&list)]), &options).unwrap();
        self.model.plain.extend(list);
    }

    /// Runs of every kind: rows alone, rows with deleted keys, deleted keys alone, loaded in bulk.
    pub(crate) fn write_runs(&mut self) {
        let count = if self.scale == Scale::Small { 24 } else { 200 };
        self.write(0..count, 0..0, "");
        self.flush(&["plain", "pairs", "log"]);
        self.write(count / 2..count / 2 + 4, 1..count / 6, "again ");
        self.flush(&["plain", "pairs"]);
        self.write(0..0, count / 4..count / 4 + 3, "");
        self.flush(&["pairs"]);
        self.load(count - 5..count + count / 4);
    }

    /// What is in the log alone, over several segments.
    pub(crate) fn write_log(&mut self) {
        for step in 0..6 {
            self.write(3 * step..3 * step + 3, 18 + step..19 + step, "unflushed ");
        }
        let group =
            [self.batch(30..31, 0..0, "one "), self.batch(31..32, 2..3, "two "), self.batch(33..34, 0..0, "three ")];
        self.db.write_group(&group).unwrap().into_iter().for_each(|written| assert!(written.is_ok(), "{written:?}"));
        self.write(34..35, 0..0, "last ");
        assert!(self.db.report().wal_end.length > SEGMENT_HEADER_BYTES, "the last segment has records");
    }

    /// What is on the disk now.
    pub(crate) fn image(&self) -> Image {
        self.disk.killed_image(self.disk.boundaries())
    }
}

/// A database that was closed in order, what it holds, and what its disk held earlier.
pub(crate) struct Reference {
    pub(crate) image: Image,
    pub(crate) model: Model,
    pub(crate) older: Vec<Image>,
    pub(crate) scale: Scale,
}

impl Reference {
    pub(crate) fn closed(scale: Scale) -> Self {
        let mut script = Script::new(scale);
        let mut older = vec![script.image()];
        script.write_runs();
        older.push(script.image());
        script.write_log();
        older.push(script.image());
        script.db.close().unwrap();
        Self { image: script.image(), model: script.model, older, scale }
    }

    /// All files with their contents.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.image.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
    }
}

/// The kind of an SST without rows: its length is checked, and as it has no rows, nobody reads it.
pub(crate) const UNREAD: &str = "sst without rows";

/// What kind of file a path names.
pub(crate) fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or(path, |(_, extension)| extension) {
        "json" => "manifest",
        "wal" => "log",
        "parquet" => "sst",
        "keys" => "keys",
        "del" => "del",
        "dv" => "dv",
        "LOCK" => "lock",
        other => panic!("no file of a database: {path} ({other})"),
    }
}
