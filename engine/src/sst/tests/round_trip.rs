//! What is written comes back, at the positions that the keys' ranks say.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::basic::Encoding;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::path::{self, STAGING};
use crate::id::Digest;
use crate::rows::keys::Keys;
use crate::rows::schema::TableSchema;
use crate::sst::key_index::block::Rank;
use crate::sst::key_index::reader::Found;
use crate::sst::meta::KeyRange;
use crate::sst::reader::Sst;
use crate::sst::tests::{
    RUN, Rows, RunFile, TABLE, contents, disk, encode_i64, encoder, file, lineitem, names, pool, row, rows, sensors,
};
use crate::sst::writer::SstWriter;

pub(super) fn read(sst: &Sst, range: Range<u64>, projection: &[usize], batch_rows: usize) -> RecordBatch {
    let rows = sst.rows(range, projection, batch_rows).unwrap();
    let schema = rows.schema().clone();
    concat_batches(&schema, &rows.collect::<Result<Vec<_>, _>>().unwrap()).unwrap()
}

/// Writes the rows and compares every way to find them with a map of the keys.
fn check(rows: &Rows, step: usize) {
    let count = rows.keys.len() as u64;
    let disk = disk();
    let meta = rows.write(&disk, step, None);
    assert_eq!(meta.rows, count);
    let (first, last) = (rows.keys.first().unwrap().to_vec(), rows.keys.last().unwrap().to_vec());
    assert_eq!(meta.key_range, Some(KeyRange { min: first, max: last }));
    for (name, meta) in [(RunFile::Sst, meta.sst), (RunFile::Keys, meta.keys)] {
        let bytes = contents(&*disk, &file(name));
        assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (meta.bytes, meta.digest));
    }
    let sst = rows.open(&disk, &meta).unwrap();
    let columns: Vec<usize> = (0..rows.batch.num_columns()).collect();
    assert_eq!(read(&sst, 0..count, &columns, 8_192), rows.batch);

    check_keys(rows, &sst);
}

fn check_keys(rows: &Rows, sst: &Sst) {
    let count = rows.keys.len() as u64;
    let index = sst.key_index();
    assert!(index.read(0..count).unwrap() == rows.keys);
    let map: BTreeMap<&[u8], u64> = rows.keys.iter().zip(0..).collect();
    let mut random = StdRng::seed_from_u64(7);
    let mut probes: Vec<Vec<u8>> = Vec::new();
    for (key, row) in map.iter().filter(|(_, row)| *row % 97 == 0 || *row % 256 < 2 || *row + 300 > count) {
        assert_eq!(index.find(key).unwrap(), Found::Row(*row));
        assert_eq!(index.rank(key).unwrap(), Rank::Found(*row));
        let mut probe = key.to_vec();
        let place = random.random_range(0..probe.len());
        probe[place] = random.random();
        probes.extend([key.to_vec(), probe]);
        // Prefixes, and longer keys, which a bound may be.
        let less = map.range(&key[..place]..).next().unwrap().1;
        assert_eq!(index.lower_bound(&key[..place]).unwrap(), *less);
        assert_eq!(index.lower_bound(&[*key, &[0]].concat()).unwrap(), row + 1);
    }
    probes.sort();
    let mut sorted = Keys::new(rows.keys.width());
    let mut foreign_found = 0;
    for probe in &probes {
        sorted.push(probe);
        let less = map.range(&**probe..).next().map_or(count, |(_, row)| *row);
        assert_eq!(index.lower_bound(probe).unwrap(), less);
        match (index.find(probe).unwrap(), map.get(&**probe)) {
            (Found::Row(row), Some(want)) => assert_eq!(row, *want),
            (Found::Absent, None) => foreign_found += usize::from(less > 0 && less < count),
            (Found::Denied, None) => {}
            (found, want) => panic!("{found:?} instead of {want:?}"),
        }
    }
    assert!(foreign_found <= probes.len() / 20, "the filter lets {foreign_found} of {} through", probes.len());
    for probes in [sorted, rows.keys.clone()] {
        let mut found = Vec::new();
        index.find_sorted(&probes, |probe, row| found.push((probe, row))).unwrap();
        let want: Vec<_> = probes.iter().enumerate().filter_map(|(probe, key)| Some((probe, *map.get(key)?))).collect();
        assert!(found == want, "{} of {} are found", found.len(), want.len());
    }
}

#[test]
fn fixed_keys_come_back_with_their_rows() {
    check(&lineitem(300_000), 37_111);
}

#[test]
fn string_keys_come_back_with_their_rows() {
    check(&names(300_000), 50_000);
}

#[test]
fn composite_keys_come_back_with_their_rows() {
    check(&sensors(300_000), 300_000);
}

#[test]
fn runs_around_the_sizes_of_blocks_and_groups_come_back() {
    for count in [1, 2, 255, 256, 257, 65_535, 65_536, 65_537] {
        check(&sensors(count), 1_000);
    }
}

#[test]
fn ranges_and_columns_come_back_exactly() {
    let rows = lineitem(280_000);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 100_000, None)).unwrap();
    for range in [0..1, 16_380..16_390, 131_071..131_073, 131_072..262_144, 100_000..270_001, 279_999..280_000, 5..5] {
        let (start, length) = (range.start as usize, (range.end - range.start) as usize);
        for projection in [&[0, 1, 2, 3, 4][..], &[2], &[0, 4], &[]] {
            let want = rows.batch.slice(start, length).project(projection).unwrap();
            let found = read(&sst, range.clone(), projection, 1_000);
            assert_eq!(found, want, "{range:?} {projection:?}");
            assert_eq!(found.schema(), want.schema());
        }
    }
    assert_eq!(row(&sst, 131_072, &[1, 4]).unwrap(), rows.batch.slice(131_072, 1).project(&[1, 4]).unwrap());
    let error = row(&sst, 280_000, &[0]).unwrap_err().to_string();
    assert!(error.contains("`rows` needs 280001 bytes but only 280000 are left"), "{error}");
}

#[test]
fn a_row_group_has_thirty_two_pages_to_choose_from() {
    let rows = lineitem(280_000);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 100_000, None)).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let pages = metadata.offset_index().unwrap();
    let counts = pages.iter().map(|columns| columns[0].page_locations().len());
    assert_eq!(counts.collect::<Vec<_>>(), [32, 32, 5]);
}

/// A page is what a lookup decompresses of a column.
#[test]
fn a_page_of_wide_values_has_few_of_them() {
    let mut random = StdRng::seed_from_u64(1);
    let keys = (0..40_000i64).flat_map(encode_i64).collect();
    let fields = vec![Field::new("k", DataType::Int64, false), Field::new("text", DataType::Utf8View, false)];
    let mut text = || (0..100).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect::<String>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..40_000).collect::<Int64Array>()),
        Arc::new((0..40_000).map(|_| Some(text())).collect::<StringViewArray>()),
    ];
    let rows = rows(fields, &["k"], Keys::from_fixed(8, keys), columns);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 8_192, None)).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let [columns] = &metadata.offset_index().unwrap()[..] else { panic!("one row group") };
    let starts: Vec<i64> = columns[1].page_locations().iter().map(|page| page.first_row_index).collect();
    assert!(starts.windows(2).all(|pages| pages[1] - pages[0] == 512), "{starts:?}");
    assert_eq!(columns[0].page_locations().len(), 10, "pages of numbers are full of rows");
}

#[test]
fn encodings_fit_the_values() {
    let rows = lineitem(140_000);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 140_000, None)).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let dictionary = |column: usize| {
        metadata.row_group(0).column(column).encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY)
    };
    let delta =
        |column: usize, encoding| metadata.row_group(0).column(column).encodings().any(|found| found == encoding);
    assert!(delta(0, Encoding::DELTA_BINARY_PACKED) && !dictionary(0), "the sorted key");
    assert!(dictionary(1) && dictionary(2), "few line numbers and quantities");
    assert!(!dictionary(3), "prices");
    assert!(delta(4, Encoding::DELTA_LENGTH_BYTE_ARRAY) && !dictionary(4), "comments");
    let sorting = metadata.row_group(0).sorting_columns().unwrap();
    assert_eq!(sorting.iter().map(|column| column.column_idx).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(metadata.file_metadata().created_by(), Some("rustling-db"));
}

#[test]
fn a_key_like_lineitems_takes_less_than_four_bytes() {
    let rows = lineitem(300_000);
    let disk = disk();
    let sst = rows.open(&disk, &rows.write(&disk, 100_000, None)).unwrap();
    let sections = sst.key_index().sections();
    let filters = 300_000 * 10 / 8;
    let blocks = sections.sst_checksums.start - filters;
    assert!(blocks < 300_000 * 4, "{blocks} bytes");
}

#[test]
fn an_empty_run_has_valid_files() {
    let rows = lineitem(0);
    let disk = disk();
    let meta = rows.write(&disk, 1, None);
    assert_eq!((meta.rows, &meta.key_range, &meta.deletes), (0, &None, &None));
    let sst = rows.open(&disk, &meta).unwrap();
    assert_eq!(read(&sst, 0..0, &[0, 1], 10).num_rows(), 0);
    assert_eq!(sst.parquet_metadata().unwrap().num_row_groups(), 0);
    let index = sst.key_index();
    assert_eq!(index.find(&[0; 12]).unwrap(), Found::Absent);
    assert_eq!(index.rank(&[0; 12]).unwrap(), Rank::Absent(0));
    assert!(index.read(0..0).unwrap().is_empty() && sst.deleted(10).unwrap().is_none());
    index.find_sorted(&lineitem(5).keys, |_, _| panic!("nothing is there")).unwrap();
}

#[test]
fn a_run_of_deletes_only_gives_their_keys_back() {
    let rows = sensors(0);
    let deletes = sensors(20_000);
    let disk = disk();
    let meta = rows.write(&disk, 1, Some(&deletes));
    assert_eq!((meta.rows, meta.key_range.is_none()), (0, true));
    let deletes_meta = meta.deletes.as_ref().unwrap();
    assert_eq!((deletes_meta.count, &*deletes_meta.key_range.max), (20_000, deletes.keys.last().unwrap()));
    let sst = rows.open(&disk, &meta).unwrap();
    let found = sst.deleted(1_000).unwrap().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(concat_batches(&rows.schema.key_schema(), &found).unwrap().columns(), deletes.key_columns().columns());
    assert_eq!(found[0].schema(), rows.schema.key_schema());
}

#[test]
fn views_into_large_buffers_are_written_small() {
    let long: Vec<ArrayRef> = (0..64)
        .map(|_| {
            Arc::new(StringViewArray::from_iter_values(
                (0..1_000).map(|row| format!("a text that is not inline {row}")),
            )) as ArrayRef
        })
        .collect();
    let whole = concat(&long.iter().map(|array| &**array).collect::<Vec<_>>()).unwrap();
    let few = whole.slice(0, 10);
    let schema =
        Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8View, true)]);
    let schema = Arc::new(TableSchema::new("t", &schema, &["id"]).unwrap());
    let ids: ArrayRef = Arc::new((0..10).collect::<Int64Array>());
    let batch = RecordBatch::try_new(schema.stored().clone(), vec![ids, few]).unwrap();
    let keys = Keys::from_fixed(8, (0..10).flat_map(encode_i64).collect());
    let mut writer = SstWriter::create(disk(), TABLE, RUN, schema, encoder(pool(1))).unwrap();
    writer.append(&keys, &batch).unwrap();
    assert!(writer.bytes() < 10_000, "{} bytes are held for ten rows", writer.bytes());
}

#[test]
fn a_pool_of_one_thread_writes_from_within_itself() {
    let rows = lineitem(450_000);
    let disk = disk();
    let pool = pool(1);
    let meta = pool.install(|| {
        let mut writer =
            SstWriter::create(disk.clone(), TABLE, RUN, rows.schema.clone(), encoder(pool.clone())).unwrap();
        for start in (0..450_000).step_by(50_000) {
            let (keys, batch) = rows.slice(start, 50_000);
            writer.append(&keys, &batch).unwrap();
        }
        assert_eq!(writer.rows(), 450_000);
        writer.finish().unwrap()
    });
    let sst = rows.open(&disk, &meta).unwrap();
    assert_eq!(read(&sst, 0..450_000, &[0, 1, 2, 3, 4], 8_192), rows.batch);
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let rows = lineitem(200_000);
    let disk = disk();
    let mut writer = SstWriter::create(disk.clone(), TABLE, RUN, rows.schema.clone(), encoder(pool(2))).unwrap();
    writer.append(&rows.keys, &rows.batch).unwrap();
    writer.append_deletes(&rows.keys, &rows.key_columns()).unwrap();
    assert_eq!(disk.list(STAGING).unwrap().len(), 3);
    drop(writer);
    assert_eq!(disk.list(&path::table(TABLE)).unwrap().len() + disk.list(STAGING).unwrap().len(), 0);
    rows.write(&disk, 200_000, Some(&rows));
    assert_eq!(disk.list(STAGING).unwrap().len(), 0);
}

#[test]
#[should_panic(expected = "ascend strictly from one append to the next")]
fn keys_that_do_not_ascend_are_our_defect() {
    let rows = lineitem(10);
    let mut writer = SstWriter::create(disk(), TABLE, RUN, rows.schema.clone(), encoder(pool(1))).unwrap();
    writer.append(&rows.keys, &rows.batch).unwrap();
    writer.append(&rows.keys, &rows.batch).unwrap();
}
