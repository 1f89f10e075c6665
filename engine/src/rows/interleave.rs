//! Rows of several batches as one batch.
//!
//! In: batches of one schema and, for each row wanted, its batch and its number there. Out: those rows in that order.
//! Invariants: columns are copied side by side if a pool is given; the rows that come out are the same.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use rayon::ThreadPool;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::error::Result;

/// Copies `picks`, each a batch and a row, into one batch.
///
/// # Errors
/// [`crate::error::Error::Arrow`] if strings of 32-bit offsets exceed 2 GiB.
pub fn interleave(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    picks: &[(usize, usize)],
    pool: Option<&ThreadPool>,
) -> Result<RecordBatch> {
    let column = |index: usize| -> std::result::Result<ArrayRef, ArrowError> {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        compute::interleave(&arrays, picks)
    };
    let indexes = 0..schema.fields().len();
    let columns = match pool {
        Some(pool) => pool.install(|| indexes.into_par_iter().map(column).collect::<std::result::Result<_, _>>()),
        None => indexes.map(column).collect(),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(picks.len()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Schema;
    use rayon::ThreadPoolBuilder;

    use super::*;

    #[test]
    fn rows_come_in_the_order_asked_for_with_a_pool_and_without() {
        let batch = |from: i64| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 3));
            let names: ArrayRef =
                Arc::new(StringArray::from_iter((from..from + 3).map(|n| (n != 4).then(|| n.to_string()))));
            RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("s", names, true)]).unwrap()
        };
        let (low, high) = (batch(0), batch(3));
        let picks = [(1, 1), (0, 2), (0, 2), (1, 0)];
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![4, 2, 2, 3]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![None, Some("2"), Some("2"), Some("3")]));
        let want = RecordBatch::try_new(low.schema(), vec![numbers, names]).unwrap();
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for pool in [None, Some(&pool)] {
            assert_eq!(interleave(&low.schema(), &[&low, &high], &picks, pool).unwrap(), want);
        }
    }

    #[test]
    fn rows_without_columns_are_still_counted() {
        let schema = Arc::new(Schema::empty());
        let options = RecordBatchOptions::new().with_row_count(Some(2));
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        assert_eq!(interleave(&schema, &[&batch], &[(0, 1), (0, 0)], None).unwrap().num_rows(), 2);
    }
}
