//! Turns the fields of one column into an Arrow array.
//!
//! In: blocks of records of equal width. Out: one array per column and chunk.
//! Invariants: an unquoted empty field is NULL, whatever the type; `""` is the empty text, and no value of a type that
//! is not text. Text and binary keep every byte; binary is the bytes as they stand, not hexadecimal.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, ArrowPrimitiveType, BooleanBuilder, GenericBinaryBuilder, GenericStringBuilder,
    OffsetSizeTrait, PrimitiveBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use crate::csv::fields::{RawField, Records, Span};
use crate::csv::temporal::Zone;
use crate::csv::{numbers, temporal};
use crate::error::{CsvError, ValueProblem};

/// Some records of a chunk, all of `width` fields.
pub(crate) struct Block<'a> {
    /// The chunk.
    pub(crate) bytes: &'a [u8],
    /// The chunk as text, where all of it is UTF-8.
    pub(crate) text: Option<&'a str>,
    /// The records.
    pub(crate) records: &'a Records,
    /// Fields of a record.
    pub(crate) width: usize,
}

impl<'a> Block<'a> {
    /// The field as text. The whole chunk has been checked already, as a rule.
    #[inline]
    fn text(&self, span: Span, field: RawField<'a>) -> Result<&'a str, ValueProblem> {
        match self.text.and_then(|text| span.of_chunk(text)) {
            Some(text) => Ok(text),
            None => std::str::from_utf8(field.text).map_err(|_| ValueProblem::NotUtf8),
        }
    }

    /// Gives field `field` of every record to `append`, or `None` where it is NULL.
    #[inline]
    fn each(
        &self,
        field: usize,
        nullable: bool,
        mut append: impl FnMut(Option<(Span, RawField<'a>)>) -> Result<(), ValueProblem>,
    ) -> Result<(), Fault> {
        for (record, spans) in self.records.spans.chunks_exact(self.width).enumerate() {
            let span = spans[field];
            let raw = self.records.field(self.bytes, span);
            let appended = if !raw.is_null() {
                append(Some((span, raw)))
            } else if nullable {
                append(None)
            } else {
                Err(ValueProblem::Null)
            };
            appended.map_err(|problem| Fault { record, problem })?;
        }
        Ok(())
    }
}

/// A field that is no value of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Record of the block, from 0.
    pub(crate) record: usize,
    /// What is wrong.
    pub(crate) problem: ValueProblem,
}

/// An array in the making.
pub(crate) trait Column: Send {
    /// Appends field `field` of every record of a block that has one.
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault>;

    /// The array of what was appended; the column is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

/// The column that a field of the schema asks for.
///
/// # Errors
/// A type that no field can be read as.
pub(crate) fn column(field: &Field) -> Result<Box<dyn Column>, CsvError> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256, Float16, Float32,
        Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, Time32, Time64, Timestamp, UInt8, UInt16, UInt32,
        UInt64, Utf8, Utf8View,
    };
    let nullable = field.is_nullable();
    Ok(match field.data_type() {
        Boolean => booleans(field, numbers::boolean),
        Int8 => primitive::<Int8Type>(field, numbers::integer),
        Int16 => primitive::<Int16Type>(field, numbers::integer),
        Int32 => primitive::<Int32Type>(field, numbers::integer),
        Int64 => primitive::<Int64Type>(field, numbers::integer),
        UInt8 => primitive::<UInt8Type>(field, numbers::integer),
        UInt16 => primitive::<UInt16Type>(field, numbers::integer),
        UInt32 => primitive::<UInt32Type>(field, numbers::integer),
        UInt64 => primitive::<UInt64Type>(field, numbers::integer),
        Float16 => primitive::<Float16Type>(field, numbers::float::<Float16Type>),
        Float32 => primitive::<Float32Type>(field, numbers::float::<Float32Type>),
        Float64 => primitive::<Float64Type>(field, numbers::float::<Float64Type>),
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => decimal(field)?,
        Date32 => primitive::<Date32Type>(field, temporal::date),
        Date64 => primitive::<Date64Type>(field, |text| Ok(i64::from(temporal::date(text)?) * 86_400_000)),
        Time32(unit) | Time64(unit) => time(field, *unit),
        Timestamp(unit, zone) => timestamp(field, *unit, Zone::of(zone.as_deref())),
        Utf8 => Box::new(Texts { builder: GenericStringBuilder::<i32>::new(), nullable }),
        LargeUtf8 => Box::new(Texts { builder: GenericStringBuilder::<i64>::new(), nullable }),
        Binary => Box::new(Binaries { builder: GenericBinaryBuilder::<i32>::new(), nullable }),
        LargeBinary => Box::new(Binaries { builder: GenericBinaryBuilder::<i64>::new(), nullable }),
        Utf8View | BinaryView => {
            let flat = if field.data_type() == &Utf8View { Utf8 } else { Binary };
            Box::new(Views { flat: column(&field.clone().with_data_type(flat))?, data_type: field.data_type().clone() })
        }
        _ => return Err(unsupported(field)),
    })
}

/// The column that a field asks for whose type was inferred. What inference does not take for a value of the type is none:
/// the zeros of `00501` must not go because it stands behind the sample.
///
/// # Errors
/// As [`column()`].
pub(crate) fn inferred_column(field: &Field) -> Result<Box<dyn Column>, CsvError> {
    Ok(match field.data_type() {
        DataType::Boolean => booleans(field, numbers::boolean_word),
        DataType::Int64 => primitive::<Int64Type>(field, plain(numbers::integer)),
        DataType::Float64 => primitive::<Float64Type>(field, plain(numbers::float::<Float64Type>)),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, u8::try_from(*scale).map_err(|_| unsupported(field))?);
            primitive::<Decimal128Type>(field, plain(move |text| numbers::decimal(text, precision, scale)))
        }
        _ => column(field)?,
    })
}

/// Reads plain numbers only.
fn plain<T>(
    parse: impl Fn(&[u8]) -> Result<T, ValueProblem> + Send + 'static,
) -> impl Fn(&[u8]) -> Result<T, ValueProblem> + Send + 'static {
    move |text| if numbers::is_plain(text) { parse(text) } else { Err(ValueProblem::Malformed) }
}

fn unsupported(field: &Field) -> CsvError {
    CsvError::UnsupportedType { column: field.name().clone(), data_type: field.data_type().clone() }
}

fn decimal(field: &Field) -> Result<Box<dyn Column>, CsvError> {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    let (Decimal32(precision, scale)
    | Decimal64(precision, scale)
    | Decimal128(precision, scale)
    | Decimal256(precision, scale)) = *field.data_type()
    else {
        return Err(unsupported(field));
    };
    let scale = u8::try_from(scale).map_err(|_| unsupported(field))?;
    Ok(match field.data_type() {
        Decimal32(..) => primitive::<Decimal32Type>(field, move |text| numbers::decimal(text, precision, scale)),
        Decimal64(..) => primitive::<Decimal64Type>(field, move |text| numbers::decimal(text, precision, scale)),
        Decimal128(..) => primitive::<Decimal128Type>(field, move |text| numbers::decimal(text, precision, scale)),
        _ => primitive::<Decimal256Type>(field, move |text| numbers::decimal256(text, precision, scale)),
    })
}

fn time(field: &Field, unit: TimeUnit) -> Box<dyn Column> {
    let narrow = move |text: &[u8]| i32::try_from(temporal::time(text, unit)?).map_err(|_| ValueProblem::OutOfRange);
    let wide = move |text: &[u8]| temporal::time(text, unit);
    match unit {
        TimeUnit::Second => primitive::<Time32SecondType>(field, narrow),
        TimeUnit::Millisecond => primitive::<Time32MillisecondType>(field, narrow),
        TimeUnit::Microsecond => primitive::<Time64MicrosecondType>(field, wide),
        TimeUnit::Nanosecond => primitive::<Time64NanosecondType>(field, wide),
    }
}

fn timestamp(field: &Field, unit: TimeUnit, zone: Zone) -> Box<dyn Column> {
    let parse = move |text: &[u8]| temporal::timestamp(text, unit, zone);
    match unit {
        TimeUnit::Second => primitive::<TimestampSecondType>(field, parse),
        TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(field, parse),
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(field, parse),
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(field, parse),
    }
}

/// A column of fixed-width values, which `parse` reads.
struct Primitives<T: ArrowPrimitiveType, F> {
    builder: PrimitiveBuilder<T>,
    data_type: DataType,
    nullable: bool,
    parse: F,
}

fn primitive<T: ArrowPrimitiveType>(
    field: &Field,
    parse: impl Fn(&[u8]) -> Result<T::Native, ValueProblem> + Send + 'static,
) -> Box<dyn Column> {
    let data_type = field.data_type().clone();
    let builder = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
    Box::new(Primitives { builder, data_type, nullable: field.is_nullable(), parse })
}

impl<T, F> Column for Primitives<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(&[u8]) -> Result<T::Native, ValueProblem> + Send,
{
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault> {
        let Self { builder, parse, nullable, .. } = self;
        block.each(field, *nullable, |found| {
            match found {
                Some((_, raw)) => builder.append_value(parse(raw.text)?),
                None => builder.append_null(),
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let next = PrimitiveBuilder::with_capacity(self.builder.len()).with_data_type(self.data_type.clone());
        Ok(Arc::new(std::mem::replace(&mut self.builder, next).finish()))
    }
}

struct Booleans {
    builder: BooleanBuilder,
    nullable: bool,
    parse: fn(&[u8]) -> Result<bool, ValueProblem>,
}

fn booleans(field: &Field, parse: fn(&[u8]) -> Result<bool, ValueProblem>) -> Box<dyn Column> {
    Box::new(Booleans { builder: BooleanBuilder::new(), nullable: field.is_nullable(), parse })
}

impl Column for Booleans {
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault> {
        block.each(field, self.nullable, |found| {
            self.builder.append_option(found.map(|(_, raw)| (self.parse)(raw.text)).transpose()?);
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.builder.finish()))
    }
}

struct Texts<O: OffsetSizeTrait> {
    builder: GenericStringBuilder<O>,
    nullable: bool,
}

impl<O: OffsetSizeTrait> Column for Texts<O> {
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault> {
        block.each(field, self.nullable, |found| {
            match found {
                Some((span, raw)) => self.builder.append_value(block.text(span, raw)?),
                None => self.builder.append_null(),
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (count, bytes) = (self.builder.len(), self.builder.values_slice().len());
        let next = GenericStringBuilder::with_capacity(count, bytes);
        Ok(Arc::new(std::mem::replace(&mut self.builder, next).finish()))
    }
}

struct Binaries<O: OffsetSizeTrait> {
    builder: GenericBinaryBuilder<O>,
    nullable: bool,
}

impl<O: OffsetSizeTrait> Column for Binaries<O> {
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault> {
        block.each(field, self.nullable, |found| {
            self.builder.append_option(found.map(|(_, raw)| raw.text));
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.builder.finish()))
    }
}

/// A column of views, built flat.
struct Views {
    flat: Box<dyn Column>,
    data_type: DataType,
}

impl Column for Views {
    fn append(&mut self, block: &Block<'_>, field: usize) -> Result<(), Fault> {
        self.flat.append(block, field)
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        cast(&self.flat.finish()?, &self.data_type)
    }
}
