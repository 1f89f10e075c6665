//! Rows at some positions, whatever of them and of the rows around them is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::KeptBytes;
use crate::disk::api::Disk;
use crate::rows::canonical::kept_bytes;
use crate::rows::keys::Keys;
use crate::sst::counts::ReadCounts;
use crate::sst::kept::{PIECE_ROWS, PieceId, RowId};
use crate::sst::meta::FileId;
use crate::sst::store::Store;
use crate::sst::table_file::Access;
use crate::sst::tests::{RUN, Rows, RunFile, TABLE, disk, encode_i64, lineitem, row, rows};

const MANY: u64 = 140_000;

fn store(disk: &Arc<dyn Disk>, rows: usize, values: usize) -> Arc<Store> {
    Store::new(disk.clone(), KeptBytes { footers: 1 << 20, rows, values })
}

/// Ascending, different positions: some again and again, some anywhere, and the last piece, which is shorter.
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
    for (kept_rows, values) in [(0, 0), (0, 30_000), (20_000, 0), (1 << 20, 1 << 20), (64 << 20, 64 << 20)] {
        let store = store(&disk, kept_rows, values);
        let sst = rows.open_in(&store, &meta).unwrap();
        let mut random = StdRng::seed_from_u64(values as u64);
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
        for (weight, limit) in [(store.rows().weight(), kept_rows), (store.pieces().weight(), values)] {
            assert!(weight <= limit as u64 && (weight > 0) == (limit > 0), "{weight} bytes kept of {limit}");
        }
        assert_eq!(counts.rows_kept > 0, kept_rows > 0, "{counts:?}");
        assert_eq!(counts.pieces_kept > 0, values > 0, "{counts:?}");
        assert!(row(&sst, MANY, &[0]).is_err() && row(&sst, u64::MAX, &[0]).is_err());
    }
}

/// What is kept is what is answered, of its column and piece alone.
#[test]
fn a_row_near_one_that_was_read_needs_no_file() {
    let rows = lineitem(20_000);
    let disk = disk();
    let meta = rows.write(&disk, 20_000, None);
    let store = store(&disk, 0, 8 << 20);
    let sst = rows.open_in(&store, &meta).unwrap();
    let (piece, near) = (5, 5 * PIECE_ROWS as u64);
    row(&sst, near, &[0, 1, 2, 3, 4]).unwrap();
    assert_eq!(store.pieces().len(), 5);
    let id = PieceId { file: FileId { table: TABLE, run: RUN, file: RunFile::Sst }, column: 1, piece };
    assert_eq!(store.pieces().get(&id).unwrap().len(), PIECE_ROWS);
    let other = Arc::new(Int32Array::from(vec![-7; PIECE_ROWS]));
    store.pieces().insert(id, other.clone());
    for position in near..near + PIECE_ROWS as u64 {
        let row = row(&sst, position, &[0, 1]).unwrap();
        assert_eq!(row.column(0), rows.batch.slice(position as usize, 1).column(0));
        assert_eq!(row.column(1).as_ref(), &other.slice(0, 1));
    }
    let end = near + PIECE_ROWS as u64;
    for position in [near - 1, end] {
        let row = row(&sst, position, &[1]).unwrap();
        assert_eq!(row.column(0), rows.batch.slice(position as usize, 1).column(1));
    }
    assert_eq!(store.pieces().len(), 7);
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
fn large_rows_are_read_one_by_one() {
    let rows = wide(700);
    let disk = disk();
    let meta = rows.write(&disk, 700, None);
    let store = store(&disk, 0, 64 << 20);
    let sst = rows.open_in(&store, &meta).unwrap();
    for position in [0, 1, 511, 512, 699, 1] {
        assert_eq!(row(&sst, position, &[0, 1]).unwrap(), rows.batch.slice(position as usize, 1));
    }
    assert_eq!(store.pieces().len(), 0);
    row(&sst, 3, &[0]).unwrap();
    assert_eq!(store.pieces().len(), 1, "small columns of large rows are kept");
}
