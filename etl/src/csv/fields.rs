//! Cuts the records of a chunk into fields.
//!
//! In: the bytes of a chunk, which starts and ends with a record. Out: [`Records`], the place of every field and of
//! every record; a field's text is not copied, but where quotes in it must be undoubled.
//! Invariants: records and fields are those of `csv_core`, which undoubles the quotes; a test compares them on every
//! short string. A field is quoted iff its first byte is the quote, so `""` is not the empty field. Blank lines are no
//! records, so a NULL cannot be written in a file of one column.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter};

use crate::csv::dialect::QUOTE;

/// Place of a field's text: in the chunk, or in [`Records`] where it had to be rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: u32,
    /// The length, and two flags in the highest bits.
    length_and_flags: u32,
}

/// A chunk is shorter than this.
pub const CHUNK_BYTES_MAX: usize = 1 << 30;

const QUOTED: u32 = 1 << 31;
const REWRITTEN: u32 = 1 << 30;

impl Span {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a chunk is shorter than CHUNK_BYTES_MAX")]
    fn new(start: usize, end: usize, flags: u32) -> Self {
        Self { start: start as u32, length_and_flags: (end - start) as u32 | flags }
    }

    fn is_quoted(self) -> bool {
        self.length_and_flags & QUOTED != 0
    }

    fn is_rewritten(self) -> bool {
        self.length_and_flags & REWRITTEN != 0
    }

    /// The field's text in that of its chunk, unless it is rewritten.
    #[inline]
    pub fn of_chunk(self, text: &str) -> Option<&str> {
        if self.is_rewritten() { None } else { text.get(self.range()) }
    }

    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + (self.length_and_flags & !(QUOTED | REWRITTEN)) as usize
    }
}

/// Where a record starts.
#[derive(Clone, Copy, Debug)]
pub struct RecordStart {
    /// Byte of the chunk.
    pub at: usize,
    /// Line of the file.
    pub line: u64,
}

/// Fields of some records, one record after the other.
#[derive(Debug, Default)]
pub struct Records {
    /// Where each record starts.
    pub starts: Vec<RecordStart>,
    /// The fields of all of them.
    pub spans: Vec<Span>,
    /// Text of the fields that had to be rewritten.
    pub rewritten: Vec<u8>,
}

impl Records {
    /// Forgets all records.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.spans.clear();
        self.rewritten.clear();
    }

    /// The field with this place.
    #[inline]
    pub fn field<'a>(&'a self, bytes: &'a [u8], span: Span) -> RawField<'a> {
        let bytes = if span.is_rewritten() { &self.rewritten } else { bytes };
        RawField { text: &bytes[span.range()], quoted: span.is_quoted() }
    }

    /// The fields of all records.
    pub fn fields<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = RawField<'a>> {
        self.spans.iter().map(|span| self.field(bytes, *span))
    }
}

/// A field: its text without quotes, and whether it had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawField<'a> {
    /// The text.
    pub text: &'a [u8],
    /// Whether the field starts with a quote.
    pub quoted: bool,
}

impl RawField<'_> {
    /// Whether it is NULL: empty and not quoted.
    #[inline]
    pub fn is_null(self) -> bool {
        self.text.is_empty() && !self.quoted
    }
}

/// A place in a chunk, at the start of a record or in the line ends before it.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Byte of the chunk.
    pub at: usize,
    /// Line of the file.
    pub line: u64,
}

/// Reads records of one dialect.
pub struct Tokenizer {
    delimiter: u8,
    reader: Reader,
}

impl Tokenizer {
    /// A reader of records with this delimiter.
    pub fn new(delimiter: u8) -> Self {
        Self { delimiter, reader: ReaderBuilder::new().delimiter(delimiter).quote(QUOTE).build() }
    }

    /// Adds the next record; false where there is none.
    #[inline]
    pub fn read(&mut self, bytes: &[u8], cursor: &mut Cursor, records: &mut Records) -> bool {
        while matches!(bytes.get(cursor.at), Some(b'\n' | b'\r')) {
            end_line(bytes, cursor);
        }
        if cursor.at >= bytes.len() {
            return false;
        }
        records.starts.push(RecordStart { at: cursor.at, line: cursor.line });
        loop {
            if bytes.get(cursor.at) == Some(&QUOTE) {
                self.read_quoted(bytes, cursor, records);
            } else {
                let end = end_of_unquoted(bytes, cursor.at, self.delimiter);
                records.spans.push(Span::new(cursor.at, end, 0));
                cursor.at = end;
            }
            match bytes.get(cursor.at) {
                None => return true,
                Some(byte) if *byte == self.delimiter => cursor.at += 1,
                Some(_) => {
                    end_line(bytes, cursor);
                    return true;
                }
            }
        }
    }

    /// Adds the field whose quote stands at the cursor, and goes to the delimiter or line end behind it.
    fn read_quoted(&mut self, bytes: &[u8], cursor: &mut Cursor, records: &mut Records) {
        let start = cursor.at + 1;
        let close = memchr(QUOTE, &bytes[start..]).map_or(bytes.len(), |at| start + at);
        let plain = match bytes.get(close + 1) {
            None | Some(b'\n' | b'\r') => true,
            Some(byte) => *byte == self.delimiter,
        };
        if plain {
            records.spans.push(Span::new(start, close, QUOTED));
            cursor.at = (close + 1).min(bytes.len());
        } else {
            let first = records.rewritten.len();
            cursor.at += self.rewrite(&bytes[cursor.at..], &mut records.rewritten);
            records.spans.push(Span::new(first, records.rewritten.len(), QUOTED | REWRITTEN));
        }
        cursor.line += memchr_iter(b'\n', &bytes[start..cursor.at]).count() as u64;
    }

    /// Appends the text of the field at the start of `input`; returns its bytes in `input`.
    fn rewrite(&mut self, input: &[u8], output: &mut Vec<u8>) -> usize {
        self.reader.reset();
        let (mut read, mut written, mut room) = (0, output.len(), 128);
        loop {
            output.resize(written + room, 0);
            let (result, bytes_read, bytes_written) = self.reader.read_field(&input[read..], &mut output[written..]);
            read += bytes_read;
            written += bytes_written;
            match result {
                ReadFieldResult::OutputFull => room *= 2,
                ReadFieldResult::Field { .. } => {
                    output.truncate(written);
                    return read - 1;
                }
                ReadFieldResult::InputEmpty | ReadFieldResult::End => {
                    output.truncate(written);
                    return read;
                }
            }
        }
    }

    /// Byte of the chunk at which a field (from 0) of the record that starts at `at` starts.
    pub fn start_of_field(&mut self, bytes: &[u8], at: usize, field: usize) -> usize {
        let mut cursor = Cursor { at, line: 0 };
        let mut records = Records::default();
        for _ in 0..field {
            if bytes.get(cursor.at) == Some(&QUOTE) {
                self.read_quoted(bytes, &mut cursor, &mut records);
            } else {
                cursor.at = end_of_unquoted(bytes, cursor.at, self.delimiter);
            }
            cursor.at = (cursor.at + 1).min(bytes.len());
        }
        cursor.at
    }
}

/// Goes behind the line end at the cursor.
#[inline]
fn end_line(bytes: &[u8], cursor: &mut Cursor) {
    let pair = bytes[cursor.at] == b'\r' && bytes.get(cursor.at + 1) == Some(&b'\n');
    cursor.at += if pair { 2 } else { 1 };
    cursor.line += 1;
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the highest bit of the bytes of `word` that equal the byte repeated in `pattern`: exactly up to the first such
/// byte, perhaps of more behind it.
#[inline]
fn marks(word: u64, pattern: u64) -> u64 {
    let zero_where_equal = word ^ pattern;
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHS
}

/// The first delimiter or line end from `from` on, or the end of the bytes.
///
/// Fields are short, so eight bytes at a time in registers beat a call of `memchr3` for each.
#[inline]
fn end_of_unquoted(bytes: &[u8], from: usize, delimiter: u8) -> usize {
    let delimiters = ONES * u64::from(delimiter);
    let mut at = from;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let found =
            marks(word, delimiters) | marks(word, ONES * u64::from(b'\n')) | marks(word, ONES * u64::from(b'\r'));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| *byte == delimiter || *byte == b'\n' || *byte == b'\r';
    bytes[at..].iter().position(ends).map_or(bytes.len(), |behind| at + behind)
}
