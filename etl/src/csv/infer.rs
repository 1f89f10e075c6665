//! Infers column types from the first records of an input.
//!
//! In: chunks, and how many records and bytes of them to look at. Out: a type per column, all nullable.
//! Rules, for the values of a column that are not NULL: `true` and `false` make it boolean; integers of 64 bits
//! bigint; other plain numbers of up to 38 digits decimal(18,s), or decimal(38,s) where 18 digits are too few, `s`
//! being the most digits behind a point; an exponent, `inf` or `nan` among numbers double; dates `YYYY-MM-DD` date;
//! timestamps that microseconds hold timestamp, with a time zone where one has an offset. Anything else is text: also
//! a number with a leading zero or plus (`00501` is a postal code, `+49` a phone number), `""`, and a column that holds
//! only NULL. Quotes around a value make no difference.
//! Columns are read by the same rules ([`crate::csv::columns::inferred_column`]), so that a value behind the sample that
//! would have made its column another one is an error.

use arrow::datatypes::{DataType, Field, Float64Type, Schema, TimeUnit};

use crate::csv::fields::{Cursor, RawField, Records, Tokenizer};
use crate::csv::parse::FileChunk;
use crate::csv::{numbers, temporal};
use crate::error::ValueProblem;
use crate::schema_text::ZONE;

/// Digits of a decimal that is stored in 64 bits, and of one in 128.
const DIGITS: [usize; 2] = [18, 38];

/// What the records so far say about every column.
pub struct Inference {
    columns: Vec<Seen>,
    tokenizer: Tokenizer,
    records: u64,
    records_left: usize,
    bytes_left: usize,
}

impl Inference {
    /// An inference of `width` columns from at most so many records, which start within so many bytes.
    pub fn new(width: usize, delimiter: u8, records_left: usize, bytes_left: usize) -> Self {
        let columns = vec![Seen::default(); width];
        Self { columns, tokenizer: Tokenizer::new(delimiter), records: 0, records_left, bytes_left }
    }

    /// Whether it has seen all that it wants.
    pub fn is_done(&self) -> bool {
        self.records_left == 0 || self.bytes_left == 0
    }

    /// Records it has seen.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Looks at the records of a chunk. Missing and superfluous fields are left to the parser.
    pub fn add(&mut self, file_chunk: &FileChunk) {
        let FileChunk { chunk, layout } = file_chunk;
        let mut cursor = Cursor { at: 0, line: chunk.line };
        let mut records = Records::default();
        while !self.is_done() {
            records.clear();
            let before = cursor.at;
            let is_record = self.tokenizer.read(&chunk.bytes, &mut cursor, &mut records);
            // Blank lines, too: an input of nothing else is not to be read to its end.
            self.bytes_left = self.bytes_left.saturating_sub(cursor.at - before);
            if !is_record {
                return;
            }
            for (seen, field) in self.columns.iter_mut().zip(&layout.fields) {
                if let Some(span) = records.spans.get(*field) {
                    seen.add(records.field(&chunk.bytes, *span));
                }
            }
            self.records += 1;
            self.records_left -= 1;
        }
    }

    /// The schema of columns with these names.
    pub fn schema(&self, names: &[String]) -> Schema {
        let columns = names.iter().zip(&self.columns);
        Schema::new(columns.map(|(name, seen)| Field::new(name, seen.data_type(), true)).collect::<Vec<_>>())
    }
}

/// Kinds of value that a column has.
#[derive(Clone, Debug, Default)]
struct Seen {
    boolean: bool,
    number: bool,
    fraction: bool,
    beyond_64_bits: bool,
    exponent: bool,
    inf_or_nan: bool,
    date: bool,
    timestamp: bool,
    offset: bool,
    text: bool,
    /// Most digits before the point.
    whole: usize,
    /// Most digits behind the point.
    scale: usize,
}

impl Seen {
    fn add(&mut self, field: RawField<'_>) {
        let text = field.text.trim_ascii();
        if field.is_null() || self.text {
            return;
        }
        if numbers::boolean_word(text).is_ok() {
            self.boolean = true;
        } else if let Some((whole, scale)) = plain_number(text) {
            self.number = true;
            self.fraction |= text.contains(&b'.');
            self.beyond_64_bits |= numbers::integer::<i64>(text) == Err(ValueProblem::OutOfRange);
            self.whole = self.whole.max(whole);
            self.scale = self.scale.max(scale);
        } else if temporal::date(text).is_ok() {
            self.date = true;
        } else if let Some(offset) = temporal::timestamp_offset(text) {
            self.timestamp = true;
            self.offset |= offset;
        } else if numbers::is_plain(text) && numbers::float::<Float64Type>(text).is_ok() {
            let digits = text.iter().any(u8::is_ascii_digit);
            self.number |= digits;
            self.exponent |= digits;
            self.inf_or_nan |= !digits;
        } else {
            self.text = true;
        }
    }

    fn data_type(&self) -> DataType {
        let time = self.date || self.timestamp;
        let float = self.exponent || self.inf_or_nan;
        let digits = DIGITS.iter().find(|digits| self.whole + self.scale <= **digits);
        match (self.text, self.boolean, self.number, time) {
            (false, true, false, false) if !float => DataType::Boolean,
            (false, false, true, false) if float => DataType::Float64,
            (false, false, true, false) if !self.fraction && !self.beyond_64_bits => DataType::Int64,
            (false, false, true, false) => match digits {
                Some(digits) => decimal(*digits, self.scale),
                None if self.fraction => DataType::Float64,
                None => DataType::Utf8,
            },
            (false, false, false, true) if !float && !self.timestamp => DataType::Date32,
            (false, false, false, true) if !float => {
                DataType::Timestamp(TimeUnit::Microsecond, self.offset.then(|| ZONE.into()))
            }
            _ => DataType::Utf8,
        }
    }
}

/// Both numbers are at most 38.
fn decimal(precision: usize, scale: usize) -> DataType {
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => DataType::Decimal128(precision, scale),
        _ => DataType::Utf8,
    }
}

/// Digits before and behind the point of a number that is written without exponent, plus or leading zero.
fn plain_number(text: &[u8]) -> Option<(usize, usize)> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    let is_number = all_digits && whole.len() + fraction.len() > 0 && numbers::is_plain(text);
    is_number.then_some((whole.len(), fraction.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::csv::parse::Layout;
    use crate::csv::split::Chunk;
    use crate::schema_text::type_name;

    use super::*;

    /// Type of a column of values that are separated by `|`.
    fn infer(values: &str) -> String {
        let mut bytes = Vec::new();
        for value in values.split('|') {
            bytes.extend(format!("1,{value}\n").into_bytes());
        }
        let layout = Arc::new(Layout { file: "f".into(), fields: vec![1] });
        let mut inference = Inference::new(1, b',', 10_000, 1 << 20);
        inference.add(&FileChunk { chunk: Chunk { bytes, line: 1 }, layout });
        type_name(inference.schema(&["c".to_owned()]).field(0).data_type()).unwrap()
    }

    #[test]
    fn types_follow_the_values() {
        for (values, want) in [
            ("true|FALSE||\"true\"", "boolean"),
            ("t|f", "text"),
            ("1|0", "bigint"),
            ("1|true", "text"),
            ("0|-5|\"7\"| 8 |9223372036854775807", "bigint"),
            ("9223372036854775808", "decimal(38,0)"),
            ("123456789012345678901234567890123456789", "text"),
            ("1|2.50|-3.125", "decimal(18,3)"),
            (".5|7.", "decimal(18,1)"),
            ("1234567890123456789.12", "decimal(38,2)"),
            ("0.123456789012345678901234567890123456789", "double"),
            ("1|1e3", "double"),
            ("1.5|nan|-inf", "double"),
            ("nan|inf", "text"),
            ("true|nan", "text"),
            ("2024-01-01|nan", "text"),
            ("1e400", "text"),
            ("00501|10001", "text"),
            ("00.5", "text"),
            ("007e1", "text"),
            ("-01", "text"),
            ("+4930123|+49", "text"),
            ("2024-02-29|", "date"),
            ("2024-02-30", "text"),
            ("2024-02-29|2024-02-29 12:00:00.5", "timestamp"),
            ("2024-02-29T12:00|2024-02-29T12:00Z", "timestamp with time zone"),
            ("2024-02-29 12:00:00.123456789", "text"),
            ("12:00:00", "text"),
            ("2024-01-01|5", "text"),
            ("|", "text"),
            ("1|\"\"", "text"),
            ("1|x", "text"),
            ("-|1", "text"),
        ] {
            assert_eq!(infer(values), want, "{values}");
        }
    }

    #[test]
    fn only_the_sample_counts() {
        let layout = Arc::new(Layout { file: "f".into(), fields: vec![0] });
        let chunk = || Chunk { bytes: b"1\n\n2\nx\n".to_vec(), line: 1 };
        let check = |records, bytes, want_type, want_records| {
            let mut inference = Inference::new(1, b',', records, bytes);
            inference.add(&FileChunk { chunk: chunk(), layout: layout.clone() });
            assert_eq!(inference.schema(&["c".to_owned()]).field(0).data_type(), &want_type);
            assert_eq!(inference.records(), want_records);
        };
        check(2, 1000, DataType::Int64, 2);
        check(3, 1000, DataType::Utf8, 3);
        check(9, 5, DataType::Int64, 2);
        check(9, 6, DataType::Utf8, 3);
    }
}
