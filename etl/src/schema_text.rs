//! Schemas as people write them: `id bigint not null, price decimal(15,2), day date`.
//!
//! In: text of columns separated by commas, each a name, an SQL type and perhaps `not null`. Out: an Arrow schema; and
//! the way back, [`to_text`].
//! Invariants: names keep their case, and one that is more than letters, digits and `_` stands in double quotes (a
//! quote in it is doubled); type names are read in any case; `parse(to_text(schema))` is `schema` for every schema that
//! [`parse`] can return. A length as in `varchar(10)` is read and not enforced.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

/// What [`parse`] accepts as a type, for error texts and help pages.
pub const TYPES: &str = "boolean, tinyint, smallint, int, bigint (each also unsigned), real, double, decimal(p,s), \
     text, binary, date, time, timestamp, timestamp with time zone";

/// Zone of a column of the type `timestamp with time zone`.
pub const ZONE: &str = "+00:00";

/// Why a schema text was refused. `position` counts bytes from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaTextError {
    /// There is no column in it.
    #[error("the schema is empty; write columns such as `id bigint not null, name text`")]
    Empty,
    /// Something else was expected.
    #[error("schema, byte {position}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        position: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A quoted name does not end.
    #[error("schema, byte {position}: the quoted name that starts here does not end; close it with `\"`")]
    UnclosedName {
        /// Where the quote stands.
        position: usize,
    },
    /// No type has this name.
    #[error("schema, byte {position}: column `{column}` has the unknown type `{found}`; known types are {TYPES}")]
    UnknownType {
        /// Where the type starts.
        position: usize,
        /// The column.
        column: String,
        /// The type as written.
        found: String,
    },
    /// Precision or scale of a type are out of range.
    #[error("schema, byte {position}: column `{column}`: {limit}")]
    BadArguments {
        /// Where the type starts.
        position: usize,
        /// The column.
        column: String,
        /// What is allowed.
        limit: &'static str,
    },
    /// Two columns have the same name.
    #[error("schema, byte {position}: column `{column}` is named twice; give each column a name of its own")]
    DuplicateColumn {
        /// Where the second one starts.
        position: usize,
        /// The name.
        column: String,
    },
    /// A type has no name here.
    #[error(
        "column `{column}` has type {data_type}, which cannot be written as a schema text; known types are {TYPES}"
    )]
    Inexpressible {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
}

/// Reads a schema.
///
/// # Errors
/// Where the text is no schema: what was expected at which byte.
pub fn parse(text: &str) -> Result<Schema, SchemaTextError> {
    let mut parser = Parser { text, at: 0 };
    let mut fields: Vec<Field> = Vec::new();
    if parser.peek().is_none() {
        return Err(SchemaTextError::Empty);
    }
    loop {
        let position = parser.position();
        let field = parser.column()?;
        if fields.iter().any(|known| known.name() == field.name()) {
            return Err(SchemaTextError::DuplicateColumn { position, column: field.name().clone() });
        }
        fields.push(field);
        match parser.peek() {
            None => return Ok(Schema::new(fields)),
            Some(',') => parser.at += 1,
            Some(_) => return Err(parser.unexpected("`,` or `not null`")),
        }
    }
}

/// Writes a schema so that [`parse`] reads it back.
///
/// # Errors
/// A type that has no name in a schema text.
pub fn to_text(schema: &Schema) -> Result<String, SchemaTextError> {
    let mut text = String::new();
    for field in schema.fields() {
        let data_type = type_name(field.data_type()).ok_or_else(|| SchemaTextError::Inexpressible {
            column: field.name().clone(),
            data_type: field.data_type().clone(),
        })?;
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&quoted(field.name()));
        text.push(' ');
        text.push_str(&data_type);
        if !field.is_nullable() {
            text.push_str(" not null");
        }
    }
    Ok(text)
}

/// A type's name in a schema text, if it has one.
pub fn type_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "tinyint unsigned",
        DataType::UInt16 => "smallint unsigned",
        DataType::UInt32 => "int unsigned",
        DataType::UInt64 => "bigint unsigned",
        DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Utf8 => "text",
        DataType::Binary => "binary",
        DataType::Date32 => "date",
        DataType::Time64(TimeUnit::Microsecond) => "time",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp",
        DataType::Timestamp(unit, None) => return Some(format!("timestamp({})", digits(*unit))),
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == ZONE => {
            let precision = match unit {
                TimeUnit::Microsecond => String::new(),
                other => format!("({})", digits(*other)),
            };
            return Some(format!("timestamp{precision} with time zone"));
        }
        DataType::Time32(unit) | DataType::Time64(unit) => return Some(format!("time({})", digits(*unit))),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) if *scale >= 0 => {
            return Some(format!("decimal({precision},{scale})"));
        }
        _ => return None,
    };
    Some(name.to_owned())
}

/// Digits behind the point of a unit's seconds.
fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted(name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_word) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A place in the text; every step skips the white space before it.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    /// Byte of the next token, from 1.
    fn position(&mut self) -> usize {
        self.peek();
        self.at + 1
    }

    fn unexpected(&mut self, expected: &'static str) -> SchemaTextError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(c) if is_word(c) => format!("`{}`", self.peek_word()),
            Some(c) => format!("`{}`", c.escape_debug()),
        };
        SchemaTextError::Unexpected { position: self.at + 1, expected, found }
    }

    fn peek_word(&mut self) -> &'a str {
        self.peek();
        let rest = &self.text[self.at..];
        &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    /// Takes the next word if it is this one.
    fn keyword(&mut self, word: &str) -> bool {
        let next = self.peek_word();
        let taken = next.eq_ignore_ascii_case(word);
        if taken {
            self.at += next.len();
        }
        taken
    }

    fn expect_keyword(&mut self, word: &str, expected: &'static str) -> Result<(), SchemaTextError> {
        if self.keyword(word) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn column(&mut self) -> Result<Field, SchemaTextError> {
        let name = self.name()?;
        let data_type = self.data_type(&name)?;
        let nullable = if self.keyword("not") {
            self.expect_keyword("null", "`null` after `not`")?;
            false
        } else {
            self.keyword("null");
            true
        };
        Ok(Field::new(name, data_type, nullable))
    }

    fn name(&mut self) -> Result<String, SchemaTextError> {
        if self.peek() != Some('"') {
            let word = self.peek_word();
            if word.is_empty() {
                return Err(
                    self.unexpected("a column name (in double quotes if it is more than letters, digits and `_`)")
                );
            }
            self.at += word.len();
            return Ok(word.to_owned());
        }
        let position = self.at + 1;
        let mut name = String::new();
        let mut rest = &self.text[self.at + 1..];
        loop {
            let Some(end) = rest.find('"') else {
                return Err(SchemaTextError::UnclosedName { position });
            };
            name.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(behind) => {
                    name.push('"');
                    rest = behind;
                }
                None => break,
            }
        }
        self.at = self.text.len() - rest.len();
        if name.is_empty() {
            return Err(SchemaTextError::Unexpected {
                position,
                expected: "a column name",
                found: "`\"\"`".to_owned(),
            });
        }
        Ok(name)
    }

    fn data_type(&mut self, column: &str) -> Result<DataType, SchemaTextError> {
        let position = self.position();
        let word = self.peek_word();
        if word.is_empty() {
            return Err(self.unexpected("a type"));
        }
        self.at += word.len();
        let bad = |limit| SchemaTextError::BadArguments { position, column: column.to_owned(), limit };
        let data_type = match word.to_ascii_lowercase().as_str() {
            "boolean" | "bool" => DataType::Boolean,
            "tinyint" => self.integer(DataType::Int8, DataType::UInt8),
            "smallint" | "int2" => self.integer(DataType::Int16, DataType::UInt16),
            "int" | "integer" | "int4" => self.integer(DataType::Int32, DataType::UInt32),
            "bigint" | "int8" => self.integer(DataType::Int64, DataType::UInt64),
            "real" | "float4" => DataType::Float32,
            "float" | "float8" => DataType::Float64,
            "double" => {
                self.keyword("precision");
                DataType::Float64
            }
            "decimal" | "numeric" => decimal(&self.arguments()?)
                .ok_or_else(|| bad("write decimal(p,s) with a precision p from 1 to 76 and a scale s from 0 to p"))?,
            "text" | "string" | "varchar" | "char" | "character" => {
                self.keyword("varying");
                let lengths = self.arguments()?;
                if lengths.len() > 1 {
                    return Err(bad("a text type takes one length"));
                } else {
                    DataType::Utf8
                }
            }
            "bytea" | "blob" | "binary" | "varbinary" => DataType::Binary,
            "date" => DataType::Date32,
            "time" => {
                let unit = unit(&self.arguments()?).ok_or_else(|| bad(UNITS))?;
                self.zone("`time zone` after `without`", false)?;
                match unit {
                    TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
                    TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
                }
            }
            "timestamp" => {
                let unit = unit(&self.arguments()?).ok_or_else(|| bad(UNITS))?;
                let zoned = self.zone("`time zone` after `with` or `without`", true)?;
                DataType::Timestamp(unit, zoned.then(|| ZONE.into()))
            }
            "timestamptz" => {
                let unit = unit(&self.arguments()?).ok_or_else(|| bad(UNITS))?;
                DataType::Timestamp(unit, Some(ZONE.into()))
            }
            _ => {
                let (column, found) = (column.to_owned(), word.to_owned());
                return Err(SchemaTextError::UnknownType { position, column, found });
            }
        };
        Ok(data_type)
    }

    fn integer(&mut self, signed: DataType, unsigned: DataType) -> DataType {
        if self.keyword("unsigned") { unsigned } else { signed }
    }

    /// `with time zone` (where it may stand), `without time zone`, or nothing; whether there is a zone.
    fn zone(&mut self, expected: &'static str, with: bool) -> Result<bool, SchemaTextError> {
        let zoned = with && self.keyword("with");
        if zoned || self.keyword("without") {
            self.expect_keyword("time", expected)?;
            self.expect_keyword("zone", expected)?;
        }
        Ok(zoned)
    }

    /// `(1, 2)`, or nothing.
    fn arguments(&mut self) -> Result<Vec<u32>, SchemaTextError> {
        let mut arguments = Vec::new();
        if self.peek() != Some('(') {
            return Ok(arguments);
        }
        loop {
            self.at += 1;
            let word = self.peek_word();
            let Ok(argument) = word.parse() else {
                return Err(self.unexpected("a number"));
            };
            arguments.push(argument);
            self.at += word.len();
            match self.peek() {
                Some(',') => {}
                Some(')') => {
                    self.at += 1;
                    return Ok(arguments);
                }
                _ => return Err(self.unexpected("`,` or `)`")),
            }
        }
    }
}

const UNITS: &str = "a time has 0, 3, 6 or 9 digits behind the point of its seconds";

fn unit(arguments: &[u32]) -> Option<TimeUnit> {
    match arguments {
        [] | [6] => Some(TimeUnit::Microsecond),
        [0] => Some(TimeUnit::Second),
        [3] => Some(TimeUnit::Millisecond),
        [9] => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

fn decimal(arguments: &[u32]) -> Option<DataType> {
    let (precision, scale) = match arguments {
        [precision] => (*precision, 0),
        [precision, scale] => (*precision, *scale),
        _ => return None,
    };
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    match precision {
        _ if i16::from(scale) > i16::from(precision) => None,
        1..=38 => Some(DataType::Decimal128(precision, scale)),
        39..=76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
