//! Keys as people read them.
//!
//! In: one encoded key. Out: text for error messages, never an error: bytes that are no key are shown as bytes.

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

use crate::rows::key::codec::KeyCodec;
use crate::rows::keys::Keys;

/// Characters of one value that are shown.
const SHOWN_CHARS_MAX: usize = 120;

impl KeyCodec {
    /// A key as text: `17`, or `(17, 'abc')` where the key has several columns.
    pub fn text(&self, key: &[u8]) -> String {
        let mut keys = Keys::new(None);
        keys.push(key);
        let Ok(columns) = self.decode(&keys) else {
            return digits(key);
        };
        match columns.iter().map(value).collect::<Result<Vec<_>, _>>() {
            Err(_) => digits(key),
            Ok(values) if values.len() == 1 => values.concat(),
            Ok(values) => format!("({})", values.join(", ")),
        }
    }
}

/// The first value of a column.
fn value(column: &ArrayRef) -> Result<String, ArrowError> {
    let quoted = |text: &str| format!("'{}'", shown(&text.replace('\'', "''")));
    match column.data_type() {
        DataType::Utf8 => Ok(quoted(column.as_string::<i32>().value(0))),
        DataType::LargeUtf8 => Ok(quoted(column.as_string::<i64>().value(0))),
        DataType::Utf8View => Ok(quoted(column.as_string_view().value(0))),
        DataType::Timestamp(unit, Some(_)) => array_value_to_string(column, 0).or_else(|_| {
            // Arrow knows named time zones only where it is built with their table; UTC is right everywhere.
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            let data = column.to_data().into_builder().data_type(utc).build()?;
            array_value_to_string(&make_array(data), 0)
        }),
        _ => array_value_to_string(column, 0).map(|text| shown(&text)),
    }
}

/// Text on one line and not too long.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_CHARS_MAX));
    for (index, char) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

fn digits(key: &[u8]) -> String {
    let shown = &key[..key.len().min(SHOWN_CHARS_MAX / 2)];
    format!("0x{}{}", hex::encode(shown), if shown.len() < key.len() { "…" } else { "" })
}
