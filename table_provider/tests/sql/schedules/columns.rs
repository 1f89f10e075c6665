//! Columns of random tables: kinds of values, each value made of a small number.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

/// A kind of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int32,
    Int64,
    UInt8,
    Text,
    LargeText,
    TextView,
    Bytes,
    Decimal,
    Date,
    Bool,
    Float,
    Instant,
}

const KINDS: [Kind; 12] = [
    Kind::Int32,
    Kind::Int64,
    Kind::UInt8,
    Kind::Text,
    Kind::LargeText,
    Kind::TextView,
    Kind::Bytes,
    Kind::Decimal,
    Kind::Date,
    Kind::Bool,
    Kind::Float,
    Kind::Instant,
];

/// Numbers that values are made of are below it.
const NUMBERS: i64 = 250;

impl Kind {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::Text => DataType::Utf8,
            Self::LargeText => DataType::LargeUtf8,
            Self::TextView => DataType::Utf8View,
            Self::Bytes => DataType::Binary,
            Self::Decimal => DataType::Decimal128(10, 2),
            Self::Date => DataType::Date32,
            Self::Bool => DataType::Boolean,
            Self::Float => DataType::Float64,
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    /// The number with the same value that stands for all of them.
    fn canonical(self, number: i64) -> i64 {
        if self == Self::Bool { number % 2 } else { number }
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::LargeText | Self::TextView)
    }

    pub(crate) fn is_exact_number(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64 | Self::UInt8 | Self::Decimal)
    }

    fn array(self, numbers: &[Option<i64>]) -> ArrayRef {
        let text = |number: i64| format!("{}{number}", "word ".repeat(usize::try_from(number % 4).unwrap()));
        let numbers = numbers.iter().copied();
        match self {
            Self::Int32 => Arc::new(numbers.map(|n| n.map(|n| i32::try_from(n - 20).unwrap())).collect::<Int32Array>()),
            Self::Int64 => Arc::new(numbers.map(|n| n.map(|n| (n - 20) * 1_000_000_007)).collect::<Int64Array>()),
            Self::UInt8 => Arc::new(numbers.map(|n| n.map(|n| u8::try_from(n).unwrap())).collect::<UInt8Array>()),
            Self::Text | Self::LargeText | Self::TextView => {
                let texts = numbers.map(|n| n.map(text)).collect::<StringArray>();
                cast(&texts, &self.data_type()).unwrap()
            }
            Self::Bytes => Arc::new(numbers.map(|n| n.map(|n| format!("b{n}").into_bytes())).collect::<BinaryArray>()),
            Self::Decimal => {
                let decimals = numbers.map(|n| n.map(|n| i128::from(n) * 125 - 1000)).collect::<Decimal128Array>();
                Arc::new(decimals.with_precision_and_scale(10, 2).unwrap())
            }
            Self::Date => Arc::new(numbers.map(|n| n.map(|n| i32::try_from(n * 31).unwrap())).collect::<Date32Array>()),
            Self::Bool => Arc::new(numbers.map(|n| n.map(|n| n % 2 == 1)).collect::<BooleanArray>()),
            Self::Float => Arc::new(numbers.map(|n| n.map(|n| n as f64 / 4.0 - 5.0)).collect::<Float64Array>()),
            Self::Instant => {
                Arc::new(numbers.map(|n| n.map(|n| n * 86_399_000_001)).collect::<TimestampMicrosecondArray>())
            }
        }
    }

    /// A value as SQL.
    pub(crate) fn literal(self, number: i64) -> String {
        let plain = match self {
            Self::Bytes => return format!("CAST('b{number}' AS BYTEA)"),
            Self::LargeText | Self::TextView => Self::Text.array(&[Some(number)]),
            _ => self.array(&[Some(number)]),
        };
        let mut text = String::new();
        let options = arrow::util::display::FormatOptions::default();
        let formatter = arrow::util::display::ArrayFormatter::try_new(plain.as_ref(), &options).unwrap();
        write!(text, "{}", formatter.value(0)).unwrap();
        match self {
            Self::Text | Self::LargeText | Self::TextView => format!("'{text}'"),
            Self::Date => format!("DATE '{text}'"),
            Self::Instant => format!("TIMESTAMP '{text}'"),
            Self::Decimal => format!("CAST('{text}' AS DECIMAL(10, 2))"),
            _ => text,
        }
    }
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) is_key: bool,
}

/// The columns of a table, in order.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) all: Vec<Column>,
    /// How many numbers each key column takes values of.
    key_numbers: i64,
}

impl Columns {
    pub(crate) fn random(random: &mut StdRng) -> Self {
        let keys = *[0, 1, 1, 1, 2, 2, 3].choose(random).unwrap();
        let values = random.random_range(1..5);
        let mut column = |name: String, is_key| Column { name, kind: *KINDS.choose(random).unwrap(), is_key };
        let mut all: Vec<Column> = (0..keys).map(|index| column(format!("k{index}"), true)).collect();
        all.extend((0..values).map(|index| column(format!("c{index}"), false)));
        all.shuffle(random);
        Self { all, key_numbers: if keys > 1 { 14 } else { NUMBERS } }
    }

    /// Key columns in the order of the key.
    pub(crate) fn key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.all.iter().filter(|column| column.is_key).collect();
        key.sort_by(|a, b| a.name.cmp(&b.name));
        key
    }

    pub(crate) fn key_names(&self) -> Vec<&str> {
        self.key().iter().map(|column| column.name.as_str()).collect()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let field = |column: &Column| Field::new(&column.name, column.kind.data_type(), !column.is_key);
        Arc::new(Schema::new(self.all.iter().map(field).collect::<Vec<_>>()))
    }

    pub(crate) fn random_number(&self, random: &mut StdRng, column: &Column) -> i64 {
        random.random_range(0..if column.is_key { self.key_numbers } else { NUMBERS })
    }

    /// Numbers of the key columns of some rows, canonical; near each other, or anywhere.
    pub(crate) fn random_keys(&self, random: &mut StdRng, rows: usize) -> Vec<Vec<i64>> {
        let key = self.key();
        let start = random.random_range(0..self.key_numbers);
        let is_near = random.random_bool(0.4);
        let one = |row: usize| {
            let numbers = key.iter().enumerate().map(|(place, column)| {
                let is_last = place + 1 == key.len();
                let near = (start + if is_last { row as i64 } else { 0 }) % self.key_numbers;
                let number = if is_near { near } else { self.random_number(random, column) };
                column.kind.canonical(number)
            });
            numbers.collect()
        };
        (0..rows).map(one).collect()
    }

    /// A batch of the key columns.
    pub(crate) fn key_batch(&self, keys: &[Vec<i64>]) -> RecordBatch {
        let column = |(place, column): (usize, &&Column)| {
            let numbers: Vec<Option<i64>> = keys.iter().map(|key| Some(key[place])).collect();
            (column.name.clone(), column.kind.array(&numbers), false)
        };
        RecordBatch::try_from_iter_with_nullable(self.key().iter().enumerate().map(column)).unwrap()
    }

    /// Rows with these keys (or so many rows without one), and random values.
    pub(crate) fn rows(&self, random: &mut StdRng, keys: &[Vec<i64>]) -> RecordBatch {
        let key_names = self.key_names();
        let array = |column: &Column| {
            let place = key_names.iter().position(|name| *name == column.name);
            let numbers = keys.iter().map(|key| match place {
                Some(place) => Some(key[place]),
                None => random.random_bool(0.85).then(|| random.random_range(0..NUMBERS)),
            });
            column.kind.array(&numbers.collect::<Vec<_>>())
        };
        let arrays = self.all.iter().map(array).collect();
        RecordBatch::try_new(self.schema(), arrays).unwrap()
    }
}

/// The same rows with text and bytes in other encodings, as others may write them.
pub(crate) fn reencoded(random: &mut StdRng, rows: &RecordBatch) -> RecordBatch {
    let column = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let encodings = match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View]
            }
            DataType::Binary => [DataType::Binary, DataType::LargeBinary, DataType::BinaryView],
            other => [other.clone(), other.clone(), other.clone()],
        };
        let column = cast(column, encodings.choose(random).unwrap()).unwrap();
        (field.name().clone(), column, field.is_nullable())
    };
    let columns: Vec<_> = rows.schema().fields().iter().zip(rows.columns()).map(column).collect();
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}
