//! Cuts the bytes of one file into chunks of whole records.
//!
//! In: a reader of bytes. Out: [`Chunk`]s in the order of the file, each with its first line; a byte
//! order mark is skipped, other kinds of file are refused by their first bytes.
//! Invariants: a chunk starts at the start of a record and ends at the end of one, by the rules of `csv_core`: a quote
//! opens a field only as its first byte, a doubled quote inside stands for one, what follows a closing quote is
//! literal, and LF, CR and CRLF end a record outside of quotes. Where a chunk ends depends on the bytes and the size
//! asked for, never on how many bytes a read returned. Lines are counted by LF, and by CR outside of quotes where no
//! LF follows.

use std::io::Read;
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memchr2, memrchr, memrchr2};

use crate::csv::dialect::QUOTE;
use crate::error::CsvError;

/// The least a reader is asked for where a record does not end in the buffer.
const READ_BYTES_MIN: usize = 4096;

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Whole records, and where they stand in their file.
#[derive(Debug)]
pub struct Chunk {
    /// The records with their line ends.
    pub bytes: Vec<u8>,
    /// Line of the file on which they start.
    pub line: u64,
}

/// The place in a file up to which it has been cut. `buffer` holds the bytes behind it.
pub struct Splitter<R> {
    reader: R,
    file: Arc<str>,
    delimiter: u8,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    ended: bool,
    line: u64,
}

impl<R: Read> Splitter<R> {
    /// Starts at the beginning of a file.
    ///
    /// # Errors
    /// A reader that fails; a file that is compressed or UTF-16.
    pub fn new(reader: R, file: Arc<str>, delimiter: u8, record_bytes_max: usize) -> Result<Self, CsvError> {
        let buffer = Vec::new();
        let mut splitter = Self { reader, file, delimiter, record_bytes_max, buffer, ended: false, line: 1 };
        splitter.fill(READ_BYTES_MIN)?;
        refuse_other_formats(&splitter.buffer, &splitter.file)?;
        if splitter.buffer.starts_with(&BYTE_ORDER_MARK) {
            splitter.buffer.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(splitter)
    }

    /// The next chunk: the records that end within `size` bytes, or else the next record alone.
    ///
    /// # Errors
    /// A reader that fails, a quote that is never closed, a record longer than the limit.
    pub fn cut(&mut self, size: usize) -> Result<Option<Chunk>, CsvError> {
        let size = size.clamp(1, self.record_bytes_max);
        // One byte more, to see whether LF follows a CR, or a quote a quote.
        self.fill(size + 1)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mut scan = Scan { at: 0, opened: None };
        let end = match scan.last_end(&self.buffer, size, self.delimiter) {
            Some(end) => end,
            None => self.end_of_first(scan)?,
        };
        let mut rest = Vec::with_capacity((self.buffer.len() - end).max(size) + 64);
        rest.extend_from_slice(&self.buffer[end..]);
        self.buffer.truncate(end);
        let chunk = Chunk { bytes: std::mem::replace(&mut self.buffer, rest), line: self.line };
        self.line += count_lines(&chunk.bytes, self.delimiter);
        Ok(Some(chunk))
    }

    /// End of the record at the start of the buffer, which is no blank line, reading as much as that takes.
    fn end_of_first(&mut self, mut scan: Scan) -> Result<usize, CsvError> {
        let limit = self.record_bytes_max;
        loop {
            let found = scan.first_end(&self.buffer, self.ended, self.delimiter);
            let length = found.map_or(scan.at, |found| found.record);
            let open = (found.is_none() && self.ended).then_some(scan.opened).flatten();
            if length > limit {
                return Err(self.record_too_long());
            } else if let Some(at) = open {
                let byte = byte_of_line(&self.buffer, at);
                return Err(CsvError::UnclosedQuote { file: self.file.clone(), line: self.line_of(at), byte });
            } else if let Some(found) = found {
                return Ok(found.next);
            } else if self.ended {
                return Ok(self.buffer.len());
            }
            let more = self.buffer.len().max(READ_BYTES_MIN);
            self.fill((self.buffer.len() + more).min(limit.saturating_add(2)))?;
        }
    }

    fn record_too_long(&self) -> CsvError {
        let limit = self.record_bytes_max;
        let mut scan = Scan { at: 0, opened: None };
        scan.first_end(&self.buffer[..limit], false, self.delimiter);
        let quote_line = scan.opened.map(|at| self.line_of(at));
        CsvError::RecordTooLong { file: self.file.clone(), line: self.line, limit, quote_line }
    }

    fn line_of(&self, at: usize) -> u64 {
        self.line + count_lines(&self.buffer[..at], self.delimiter)
    }

    /// Reads until the buffer holds `len` bytes or the file ends.
    fn fill(&mut self, len: usize) -> Result<(), CsvError> {
        if self.ended || self.buffer.len() >= len {
            return Ok(());
        }
        let missing = len - self.buffer.len();
        self.buffer.reserve(missing + 64);
        let read = (&mut self.reader).take(missing as u64).read_to_end(&mut self.buffer);
        match read {
            Ok(read) => {
                self.ended = read < missing;
                Ok(())
            }
            Err(source) => Err(CsvError::Io { operation: "read", file: self.file.clone(), source }),
        }
    }
}

fn refuse_other_formats(start: &[u8], file: &Arc<str>) -> Result<(), CsvError> {
    let decompress = "decompress it first, for example into a pipe that `-` reads";
    let convert = "convert it first, for example with `iconv -f UTF-16 -t UTF-8`";
    let formats: [(&[u8], &str, &str); 7] = [
        (&[0x1f, 0x8b], "gzip", decompress),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", decompress),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", decompress),
        (&[b'P', b'K', 3, 4], "a zip archive", decompress),
        (&[b'P', b'A', b'R', b'1', 0x15], "Parquet", "export it as CSV first"),
        (&[0xff, 0xfe], "UTF-16", convert),
        (&[0xfe, 0xff], "UTF-16", convert),
    ];
    match formats.into_iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, format, advice)) => Err(CsvError::NotCsv { file: file.clone(), format, advice }),
        None => Ok(()),
    }
}

/// Where a record ends.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Bytes of the record without its line end.
    record: usize,
    /// Start of the next one.
    next: usize,
}

/// How far some bytes, which start with a record, have been looked at.
#[derive(Clone, Copy, Debug)]
struct Scan {
    /// The next byte to look at.
    at: usize,
    /// The quote of the field that is open there, if one is.
    opened: Option<usize>,
}

impl Scan {
    /// End of the last record whose line end starts before `size`.
    fn last_end(&mut self, bytes: &[u8], size: usize, delimiter: u8) -> Option<usize> {
        let limit = size.min(bytes.len());
        let mut last = None;
        while self.at < limit {
            if self.opened.is_some() {
                if !self.close(bytes, false) {
                    break;
                }
                continue;
            }
            let quote = opening_quote(bytes, self.at, limit, delimiter);
            let outside = &bytes[self.at..quote.unwrap_or(limit)];
            last = memrchr2(b'\n', b'\r', outside).map(|at| self.at + at).or(last);
            self.opened = quote;
            self.at = quote.map_or(limit, |quote| quote + 1);
        }
        last.map(|at| if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') { at + 2 } else { at + 1 })
    }

    /// End of the first record that ends behind `at`, or `None` if more bytes are needed (or, at the end of the file,
    /// none ends).
    fn first_end(&mut self, bytes: &[u8], ended: bool, delimiter: u8) -> Option<End> {
        // The next line end, or the end of the bytes. It is found once for all fields before it: a line may have many.
        let mut line_end = self.at;
        while self.at < bytes.len() {
            if self.opened.is_some() {
                if !self.close(bytes, ended) {
                    return None;
                }
                continue;
            }
            if line_end <= self.at {
                line_end = memchr2(b'\n', b'\r', &bytes[self.at..]).map_or(bytes.len(), |at| self.at + at);
            }
            match (opening_quote(bytes, self.at, line_end, delimiter), line_end) {
                (Some(quote), _) => {
                    self.opened = Some(quote);
                    self.at = quote + 1;
                }
                (None, record) if record < bytes.len() => {
                    self.at = record;
                    let next = match (bytes[record], bytes.get(record + 1)) {
                        (b'\r', None) if !ended => return None,
                        (b'\r', Some(b'\n')) => record + 2,
                        _ => record + 1,
                    };
                    return Some(End { record, next });
                }
                (None, _) => self.at = bytes.len(),
            }
        }
        None
    }

    /// Goes behind the closing quote; false if it is not there, or may be the first of two.
    fn close(&mut self, bytes: &[u8], ended: bool) -> bool {
        while let Some(quote) = memchr(QUOTE, &bytes[self.at..]).map(|at| self.at + at) {
            match bytes.get(quote + 1) {
                Some(&QUOTE) => self.at = quote + 2,
                None if !ended => {
                    self.at = quote;
                    return false;
                }
                _ => {
                    self.at = quote + 1;
                    self.opened = None;
                    return true;
                }
            }
        }
        self.at = bytes.len();
        false
    }
}

/// The first quote from `from` to `to` (both outside of quotes) that opens a field, being its first byte.
fn opening_quote(bytes: &[u8], from: usize, to: usize, delimiter: u8) -> Option<usize> {
    memchr_iter(QUOTE, &bytes[from..to]).map(|at| from + at).find(|at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        before.is_none_or(|byte| byte == delimiter || byte == b'\n' || byte == b'\r')
    })
}

/// Which byte of its line (from 1) the byte at `at` is; `bytes` start with a record, and `at` is in it.
pub fn byte_of_line(bytes: &[u8], at: usize) -> u64 {
    let line = memrchr(b'\n', &bytes[..at]).map_or(0, |end| end + 1);
    (at - line) as u64 + 1
}

/// Lines that end in some bytes, which start with a record.
pub fn count_lines(bytes: &[u8], delimiter: u8) -> u64 {
    let feeds = memchr_iter(b'\n', bytes).count() as u64;
    if memchr(b'\r', bytes).is_none() {
        return feeds;
    }
    let mut scan = Scan { at: 0, opened: None };
    let mut returns = 0;
    while scan.at < bytes.len() {
        if scan.opened.is_some() {
            if !scan.close(bytes, true) {
                break;
            }
            continue;
        }
        let quote = opening_quote(bytes, scan.at, bytes.len(), delimiter);
        let end = quote.unwrap_or(bytes.len());
        let alone = |at: &usize| bytes.get(scan.at + at + 1) != Some(&b'\n');
        returns += memchr_iter(b'\r', &bytes[scan.at..end]).filter(alone).count() as u64;
        scan.opened = quote;
        scan.at = quote.map_or(end, |quote| quote + 1);
    }
    feeds + returns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the records of some bytes, or the error's text.
    fn cut(bytes: &[u8], record_bytes_max: usize) -> Result<Vec<usize>, String> {
        let mut splitter = Splitter::new(bytes, "f".into(), b',', record_bytes_max).unwrap();
        let chunks = std::iter::from_fn(|| splitter.cut(1).transpose());
        chunks.map(|chunk| chunk.map(|chunk| chunk.bytes.len()).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn a_record_may_be_as_long_as_the_limit() {
        let limit = 3 * READ_BYTES_MIN;
        for end in ["", "\n", "\r", "\r\n"] {
            for quote in ["", "\""] {
                let record = |length: usize| format!("{quote}{}{quote}{end}", "x".repeat(length - 2 * quote.len()));
                let next = if end.is_empty() { "" } else { "y" };
                let content = record(limit) + next;
                let lengths = [limit + end.len(), next.len()];
                assert_eq!(cut(content.as_bytes(), limit).unwrap(), lengths[..1 + next.len()], "{end:?}{quote}");
                let error = cut((record(limit + 1) + next).as_bytes(), limit).unwrap_err();
                assert!(error.starts_with("f:1: the record that starts here is longer than 12288 bytes"), "{error}");
                assert_eq!(error.contains("a quote that opens on line 1"), !quote.is_empty());
            }
        }
    }

    #[test]
    fn an_endless_record_is_not_read_to_its_end() {
        let mut splitter = Splitter::new(std::io::repeat(b'"'), "f".into(), b',', 1 << 16).unwrap();
        assert!(matches!(splitter.cut(1 << 20), Err(CsvError::RecordTooLong { line: 1, .. })));
        assert!(splitter.buffer.len() <= (1 << 16) + 2);
    }
}
