//! What the header of a Parquet page says of the page, before a reader believes it.
//!
//! In: bytes that begin with a header. Out: what is wrong with it; what it says, if it has the form that this project
//! writes.
//! Invariants: a page that passes makes a reader allocate no more than its bytes can become, or [`FREE_BYTES`]; a
//! dictionary, no more than a few bytes for each of its own. Bytes: Parquet's `PageHeader` in Thrift's compact protocol;
//! FORMAT.md, "SST".

use parquet::basic::Encoding;

use crate::damage::Damage;
use crate::sst::encoding::ROW_GROUP_ROWS;
use crate::sst::page::bits::varint;

/// Bytes that are enough for the fields that are looked at.
pub(in crate::sst) const HEADER_START_BYTES: u64 = 32;

/// The most bytes that LZ4 makes of one; other codecs get no further with the small pages of a run.
const RATIO_MAX: u64 = 255;

/// What a page may have whatever it is compressed from.
const FREE_BYTES: u64 = 16 << 20;

/// The type of a page that holds a dictionary.
const DICTIONARY: u64 = 2;

/// The type of a page that holds values, its levels uncompressed before them.
const DATA_V2: u64 = 3;

/// Stands before an `i32` that is the field after the one before: its type, and 1.
const NEXT_I32: u8 = 0x15;

/// Stands before field 7, a structure: its type, and the distance from field 3 or 4.
const DICTIONARY_HEADER: [u8; 2] = [0x4c, 0x3c];

/// Stands before field 8, a structure: its type, and the distance from field 3.
const DATA_V2_HEADER: u8 = 0x5c;

/// Stand before a field that is the one after the one before: `true` and `false`.
const NEXT_BOOLEANS: [u8; 2] = [0x11, 0x12];

/// Ends a structure.
const STOP: u8 = 0;

/// The encodings of data pages that are written, with their numbers.
const ENCODINGS: [(u64, Encoding); 6] = [
    (0, Encoding::PLAIN),
    (3, Encoding::RLE),
    (5, Encoding::DELTA_BINARY_PACKED),
    (6, Encoding::DELTA_LENGTH_BYTE_ARRAY),
    (7, Encoding::DELTA_BYTE_ARRAY),
    (8, Encoding::RLE_DICTIONARY),
];

/// Checks the lengths in a header: its first three fields are the page's type, and its lengths without and with
/// compression; and the number of values of a dictionary, the first field of field 7.
pub(in crate::sst) fn check_page(bytes: &[u8]) -> Result<(), Damage> {
    let mut fields = Fields(bytes);
    let [page_type, uncompressed, compressed] = [
        fields.next_i32("type")?,
        fields.next_i32("uncompressed_page_size")?,
        fields.next_i32("compressed_page_size")?,
    ];
    let most = RATIO_MAX.saturating_mul(compressed).saturating_add(FREE_BYTES);
    if uncompressed > most {
        return Err(Damage::Field { field: "uncompressed_page_size", value: uncompressed });
    }
    if page_type != DICTIONARY {
        return Ok(());
    }
    let mut mark = fields.byte("crc")?;
    if mark == NEXT_I32 {
        fields.number("crc")?;
        mark = fields.byte("dictionary_page_header")?;
    }
    if !DICTIONARY_HEADER.contains(&mark) {
        return Err(Damage::Field { field: "dictionary_page_header", value: u64::from(mark) });
    }
    let values = fields.next_i32("num_values")?;
    if values > uncompressed {
        return Err(Damage::Field { field: "num_values", value: values });
    }
    Ok(())
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    /// Values of a column that is not nested.
    Data {
        /// Its rows.
        rows: usize,
        /// How many of them have no value.
        nulls: usize,
        /// How the values are encoded.
        encoding: Encoding,
        /// Bytes of definition levels before them.
        levels: usize,
        /// Whether they are compressed, if the column is.
        is_compressed: bool,
    },
    /// The values that data pages refer to.
    Dictionary {
        /// How many.
        entries: usize,
    },
}

/// What the header of a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// What the page holds.
    pub(super) kind: PageKind,
    /// Bytes of the header itself.
    pub(super) header_bytes: usize,
    /// Bytes behind it.
    pub(super) compressed: usize,
    /// Bytes that become of those.
    pub(super) uncompressed: usize,
}

impl PageHeader {
    /// Reads the header that bytes begin with; nothing if it does not have the form that this project writes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        check_page(bytes).ok()?;
        let mut fields = Fields(bytes);
        let page_type = fields.next_i32("type").ok()?;
        let uncompressed = fields.next_usize()?;
        let compressed = fields.next_usize()?;
        let kind = match (page_type, fields.byte("header").ok()?) {
            (DATA_V2, DATA_V2_HEADER) => fields.data()?,
            (DICTIONARY, mark) if mark == DICTIONARY_HEADER[0] => fields.dictionary()?,
            _ => return None,
        };
        let stops = [fields.byte("stop").ok()?, fields.byte("stop").ok()?];
        let header_bytes = bytes.len() - fields.0.len();
        (stops == [STOP; 2]).then_some(Self { kind, header_bytes, compressed, uncompressed })
    }
}

/// Fields that were not taken yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self, field: &'static str) -> Result<u8, Damage> {
        let truncated = Damage::Truncated { field, needed: 1, available: 0 };
        let (byte, rest) = self.0.split_first().ok_or(truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// Takes a number as it is stored: zigzag, the lowest bit is the sign.
    fn number(&mut self, field: &'static str) -> Result<u64, Damage> {
        varint(&mut self.0).ok_or(match self.0 {
            [] => Damage::Truncated { field, needed: 1, available: 0 },
            [next, ..] => Damage::Field { field, value: u64::from(*next) },
        })
    }

    /// Takes the next field, a number that is not negative.
    fn next_i32(&mut self, field: &'static str) -> Result<u64, Damage> {
        let mark = self.byte(field)?;
        if mark != NEXT_I32 {
            return Err(Damage::Field { field, value: u64::from(mark) });
        }
        let number = self.number(field)?;
        if number & 1 == 0 { Ok(number >> 1) } else { Err(Damage::Field { field, value: number }) }
    }

    fn next_usize(&mut self) -> Option<usize> {
        usize::try_from(self.next_i32("length").ok()?).ok()
    }

    fn next_boolean(&mut self) -> Option<bool> {
        let mark = self.byte("boolean").ok()?;
        NEXT_BOOLEANS.contains(&mark).then_some(mark == NEXT_BOOLEANS[0])
    }

    /// The fields of a data page.
    fn data(&mut self) -> Option<PageKind> {
        let (values, nulls, rows) = (self.next_usize()?, self.next_usize()?, self.next_usize()?);
        let number = self.next_i32("encoding").ok()?;
        let (_, encoding) = *ENCODINGS.iter().find(|(written, _)| *written == number)?;
        let (levels, repetition_levels) = (self.next_usize()?, self.next_usize()?);
        let is_compressed = self.next_boolean()?;
        // Numbers may be packed into no bits, so that nothing but this bounds what is made of a page.
        let is_flat = values == rows && rows <= ROW_GROUP_ROWS && nulls <= rows && repetition_levels == 0;
        is_flat.then_some(PageKind::Data { rows, nulls, encoding, levels, is_compressed })
    }

    /// The fields of a dictionary.
    fn dictionary(&mut self) -> Option<PageKind> {
        let entries = self.next_usize()?;
        let is_plain = self.next_i32("encoding").ok()? == ENCODINGS[0].0;
        self.next_boolean()?;
        is_plain.then_some(PageKind::Dictionary { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(bytes: &mut Vec<u8>, value: i64) {
        bytes.push(NEXT_I32);
        let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while zigzag > 0x7f {
            bytes.push((zigzag & 0x7f).to_le_bytes()[0] | 0x80);
            zigzag >>= 7;
        }
        bytes.push(zigzag.to_le_bytes()[0]);
    }

    /// The start of a header of a data page with these lengths.
    fn header(uncompressed: i64, compressed: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        [3, uncompressed, compressed].into_iter().for_each(|value| push(&mut bytes, value));
        bytes
    }

    /// The start of a header of a dictionary of 1,000 bytes with so many values, and a checksum or none.
    fn dictionary(values: i64, checksum: Option<i64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        [2, 1000, 500].into_iter().chain(checksum).for_each(|value| push(&mut bytes, value));
        bytes.push(DICTIONARY_HEADER[usize::from(checksum.is_some())]);
        push(&mut bytes, values);
        bytes
    }

    #[test]
    fn a_dictionary_that_claims_more_values_than_bytes_is_refused() {
        for checksum in [None, Some(7), Some(-7)] {
            assert!(check_page(&dictionary(1000, checksum)).is_ok());
            for values in [1001, 1 << 30, -1] {
                let refused = check_page(&dictionary(values, checksum));
                assert!(matches!(refused, Err(Damage::Field { field: "num_values", .. })), "{values}: {refused:?}");
            }
            let good = dictionary(1000, checksum);
            assert!((0..good.len()).all(|length| check_page(&good[..length]).is_err()));
            assert!(good.len() as u64 <= HEADER_START_BYTES);
        }
    }

    #[test]
    fn a_page_that_claims_more_than_its_bytes_can_become_is_refused() {
        for (uncompressed, compressed) in [(0, 0), (100, 100), (16 << 20, 1), ((16 << 20) + 255, 1), (1 << 30, 1 << 23)]
        {
            assert!(check_page(&header(uncompressed, compressed)).is_ok(), "{uncompressed} of {compressed}");
        }
        let limit = (16 << 20) + 255;
        for (uncompressed, compressed) in
            [(limit + 1, 1), (i64::from(i32::MAX), 1000), (i64::MAX, 0), (-1, 0), (0, -1), (i64::MIN, 1)]
        {
            let refused = check_page(&header(uncompressed, compressed));
            assert!(matches!(refused, Err(Damage::Field { .. })), "{uncompressed} of {compressed}: {refused:?}");
        }
    }

    #[test]
    fn every_cut_header_and_every_other_structure_is_refused() {
        let good = header(1000, 500);
        assert!((0..good.len()).all(|length| check_page(&good[..length]).is_err()));
        for bad in [&b"PAR1 and more of it"[..], &[0x19; 24], &[NEXT_I32, 0x80, 0x80], &[0xff; 24]] {
            assert!(check_page(bad).is_err(), "{bad:?}");
        }
    }
}
