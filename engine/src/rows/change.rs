//! Write batches: what a caller wants to change, and the same thing checked, keyed and sorted.
//!
//! In: operations on named tables with Arrow batches. Out: [`SortedChanges`], one per table, in which every key occurs
//! once, with the change that came last; and the keys that an insert needs to be absent.
//! Invariants: all checks that need no look at the table happen here, before log and memtable; batches that are kept as
//! they are have been compacted here, so that no memtable pins a larger buffer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Schema;

use crate::error::{Error, Mismatch, Result};
use crate::id::TableId;
use crate::rows::canonical::{batch_bytes, canonicalize_keys, compact, kept_bytes};
use crate::rows::encoding::{encoded_as, is_same_but_encoding};
use crate::rows::key::KeyCodec;
use crate::rows::keys::Keys;
use crate::rows::row_form::{EncodedRows, RowForm};
use crate::rows::schema::TableSchema;

/// Log and memtables take the rows of up to so many changes one by one, as bytes; of more as a batch.
pub const ROW_FORM_ROWS_MAX: usize = 1024;

/// What to do with the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add rows whose keys must be new.
    Insert,
    /// Add rows, replacing those with the same keys.
    Upsert,
    /// Remove the rows with these keys; keys that are absent are no error.
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

/// Changes to one or several tables that are applied all or not at all, at one sequence number. Of several changes to
/// one key the last one counts.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    changes: Vec<(String, Operation, RecordBatch)>,
    expected: BTreeMap<String, TableId>,
}

impl WriteBatch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds rows (the table's columns) whose keys must be new.
    pub fn insert(&mut self, table: &str, rows: RecordBatch) -> &mut Self {
        self.changes.push((table.to_owned(), Operation::Insert, rows));
        self
    }

    /// Adds rows (the table's columns), replacing those with the same keys.
    pub fn upsert(&mut self, table: &str, rows: RecordBatch) -> &mut Self {
        self.changes.push((table.to_owned(), Operation::Upsert, rows));
        self
    }

    /// Removes the rows with these keys (the table's key columns, in key order).
    pub fn delete(&mut self, table: &str, keys: RecordBatch) -> &mut Self {
        self.changes.push((table.to_owned(), Operation::Delete, keys));
        self
    }

    /// Lets it be refused where another table has this name than the one of this id, as after that one was dropped.
    pub fn expect(&mut self, table: &str, id: TableId) -> &mut Self {
        self.expected.insert(table.to_owned(), id);
        self
    }

    /// The id that a table must have.
    pub fn expected(&self, table: &str) -> Option<TableId> {
        self.expected.get(table).copied()
    }

    /// Bytes of its rows.
    pub fn size_bytes(&self) -> usize {
        self.changes.iter().map(|(_, _, rows)| batch_bytes(rows)).sum()
    }

    /// The changes in the order they were added: table, operation, rows.
    pub fn changes(&self) -> &[(String, Operation, RecordBatch)] {
        &self.changes
    }
}

/// In [`SortedChanges::rows`]: the key is deleted.
pub const DELETED: u32 = u32::MAX;

/// Changes to one table in key order: each key once, with its new row or its deletion.
#[derive(Clone, Debug)]
pub struct SortedChanges {
    /// Ascending, unique.
    pub keys: Keys,
    /// For each key the row of `batch` that is its new row, or [`DELETED`].
    pub rows: Vec<u32>,
    /// New rows, stored columns, in any order; rows that no key points to are superseded.
    pub batch: RecordBatch,
    /// The same rows in row form where they are few, for the log and the memtable, once somebody made it.
    pub encoded: Option<EncodedRows>,
}

impl SortedChanges {
    /// Bytes of keys, positions and rows in memory.
    pub fn size_bytes(&self) -> usize {
        self.keys.size_bytes() + self.rows.len() * size_of::<u32>() + kept_bytes(self.batch.columns())
    }

    /// Whether key `index` is deleted.
    pub fn is_deleted(&self, index: usize) -> bool {
        self.rows[index] == DELETED
    }
}

/// The changes of a write batch to one table.
#[derive(Debug)]
pub struct TableChanges {
    /// The table.
    pub table: TableId,
    /// The changes.
    pub changes: SortedChanges,
    /// Keys (ascending) that must not be in the table; the reason is an insert.
    pub absent: Keys,
}

/// What preparing needs to know about a table.
#[derive(Clone, Copy, Debug)]
pub struct TableRef<'a> {
    /// The table.
    pub id: TableId,
    /// Its name, for errors.
    pub name: &'a str,
    /// Its columns.
    pub schema: &'a TableSchema,
    /// Its key encoding.
    pub codec: &'a KeyCodec,
    /// The form of its rows.
    pub form: &'a RowForm,
}

/// Checks, keys and sorts the changes to one table, which are given in the order they were made. `row_ids` hands out
/// `n` consecutive row ids and returns the first; it is asked only where the table has no key.
///
/// # Errors
/// Batches that do not fit the table, NULLs where there must be values, keys that an insert repeats, upserts and
/// deletes on a table without a key.
pub fn prepare(
    table: TableRef<'_>,
    changes: &[(Operation, &RecordBatch)],
    mut row_ids: impl FnMut(usize) -> i64,
) -> Result<TableChanges> {
    let mut parts = Vec::with_capacity(changes.len());
    for (operation, batch) in changes {
        parts.push((*operation, prepare_part(table, *operation, batch, &mut row_ids)?));
    }
    let width = table.codec.width();
    let mut all = Keys::new(width);
    let mut rows = Vec::new();
    let mut batches = Vec::new();
    let mut operations = Vec::new();
    let mut next_row = 0u32;
    for (operation, (keys, batch)) in parts {
        for _ in 0..keys.len() {
            operations.push(operation);
            match operation {
                Operation::Delete => rows.push(DELETED),
                Operation::Insert | Operation::Upsert => {
                    rows.push(next_row);
                    next_row += 1;
                }
            }
        }
        if all.is_empty() {
            all = keys
        } else {
            all.extend(&keys, 0..keys.len())
        }
        batches.extend(batch);
    }
    let batch = match batches.len() {
        0 => RecordBatch::new_empty(table.schema.stored().clone()),
        1 => batches.swap_remove(0),
        _ => concat_batches(table.schema.stored(), &batches)?,
    };
    let (kept, absent) = last_changes(table, &all, &operations)?;
    let rows = kept.iter().map(|index| rows[*index as usize]).collect();
    let mut changes = drop_superseded(SortedChanges { keys: all.take(&kept), rows, batch, encoded: None })?;
    if changes.keys.len() > ROW_FORM_ROWS_MAX {
        changes.batch = compact(changes.batch)?;
    } else {
        changes.encoded = Some(table.form.encode(&changes.batch)?);
    }
    Ok(TableChanges { table: table.id, changes, absent })
}

/// Groups of a write batch by table, tables in id order, changes in the order they were made.
pub fn by_table(
    batch: &WriteBatch,
    mut find: impl FnMut(&str) -> Result<TableId>,
) -> Result<BTreeMap<TableId, Vec<(Operation, &RecordBatch)>>> {
    let mut tables: BTreeMap<TableId, Vec<(Operation, &RecordBatch)>> = BTreeMap::new();
    for (name, operation, rows) in batch.changes() {
        tables.entry(find(name)?).or_default().push((*operation, rows));
    }
    Ok(tables)
}

/// Keys and (for inserts and upserts) stored rows of one operation.
fn prepare_part(
    table: TableRef<'_>,
    operation: Operation,
    batch: &RecordBatch,
    row_ids: &mut impl FnMut(usize) -> i64,
) -> Result<(Keys, Option<RecordBatch>)> {
    if !table.schema.has_key() && operation != Operation::Insert {
        return Err(Error::NoKey { table: table.name.to_owned(), operation: operation.name() });
    }
    if operation == Operation::Delete {
        let expected = table.schema.key_schema();
        let columns = fitting_columns(table.name, &expected, batch)?;
        check_nulls(table, &expected, batch)?;
        return Ok((table.codec.encode(&columns)?, None));
    }
    let mut columns = user_columns(table, batch)?;
    if !table.schema.has_key() {
        let first = row_ids(batch.num_rows());
        columns.push(Arc::new(Int64Array::from_iter_values((first..).take(batch.num_rows()))));
    }
    let rows = RecordBatch::try_new(table.schema.stored().clone(), columns)?;
    let rows = canonicalize_keys(table.schema, rows)?;
    Ok((table.codec.encode_batch(&rows)?, Some(rows)))
}

/// The user's columns in a batch, text and bytes in the encodings that the table has.
///
/// # Errors
/// [`Error::SchemaMismatch`] for other columns; [`Error::NullValue`] where there must be a value.
pub fn user_columns(table: TableRef<'_>, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let columns = fitting_columns(table.name, table.schema.user(), batch)?;
    check_nulls(table, table.schema.user(), batch)?;
    Ok(columns)
}

fn fitting_columns(table: &str, expected: &Schema, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let mismatch = |mismatch| Err(Error::SchemaMismatch { table: table.to_owned(), mismatch });
    let found = batch.schema();
    if expected.fields().len() != found.fields().len() {
        return mismatch(Mismatch::ColumnCount { expected: expected.fields().len(), found: found.fields().len() });
    }
    for (index, (expected, found)) in expected.fields().iter().zip(found.fields()).enumerate() {
        if expected.name() != found.name() {
            let (expected, found) = (expected.name().clone(), found.name().clone());
            return mismatch(Mismatch::ColumnName { index, expected, found });
        }
        if !is_same_but_encoding(expected.data_type(), found.data_type()) {
            let (column, expected) = (expected.name().clone(), expected.data_type().clone());
            return mismatch(Mismatch::ColumnType { column, expected, found: found.data_type().clone() });
        }
    }
    let columns = expected.fields().iter().zip(batch.columns());
    Ok(columns.map(|(field, column)| encoded_as(column, field.data_type())).collect::<Result<_, _>>()?)
}

fn check_nulls(table: TableRef<'_>, expected: &Schema, batch: &RecordBatch) -> Result<()> {
    for (field, column) in expected.fields().iter().zip(batch.columns()) {
        if !field.is_nullable()
            && let Some(nulls) = column.logical_nulls()
            && let Some(row) = nulls.iter().position(|valid| !valid)
        {
            let key = table.schema.key_names().contains(&field.name().as_str());
            return Err(Error::NullValue { table: table.name.to_owned(), column: field.name().clone(), row, key });
        }
    }
    Ok(())
}

/// Of each key the index of its last change, in key order; and the keys whose first change is an insert.
fn last_changes(table: TableRef<'_>, keys: &Keys, operations: &[Operation]) -> Result<(Vec<u32>, Keys)> {
    let order = keys.sort_order();
    let mut kept = Vec::with_capacity(order.len());
    let mut absent = Keys::new(keys.width());
    let mut before: Option<u32> = None;
    for index in order {
        let key = keys.get(index as usize);
        let operation = operations[index as usize];
        let same = before.filter(|before| keys.get(*before as usize) == key);
        match same.map(|before| operations[before as usize]) {
            Some(Operation::Insert | Operation::Upsert) if operation == Operation::Insert => {
                return Err(Error::DuplicateKey { table: table.name.to_owned(), key: table.codec.text(key) });
            }
            Some(_) => {
                kept.pop();
            }
            None if operation == Operation::Insert && table.schema.has_key() => absent.push(key),
            None => {}
        }
        kept.push(index);
        before = Some(index);
    }
    Ok((kept, absent))
}

/// Leaves rows out that no key points to, where there are any.
fn drop_superseded(changes: SortedChanges) -> Result<SortedChanges> {
    let live = changes.rows.iter().filter(|row| **row != DELETED).count();
    if live == changes.batch.num_rows() {
        return Ok(changes);
    }
    let kept: Vec<u32> = changes.rows.iter().copied().filter(|row| *row != DELETED).collect();
    let batch = take_record_batch(&changes.batch, &UInt32Array::from(kept))?;
    let mut next = 0;
    let rows = changes
        .rows
        .into_iter()
        .map(|row| {
            if row == DELETED {
                return DELETED;
            }
            next += 1;
            next - 1
        })
        .collect();
    Ok(SortedChanges { rows, batch, ..changes })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::{DataType, Field};

    use super::*;

    struct Fixture {
        schema: TableSchema,
        codec: KeyCodec,
        form: RowForm,
    }

    impl Fixture {
        fn new(key: &[&str]) -> Self {
            let fields = vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Utf8, true)];
            let schema = TableSchema::new("t", &Schema::new(fields), key).unwrap();
            let codec = KeyCodec::new("t", &schema).unwrap();
            let form = RowForm::new(schema.stored().clone()).unwrap();
            Self { schema, codec, form }
        }

        fn prepare(&self, changes: &[(Operation, RecordBatch)]) -> Result<TableChanges> {
            let Self { schema, codec, form } = self;
            let table = TableRef { id: TableId(1), name: "t", schema, codec, form };
            let changes: Vec<_> = changes.iter().map(|(operation, batch)| (*operation, batch)).collect();
            prepare(table, &changes, |_| 100)
        }
    }

    /// Columns of a batch that was read from a file or a socket are slices of one buffer.
    #[test]
    fn a_buffer_that_columns_share_counts_once() {
        const ROWS: usize = 5000;
        let buffer = ScalarBuffer::from((0..).take(16 * ROWS).collect::<Vec<i64>>());
        let column = |index: usize| -> ArrayRef { Arc::new(Int64Array::new(buffer.slice(index * ROWS, ROWS), None)) };
        let columns: Vec<(String, ArrayRef)> = (0..16).map(|index| (format!("c{index}"), column(index))).collect();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = TableSchema::new("t", &batch.schema(), &["c0"]).unwrap();
        let (codec, form) = (KeyCodec::new("t", &schema).unwrap(), RowForm::new(schema.stored().clone()).unwrap());
        let table = TableRef { id: TableId(1), name: "t", schema: &schema, codec: &codec, form: &form };
        let changes = prepare(table, &[(Operation::Upsert, &batch)], |_| 0).unwrap().changes;
        let (needed, counted) = (batch_bytes(&batch), changes.size_bytes());
        assert!(counted >= needed && counted < 2 * needed, "{counted} bytes for {needed}");
    }

    fn rows(list: &[(i64, &str)]) -> RecordBatch {
        let keys = Int64Array::from_iter_values(list.iter().map(|(key, _)| *key));
        let values = StringArray::from_iter_values(list.iter().map(|(_, value)| *value));
        RecordBatch::try_from_iter_with_nullable([
            ("k", Arc::new(keys) as ArrayRef, true),
            ("v", Arc::new(values) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn keys(list: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([("k", Arc::new(Int64Array::from(list.to_vec())) as ArrayRef)]).unwrap()
    }

    fn check(changes: &TableChanges, want: &[(i64, Option<&str>)]) {
        let changes = &changes.changes;
        let values = changes.batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        let found: Vec<(i64, Option<&str>)> = (0..changes.keys.len())
            .map(|index| {
                let key = u64::from_be_bytes(changes.keys.get(index).try_into().unwrap()) ^ (1 << 63);
                let value = (!changes.is_deleted(index)).then(|| values.value(changes.rows[index] as usize));
                (key.cast_signed(), value)
            })
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn of_several_changes_to_one_key_the_last_one_counts() {
        let fixture = Fixture::new(&["k"]);
        let changes = fixture
            .prepare(&[
                (Operation::Upsert, rows(&[(3, "a"), (1, "b"), (3, "c")])),
                (Operation::Delete, keys(&[1, 9])),
                (Operation::Insert, rows(&[(9, "d")])),
            ])
            .unwrap();
        check(&changes, &[(1, None), (3, Some("c")), (9, Some("d"))]);
        assert!(changes.absent.is_empty(), "9 was deleted before it was inserted");
        assert_eq!(changes.changes.batch.num_rows(), 2, "the superseded row is gone");
    }

    #[test]
    fn an_insert_refuses_a_key_it_repeats_and_asks_for_the_others_to_be_absent() {
        let fixture = Fixture::new(&["k"]);
        let error = fixture.prepare(&[(Operation::Insert, rows(&[(1, "a"), (1, "b")]))]).unwrap_err();
        assert!(matches!(error, Error::DuplicateKey { ref key, .. } if key == "1"), "{error}");
        let changes = fixture.prepare(&[(Operation::Insert, rows(&[(2, "a"), (1, "b")]))]).unwrap();
        assert_eq!(changes.absent.len(), 2);
    }

    #[test]
    fn batches_that_do_not_fit_are_refused() {
        let fixture = Fixture::new(&["k"]);
        let wrong = |batch: RecordBatch, want: &str| {
            let error = fixture.prepare(&[(Operation::Upsert, batch)]).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        wrong(keys(&[1]), "it has 1 columns, the table has 2");
        let nulls = rows(&[(1, "a")]);
        let null_key = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
        wrong(
            RecordBatch::try_new(nulls.schema(), vec![null_key, nulls.column(1).clone()]).unwrap(),
            "column `k` of table `t` is NULL in row 0",
        );
    }

    #[test]
    fn rows_without_a_key_get_row_ids_and_can_only_be_inserted() {
        let fixture = Fixture::new(&[]);
        let changes = fixture.prepare(&[(Operation::Insert, rows(&[(1, "a"), (1, "b")]))]).unwrap();
        let ids = changes.changes.batch.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(ids.values().as_ref(), [100, 101]);
        assert!(changes.absent.is_empty());
        let error = fixture.prepare(&[(Operation::Upsert, rows(&[(1, "a")]))]).unwrap_err();
        assert!(matches!(error, Error::NoKey { operation: "upsert", .. }), "{error}");
    }
}
