//! Parquet files of a run, `.del` files and SSTs: hostile content behind block checksums that match.
//!
//! In: a byte of choices (lowest two bits: whose columns; 4: of its keys alone; 8: changes), a byte for the rows that are
//! wanted, then the file; or changes of the pages of a good file, whose footer stays.
//! Promise: what the decoder panics on is damage; what is read has the columns of the schema and the number of rows
//! that were asked for; rows out of single pages are those of Parquet's reader, where both give any.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::error::{Damage, Error, Result};
use rustling_engine::id::{RunId, TableId};
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::rows::schema::TableSchema;
use rustling_engine::sst::counts::ReadCounts;
use rustling_engine::sst::meta::FileId;
use rustling_engine::sst::page::point_reader::PointReader;
use rustling_engine::sst::page::source::{PageSource, pages};
use rustling_engine::sst::rows::{SstRows, load_metadata};
use rustling_engine::sst::verified_file::VerifiedFile;

use crate::input::Input;
use crate::seal::{self, number};
use crate::tables::{database, keys, rows, tables};
use crate::targets::wal::{get, put};
use crate::targets::{Seeds, unless_corrupt};

/// The columns of the deleted keys.
const KEYS_ONLY: u8 = 4;
/// Rows of the files of the corpus, nearly always.
const ROWS: u64 = 40;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 16;
/// The content is changes of a good file.
const CHANGES: u8 = 8;
/// The file that is changed, as an entry of the corpus.
const GOOD: &[u8] = include_bytes!("../../corpus/parquet/typed");
const PATH: &str = "tables/file";

fn schema_of(choices: u8) -> SchemaRef {
    let schema: &TableSchema = &tables()[usize::from(choices % 4).min(2)].schema;
    if choices & KEYS_ONLY != 0 { schema.key_schema() } else { schema.stored().clone() }
}

/// The good file with changes before its footer.
fn with_changes(mut input: Input<'_>) -> Vec<u8> {
    let mut content = GOOD[2..].to_vec();
    let footer = usize::try_from(number(&content, content.len() - 8) & u64::from(u32::MAX)).unwrap_or(0);
    let pages = content.len().saturating_sub(footer + 8);
    while !input.0.is_empty() {
        input.change(&mut content[..pages]);
    }
    content
}

/// Reads a file.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let wanted = u64::from(input.byte());
    let changed = choices & CHANGES != 0;
    let schema = if changed { schema_of(GOOD[0]) } else { schema_of(choices) };
    let content = if changed { with_changes(input) } else { input.0.to_vec() };
    let disk = MemoryDisk::new();
    put(&disk, PATH, &content);
    let checksums = seal::block_checksums(&content).into();
    let opened = VerifiedFile::open(&disk, PATH.to_owned(), content.len() as u64, checksums);
    let Some(file) = unless_corrupt(opened.map(Arc::new), "open") else { return };
    let mut count = ROWS;
    let mut loaded = load_metadata(&file, &schema, count);
    if let Err(Error::Corrupt { damage: Damage::Disagreement { fact: "the number of rows", found, .. }, .. }) = &loaded
    {
        count = *found;
        loaded = load_metadata(&file, &schema, count);
    }
    let Some(metadata) = unless_corrupt(loaded, "metadata") else { return };
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    find_rows(&file, &metadata, &schema, count, wanted);
    let some = wanted.min(count)..(wanted + 3).min(count);
    for (range, projection) in [(0..count, &all[..]), (some, &all[..1])] {
        let mut left = range.end - range.start;
        let started = SstRows::start(&file, &metadata, &schema, std::slice::from_ref(&range), projection, BATCH_ROWS);
        let Some(batches) = unless_corrupt(started, "start") else { continue };
        for batch in batches {
            let Some(batch) = unless_corrupt(batch, "batch") else { break };
            assert!(batch.num_rows() > 0 && batch.num_rows() as u64 <= left && batch.num_columns() == projection.len());
            left -= batch.num_rows() as u64;
            // A batch of text that is no UTF-8, or of offsets that lie, breaks its promise where it is used.
            for (column, index) in batch.columns().iter().zip(projection) {
                assert_eq!(column.data_type(), schema.field(*index).data_type());
                column.to_data().validate_full().unwrap_or_else(|error| panic!("a column that lies: {error}"));
            }
        }
    }
}

/// Reads some rows out of single pages: where that gives values, they are those of Parquet's reader, if it gives any.
fn find_rows(file: &Arc<VerifiedFile>, metadata: &ArrowReaderMetadata, schema: &Schema, count: u64, wanted: u64) {
    let id = FileId { table: TableId(1), run: RunId(1), file: RunFile::Sst };
    let kept = pages(1 << 20);
    let source = PageSource { file, id, kept: &kept };
    let reader = PointReader { source, metadata: metadata.metadata(), schema };
    let positions: Vec<u64> = [wanted, wanted + 1, wanted + 17].into_iter().filter(|row| *row < count).collect();
    let ranges: Vec<_> = positions.iter().map(|row| *row..row + 1).collect();
    for column in 0..schema.fields().len() {
        let found = unless_corrupt(reader.read(&positions, &[column], &mut ReadCounts::default()), "rows");
        let Some([Some(found)]) = found.as_deref() else { continue };
        assert_eq!((found.len(), found.data_type()), (positions.len(), schema.field(column).data_type()));
        found.to_data().validate_full().unwrap_or_else(|error| panic!("a column that lies: {error}"));
        let started = SstRows::start(file, metadata, schema, &ranges, &[column], BATCH_ROWS);
        let Some(batches) = unless_corrupt(started, "start") else { continue };
        let mut start = 0;
        for batch in batches {
            let Some(batch) = unless_corrupt(batch, "batch") else { break };
            assert_eq!(&found.slice(start, batch.num_rows()), batch.column(0), "rows from {start} of {positions:?}");
            start += batch.num_rows();
        }
    }
}

/// The first SST and the first deleted keys of each table.
pub fn seeds() -> Result<Seeds> {
    let names = ["numbers", "typed", "notes"];
    let disk = database(|db| {
        let mut batch = WriteBatch::new();
        for name in names {
            batch.insert(name, rows(name, 0..40, "a"));
        }
        db.write(&batch)?;
        names.into_iter().try_for_each(|name| db.flush(name))?;
        let mut batch = WriteBatch::new();
        for table in tables().iter().filter(|table| table.schema.has_key()) {
            batch.delete(table.name, keys(table, &rows(table.name, 0..40, "a")));
        }
        db.write(&batch)?;
        names.into_iter().try_for_each(|name| db.flush(name))
    })?;
    let mut seeds = Vec::new();
    for (choices, sst, deletes) in [(0, "numbers", "numbers-deletes"), (1, "typed", "typed-deletes"), (2, "notes", "")]
    {
        let table = TableId(u64::from(choices) + 1);
        let first = |wanted| {
            let found = disk.list(&path::table(table)).unwrap_or_default();
            let runs = found.iter().filter_map(|name| path::parse_run(name));
            let (run, _) = runs.filter(|(_, file)| *file == wanted).min_by_key(|(run, _)| *run)?;
            Some(get(&*disk, &path::run(table, run, wanted)))
        };
        for (name, choices, file) in
            [(sst, choices, first(RunFile::Sst)), (deletes, choices | KEYS_ONLY, first(RunFile::Deletes))]
        {
            seeds.extend(file.map(|file| (name, [&[choices, 5], &*file].concat())));
        }
    }
    for (name, how) in [("change-bit", 1), ("change-number", 3), ("change-power", 4), ("change-length", 5)] {
        seeds.push((name, vec![CHANGES, 5, 30, 0, how, 31, 60, 0, 200, 0, how, 20, 60, 1, 1, 1, how, 31, 60, 0]));
    }
    Ok(seeds)
}
