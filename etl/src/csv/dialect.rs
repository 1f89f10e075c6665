//! How a CSV file is written: its delimiter, and whether its first record names the columns.
//!
//! In: a delimiter byte, or how people write one. Out: [`Dialect`].
//! Invariants: the delimiter is an ASCII byte, so a field's bytes are cut from UTF-8 text only between characters; it is
//! no letter, no digit, neither the quote nor a line end.

use crate::error::CsvError;

/// The quote. It opens a quoted field as the field's first byte, and stands in it when doubled.
pub const QUOTE: u8 = b'"';

/// How a CSV file is written. Records end with LF, CR or CRLF; blank lines are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    delimiter: u8,
    header: bool,
}

impl Dialect {
    /// A dialect with this delimiter; `header` says whether the first record of every file names its columns.
    ///
    /// # Errors
    /// A delimiter that is not ASCII, a letter or digit, the quote, a line end, or NUL.
    pub fn new(delimiter: u8, header: bool) -> Result<Self, CsvError> {
        let taken = matches!(delimiter, QUOTE | b'\r' | b'\n' | 0);
        if taken || !delimiter.is_ascii() || delimiter.is_ascii_alphanumeric() {
            return Err(CsvError::BadDelimiter { delimiter: char::from(delimiter).to_string() });
        }
        Ok(Self { delimiter, header })
    }

    /// A dialect whose delimiter is one character, or `tab` or `\t` for a tab.
    ///
    /// # Errors
    /// As [`Dialect::new`]; also where the text is not one character.
    pub fn parse(delimiter: &str, header: bool) -> Result<Self, CsvError> {
        match delimiter.as_bytes() {
            b"tab" | b"\\t" => Self::new(b'\t', header),
            [byte] => Self::new(*byte, header),
            _ => Err(CsvError::BadDelimiter { delimiter: delimiter.to_owned() }),
        }
    }

    /// What separates the fields of a record.
    pub fn delimiter(self) -> u8 {
        self.delimiter
    }

    /// Whether the first record names the columns.
    pub fn header(self) -> bool {
        self.header
    }
}

impl Default for Dialect {
    /// Commas, and a header.
    fn default() -> Self {
        Self { delimiter: b',', header: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_that_can_separate_are_delimiters() {
        for (text, want) in [(",", b','), ("|", b'|'), (";", b';'), ("tab", b'\t'), ("\\t", b'\t'), ("\t", b'\t')] {
            assert_eq!(Dialect::parse(text, true).unwrap().delimiter(), want);
        }
        for text in ["", "\"", "\n", "\r", "\0", "a", "7", "::", "é"] {
            assert!(matches!(Dialect::parse(text, true), Err(CsvError::BadDelimiter { .. })), "{text:?}");
        }
    }
}
