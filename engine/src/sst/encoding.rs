//! Decides how the columns of a Parquet file are encoded, from their first rows.
//!
//! In: schema, key, first rows. Out: Parquet's writer properties.
//! Invariants: the decision changes size and speed, never what is read back. A dictionary is used only where it pays:
//! where it does not, it costs a third of the scan speed and a quarter of the write time of delta encodings.
//! Bytes: FORMAT.md, "SST".

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnDescriptor;
use xxhash_rust::xxh3::xxh3_64;

use crate::rows::canonical::needed_bytes;

/// Rows of every row group but the last: what a scan takes as one piece of work, and a dictionary's reach.
pub const ROW_GROUP_ROWS: usize = 131_072;

/// Rows of every page but the last of a row group: what a lookup of one row decompresses per column. Half of what a
/// batch of a scan has, so that batches and row groups end where pages do.
pub const PAGE_ROWS: usize = 4_096;

/// Bytes of a page, about, unless a single value has more: where values are wide, what a lookup decompresses for one of
/// them. Half of that makes lookups a third faster, and footers, which have the bounds of every page, twice as large.
pub const PAGE_BYTES: usize = 32 << 10;

/// Rows that are encoded at once, if they are not large.
const WRITE_BATCH_ROWS: usize = 1024;

/// Rows that decide.
pub const SAMPLE_ROWS: usize = 65_536;

/// A dictionary pays where at most one row in so many has a new value.
const ROWS_PER_VALUE_MIN: usize = 8;

/// Largest dictionary: more would leave the second-level cache while a page is decoded.
const DICTIONARY_BYTES_MAX: usize = 512 * 1024;

/// The properties for a file whose rows start like `sample`; `key` holds the indexes of the columns that the rows are
/// sorted by.
///
/// # Errors
/// Parquet has no type for a column.
pub fn properties(schema: &SchemaRef, key: &[usize], sample: &RecordBatch) -> Result<WriterProperties, ParquetError> {
    let parquet_schema = ArrowSchemaConverter::new().convert(schema)?;
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by("rustling-db".to_owned())
        .set_compression(Compression::LZ4_RAW)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(rows_at_once(sample))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(false)
        .set_bloom_filter_position(BloomFilterPosition::End);
    let mut sorting = vec![None; key.len()];
    for (leaf, descriptor) in parquet_schema.columns().iter().enumerate() {
        let column = parquet_schema.get_column_root_idx(leaf);
        if schema.field(column).data_type().is_nested() {
            continue;
        }
        let place = key.iter().position(|index| *index == column);
        if let Some(place) = place {
            let column_idx = i32::try_from(leaf).map_err(|_| ParquetError::General("too many columns".to_owned()))?;
            sorting[place] = Some(SortingColumn { column_idx, descending: false, nulls_first: false });
        }
        builder = encode_column(builder, descriptor, sample.column(column), place == Some(0));
    }
    Ok(builder.set_sorting_columns(Some(sorting.into_iter().flatten().collect())).build())
}

/// Rows after which the writer looks at the size of a page: fewer than its default of 1,024 where these would be more
/// than a page; a power of two, so that pages mostly end where batches of a scan do.
fn rows_at_once(sample: &RecordBatch) -> usize {
    let largest = sample.columns().iter().map(|column| needed_bytes(column)).max().unwrap_or(0);
    let value_bytes = largest / sample.num_rows().max(1);
    let rows = (PAGE_BYTES / value_bytes.max(1)).clamp(1, WRITE_BATCH_ROWS);
    1 << rows.ilog2()
}

/// Sets dictionary and encoding of one column that is not nested; `sorted` says whether its values ascend.
fn encode_column(
    builder: WriterPropertiesBuilder,
    descriptor: &ColumnDescriptor,
    sample: &ArrayRef,
    sorted: bool,
) -> WriterPropertiesBuilder {
    let path = descriptor.path().clone();
    let physical = descriptor.physical_type();
    let encoding = match physical {
        Type::BOOLEAN => Encoding::RLE,
        Type::INT32 | Type::INT64 => Encoding::DELTA_BINARY_PACKED,
        Type::BYTE_ARRAY if sorted => Encoding::DELTA_BYTE_ARRAY,
        Type::BYTE_ARRAY => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        Type::FLOAT | Type::DOUBLE | Type::FIXED_LEN_BYTE_ARRAY | Type::INT96 => Encoding::PLAIN,
    };
    let dictionary = match physical {
        Type::BOOLEAN => false,
        // Ascending integers take a few bits each as differences.
        Type::INT32 | Type::INT64 if sorted => false,
        _ => dictionary_pays(sample),
    };
    builder.set_column_encoding(path.clone(), encoding).set_column_dictionary_enabled(path, dictionary)
}

/// Whether the values repeat often enough; without rows they do not.
fn dictionary_pays(sample: &ArrayRef) -> bool {
    let rows = sample.len().min(SAMPLE_ROWS);
    let sample = sample.slice(0, rows);
    let mut distinct = Distinct { limit: rows / ROWS_PER_VALUE_MIN, ..Distinct::default() };
    let few = match sample.data_type() {
        DataType::Utf8 => distinct.add_all(sample.as_string::<i32>().iter().map(|value| value.map(str::as_bytes))),
        DataType::LargeUtf8 => distinct.add_all(sample.as_string::<i64>().iter().map(|value| value.map(str::as_bytes))),
        DataType::Utf8View => distinct.add_all(sample.as_string_view().iter().map(|value| value.map(str::as_bytes))),
        DataType::Binary => distinct.add_all(sample.as_binary::<i32>().iter()),
        DataType::LargeBinary => distinct.add_all(sample.as_binary::<i64>().iter()),
        DataType::BinaryView => distinct.add_all(sample.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => distinct.add_all(sample.as_fixed_size_binary().iter()),
        other => match other.primitive_width() {
            Some(width) => distinct.add_words(&sample, width),
            None => false,
        },
    };
    few && rows > 0
}

/// Counts different values until they are too many. Different values with one hash count once: it is an estimate.
#[derive(Default)]
struct Distinct {
    limit: usize,
    bytes: usize,
    hashes: HashSet<u64, BuildHasherDefault<TakenHash>>,
}

impl Distinct {
    /// Adds values; `false` as soon as they are too many or too large.
    fn add_all<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) -> bool {
        values.flatten().all(|value| self.add(value))
    }

    /// Adds the values of an array of primitives of `width` bytes.
    fn add_words(&mut self, array: &ArrayRef, width: usize) -> bool {
        let data = array.to_data();
        let start = data.offset() * width;
        let Some(bytes) = data.buffers().first().and_then(|buffer| buffer.get(start..start + data.len() * width))
        else {
            return false;
        };
        bytes.chunks_exact(width).enumerate().all(|(row, value)| data.is_null(row) || self.add(value))
    }

    fn add(&mut self, value: &[u8]) -> bool {
        if self.hashes.insert(xxh3_64(value)) {
            self.bytes += value.len();
        }
        self.hashes.len() <= self.limit && self.bytes <= DICTIONARY_BYTES_MAX
    }
}

/// Takes a value that is a hash already.
#[derive(Default)]
struct TakenHash(u64);

impl Hasher for TakenHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
