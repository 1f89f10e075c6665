//! Reads numbers and booleans, exactly: a text that the type cannot hold is an error, never rounded or wrapped.
//!
//! In: the bytes of a field. Out: the value. Spaces around a value are no part of it. Integers may have a sign and
//! leading zeros; decimals also a point, with digits before it, behind it, or both, and more digits behind the point
//! than the scale only if those are zeros; floats also an exponent, `inf` and `nan`, but no exponent that overflows.

use arrow::datatypes::{ArrowNativeTypeOp, i256};
use arrow_cast::parse::Parser;

use crate::error::ValueProblem;

/// Digits that always fit 64 bits.
const DIGITS_U64: usize = 18;

/// Most digits of a decimal of 128 bits.
const DIGITS_I128: usize = 38;

/// The sign (whether it is a minus) and what follows.
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Appends up to [`DIGITS_U64`] digits to a number; `None` if one is no digit.
#[inline]
fn append_digits(mut number: u64, digits: &[u8]) -> Option<u64> {
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(number)
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|byte| **byte == b'0').count()..]
}

/// Reads an integer of any width up to 64 bits.
#[inline]
pub(crate) fn integer<T: TryFrom<i128>>(text: &[u8]) -> Result<T, ValueProblem> {
    let (negative, digits) = split_sign(text.trim_ascii());
    if digits.is_empty() {
        return Err(ValueProblem::Malformed);
    }
    let magnitude = if digits.len() <= DIGITS_U64 {
        i128::from(append_digits(0, digits).ok_or(ValueProblem::Malformed)?)
    } else {
        long_integer(digits)?
    };
    T::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| ValueProblem::OutOfRange)
}

#[cold]
fn long_integer(digits: &[u8]) -> Result<i128, ValueProblem> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueProblem::Malformed);
    }
    let digits = trim_zeros(digits);
    if digits.len() > DIGITS_I128 { Err(ValueProblem::OutOfRange) } else { Ok(long_number(digits)) }
}

/// The number of up to [`DIGITS_I128`] digits, all known to be digits.
fn long_number(digits: &[u8]) -> i128 {
    digits.iter().fold(0, |number, byte| number * 10 + i128::from(byte.wrapping_sub(b'0')))
}

/// A decimal taken apart; all bytes are digits.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a [u8],
    /// Digits behind the point, at most as many as the scale.
    fraction: &'a [u8],
    /// Zeros that make up the scale.
    zeros: usize,
}

fn split_decimal(text: &[u8], precision: u8, scale: u8) -> Result<Parts<'_>, ValueProblem> {
    let (negative, digits) = split_sign(text.trim_ascii());
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &digits[digits.len()..]),
    };
    let all_digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return Err(ValueProblem::Malformed);
    }
    let (fraction, lost) = fraction.split_at(fraction.len().min(usize::from(scale)));
    if lost.iter().any(|byte| *byte != b'0') {
        return Err(ValueProblem::TooManyDecimals { kept: scale });
    }
    let whole = trim_zeros(whole);
    if whole.len() + usize::from(scale) > usize::from(precision) {
        return Err(ValueProblem::OutOfRange);
    }
    Ok(Parts { negative, whole, fraction, zeros: usize::from(scale) - fraction.len() })
}

const POWERS: [u64; DIGITS_U64 + 1] = {
    let mut powers = [1; DIGITS_U64 + 1];
    let mut index = 1;
    while index <= DIGITS_U64 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Reads a decimal of up to 38 digits as its unscaled integer, whose type holds that many.
#[inline]
pub(crate) fn decimal<T: TryFrom<i128>>(text: &[u8], precision: u8, scale: u8) -> Result<T, ValueProblem> {
    let parts = split_decimal(text, precision, scale)?;
    let short = parts.whole.len() + usize::from(scale) <= DIGITS_U64;
    let magnitude = if short {
        let digits = append_digits(0, parts.whole).and_then(|whole| append_digits(whole, parts.fraction));
        i128::from(digits.ok_or(ValueProblem::Malformed)? * POWERS[parts.zeros])
    } else {
        long_decimal(&parts)
    };
    T::try_from(if parts.negative { -magnitude } else { magnitude }).map_err(|_| ValueProblem::OutOfRange)
}

#[cold]
fn long_decimal(parts: &Parts<'_>) -> i128 {
    let digits = parts.whole.iter().chain(parts.fraction);
    let number = digits.fold(0, |number, byte| number * 10 + i128::from(byte.wrapping_sub(b'0')));
    (0..parts.zeros).fold(number, |number, _| number * 10)
}

/// Reads a decimal of up to 76 digits as its unscaled integer.
pub(crate) fn decimal256(text: &[u8], precision: u8, scale: u8) -> Result<i256, ValueProblem> {
    let parts = split_decimal(text, precision, scale)?;
    let mut digits = Vec::with_capacity(usize::from(precision));
    digits.extend_from_slice(parts.whole);
    digits.extend_from_slice(parts.fraction);
    digits.resize(digits.len() + parts.zeros, b'0');
    let (high, low) = digits.split_at(digits.len().saturating_sub(DIGITS_I128));
    let shift = i256::from_i128(10_i128.pow(38));
    let magnitude =
        i256::from_i128(long_number(high)).mul_wrapping(shift).add_wrapping(i256::from_i128(long_number(low)));
    Ok(if parts.negative { magnitude.neg_wrapping() } else { magnitude })
}

/// Reads a float of any width.
#[inline]
pub(crate) fn float<T: Parser>(text: &[u8]) -> Result<T::Native, ValueProblem>
where
    T::Native: Into<f64>,
{
    let text = text.trim_ascii();
    let value = std::str::from_utf8(text).ok().and_then(T::parse).ok_or(ValueProblem::Malformed)?;
    let overflowed = value.into().is_infinite() && text.iter().any(u8::is_ascii_digit);
    if overflowed { Err(ValueProblem::OutOfRange) } else { Ok(value) }
}

/// Reads a boolean: `true`, `t`, `1`, `false`, `f`, `0`, in any case.
pub(crate) fn boolean(text: &[u8]) -> Result<bool, ValueProblem> {
    match text.trim_ascii() {
        b"1" | b"t" | b"T" => Ok(true),
        b"0" | b"f" | b"F" => Ok(false),
        word => boolean_word(word),
    }
}

/// Reads `true` and `false`, in any case, and nothing else.
pub(crate) fn boolean_word(text: &[u8]) -> Result<bool, ValueProblem> {
    let is = |word: &[u8]| text.trim_ascii().eq_ignore_ascii_case(word);
    match (is(b"true"), is(b"false")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(ValueProblem::Malformed),
    }
}

/// Whether a number begins as people write numbers: not with a plus (`+49` is a phone number), and not with a zero before
/// another digit (`00501` is a postal code).
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !matches!(digits, [b'+', ..] | [b'0', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Float32Type, Float64Type};

    use super::*;

    const MALFORMED: ValueProblem = ValueProblem::Malformed;
    const OUT: ValueProblem = ValueProblem::OutOfRange;

    #[test]
    fn integers_are_exact_or_refused() {
        for (text, want) in [("0", 0), ("-0", 0), ("+7", 7), (" 007 ", 7), ("-128", -128), ("127", 127)] {
            assert_eq!(integer::<i8>(text.as_bytes()), Ok(want), "{text}");
        }
        for (text, want) in [
            ("128", OUT),
            ("-129", OUT),
            ("", MALFORMED),
            ("-", MALFORMED),
            ("1.0", MALFORMED),
            ("1e2", MALFORMED),
            ("0x1", MALFORMED),
            ("1 2", MALFORMED),
            ("--1", MALFORMED),
            ("99999999999999999999999999999999999999999999", OUT),
            ("99999999999999999999999999999999999999999x", MALFORMED),
        ] {
            assert_eq!(integer::<i8>(text.as_bytes()), Err(want), "{text}");
        }
        assert_eq!(integer::<i64>(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer::<i64>(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer::<i64>(b"9223372036854775808"), Err(OUT));
        assert_eq!(integer::<u64>(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(integer::<u64>(b"-1"), Err(OUT));
        assert_eq!(integer::<i64>(b"00000000000000000000000000000000000000000000000000000000000012"), Ok(12));
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let kept = ValueProblem::TooManyDecimals { kept: 2 };
        for (text, want) in [
            ("1", Ok(100)),
            ("-1.5", Ok(-150)),
            ("+.05", Ok(5)),
            ("7.", Ok(700)),
            (" 0001.2300 ", Ok(123)),
            ("123.45", Ok(12345)),
            ("1000", Err(OUT)),
            ("999.99", Ok(99999)),
            ("1.234", Err(kept)),
            ("0.001", Err(kept)),
            (".", Err(MALFORMED)),
            ("", Err(MALFORMED)),
            ("1e2", Err(MALFORMED)),
            ("1.2.3", Err(MALFORMED)),
            ("1,2", Err(MALFORMED)),
            ("1.00x", Err(MALFORMED)),
        ] {
            assert_eq!(decimal::<i128>(text.as_bytes(), 5, 2), want, "{text}");
        }
        let nines = "9".repeat(38);
        assert_eq!(decimal::<i128>(nines.as_bytes(), 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(decimal::<i128>(b"-12345678901234567890.5", 38, 10), Ok(-123456789012345678905 * 10_i128.pow(9)));
        assert_eq!(decimal::<i128>(format!("{nines}.0").as_bytes(), 38, 1), Err(OUT));
    }

    #[test]
    fn long_decimals_are_exact() {
        let digits = "1234567890".repeat(7);
        let text = format!("-{digits}.123456");
        assert_eq!(decimal256(text.as_bytes(), 76, 6), Ok(i256::from_string(&format!("-{digits}123456")).unwrap()));
        assert_eq!(decimal256(b"1", 76, 38), Ok(i256::from_i128(10_i128.pow(38))));
        assert_eq!(decimal256(b"0", 76, 76), Ok(i256::ZERO));
    }

    #[test]
    fn floats_overflow_only_by_name() {
        for (text, want) in [("1", 1.0), ("-1.5e3", -1500.0), (" .5", 0.5), ("inf", f64::INFINITY), ("1e-400", 0.0)] {
            assert_eq!(float::<Float64Type>(text.as_bytes()), Ok(want), "{text}");
        }
        assert!(float::<Float64Type>(b"NaN").unwrap().is_nan());
        assert_eq!(float::<Float64Type>(b"1e400"), Err(OUT));
        assert_eq!(float::<Float32Type>(b"1e39"), Err(OUT));
        for text in ["", "e", "1e", "1,5", "0x1p3", "1 2", "\u{ff11}"] {
            assert_eq!(float::<Float64Type>(text.as_bytes()), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn plain_numbers_have_no_plus_and_no_zeros_before_them() {
        for text in ["0", "-0", "0.5", "-0.5", " 10", "1e5", "", "-", "inf"] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
        for text in ["+1", "-+1", "00", "-01", " 007", "00.5"] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn booleans_are_words_or_bits() {
        for text in ["true", "T", "1", " True "] {
            assert_eq!(boolean(text.as_bytes()), Ok(true), "{text}");
            assert_eq!(boolean_word(text.as_bytes()).is_ok(), text.trim().len() == 4, "{text}");
        }
        for text in ["false", "f", "0", "FALSE"] {
            assert_eq!(boolean(text.as_bytes()), Ok(false), "{text}");
        }
        for text in ["", "yes", "2", "truee"] {
            assert_eq!(boolean(text.as_bytes()), Err(MALFORMED), "{text}");
        }
    }
}
