//! Typed keys with their own order: what the model compares, so that it shares nothing with the key encoding.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use rand::Rng;
use rand::rngs::StdRng;

/// Which columns are the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Int,
    Text,
    IntText,
    TextInt,
    Float,
    Decimal,
    DateBool,
    Bytes,
    Instant,
}

pub(crate) const KEY_KINDS: [KeyKind; 9] = [
    KeyKind::Int,
    KeyKind::Text,
    KeyKind::IntText,
    KeyKind::TextInt,
    KeyKind::Float,
    KeyKind::Decimal,
    KeyKind::DateBool,
    KeyKind::Bytes,
    KeyKind::Instant,
];

/// A key as typed values.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    Int(i64),
    Text(String),
    IntText(i32, String),
    TextInt(String, i32),
    /// Any NaN is one key, behind all numbers; both zeros are one key.
    Float(f64),
    Decimal(i128),
    DateBool(i32, bool),
    Bytes(Vec<u8>),
    Instant(i64),
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Instant(a), Self::Instant(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::IntText(a, c), Self::IntText(b, d)) => (a, c).cmp(&(b, d)),
            (Self::TextInt(a, c), Self::TextInt(b, d)) => (a, c).cmp(&(b, d)),
            (Self::Float(a), Self::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => a.partial_cmp(b).unwrap(),
            },
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::DateBool(a, c), Self::DateBool(b, d)) => (a, c).cmp(&(b, d)),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            _ => panic!("keys of one kind"),
        }
    }
}

impl Key {
    /// How the first column of a key of two compares.
    pub(crate) fn cmp_first(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::IntText(a, _), Self::IntText(b, _)) | (Self::DateBool(a, _), Self::DateBool(b, _)) => a.cmp(b),
            (Self::TextInt(a, _), Self::TextInt(b, _)) => a.cmp(b),
            _ => panic!("keys of one kind with two columns"),
        }
    }
}

/// The texts of a column.
pub(crate) fn texts(column: &ArrayRef) -> Vec<String> {
    column.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

impl KeyKind {
    /// A key from a small domain, so that keys meet again.
    pub(crate) fn random(self, random: &mut StdRng) -> Key {
        let words = ["", "a", "a\0", "a\0b", "ab", "b", "\u{ff}", "\u{10ffff}", "zebra", "a\u{1}"];
        let mut word =
            || words[random.random_range(0..words.len())].to_owned() + if random.random() { "" } else { "x" };
        match self {
            Self::Text => Key::Text(word() + &word()),
            Self::IntText => {
                let text = word();
                Key::IntText(random.random_range(-3..3), text)
            }
            Self::TextInt => {
                let text = word();
                Key::TextInt(text, random.random_range(-3..3))
            }
            Self::Int => Key::Int(match random.random_range(0..10) {
                0 => i64::MIN,
                1 => i64::MAX,
                _ => random.random_range(-30..30),
            }),
            Self::Float => Key::Float(match random.random_range(0..8) {
                0 => f64::NAN,
                1 => -0.0,
                2 => f64::NEG_INFINITY,
                3 => f64::MIN_POSITIVE,
                _ => f64::from(random.random_range(-20..20)) / 4.0,
            }),
            Self::Decimal => Key::Decimal(random.random_range(-40..40) * 10_000_000_000_000_000_000),
            Self::DateBool => Key::DateBool(random.random_range(-20..20), random.random()),
            Self::Bytes => {
                Key::Bytes((0..random.random_range(0..3)).map(|_| random.random_range(0..3) * 127).collect())
            }
            Self::Instant => Key::Instant(random.random_range(-50..50)),
        }
    }

    /// Names of the key columns.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::IntText | Self::TextInt | Self::DateBool => &["k1", "k2"],
            _ => &["k1"],
        }
    }

    fn types(self) -> Vec<DataType> {
        match self {
            Self::Int => vec![DataType::Int64],
            Self::Text => vec![DataType::Utf8],
            Self::IntText => vec![DataType::Int32, DataType::Utf8],
            Self::TextInt => vec![DataType::Utf8, DataType::Int32],
            Self::Float => vec![DataType::Float64],
            Self::Decimal => vec![DataType::Decimal128(30, 4)],
            Self::DateBool => vec![DataType::Date32, DataType::Boolean],
            Self::Bytes => vec![DataType::BinaryView],
            Self::Instant => vec![DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))],
        }
    }

    fn key_fields(self) -> Vec<Field> {
        self.names().iter().zip(self.types()).map(|(name, data_type)| Field::new(*name, data_type, false)).collect()
    }

    /// All columns: a value in front of the key columns, one behind.
    pub(crate) fn schema(self) -> SchemaRef {
        let mut fields = vec![Field::new("number", DataType::Int64, true)];
        fields.extend(self.key_fields());
        fields.push(Field::new("text", DataType::Utf8, false));
        Arc::new(Schema::new(fields))
    }

    /// The key columns as arrays.
    fn columns(self, keys: &[Key]) -> Vec<ArrayRef> {
        macro_rules! column {
            ($pattern:pat => $value:expr, $array:ty) => {
                Arc::new(
                    keys.iter()
                        .map(|key| match key {
                            $pattern => Some($value),
                            other => panic!("{other:?} is of another kind"),
                        })
                        .collect::<$array>(),
                ) as ArrayRef
            };
        }
        match self {
            Self::Int => vec![column!(Key::Int(a) => *a, Int64Array)],
            Self::Text => vec![column!(Key::Text(a) => a, StringArray)],
            Self::IntText => {
                vec![column!(Key::IntText(a, _) => *a, Int32Array), column!(Key::IntText(_, b) => b, StringArray)]
            }
            Self::TextInt => {
                vec![column!(Key::TextInt(a, _) => a, StringArray), column!(Key::TextInt(_, b) => *b, Int32Array)]
            }
            Self::Float => vec![column!(Key::Float(a) => *a, Float64Array)],
            Self::Decimal => {
                let column: Decimal128Array = column!(Key::Decimal(a) => *a, Decimal128Array).as_primitive().clone();
                vec![Arc::new(column.with_precision_and_scale(30, 4).unwrap())]
            }
            Self::DateBool => {
                vec![column!(Key::DateBool(a, _) => *a, Date32Array), column!(Key::DateBool(_, b) => *b, BooleanArray)]
            }
            Self::Bytes => vec![column!(Key::Bytes(a) => a, BinaryViewArray)],
            Self::Instant => {
                let column = column!(Key::Instant(a) => *a, TimestampMicrosecondArray);
                let column = column.as_primitive::<TimestampMicrosecondType>().clone();
                vec![Arc::new(column.with_timezone("+00:00"))]
            }
        }
    }

    /// A batch of keys.
    pub(crate) fn keys(self, keys: &[Key]) -> RecordBatch {
        RecordBatch::try_new(Arc::new(Schema::new(self.key_fields())), self.columns(keys)).unwrap()
    }

    /// A batch of rows.
    pub(crate) fn rows(self, rows: &[(Key, Value)]) -> RecordBatch {
        let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_iter(rows.iter().map(|(_, value)| value.number)))];
        columns.extend(self.columns(&keys));
        columns.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, value)| &value.text))));
        RecordBatch::try_new(self.schema(), columns).unwrap()
    }

    /// The rows of a batch with all columns.
    pub(crate) fn read(self, batch: &RecordBatch) -> Vec<(Key, Value)> {
        let key_columns = self.names().len();
        let (k1, k2) = (batch.column(1), batch.column(key_columns));
        let key = |row: usize| match self {
            Self::Int => Key::Int(k1.as_primitive::<Int64Type>().value(row)),
            Self::Text => Key::Text(k1.as_string::<i32>().value(row).to_owned()),
            Self::IntText => {
                Key::IntText(k1.as_primitive::<Int32Type>().value(row), k2.as_string::<i32>().value(row).to_owned())
            }
            Self::TextInt => {
                Key::TextInt(k1.as_string::<i32>().value(row).to_owned(), k2.as_primitive::<Int32Type>().value(row))
            }
            Self::Float => Key::Float(k1.as_primitive::<Float64Type>().value(row)),
            Self::Decimal => Key::Decimal(k1.as_primitive::<Decimal128Type>().value(row)),
            Self::DateBool => Key::DateBool(k1.as_primitive::<Date32Type>().value(row), k2.as_boolean().value(row)),
            Self::Bytes => Key::Bytes(k1.as_binary_view().value(row).to_vec()),
            Self::Instant => Key::Instant(k1.as_primitive::<TimestampMicrosecondType>().value(row)),
        };
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(key_columns + 1).as_string::<i32>();
        (0..batch.num_rows())
            .map(|row| {
                let number = numbers.iter().nth(row).unwrap();
                (key(row), Value { number, text: texts.value(row).to_owned() })
            })
            .collect()
    }
}

/// The columns of a row that are not its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) number: Option<i64>,
    pub(crate) text: String,
}
