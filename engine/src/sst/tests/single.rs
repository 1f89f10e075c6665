//! Single rows, whatever of the rows around them is kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::KeptBytes;
use crate::rows::canonical::kept_bytes;
use crate::rows::keys::Keys;
use crate::sst::meta::FileId;
use crate::sst::store::Store;
use crate::sst::tests::{RUN, Rows, RunFile, TABLE, disk, encode_i64, lineitem, rows};
use crate::sst::values::{PIECE_ROWS, PieceId};

#[test]
fn a_row_is_the_same_whatever_is_kept() {
    let rows = lineitem(140_000);
    let disk = disk();
    let meta = rows.write(&disk, 100_000, None);
    for values in [0, 30_000, 1 << 20, 64 << 20] {
        let store = Store::new(disk.clone(), KeptBytes { footers: 1 << 20, values });
        let sst = rows.open_in(&store, &meta).unwrap();
        let mut random = StdRng::seed_from_u64(values as u64);
        for trial in 0..600 {
            // Some again and again, some anywhere, and the last piece, which is shorter.
            let position = match trial % 3 {
                0 => random.random_range(0..2000),
                1 => random.random_range(0..140_000),
                _ => random.random_range(139_700..140_000),
            };
            let projection = [&[0, 1, 2, 3, 4][..], &[2, 4], &[3], &[]][random.random_range(0..4)];
            let row = sst.row(position, projection).unwrap();
            let want = rows.batch.slice(position as usize, 1).project(projection).unwrap();
            assert_eq!(row, want, "{position} {projection:?}");
            assert_eq!(row.schema(), want.schema());
            assert!(kept_bytes(row.columns()) < 1024, "{position} holds on to {} bytes", kept_bytes(row.columns()));
        }
        let kept = store.pieces().weight();
        assert!(kept <= values as u64 && (kept > 0) == (values > 0), "{kept} bytes kept of {values}");
        assert!(sst.row(140_000, &[0]).is_err() && sst.row(u64::MAX, &[0]).is_err());
    }
}

/// What is kept is what is answered, of its column and piece alone.
#[test]
fn a_row_near_one_that_was_read_needs_no_file() {
    let rows = lineitem(20_000);
    let disk = disk();
    let meta = rows.write(&disk, 20_000, None);
    let store = Store::new(disk.clone(), KeptBytes { footers: 0, values: 8 << 20 });
    let sst = rows.open_in(&store, &meta).unwrap();
    let (piece, near) = (5, 5 * PIECE_ROWS as u64);
    sst.row(near, &[0, 1, 2, 3, 4]).unwrap();
    assert_eq!(store.pieces().len(), 5);
    let id = PieceId { file: FileId { table: TABLE, run: RUN, file: RunFile::Sst }, column: 1, piece };
    assert_eq!(store.pieces().get(&id).unwrap().len(), PIECE_ROWS);
    let other = Arc::new(Int32Array::from(vec![-7; PIECE_ROWS]));
    store.pieces().insert(id, other.clone());
    for position in near..near + PIECE_ROWS as u64 {
        let row = sst.row(position, &[0, 1]).unwrap();
        assert_eq!(row.column(0), rows.batch.slice(position as usize, 1).column(0));
        assert_eq!(row.column(1).as_ref(), &other.slice(0, 1));
    }
    let end = near + PIECE_ROWS as u64;
    for position in [near - 1, end] {
        let row = sst.row(position, &[1]).unwrap();
        assert_eq!(row.column(0), rows.batch.slice(position as usize, 1).column(1));
    }
    assert_eq!(store.pieces().len(), 7);
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
    let store = Store::new(disk.clone(), KeptBytes { footers: 1 << 20, values: 64 << 20 });
    let sst = rows.open_in(&store, &meta).unwrap();
    for position in [0, 1, 511, 512, 699, 1] {
        assert_eq!(sst.row(position, &[0, 1]).unwrap(), rows.batch.slice(position as usize, 1));
    }
    assert_eq!(store.pieces().len(), 0);
    sst.row(3, &[0]).unwrap();
    assert_eq!(store.pieces().len(), 1, "small columns of large rows are kept");
}
