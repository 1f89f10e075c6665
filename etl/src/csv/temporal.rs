//! Reads dates, times and timestamps in the forms of ISO 8601, exactly.
//!
//! In: the bytes of a field. Out: days, or units since midnight or the epoch. A date is `YYYY-MM-DD`; a time
//! `HH:MM[:SS[.fraction]]`; a timestamp a date, or a date, `T` or a space, and a time, and an offset (`Z`, `+HH`,
//! `+HHMM`, `+HH:MM`, also behind a space). Spaces around a value are no part of it.
//! Invariants: digits that the unit does not keep must be zeros; second 60 and hour 24 are refused, being no value of
//! an Arrow type; days are of the Gregorian calendar, years 0000 to 9999.

use arrow::datatypes::TimeUnit;

use crate::error::ValueProblem;

const SECONDS_PER_DAY: i64 = 86_400;

/// What a timestamp column does with offsets from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// A column without a zone: there may be none.
    None,
    /// A column with a zone of a fixed offset in seconds, which is meant where there is none.
    Fixed(i64),
    /// A column with another zone: there must be one.
    Named,
}

impl Zone {
    /// The zone of a timestamp type.
    pub(crate) fn of(name: Option<&str>) -> Self {
        match name {
            None => Self::None,
            Some(name) if name.eq_ignore_ascii_case("utc") => Self::Fixed(0),
            Some(name) => offset(name.as_bytes()).map_or(Self::Named, Self::Fixed),
        }
    }
}

/// Units of a second, and the digits they keep behind the point.
fn units(unit: TimeUnit) -> (i64, u8) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

#[inline]
fn two_digits(bytes: [u8; 2]) -> Option<i64> {
    let (tens, ones) = (bytes[0].wrapping_sub(b'0'), bytes[1].wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// Days from 1970-01-01 to a date.
#[inline]
pub(crate) fn date(text: &[u8]) -> Result<i32, ValueProblem> {
    let Ok(text) = <&[u8; 10]>::try_from(text.trim_ascii()) else {
        return Err(ValueProblem::Malformed);
    };
    days(text).ok_or(ValueProblem::Malformed)
}

#[inline]
fn days(text: &[u8; 10]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else {
        return None;
    };
    let year = two_digits([y1, y2])? * 100 + two_digits([y3, y4])?;
    let (month, day) = (two_digits([m1, m2])?, two_digits([d1, d2])?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    // Years that start in March put the leap day last, so that the days before a month follow a line.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    i32::try_from(days - 719_468).ok()
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A time of day.
struct Clock<'a> {
    seconds: i64,
    /// Digits behind the point.
    fraction: &'a [u8],
}

/// The time at the start of a text, and what follows it.
fn clock(text: &[u8]) -> Option<(Clock<'_>, &[u8])> {
    let (&[h1, h2, b':', m1, m2], rest) = text.split_first_chunk::<5>()? else {
        return None;
    };
    let (hours, minutes) = (two_digits([h1, h2])?, two_digits([m1, m2])?);
    let (seconds, fraction, rest) = match rest.split_first_chunk::<3>() {
        Some((&[b':', s1, s2], rest)) => {
            let (fraction, rest) = split_fraction(rest)?;
            (two_digits([s1, s2])?, fraction, rest)
        }
        _ => (0, &rest[..0], rest),
    };
    let valid = hours <= 23 && minutes <= 59 && seconds <= 59;
    valid.then_some((Clock { seconds: hours * 3600 + minutes * 60 + seconds, fraction }, rest))
}

/// Digits behind a point, if there is one, and what follows; `None` for a point alone.
fn split_fraction(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let [b'.', rest @ ..] = text else {
        return Some((&text[..0], text));
    };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then(|| rest.split_at(count))
}

/// The fraction of a second in units.
fn fraction(digits: &[u8], kept: u8) -> Result<i64, ValueProblem> {
    let (used, lost) = digits.split_at(digits.len().min(usize::from(kept)));
    if lost.iter().any(|byte| *byte != b'0') {
        return Err(ValueProblem::TooManyDecimals { kept });
    }
    let number = used.iter().fold(0, |number, byte| number * 10 + i64::from(byte.wrapping_sub(b'0')));
    Ok((used.len()..usize::from(kept)).fold(number, |number, _| number * 10))
}

/// Units from midnight to a time.
pub(crate) fn time(text: &[u8], unit: TimeUnit) -> Result<i64, ValueProblem> {
    let (clock, rest) = clock(text.trim_ascii()).ok_or(ValueProblem::Malformed)?;
    if offset(rest.trim_ascii_start()).is_some() {
        return Err(ValueProblem::UnexpectedOffset);
    } else if !rest.is_empty() {
        return Err(ValueProblem::Malformed);
    }
    let (per_second, kept) = units(unit);
    Ok(clock.seconds * per_second + fraction(clock.fraction, kept)?)
}

/// Seconds of an offset from UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *digits {
        [h1, h2] => (two_digits([h1, h2])?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two_digits([h1, h2])?, two_digits([m1, m2])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Units from the epoch to a timestamp.
pub(crate) fn timestamp(text: &[u8], unit: TimeUnit, zone: Zone) -> Result<i64, ValueProblem> {
    let parts = split_timestamp(text).ok_or(ValueProblem::Malformed)?;
    let offset = match (zone, parts.offset) {
        (Zone::None, None) => 0,
        (Zone::None, Some(_)) => return Err(ValueProblem::UnexpectedOffset),
        (Zone::Named, None) => return Err(ValueProblem::MissingOffset),
        (Zone::Fixed(meant), found) => found.unwrap_or(meant),
        (Zone::Named, Some(found)) => found,
    };
    let (per_second, kept) = units(unit);
    let fraction = fraction(parts.fraction, kept)?;
    let seconds = i64::from(parts.days) * SECONDS_PER_DAY + parts.seconds - offset;
    let value = i128::from(seconds) * i128::from(per_second) + i128::from(fraction);
    i64::try_from(value).map_err(|_| ValueProblem::OutOfRange)
}

/// A timestamp taken apart.
struct Parts<'a> {
    days: i32,
    seconds: i64,
    fraction: &'a [u8],
    offset: Option<i64>,
}

fn split_timestamp(text: &[u8]) -> Option<Parts<'_>> {
    let (date, rest) = text.trim_ascii().split_first_chunk::<10>()?;
    let days = days(date)?;
    let rest = match rest {
        [] => {
            return Some(Parts { days, seconds: 0, fraction: rest, offset: None });
        }
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return None,
    };
    let (Clock { seconds, fraction }, rest) = clock(rest)?;
    let offset = if rest.is_empty() { None } else { Some(offset(rest.strip_prefix(b" ").unwrap_or(rest))?) };
    Some(Parts { days, seconds, fraction, offset })
}

/// Whether a text is a timestamp that microseconds hold, and if so whether it has an offset.
pub(crate) fn timestamp_offset(text: &[u8]) -> Option<bool> {
    let parts = split_timestamp(text)?;
    fraction(parts.fraction, 6).is_ok().then_some(parts.offset.is_some())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Date32Type;
    use arrow_cast::parse::{Parser, string_to_timestamp_nanos};

    use super::*;

    const MALFORMED: ValueProblem = ValueProblem::Malformed;

    #[test]
    fn dates_are_those_of_arrow() {
        for year in [0, 1, 1582, 1899, 1900, 1970, 1999, 2000, 2023, 2024, 2100, 9999] {
            for month in 0..14 {
                for day in 0..33 {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    assert_eq!(date(text.as_bytes()).ok(), Date32Type::parse(&text), "{text}");
                }
            }
        }
        assert_eq!(date(b" 1970-01-02 "), Ok(1));
        for text in ["", "1970-1-2", "19700102", "1970/01/02", "1970-01-02T00:00", "+1970-01-02", "197O-01-02"] {
            assert_eq!(date(text.as_bytes()), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn timestamps_are_those_of_arrow() {
        for text in [
            "1970-01-01",
            "1969-12-31 23:59:59.999999",
            "1997-01-31T09:26:56",
            "1997-01-31t09:26:56.1",
            "1997-01-31T09:26:56.123456Z",
            "1997-01-31 09:26:56.123-05:00",
            "1997-01-31 09:26:56+0530",
            "1997-01-31 09:26:56 +02",
        ] {
            let nanos = string_to_timestamp_nanos(text).unwrap();
            let read = |unit| timestamp(text.as_bytes(), unit, Zone::Fixed(0));
            assert_eq!(read(TimeUnit::Nanosecond), Ok(nanos), "{text}");
            assert_eq!(read(TimeUnit::Microsecond), Ok(nanos.div_euclid(1000)), "{text}");
        }
        assert_eq!(timestamp(b"0001-01-01 00:00", TimeUnit::Microsecond, Zone::None), Ok(-62_135_596_800_000_000));
    }

    #[test]
    fn timestamps_lose_nothing() {
        let check = |text: &str, unit, zone, want| assert_eq!(timestamp(text.as_bytes(), unit, zone), want, "{text}");
        let (micro, nano) = (TimeUnit::Microsecond, TimeUnit::Nanosecond);
        check("1970-01-01 00:00:00.1234560", micro, Zone::None, Ok(123_456));
        check("1970-01-01 00:00:00.1234567", micro, Zone::None, Err(ValueProblem::TooManyDecimals { kept: 6 }));
        check("1970-01-01 00:00:00.1234567", nano, Zone::None, Ok(123_456_700));
        check("1970-01-01 00:00:00.5", TimeUnit::Second, Zone::None, Err(ValueProblem::TooManyDecimals { kept: 0 }));
        check("1970-01-01 00:00:00Z", micro, Zone::None, Err(ValueProblem::UnexpectedOffset));
        check("1970-01-01 00:00:00", micro, Zone::Named, Err(ValueProblem::MissingOffset));
        assert_eq!(Zone::of(Some("UTC")), Zone::Fixed(0));
        check("1970-01-01 01:00:01", TimeUnit::Second, Zone::of(Some("+01:00")), Ok(1));
        check("1970-01-01 01:00:01Z", TimeUnit::Second, Zone::of(Some("Europe/Berlin")), Ok(3601));
        check("2300-01-01", nano, Zone::None, Err(ValueProblem::OutOfRange));
        for text in [
            "",
            "1970-01-01x",
            "1970-01-01 ",
            "1970-01-01 1:00",
            "1970-01-01 24:00:00",
            "1970-01-01 00:60",
            "1970-01-01 00:00:60",
            "1970-01-01 00:00:00.",
            "1970-01-01 00:00.5",
            "1970-01-01 00:00:00+1",
            "1970-01-01 00:00:00 PST",
            "1970-02-30 00:00",
        ] {
            let want = if text.trim_ascii().len() == 10 { Ok(0) } else { Err(MALFORMED) };
            check(text, micro, Zone::None, want);
        }
    }

    #[test]
    fn times_are_of_one_day() {
        let check = |text: &str, unit, want| assert_eq!(time(text.as_bytes(), unit), want, "{text}");
        check("00:00", TimeUnit::Second, Ok(0));
        check("23:59:59.999", TimeUnit::Millisecond, Ok(86_399_999));
        check(" 01:02:03.5 ", TimeUnit::Microsecond, Ok(3_723_500_000));
        check("24:00:00", TimeUnit::Second, Err(MALFORMED));
        check("1:00:00", TimeUnit::Second, Err(MALFORMED));
        check("01:00:00Z", TimeUnit::Second, Err(ValueProblem::UnexpectedOffset));
        check("01:00:00 PM", TimeUnit::Second, Err(MALFORMED));
        check("01:00:00.0001", TimeUnit::Millisecond, Err(ValueProblem::TooManyDecimals { kept: 3 }));
    }
}
