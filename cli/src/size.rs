//! Numbers as people write and read them: sizes of memory, counts, rates, durations.
//!
//! Invariants: a size is read exactly or refused; `KB` is 1000 bytes and `KiB` (or `K`) 1024.

use std::time::Duration;

/// Units of a size, longest names first within their letter.
const UNITS: [(&str, u64); 14] = [
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("t", 1 << 40),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("g", 1 << 30),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("m", 1 << 20),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("k", 1 << 10),
    ("b", 1),
    ("", 1),
];

/// Reads a size such as `256MiB`, `1.5 GB` or `1048576`.
///
/// # Errors
/// What is no size, or more than this machine can address.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let refused = || format!("`{text}` is not a size; write a number with a unit, such as 256MiB or 1GB");
    let lower = text.trim().to_ascii_lowercase();
    let number_end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(number_end);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(refused)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return Err(refused());
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| refused())?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| refused())?);
    let bytes = digits.checked_mul(u128::from(*factor)).ok_or_else(refused)? / scale;
    usize::try_from(bytes).map_err(|_| format!("`{text}` is more than this machine can address"))
}

/// A count with separators: `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things: `1 row`, `2 rows`.
pub(crate) fn counted(value: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Bytes: `17 B`, `1.5 MiB`.
pub(crate) fn bytes(value: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| value >= 1 << shift) {
        Some((shift, unit)) => {
            let tenths = (u128::from(value) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{value} B"),
    }
}

/// A duration: `850 ms`, `12.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// How many a second.
pub(crate) fn per_second(value: u64, duration: Duration) -> u64 {
    let micros = duration.as_micros().max(1);
    u64::try_from(u128::from(value) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        for (text, want) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("256MiB", 256 << 20),
            ("256m", 256 << 20),
            ("1GB", 1_000_000_000),
            ("1.5 GiB", 3 << 29),
            ("64kb", 64_000),
        ] {
            assert_eq!(parse_size(text), Ok(want), "{text}");
        }
        for text in ["", "MiB", "1.", ".5G", "-1", "1e9", "12 parsecs", "99999999999TiB", "1.0000000001G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_for_eyes() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([bytes(17), bytes(1536), bytes(5 << 30)], ["17 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([counted(1, "row"), counted(1000, "row")], ["1 row", "1,000 rows"]);
        assert_eq!(seconds(Duration::from_millis(850)), "850 ms");
        assert_eq!(per_second(500, Duration::from_millis(250)), 2000);
    }
}
