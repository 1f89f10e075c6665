//! What a table answers by key, beside a model: single keys, many keys, ranges either way, prefixes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::load::run::LoadOptions;
use rustling_engine::read::key_range::KeyOrder;
use rustling_engine::read::snapshot::TableSnapshot;
use rustling_engine::read::source::KeyInterval;
use rustling_engine::rows::change::WriteBatch;
use rustling_engine::sst::counts::ReadCounts;

use crate::fixture::{MemorySource, keys, rows, schema, small_options};
use crate::typed::{Key, KeyKind, Value};

type Rows = BTreeMap<Key, Value>;

/// Reads random keys and ranges of a table that holds the model's rows.
pub(crate) fn check_random(kind: KeyKind, table: &TableSnapshot, model: &Rows, random: &mut StdRng) {
    check_keys(kind, table, model, random);
    let (a, b) = (kind.random(random), kind.random(random));
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let (start, end) = (kind.keys(std::slice::from_ref(&low)), kind.keys(std::slice::from_ref(&high)));
    for (start, end, want) in [
        (Bound::Included(&start), Bound::Included(&end), (Bound::Included(&low), Bound::Included(&high))),
        (Bound::Excluded(&start), Bound::Unbounded, (Bound::Excluded(&low), Bound::Unbounded)),
        (Bound::Unbounded, Bound::Excluded(&end), (Bound::Unbounded, Bound::Excluded(&high))),
    ] {
        let interval = table.key_range(start, end).unwrap();
        let want: Vec<_> = model.range(want).map(|(key, value)| (key.clone(), value.clone())).collect();
        check_range(kind, table, &interval, want, random);
    }
    check_prefixes(kind, table, model, &low, random);
}

/// All rows either way.
pub(crate) fn check_all(kind: KeyKind, table: &TableSnapshot, want: &[(Key, Value)]) {
    for order in [KeyOrder::Ascending, KeyOrder::Descending] {
        assert_eq!(
            in_order(kind, table, &KeyInterval::ALL, order, None),
            reversed_if(want.to_vec(), order),
            "{order:?}"
        );
    }
    let keys: Vec<Key> = want.iter().map(|(key, _)| key.clone()).collect();
    let all = table.get_many(&kind.keys(&keys), &table.user_projection(), &mut ReadCounts::default()).unwrap();
    assert_eq!(kind.read(&all.rows), want);
}

/// The rows of the run are so wide that a step takes few keys; one of them has more changes in memory than that.
#[test]
fn a_range_gets_past_a_key_that_was_changed_often() {
    let db = Database::open(Arc::new(MemoryDisk::new()), Options { background: false, ..Options::default() }).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let wide: String = (0..1 << 20).map(|_| char::from(random.random_range(b' '..=b'~'))).collect();
    db.write(WriteBatch::new().upsert("t", rows(&[(1, wide.clone()), (2, wide)]))).unwrap();
    db.flush("t").unwrap();
    for change in 0..40 {
        db.write(WriteBatch::new().upsert("t", rows(&[(2, format!("change {change}"))]))).unwrap();
    }
    db.write(WriteBatch::new().upsert("t", rows(&[(3, "last".to_owned())]))).unwrap();
    let table = db.snapshot().table("t").unwrap();
    for (order, want) in [(KeyOrder::Ascending, [1, 2, 3]), (KeyOrder::Descending, [3, 2, 1])] {
        let batches = table.range(&KeyInterval::ALL, &[0, 1], order, None).unwrap();
        let found: Vec<i64> =
            batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(found, want, "{order:?}");
    }
}

fn check_keys(kind: KeyKind, table: &TableSnapshot, model: &Rows, random: &mut StdRng) {
    let keys: Vec<Key> = (0..random.random_range(1..20)).map(|_| kind.random(random)).collect();
    for key in keys.iter().take(3) {
        let row = table.get(&kind.keys(std::slice::from_ref(key))).unwrap();
        let found = row.map(|row| kind.read(&row).swap_remove(0).1);
        assert_eq!(found.as_ref(), model.get(key), "{key:?}");
    }
    let mut counts = ReadCounts::default();
    let found = table.get_many(&kind.keys(&keys), &table.user_projection(), &mut counts).unwrap();
    let rows = kind.read(&found.rows);
    let found: Vec<Option<&Value>> = found.row_of.iter().map(|row| row.map(|row| &rows[row as usize].1)).collect();
    let want: Vec<Option<&Value>> = keys.iter().map(|key| model.get(key)).collect();
    assert_eq!(found, want, "{keys:?}");
    assert_eq!(rows.len(), want.iter().flatten().count(), "no other rows");
    let there = table.contains_many(&kind.keys(&keys), &mut counts).unwrap();
    assert!(there.iter().eq(want.iter().map(Option::is_some).collect::<Vec<_>>().iter()));
    // The text alone, which lies behind the key.
    let text = table.user_projection().len() - 1;
    let texts = table.get_many(&kind.keys(&keys), &[text], &mut counts).unwrap().rows;
    let all: Vec<_> = want.iter().flatten().map(|value| value.text.clone()).collect();
    assert_eq!(crate::typed::texts(texts.column(0)), all);
}

fn check_range(
    kind: KeyKind,
    table: &TableSnapshot,
    interval: &KeyInterval,
    want: Vec<(Key, Value)>,
    random: &mut StdRng,
) {
    let order = [KeyOrder::Ascending, KeyOrder::Descending][random.random_range(0..2)];
    let limit = [None, Some(0), Some(1), Some(random.random_range(0..want.len() + 3))][random.random_range(0..4)];
    assert!(table.keys_in(interval).unwrap() >= want.len() as u64);
    let mut want = reversed_if(want, order);
    want.truncate(limit.unwrap_or(usize::MAX));
    assert_eq!(in_order(kind, table, interval, order, limit), want, "{order:?} {limit:?}");
    let numbers = table.range(interval, &[], order, limit).unwrap();
    assert_eq!(numbers.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), want.len(), "no column");
}

/// Bounds of the first key column alone.
fn check_prefixes(kind: KeyKind, table: &TableSnapshot, model: &Rows, key: &Key, random: &mut StdRng) {
    if kind.names().len() < 2 {
        return;
    }
    let keys = kind.keys(std::slice::from_ref(key));
    let prefix: RecordBatch = keys.project(&[0]).unwrap();
    let against = |test: fn(std::cmp::Ordering) -> bool| -> Vec<(Key, Value)> {
        let rows = model.iter().filter(|(other, _)| test(other.cmp_first(key)));
        rows.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    for (start, end, want) in [
        (Bound::Included(&prefix), Bound::Included(&prefix), against(std::cmp::Ordering::is_eq)),
        (Bound::Excluded(&prefix), Bound::Unbounded, against(std::cmp::Ordering::is_gt)),
        (Bound::Included(&prefix), Bound::Unbounded, against(std::cmp::Ordering::is_ge)),
        (Bound::Unbounded, Bound::Excluded(&prefix), against(std::cmp::Ordering::is_lt)),
        (Bound::Unbounded, Bound::Included(&prefix), against(std::cmp::Ordering::is_le)),
    ] {
        let interval = table.key_range(start, end).unwrap();
        check_range(kind, table, &interval, want, random);
    }
}

fn in_order(
    kind: KeyKind,
    table: &TableSnapshot,
    interval: &KeyInterval,
    order: KeyOrder,
    limit: Option<usize>,
) -> Vec<(Key, Value)> {
    let range = table.range(interval, &table.user_projection(), order, limit).unwrap();
    range.flat_map(|batch| kind.read(&batch.unwrap())).collect()
}

fn reversed_if(mut rows: Vec<(Key, Value)>, order: KeyOrder) -> Vec<(Key, Value)> {
    if order == KeyOrder::Descending {
        rows.reverse();
    }
    rows
}

#[test]
fn rows_that_are_looked_up_have_the_memory_that_memtables_leave() {
    const COUNT: i64 = 1000;
    let options = Options { memory_bytes: 4 << 20, memtable_bytes: 2 << 20, ..small_options() };
    let (half, most) = (options.memory_bytes / 2, options.memory_bytes / 16 * 9);
    assert_eq!(options.kept_row_bytes(0), most);
    assert!((0..=half).step_by(1000).all(|written| written + options.kept_row_bytes(written) <= most));
    let disk = Arc::new(MemoryDisk::new());
    let db = Database::open(disk.clone(), options.clone()).unwrap();
    let wide = |range: std::ops::Range<i64>| rows(&range.map(|key| (key, "x".repeat(1000))).collect::<Vec<_>>());
    for name in ["t", "u"] {
        db.create_table(name, &schema(), &["k"]).unwrap();
    }
    db.load("t", &mut MemorySource::new(vec![wide(0..COUNT)]), &LoadOptions::default()).unwrap();
    let kept = |db: &Database| {
        let (table, mut counts) = (db.snapshot().table("t").unwrap(), ReadCounts::default());
        for key in 0..COUNT {
            table.get_columns(&keys(&[key]), &[0, 1], &mut counts).unwrap().unwrap();
        }
        counts.rows_kept
    };
    assert_eq!((kept(&db), kept(&db)), (0, 1000));
    for batch in 0..2 {
        db.write(WriteBatch::new().upsert("u", wide(800 * batch..800 * batch + 800))).unwrap();
    }
    assert!(kept(&db) < 700, "memtables have their memory");
    db.flush("u").unwrap();
    kept(&db);
    assert_eq!(kept(&db), 1000);
    db.close().unwrap();
    let db = Database::open(disk, options).unwrap();
    assert_eq!((kept(&db), kept(&db)), (0, 1000), "where nobody writes");
}

/// What a lookup decodes: nothing for a key that is not there, a page of each column for one that is, and of a table that
/// is read from an end only that end.
#[test]
fn a_lookup_reads_nothing_but_what_it_needs() {
    const COUNT: i64 = 100_000;
    let db = Database::open(Arc::new(MemoryDisk::new()), small_options()).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    let all: Vec<(i64, String)> = (0..COUNT).map(|key| (2 * key, format!("value {key}"))).collect();
    db.load("t", &mut MemorySource::new(vec![rows(&all)]), &LoadOptions::default()).unwrap();
    let table = db.snapshot().table("t").unwrap();
    let mut counts = ReadCounts::default();
    let absent: Vec<i64> = (0..10_000).map(|key| 20 * key + 1).collect();
    for key in &absent {
        assert!(table.get_columns(&keys(&[*key]), &[0, 1], &mut counts).unwrap().is_none());
    }
    assert!(counts.keys_denied > 9_500, "the filter says no to {} of 10,000", counts.keys_denied);
    assert_eq!(table.get_many(&keys(&absent), &[0, 1], &mut counts).unwrap().rows.num_rows(), 0);
    assert_eq!((counts.pages_read, counts.pages_kept, counts.rows_kept), (0, 0, 0), "an absent key reads no rows");
    counts = ReadCounts::default();
    table.get_columns(&keys(&[100_000]), &[0, 1], &mut counts).unwrap().unwrap();
    assert_eq!((counts.pages_read, counts.pages_kept, counts.rows_kept), (2, 0, 0), "a page of each column");
    table.get_columns(&keys(&[100_000]), &[0, 1], &mut counts).unwrap().unwrap();
    assert_eq!((counts.pages_read, counts.pages_kept, counts.rows_kept), (2, 0, 1), "the row itself");
    table.get_columns(&keys(&[100_002]), &[0, 1], &mut counts).unwrap().unwrap();
    assert_eq!((counts.pages_read, counts.pages_kept, counts.rows_kept), (2, 2, 1), "its neighbour's pages");
    for order in [KeyOrder::Ascending, KeyOrder::Descending] {
        let mut head = table.range(&KeyInterval::ALL, &[0, 1], order, Some(10)).unwrap();
        assert_eq!(head.by_ref().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 10);
        assert_eq!(head.counts().pages_read, 2, "{order:?}: a page of each column");
    }
}
