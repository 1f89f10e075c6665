//! Text and bytes in the encodings that Arrow has for them: offsets of 32 bits, offsets of 64 bits, views.
//!
//! In: columns as a caller or a query has them. Out: the same values in the encoding that a table was declared with, or
//! that a reader wants.
//! Invariants: only the encoding changes; what does not fit into one is an error, not a panic.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType};
use arrow::error::ArrowError;

/// The type of views of the values of a type; the type itself if it is of neither text nor bytes.
pub fn view_type(of: &DataType) -> DataType {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// The type with offsets of the values of a type of views; the type itself if it is no such.
pub fn offset_type(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// Whether columns of two types hold the same values, but perhaps for their encoding.
pub fn is_same_but_encoding(a: &DataType, b: &DataType) -> bool {
    a == b || view_type(a) == view_type(b)
}

/// A column in the encoding of another type that is the same but for that. Cost: none if it has it; views of a column
/// with offsets are made without copying long values.
///
/// # Errors
/// [`ArrowError::OffsetOverflowError`], where values do not fit behind offsets; Arrow's, for types that are not the same.
pub fn encoded_as(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    let bytes = match column.data_type() {
        DataType::Utf8View => view_bytes::<StringViewType>(column),
        DataType::BinaryView => view_bytes::<BinaryViewType>(column),
        _ => 0,
    };
    let is_narrow = matches!(wanted, DataType::Utf8 | DataType::Binary);
    if is_narrow && i32::try_from(bytes).is_err() {
        return Err(ArrowError::OffsetOverflowError(bytes));
    }
    cast(column, wanted)
}

/// Bytes of all values.
fn view_bytes<T: ByteViewType>(column: &ArrayRef) -> usize {
    let views = column.as_byte_view::<T>();
    // The low half of a view is its length.
    views.views().iter().map(|view| (*view & u128::from(u32::MAX)) as usize).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn every_encoding_of_text_and_of_bytes_becomes_every_other_one() {
        let long = "longer than a view holds by itself".to_owned();
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(&long), Some("")]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff"), None, Some(long.as_bytes())]));
        let texts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
        let binaries = [DataType::Binary, DataType::LargeBinary, DataType::BinaryView];
        for (column, types) in [(text, texts), (bytes, binaries)] {
            for (from, to) in types.iter().flat_map(|from| types.iter().map(move |to| (from, to))) {
                let there = encoded_as(&encoded_as(&column, from).unwrap(), to).unwrap();
                assert_eq!(there.data_type(), to);
                assert!(is_same_but_encoding(from, to));
                assert_eq!(&encoded_as(&there, column.data_type()).unwrap(), &column, "{from} as {to}");
            }
        }
        assert!(!is_same_but_encoding(&DataType::Utf8, &DataType::Binary));
        assert!(!is_same_but_encoding(&DataType::Utf8View, &DataType::Int64));
        assert_eq!(offset_type(&view_type(&DataType::LargeUtf8)), DataType::Utf8);
    }

    #[test]
    fn views_of_more_than_offsets_can_count_are_refused() {
        let block = "x".repeat(1 << 20);
        let one = StringViewArray::from(vec![block.as_str()]);
        let view = one.views()[0];
        let views = vec![view; 2048];
        let many = StringViewArray::new(views.into(), one.data_buffers().to_vec(), None);
        let refused = encoded_as(&(Arc::new(many) as ArrayRef), &DataType::Utf8);
        assert!(matches!(refused, Err(ArrowError::OffsetOverflowError(2_147_483_648))), "{refused:?}");
    }
}
