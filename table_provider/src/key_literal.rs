//! A literal as a value of a key column.
//!
//! In: a literal of any type, the type of a key column. Out: the one value of that type that means the same.
//! Invariants: a value that cannot be told exactly is none, never one that is near. Floats come out canonical, as the
//! engine stores them in keys: one NaN, one zero.

use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type};
use datafusion::common::ScalarValue;
use rustling_engine::rows::key::KEY_BYTES_MAX;

/// A float of two bytes.
type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// The value of a type that a literal means, if there is exactly one. NULL has none.
pub fn exact(literal: &ScalarValue, to: &DataType) -> Option<ScalarValue> {
    if let ScalarValue::Dictionary(_, value) | ScalarValue::RunEndEncoded(_, _, value) = literal {
        return exact(value, to);
    }
    if literal.is_null() {
        return None;
    }
    let from = literal.data_type();
    if from == *to {
        return Some(canonical(literal.clone()));
    }
    if !may_be_equal(&from, to) {
        return None;
    }
    let value = literal.cast_to(to).ok().filter(|value| !value.is_null())?;
    let back = value.cast_to(&from).ok()?;
    (back == *literal).then(|| canonical(value))
}

/// Whether values of both types are compared by value, so that what survives a cast to the other and back is equal.
fn may_be_equal(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    match (from, to) {
        // With a zone it is an instant, without one a wall clock's reading.
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() == to.is_some(),
        (Date32 | Date64, Date32 | Date64) | (Time32(_) | Time64(_), Time32(_) | Time64(_)) => true,
        _ => {
            (is_exact_number(from) && is_exact_number(to))
                || (from.is_floating() && to.is_floating())
                || (is_text(from) && is_text(to))
                || (is_bytes(from) && is_bytes(to))
        }
    }
}

/// Whether a cast of a key column gives other values for other keys, in the same order, or fails.
pub fn keeps_order(from: &DataType, to: &DataType) -> bool {
    use DataType::{Float16, Float32, Float64, Time32, Time64, Timestamp};
    match (from, to) {
        (from, to) if from == to => true,
        (from, to) if from.is_integer() && (to.is_integer() || is_decimal(to)) => scale(to) >= 0,
        (from, to) if is_decimal(from) && is_decimal(to) => scale(to) >= scale(from),
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (Timestamp(from, from_zone), Timestamp(to, to_zone)) => {
            from_zone.is_some() == to_zone.is_some() && *to >= *from
        }
        (Time32(from) | Time64(from), Time32(to) | Time64(to)) => *to >= *from,
        (from, to) => (is_text(from) && is_text(to)) || (is_bytes(from) && is_bytes(to)),
    }
}

/// The value as a key holds it.
fn canonical(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float16(Some(float)) if float.is_nan() => ScalarValue::Float16(Some(Half::NAN)),
        ScalarValue::Float16(Some(float)) if float == Half::ZERO => ScalarValue::Float16(Some(Half::ZERO)),
        ScalarValue::Float32(Some(float)) if float.is_nan() => ScalarValue::Float32(Some(f32::NAN)),
        ScalarValue::Float32(Some(0.0)) => ScalarValue::Float32(Some(0.0)),
        ScalarValue::Float64(Some(float)) if float.is_nan() => ScalarValue::Float64(Some(f64::NAN)),
        ScalarValue::Float64(Some(0.0)) => ScalarValue::Float64(Some(0.0)),
        other => other,
    }
}

/// Whether a key of so many columns can have such a value, whatever the others are. A key that is longer than keys can be
/// is in no table, and an error where it is looked up.
pub fn fits_key(value: &ScalarValue, columns: usize) -> bool {
    // Each byte may take two, and each value two more.
    text_bytes(value) <= KEY_BYTES_MAX / 4 / columns.max(1)
}

/// Bytes of a text or of bytes; 0 for other values.
fn text_bytes(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            text.len()
        }
        ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes))
        | ScalarValue::FixedSizeBinary(_, Some(bytes)) => bytes.len(),
        ScalarValue::Dictionary(_, value) | ScalarValue::RunEndEncoded(_, _, value) => text_bytes(value),
        _ => 0,
    }
}

/// Whether a value is a float that is no number.
pub fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(Some(float)) => float.is_nan(),
        ScalarValue::Float32(Some(float)) => float.is_nan(),
        ScalarValue::Float64(Some(float)) => float.is_nan(),
        _ => false,
    }
}

/// Whether a value is a float that is zero.
pub fn is_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(Some(float)) => *float == Half::ZERO,
        ScalarValue::Float32(Some(float)) => *float == 0.0,
        ScalarValue::Float64(Some(float)) => *float == 0.0,
        _ => false,
    }
}

fn is_exact_number(data_type: &DataType) -> bool {
    data_type.is_integer() || is_decimal(data_type)
}

fn is_decimal(data_type: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    matches!(data_type, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..))
}

/// Digits behind the point.
fn scale(data_type: &DataType) -> i8 {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    match data_type {
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) | Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(data_type, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn check(literal: ScalarValue, to: DataType, expected: Option<ScalarValue>) {
        assert_eq!(exact(&literal, &to), expected, "{literal:?} as {to}");
    }

    #[test]
    fn numbers_are_taken_only_if_they_fit() {
        use ScalarValue::{Decimal128, Float32, Float64, Int64, UInt8, UInt64};
        check(Int64(Some(255)), DataType::UInt8, Some(UInt8(Some(255))));
        check(Int64(Some(256)), DataType::UInt8, None);
        check(Int64(Some(-1)), DataType::UInt64, None);
        check(UInt64(Some(u64::MAX)), DataType::Int64, None);
        check(Int64(None), DataType::Int64, None);
        check(Int64(Some(5)), DataType::Float64, None);
        check(Float64(Some(5.0)), DataType::Int64, None);
        check(Float64(Some(0.5)), DataType::Float32, Some(Float32(Some(0.5))));
        check(Float64(Some(0.1)), DataType::Float32, None);
        check(Decimal128(Some(125), 5, 2), DataType::Decimal128(4, 1), None);
        check(Decimal128(Some(120), 5, 2), DataType::Decimal128(4, 1), Some(Decimal128(Some(12), 4, 1)));
        check(Decimal128(Some(300), 5, 2), DataType::Int64, Some(Int64(Some(3))));
        check(Decimal128(Some(301), 5, 2), DataType::Int64, None);
    }

    #[test]
    fn text_and_bytes_are_taken_in_any_encoding() {
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        let dictionary = ScalarValue::Dictionary(Box::new(DataType::Int8), Box::new(text("a")));
        check(dictionary, DataType::LargeUtf8, Some(ScalarValue::LargeUtf8(Some("a".to_owned()))));
        check(ScalarValue::Binary(Some(vec![1, 2])), DataType::FixedSizeBinary(3), None);
        let two = ScalarValue::FixedSizeBinary(2, Some(vec![1, 2]));
        check(ScalarValue::Binary(Some(vec![1, 2])), DataType::FixedSizeBinary(2), Some(two));
        check(text("5"), DataType::Int64, None);
    }

    #[test]
    fn instants_are_no_wall_clocks() {
        let instant = |zone: Option<&str>| ScalarValue::TimestampMillisecond(Some(1500), zone.map(Into::into));
        let to = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
        check(instant(None), to(TimeUnit::Millisecond, Some("UTC")), None);
        check(instant(Some("+01:00")), to(TimeUnit::Second, Some("UTC")), None);
        let same = ScalarValue::TimestampMicrosecond(Some(1_500_000), Some("UTC".into()));
        check(instant(Some("+01:00")), to(TimeUnit::Microsecond, Some("UTC")), Some(same));
    }

    #[test]
    fn floats_come_out_as_keys_hold_them() {
        let bits = |float: f64| match exact(&ScalarValue::Float64(Some(float)), &DataType::Float64) {
            Some(ScalarValue::Float64(Some(float))) => float.to_bits(),
            other => panic!("{other:?}"),
        };
        assert_eq!(bits(-0.0), 0.0_f64.to_bits());
        assert_eq!(bits(-f64::NAN), 0x7ff8_0000_0000_0000);
    }
}
