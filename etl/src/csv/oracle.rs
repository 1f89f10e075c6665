//! Compares the records and fields of this crate with those of `csv_core`, on every short string and on random ones.

use csv_core::{ReadFieldResult, Reader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::csv::fields::{Cursor, Records, Tokenizer};
use crate::csv::split::{Splitter, count_lines};
use crate::error::CsvError;

/// A record: its line, and the text of its fields with whether each is quoted.
type Record = (u64, Vec<(Vec<u8>, bool)>);

/// Records, or the line of a quote that is never closed.
type Outcome = Result<Vec<Record>, u64>;

/// What `csv_core` reads, byte by byte.
fn expected(reader: &mut Reader, bytes: &[u8]) -> Outcome {
    reader.reset();
    // The reader would skip a byte order mark at its start.
    reader.read_field(b"\n", &mut [0]);
    let (mut records, mut fields, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let (mut line, mut start, mut quote_line) = (1, 1, 1);
    let (mut in_record, mut at_field, mut quoted) = (false, true, false);
    for (at, byte) in bytes.iter().chain(b"\n").enumerate() {
        let last = at == bytes.len();
        if last && !in_record {
            break;
        }
        let ends_line = matches!(byte, b'\n' | b'\r');
        if !in_record && !ends_line {
            (in_record, start) = (true, line);
        }
        if in_record && at_field {
            (quoted, at_field, quote_line) = (*byte == b'"', false, line);
        }
        let mut output = [0];
        let (result, read, written) = reader.read_field(&[*byte], &mut output);
        assert_eq!(read, 1);
        text.extend_from_slice(&output[..written]);
        let mut outside = !in_record;
        if let ReadFieldResult::Field { record_end } = result {
            fields.push((std::mem::take(&mut text), quoted));
            at_field = true;
            if record_end {
                records.push((start, std::mem::take(&mut fields)));
                (in_record, outside) = (false, true);
            }
        } else if last {
            return Err(quote_line);
        }
        let return_alone = *byte == b'\r' && outside && bytes.get(at + 1) != Some(&b'\n');
        line += u64::from(*byte == b'\n' || return_alone);
    }
    Ok(records)
}

/// What this crate reads, in chunks of a size.
fn found(tokenizer: &mut Tokenizer, bytes: &[u8], size: usize) -> Outcome {
    let mut splitter = Splitter::new(bytes, "f".into(), b',', 1 << 20).unwrap();
    let (mut read, mut total) = (Vec::new(), 0);
    loop {
        let chunk = match splitter.cut(size) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(CsvError::UnclosedQuote { line, .. }) => return Err(line),
            Err(error) => panic!("{error}"),
        };
        total += chunk.bytes.len();
        let (mut cursor, mut records) = (Cursor { at: 0, line: chunk.line }, Records::default());
        while tokenizer.read(&chunk.bytes, &mut cursor, &mut records) {
            let fields = records.fields(&chunk.bytes).map(|field| (field.text.to_vec(), field.quoted)).collect();
            read.push((records.starts[0].line, fields));
            for index in 0..records.spans.len() {
                let at = tokenizer.start_of_field(&chunk.bytes, records.starts[0].at, index);
                let is_quote = chunk.bytes.get(at) == Some(&b'"');
                assert_eq!(is_quote, records.field(&chunk.bytes, records.spans[index]).quoted);
                assert!(index == 0 || chunk.bytes[at - 1] == b',');
            }
            records.clear();
        }
        assert_eq!(cursor.line - chunk.line, count_lines(&chunk.bytes, b','));
    }
    assert_eq!(total, bytes.len());
    Ok(read)
}

#[test]
fn every_short_string_is_read_as_csv_core_reads_it() {
    let (mut reader, mut tokenizer) = (Reader::new(), Tokenizer::new(b','));
    let alphabet = b",\"\n\ra";
    let mut unclosed = 0;
    for length in 0..=7_u32 {
        for number in 0..5_usize.pow(length) {
            let bytes: Vec<u8> = (0..length).map(|place| alphabet[number / 5_usize.pow(place) % 5]).collect();
            let want = expected(&mut reader, &bytes);
            unclosed += u32::from(want.is_err());
            for size in [1, 2, 3, 5, 64] {
                assert_eq!(
                    found(&mut tokenizer, &bytes, size),
                    want,
                    "{:?} in chunks of {size}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
    assert!(unclosed > 1000);
}

#[test]
fn random_strings_are_read_as_csv_core_reads_them() {
    let (mut reader, mut tokenizer) = (Reader::new(), Tokenizer::new(b','));
    let seed = 20_261_122;
    let mut random = StdRng::seed_from_u64(seed);
    let pieces: [&[u8]; 12] = [
        b",",
        b"\"",
        b"\"\"",
        b"\n",
        b"\r",
        b"\r\n",
        b"a",
        b"\",\"",
        b"some longer text",
        b"\xff\0",
        b"\xef\xbb\xbf",
        b"\"\n",
    ];
    for round in 0..4000 {
        // Half of them lie across the end of what is read at first, or of the size asked for.
        let padding = if round % 2 == 0 { 1 } else { random.random_range(4050..4097) };
        let mut bytes = vec![b'x'; padding];
        for _ in 0..random.random_range(0..60) {
            bytes.extend_from_slice(pieces[random.random_range(0..pieces.len())]);
        }
        let want = expected(&mut reader, &bytes);
        for size in [1, 7, random.random_range(1..300), padding + random.random_range(0..60), 1 << 16] {
            assert_eq!(
                found(&mut tokenizer, &bytes, size),
                want,
                "seed {seed}, round {round}, chunks of {size}: {bytes:?}"
            );
        }
    }
}
