//! A table's columns, their ids and its key, as one object.
//!
//! In: an Arrow schema and the names of the key columns. Out: [`TableSchema`], checked: every column can be stored,
//! every key column can be ordered and is not nullable, names are sound and unique.
//! Invariants: a column id is never reused in its table; a table without a key has the hidden column [`ROW_ID`] as its
//! last stored column, and that column is its key.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::sync::Arc;

use arrow::array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, validate_decimal_precision_and_scale,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};

use crate::error::{Error, Mismatch, NameProblem, Result};
use crate::id::{ColumnId, SchemaId};

/// Name of the hidden ascending column of a table without a key (`Int64`, from 1).
pub const ROW_ID: &str = "__rowid";

/// Levels that a column's type has, at most: a column of integers has one, of lists of them two. FlatBuffers' verifier goes
/// down 64 tables, of which a batch in the log has three around its fields.
pub const LEVELS_MAX: usize = 60;

/// Longest name of a table or a column in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// A table's columns and key. Cheap to clone behind an [`Arc`]; never changes, a new state is a new schema.
#[derive(Debug, PartialEq)]
pub struct TableSchema {
    id: SchemaId,
    column_ids: Vec<ColumnId>,
    user: SchemaRef,
    stored: SchemaRef,
    key: Vec<usize>,
    has_key: bool,
}

impl TableSchema {
    /// The first schema of a new table; ids are given in column order from 1.
    ///
    /// # Errors
    /// A bad, reserved or repeated name, a type that cannot be stored or ordered, a key column that is not there.
    pub fn new(table: &str, schema: &Schema, key: &[&str]) -> Result<Self> {
        let ids = (1..).map(ColumnId).take(schema.fields().len() + usize::from(key.is_empty())).collect();
        Self::with_ids(table, SchemaId(1), schema, key, ids)
    }

    /// A schema with given ids: one per column of `schema`, and one more for the row id where `key` is empty.
    ///
    /// # Errors
    /// As [`TableSchema::new`]; also where the ids are too few, too many, or repeated.
    pub fn with_ids(
        table: &str,
        id: SchemaId,
        schema: &Schema,
        key: &[&str],
        column_ids: Vec<ColumnId>,
    ) -> Result<Self> {
        check_columns(schema)?;
        let key_set = key_indexes(table, schema, key)?;
        let has_key = !key.is_empty();
        let count = schema.fields().len() + usize::from(!has_key);
        if column_ids.len() != count || column_ids.iter().collect::<HashSet<_>>().len() != count {
            let mismatch = Mismatch::ColumnCount { expected: count, found: column_ids.len() };
            return Err(Error::SchemaMismatch { table: table.to_owned(), mismatch });
        }
        let user: Vec<FieldRef> = (schema.fields().iter().enumerate())
            .map(|(index, field)| user_field(field, key_set.contains(&index)))
            .collect();
        let mut stored = user.clone();
        if !has_key {
            stored.push(Arc::new(Field::new(ROW_ID, DataType::Int64, false)));
        }
        let key = if has_key { key_set } else { vec![stored.len() - 1] };
        let stored: Vec<FieldRef> =
            stored.iter().zip(&column_ids).map(|(field, id)| stored_field(field, *id)).collect();
        Ok(Self {
            id,
            column_ids,
            user: Arc::new(Schema::new_with_metadata(user, schema.metadata().clone())),
            stored: Arc::new(Schema::new_with_metadata(stored, schema.metadata().clone())),
            key,
            has_key,
        })
    }

    /// Which state of the table's schema this is.
    pub fn id(&self) -> SchemaId {
        self.id
    }

    /// The columns as the user made them; key columns are not nullable.
    pub fn user(&self) -> &SchemaRef {
        &self.user
    }

    /// The columns as an SST holds them: the user's, with their ids as Parquet field ids, and [`ROW_ID`] last where
    /// the table has no key.
    pub fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// Ids of the stored columns, in their order.
    pub fn column_ids(&self) -> &[ColumnId] {
        &self.column_ids
    }

    /// Indexes of the key columns among the stored columns, in key order; never empty.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Whether the user gave the table a key; else [`ROW_ID`] is it.
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// Names of the key columns, in key order.
    pub fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|index| self.stored.field(*index).name().as_str()).collect()
    }

    /// The key columns alone, in key order: the schema of a batch of keys and of a `.del` file.
    pub fn key_schema(&self) -> SchemaRef {
        let fields: Vec<FieldRef> = self.key.iter().map(|index| self.stored.fields()[*index].clone()).collect();
        Arc::new(Schema::new(fields))
    }
}

/// Refuses names that cannot name a table.
pub fn check_table_name(name: &str) -> Result<()> {
    check_name("table", name)
}

fn check_name(what: &'static str, name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        NameProblem::Empty
    } else if name.len() > NAME_BYTES_MAX {
        NameProblem::TooLong
    } else if name.chars().any(char::is_control) {
        NameProblem::ControlCharacter
    } else if name.starts_with("__") {
        NameProblem::Reserved
    } else {
        return Ok(());
    };
    Err(Error::BadName { what, name: name.to_owned(), reason })
}

fn check_columns(schema: &Schema) -> Result<()> {
    if schema.fields().is_empty() {
        return Err(Error::NoColumns);
    }
    let mut seen = HashSet::new();
    for field in schema.fields() {
        check_name("column", field.name())?;
        if !seen.insert(field.name()) {
            return Err(Error::DuplicateColumn { column: field.name().clone() });
        }
        if !is_nested_within(field.data_type(), LEVELS_MAX) {
            return Err(Error::NestedTooDeep { column: field.name().clone(), limit: LEVELS_MAX });
        }
        if !can_be_stored(field) {
            return Err(Error::UnsupportedType { column: field.name().clone(), data_type: field.data_type().clone() });
        }
    }
    Ok(())
}

fn key_indexes(table: &str, schema: &Schema, key: &[&str]) -> Result<Vec<usize>> {
    let mut indexes = Vec::with_capacity(key.len());
    for name in key {
        let index = schema.index_of(name).map_err(|_| Error::NoSuchColumn {
            table: table.to_owned(),
            column: (*name).to_owned(),
            known: schema.fields().iter().map(|field| field.name().clone()).collect(),
        })?;
        if indexes.contains(&index) {
            return Err(Error::DuplicateColumn { column: (*name).to_owned() });
        }
        let data_type = schema.field(index).data_type();
        if !can_be_key(data_type) {
            return Err(Error::UnsupportedKeyType { column: (*name).to_owned(), data_type: data_type.clone() });
        }
        indexes.push(index);
    }
    Ok(indexes)
}

fn user_field(field: &Field, in_key: bool) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.remove(PARQUET_FIELD_ID_META_KEY);
    let nullable = field.is_nullable() && !in_key;
    Arc::new(Field::new(field.name(), field.data_type().clone(), nullable).with_metadata(metadata))
}

fn stored_field(field: &Field, id: ColumnId) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.0.to_string());
    Arc::new(field.clone().with_metadata(metadata))
}

/// Whether a type has an order that the key encoding keeps.
fn can_be_key(data_type: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256, FixedSizeBinary,
        Float16, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, Time32, Time64, Timestamp, UInt8,
        UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Float32 | Float64 => true,
        // Parquet's writer has eight bytes for one digit, and refuses to fill them with four.
        Decimal32(precision, scale) => *precision > 1 && can_be_decimal::<Decimal32Type>(*precision, *scale),
        Decimal64(precision, scale) => can_be_decimal::<Decimal64Type>(*precision, *scale),
        Decimal128(precision, scale) => can_be_decimal::<Decimal128Type>(*precision, *scale),
        Decimal256(precision, scale) => can_be_decimal::<Decimal256Type>(*precision, *scale),
        Time32(unit) => matches!(unit, TimeUnit::Second | TimeUnit::Millisecond),
        Time64(unit) => matches!(unit, TimeUnit::Microsecond | TimeUnit::Nanosecond),
        // Arrow's schema bytes do not tell an empty time zone from none.
        Timestamp(_, zone) => zone.as_ref().is_none_or(|zone| !zone.is_empty()),
        Date32 | Date64 => true,
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => true,
        FixedSizeBinary(width) => *width > 0,
        _ => false,
    }
}

fn can_be_decimal<T: DecimalType>(precision: u8, scale: i8) -> bool {
    validate_decimal_precision_and_scale::<T>(precision, scale).is_ok()
}

/// Whether a type has no more than so many levels, its own included.
fn is_nested_within(data_type: &DataType, levels: usize) -> bool {
    let within = |field: &FieldRef| is_nested_within(field.data_type(), levels - 1);
    levels > 0
        && match data_type {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => within(field),
            DataType::Map(entries, _) => within(entries),
            DataType::Struct(fields) => fields.iter().all(within),
            _ => true,
        }
}

/// Whether Parquet gives the same values of the same type back.
fn can_be_stored(field: &Field) -> bool {
    let as_column = || ArrowSchemaConverter::new().convert(&Schema::new(vec![field.clone()]));
    has_values(field.data_type()) && catch_unwind(as_column).is_ok_and(|converted| converted.is_ok())
}

/// Whether Arrow has arrays of a type, and we have codecs for them; not every value of [`DataType`] is a type.
fn has_values(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) => has_values(field.data_type()),
        DataType::FixedSizeList(field, size) => *size > 0 && has_values(field.data_type()),
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| has_values(field.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let is_map = fields.len() == 2 && !entries.is_nullable() && !fields[0].is_nullable();
                is_map && fields.iter().all(|field| has_values(field.data_type()))
            }
            _ => false,
        },
        other => can_be_key(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(
            fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn key_columns_are_not_nullable_and_carry_ids() {
        let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Float64)]);
        let table = TableSchema::new("t", &schema, &["b", "a"]).unwrap();
        assert_eq!(table.key(), [1, 0]);
        assert_eq!(table.key_names(), ["b", "a"]);
        assert!(!table.user().field(0).is_nullable() && table.user().field(2).is_nullable());
        assert_eq!(table.stored().field(2).metadata()[PARQUET_FIELD_ID_META_KEY], "3");
        assert!(table.user().field(2).metadata().is_empty());
    }

    #[test]
    fn a_table_without_a_key_has_a_hidden_row_id() {
        let table = TableSchema::new("t", &schema(&[("a", DataType::Int64)]), &[]).unwrap();
        assert_eq!(table.user().fields().len(), 1);
        assert_eq!(table.key_names(), [ROW_ID]);
        assert!(!table.has_key());
    }

    #[test]
    fn bad_schemas_are_refused_by_name() {
        let check = |fields: &[(&str, DataType)], key: &[&str], want: &str| {
            let error = TableSchema::new("t", &schema(fields), key).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(&[], &[], "at least one column");
        check(&[("a", DataType::Int64), ("a", DataType::Int8)], &[], "`a` is named twice");
        check(&[("a", DataType::Int64)], &["b"], "no column `b`; there are: a");
        check(&[("a", DataType::Int64)], &["a", "a"], "`a` is named twice");
        check(&[("a", DataType::Null)], &[], "type Null");
        check(&[("a", DataType::Decimal32(1, 0))], &[], "type Decimal32(1, 0)");
        check(&[("__rowid", DataType::Int64)], &[], "kept for the engine");
        let list = DataType::new_list(DataType::Int64, true);
        check(&[("a", list)], &["a"], "cannot be part of a key");
    }

    #[test]
    fn types_that_have_no_values_are_refused() {
        let item = || Arc::new(Field::new("item", DataType::Decimal128(0, 0), true));
        let entries = |fields: Vec<Field>| Arc::new(Field::new("entries", DataType::Struct(fields.into()), false));
        let (key, value) = (Field::new("key", DataType::Int8, false), Field::new("value", DataType::Int8, true));
        for data_type in [
            DataType::Decimal128(0, 0),
            DataType::Decimal128(39, 0),
            DataType::Decimal64(5, 6),
            DataType::Decimal64(18, -3),
            DataType::Decimal32(10, 0),
            DataType::Decimal256(77, 3),
            DataType::Timestamp(TimeUnit::Second, Some("".into())),
            DataType::Time32(TimeUnit::Nanosecond),
            DataType::Time64(TimeUnit::Second),
            DataType::FixedSizeBinary(0),
            DataType::FixedSizeBinary(-1),
            DataType::List(item()),
            DataType::FixedSizeList(Arc::new(key.clone()), -1),
            DataType::FixedSizeList(Arc::new(key.clone()), 0),
            DataType::Struct(Vec::<Field>::new().into()),
            DataType::Map(entries(vec![key.clone()]), false),
            DataType::Map(entries(vec![value.clone(), value.clone()]), false),
            DataType::Map(Arc::new(key.clone()), false),
            DataType::RunEndEncoded(Arc::new(key.clone()), Arc::new(value.clone())),
        ] {
            let error = TableSchema::new("t", &schema(&[("a", data_type.clone())]), &[]).unwrap_err();
            assert!(matches!(error, Error::UnsupportedType { .. }), "{data_type}: {error}");
        }
        TableSchema::new("t", &schema(&[("a", DataType::Map(entries(vec![key, value]), false))]), &[]).unwrap();
    }
}
