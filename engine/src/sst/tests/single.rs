//! Rows at some positions, whatever of them and of the rows around them is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::KeptBytes;
use crate::disk::api::Disk;
use crate::rows::canonical::kept_bytes;
use crate::rows::keys::Keys;
use crate::sst::counts::ReadCounts;
use crate::sst::kept::RowId;
use crate::sst::meta::FileId;
use crate::sst::page::source::PageId;
use crate::sst::store::Store;
use crate::sst::table_file::Access;
use crate::sst::tests::{RUN, Rows, RunFile, TABLE, disk, encode_i64, lineitem, row, rows};

const MANY: u64 = 140_000;

fn store(disk: &Arc<dyn Disk>, rows: usize, pages: usize) -> Arc<Store> {
    Store::new(disk.clone(), KeptBytes { footers: 1 << 20, rows, pages })
}

/// Ascending, different positions: some again and again, some anywhere, and the last page, which is shorter.
fn positions(random: &mut StdRng) -> Vec<u64> {
    let count = [1, 1, 3, 40][random.random_range(0..4)];
    let drawn = (0..count).map(|_| match random.random_range(0..3) {
        0 => random.random_range(0..2000),
        1 => random.random_range(0..MANY),
        _ => random.random_range(MANY - 300..MANY),
    });
    drawn.collect::<BTreeSet<u64>>().into_iter().collect()
}

#[test]
fn rows_are_the_same_whatever_is_kept() {
    let rows = lineitem(MANY as usize);
    let disk = disk();
    let meta = rows.write(&disk, 100_000, None);
    for (kept_rows, pages) in [(0, 0), (0, 30_000), (20_000, 0), (1 << 20, 1 << 20), (64 << 20, 64 << 20)] {
        let store = store(&disk, kept_rows, pages);
        let sst = rows.open_in(&store, &meta).unwrap();
        let mut random = StdRng::seed_from_u64(pages as u64);
        let mut counts = ReadCounts::default();
        for _ in 0..600 {
            let positions = positions(&mut random);
            let projection = [&[0, 1, 2, 3, 4][..], &[2, 4], &[3], &[]][random.random_range(0..4)];
            let access = [Access::Keys, Access::Range][random.random_range(0..2)];
            let found = sst.rows_at(&positions, projection, access, &mut counts).unwrap();
            let want = take_record_batch(&rows.batch, &UInt64Array::from(positions.clone())).unwrap();
            let want = want.project(projection).unwrap();
            assert_eq!(found, want, "{positions:?} {projection:?} {access:?}");
            assert_eq!(found.schema(), want.schema());
            let bytes = kept_bytes(found.columns());
            assert!(bytes < 1024 + 256 * positions.len(), "{positions:?} hold on to {bytes} bytes");
        }
        for (weight, limit) in [(store.rows().weight(), kept_rows), (store.pages().weight(), pages)] {
            assert!(weight <= limit as u64 && (weight > 0) == (limit > 0), "{weight} bytes kept of {limit}");
        }
        assert_eq!(counts.rows_kept > 0, kept_rows > 0, "{counts:?}");
        assert_eq!(counts.pages_kept > 0, pages > 0, "{counts:?}");
        assert!(row(&sst, MANY, &[0]).is_err() && row(&sst, u64::MAX, &[0]).is_err());
    }
}

/// What is kept is what is answered, of its page alone.
#[test]
fn a_row_near_one_that_was_read_needs_no_file() {
    let rows = lineitem(20_000);
    let disk = disk();
    let meta = rows.write(&disk, 20_000, None);
    let store = store(&disk, 0, 8 << 20);
    let sst = rows.open_in(&store, &meta).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let pages = metadata.offset_index().unwrap()[0][4].page_locations();
    let starts: Vec<u64> = pages.iter().map(|page| page.first_row_index as u64).collect();
    let ids = [0, 1].map(|page| PageId {
        file: FileId { table: TABLE, run: RUN, file: RunFile::Sst },
        offset: pages[page].offset as u64,
    });
    let kept = |rows: [u64; 2]| rows.map(|position| row(&sst, position, &[4]).unwrap());
    let want = |rows_of: [u64; 2]| rows_of.map(|row| rows.batch.slice(row as usize, 1).project(&[4]).unwrap());
    let first = [starts[0], starts[1]];
    assert_eq!(kept(first), want(first));
    let read = ids.map(|id| store.pages().get(&id).unwrap());
    for (id, page) in ids.iter().zip(read.into_iter().rev()) {
        store.pages().insert(*id, page);
    }
    let near = [starts[0] + 3, starts[1] + 7];
    assert_eq!(kept(near), want([starts[1] + 3, starts[0] + 7]), "the pages of each other");
    let others = [starts[2], starts[3] - 1];
    assert_eq!(kept(others), want(others));
}

/// A whole row that was looked up is answered alone, and only to who looks it up.
#[test]
fn a_row_that_was_looked_up_needs_no_file() {
    let rows = lineitem(20_000);
    let disk = disk();
    let meta = rows.write(&disk, 20_000, None);
    let store = store(&disk, 1 << 20, 0);
    let sst = rows.open_in(&store, &meta).unwrap();
    let mut counts = ReadCounts::default();
    sst.rows_at(&[7], &[0, 1, 2], Access::Keys, &mut counts).unwrap();
    sst.rows_at(&[7], &[0, 1, 2, 3, 4], Access::Range, &mut counts).unwrap();
    assert_eq!(store.rows().len(), 0, "neither parts of rows nor those of ranges are kept");
    row(&sst, 7, &[0, 1, 2, 3, 4]).unwrap();
    let id = |row| RowId { file: FileId { table: TABLE, run: RUN, file: RunFile::Sst }, row };
    let kept = store.rows().get(&id(7)).unwrap();
    store.rows().insert(id(9), kept);
    for projection in [&[0, 1, 2, 3, 4][..], &[1, 3], &[4]] {
        let found = sst.rows_at(&[7, 8, 9], projection, Access::Keys, &mut counts).unwrap();
        let want = take_record_batch(&rows.batch, &UInt64Array::from(vec![7, 8, 7])).unwrap();
        assert_eq!(found, want.project(projection).unwrap());
    }
}

fn wide(count: i64) -> Rows {
    let mut keys = Keys::new(Some(8));
    (0..count).for_each(|key| keys.push(&encode_i64(key)));
    let numbers = Int64Array::from_iter_values(0..count);
    let texts = StringArray::from_iter_values((0..count).map(|row| format!("{row:0>20000}")));
    let fields = vec![Field::new("k", DataType::Int64, false), Field::new("v", DataType::Utf8, false)];
    rows(fields, &["k"], keys, vec![Arc::new(numbers) as ArrayRef, Arc::new(texts)])
}

#[test]
fn large_rows_are_read_page_by_page() {
    let rows = wide(700);
    let disk = disk();
    let meta = rows.write(&disk, 700, None);
    let sst = rows.open_in(&store(&disk, 0, 0), &meta).unwrap();
    for position in [0, 1, 511, 512, 699, 1] {
        let mut counts = ReadCounts::default();
        let found = sst.rows_at(&[position], &[0, 1], Access::Keys, &mut counts).unwrap();
        assert_eq!(found, rows.batch.slice(position as usize, 1));
        assert_eq!(counts.pages_read, 2, "one of each column");
    }
}
