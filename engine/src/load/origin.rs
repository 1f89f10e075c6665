//! Where each row of a load came from, carried beside the row through sorting and spilling.
//!
//! In: batches from sources. Out: a column of packed origins, and [`Origin`]s back from it.
//! Invariants: an origin is a source's number and a line, packed so that ascending origins are input order.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};

use crate::error::{Origin, Result};
use crate::rows::schema::TableSchema;
use crate::source::{Lines, SourceBatch};

/// Bits of a packed origin that hold the line.
const LINE_BITS: u32 = 44;
const LINE_MASK: u64 = (1 << LINE_BITS) - 1;

/// Names of the sources of a load, by number.
#[derive(Debug, Default)]
pub struct Origins {
    sources: Vec<Arc<str>>,
}

impl Origins {
    /// The packed origins of a batch's rows.
    pub fn pack(&mut self, batch: &SourceBatch) -> UInt64Array {
        let number = match self.sources.iter().rposition(|source| *source == batch.source) {
            Some(number) => number,
            None => {
                self.sources.push(batch.source.clone());
                self.sources.len() - 1
            }
        };
        let high = (number as u64) << LINE_BITS;
        let pack = |line: u64| high | line.min(LINE_MASK);
        match &batch.lines {
            Lines::From(first) => (0..batch.batch.num_rows() as u64).map(|row| pack(first + row)).collect(),
            Lines::Each(lines) => lines.iter().copied().map(pack).collect(),
        }
    }

    /// The origin that a packed one stands for.
    pub fn unpack(&self, packed: u64) -> Origin {
        let number = usize::try_from(packed >> LINE_BITS).unwrap_or(usize::MAX);
        let source = self.sources.get(number).cloned().unwrap_or_else(|| "input".into());
        Origin { source, line: packed & LINE_MASK }
    }
}

/// The stored columns of a table with the origin behind them.
pub fn schema_with_origin(schema: &TableSchema) -> SchemaRef {
    let origin = Arc::new(Field::new("__origin", DataType::UInt64, false));
    let fields = schema.stored().fields().iter().cloned().chain([origin]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Stored columns and their origins as one batch.
///
/// # Errors
/// Arrow's, for columns that do not fit.
pub fn with_origin(schema: &SchemaRef, stored: &RecordBatch, origins: UInt64Array) -> Result<RecordBatch> {
    let mut columns = stored.columns().to_vec();
    columns.push(Arc::new(origins) as ArrayRef);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Stored columns and their origins, apart again.
///
/// # Errors
/// Arrow's, for columns that do not fit.
pub fn split_origin(schema: &TableSchema, batch: &RecordBatch) -> Result<(RecordBatch, UInt64Array)> {
    let count = schema.stored().fields().len();
    let stored = RecordBatch::try_new(schema.stored().clone(), batch.columns()[..count].to_vec())?;
    Ok((stored, batch.column(count).as_primitive::<UInt64Type>().clone()))
}

/// Origins of many rows, with consecutive lines kept as one entry.
#[derive(Debug, Default)]
pub struct OriginRuns {
    /// First row of an entry and its packed origin; the rows behind it have the origins behind it.
    entries: Vec<(u64, u64)>,
    rows: u64,
}

impl OriginRuns {
    /// Adds the origins of the next rows.
    pub fn push(&mut self, origins: &UInt64Array) {
        for origin in origins.values() {
            let next = self.entries.last().map(|(row, first)| first + (self.rows - row));
            if next != Some(*origin) {
                self.entries.push((self.rows, *origin));
            }
            self.rows += 1;
        }
    }

    /// Bytes in memory.
    pub fn size_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, u64)>()
    }

    /// The origins of `count` rows from `row` on; panics if there are not so many.
    pub fn get(&self, row: u64, count: u64) -> UInt64Array {
        let mut entry = self.entries.partition_point(|(first, _)| *first <= row) - 1;
        let of = |row: u64| {
            if self.entries.get(entry + 1).is_some_and(|(first, _)| *first <= row) {
                entry += 1;
            }
            let (first, origin) = self.entries[entry];
            origin + (row - first)
        };
        (row..row + count).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_back_and_consecutive_lines_cost_one_entry() {
        let mut runs = OriginRuns::default();
        let lines: Vec<u64> = (5..100).chain([200, 202, 203]).chain(1..4).collect();
        runs.push(&UInt64Array::from(lines[..50].to_vec()));
        runs.push(&UInt64Array::from(lines[50..].to_vec()));
        assert_eq!(runs.entries.len(), 4);
        for (row, count) in [(0, lines.len()), (94, 5), (97, 1), (98, 3)] {
            assert_eq!(runs.get(row as u64, count as u64).values().as_ref(), &lines[row..row + count]);
        }
    }

    #[test]
    fn a_packed_origin_names_source_and_line() {
        let mut origins = Origins::default();
        let batch = RecordBatch::try_from_iter([("a", Arc::new(UInt64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        for (source, lines) in [("a.csv", Lines::From(2)), ("b.csv", Lines::Each(vec![7, 9]))] {
            origins.pack(&SourceBatch { batch: batch.clone(), source: source.into(), lines });
        }
        let packed = origins.pack(&SourceBatch { batch, source: "b.csv".into(), lines: Lines::Each(vec![7, 9]) });
        assert_eq!(origins.unpack(packed.value(1)).to_string(), "b.csv:9");
    }
}
