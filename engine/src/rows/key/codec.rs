//! Which key columns a table has and how each is encoded.
//!
//! In: a checked schema. Out: [`KeyCodec`]; its verbs are in the files beside this one.
//! Invariants: there is at least one key column; only the last one holds byte strings without an end mark.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::rows::physical::{BytesForm, Native, Physical};
use crate::rows::schema::TableSchema;

/// Longest encoded key in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Encodes and decodes the keys of one table.
#[derive(Clone, Debug)]
pub struct KeyCodec {
    pub(super) table: String,
    pub(super) columns: Vec<KeyColumn>,
    /// Number of stored columns of the table.
    pub(super) stored_count: usize,
    pub(super) width: Option<usize>,
}

/// One column of the key.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// Its index among the stored columns.
    pub(super) stored_index: usize,
    pub(super) form: KeyForm,
}

/// How a key column is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyForm {
    /// One byte, 0 or 1.
    Boolean,
    /// Big-endian, in an order-preserving form.
    Native(Native),
    /// As it is.
    FixedSizeBinary(usize),
    /// As it is, up to the end of the key.
    Last(BytesForm),
    /// Zero bytes escaped, and an end mark.
    Escaped(BytesForm),
}

impl KeyForm {
    fn of(data_type: &DataType, is_last: bool) -> Option<Self> {
        match Physical::of(data_type)? {
            Physical::Boolean => Some(Self::Boolean),
            Physical::Native(native) => Some(Self::Native(native)),
            Physical::FixedSizeBinary(width) => Some(Self::FixedSizeBinary(width)),
            Physical::Bytes(form) if is_last => Some(Self::Last(form)),
            Physical::Bytes(form) => Some(Self::Escaped(form)),
            Physical::Nested => None,
        }
    }

    /// Bytes of every value, if they have one width.
    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Boolean => Some(1),
            Self::Native(native) => Some(native.width()),
            Self::FixedSizeBinary(width) => Some(width),
            Self::Last(_) | Self::Escaped(_) => None,
        }
    }
}

impl KeyCodec {
    /// The codec of a table's keys; the table's name is for error texts.
    ///
    /// # Errors
    /// [`Error::UnsupportedKeyType`] if a key column has no order; a [`TableSchema`] has no such column.
    pub fn new(table: &str, schema: &TableSchema) -> Result<Self> {
        let key = schema.key();
        let mut columns = Vec::with_capacity(key.len());
        for (position, stored_index) in key.iter().enumerate() {
            let field = schema.stored().field(*stored_index);
            let (name, data_type) = (field.name().clone(), field.data_type().clone());
            match KeyForm::of(&data_type, position + 1 == key.len()) {
                Some(form) => columns.push(KeyColumn { name, data_type, stored_index: *stored_index, form }),
                None => {
                    return Err(Error::UnsupportedKeyType { column: name, data_type });
                }
            }
        }
        let width = columns.iter().map(|column| column.form.width()).sum();
        let stored_count = schema.stored().fields().len();
        Ok(Self { table: table.to_owned(), columns, stored_count, width })
    }

    /// The codec of the first `columns` columns of the key alone: what it encodes is what the keys with these values begin
    /// with.
    #[must_use]
    pub fn prefix(&self, columns: usize) -> Self {
        let columns: Vec<KeyColumn> = self.columns.iter().take(columns).cloned().collect();
        let width = columns.iter().map(|column| column.form.width()).sum();
        Self { table: self.table.clone(), columns, stored_count: self.stored_count, width }
    }

    /// Bytes of every key, if all keys have one width.
    pub fn width(&self) -> Option<usize> {
        self.width
    }
}
