//! The manifest: any bytes, any text behind a checksum that matches, and the text of a good one with values changed.
//!
//! In: a byte of choices (0: the bytes of a file; 1: a text; else the edits that [`edit`] makes to a good text).
//! Promise: a manifest is decoded as what it says, or refused as damage; a schema in it that is accepted can be written
//! again, keyed, stored as rows and held by Parquet; numbers in it can be counted on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use parquet::arrow::ArrowSchemaConverter;
use rustling_engine::error::Result;
use rustling_engine::id::ManifestId;
use rustling_engine::rows::key::KeyCodec;
use rustling_engine::rows::row_form::RowForm;
use rustling_engine::version::manifest::{Manifest, SchemaManifest, TableManifest};

use crate::corpus::GOOD_MANIFEST;
use crate::input::Input;
use crate::seal;
use crate::targets::{Seeds, unless_corrupt};

/// Reads a manifest.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let bytes = match input.byte() {
        0 => input.0.to_vec(),
        1 => seal::manifest(input.0),
        _ => seal::manifest(&edit(GOOD_MANIFEST, good_values(), input)),
    };
    let Some(manifest) = unless_corrupt(Manifest::decode("manifest", id_in(&bytes), &bytes), "decode") else { return };
    let again = unless_corrupt(manifest.encode(), "encode").unwrap_or_default();
    let decoded = Manifest::decode("manifest", manifest.id, &again);
    assert_eq!(decoded.unwrap_or_else(|error| panic!("what was written cannot be read: {error}")), manifest);
    // What opening a database and the first commit do with the numbers.
    let _ = (manifest.id.next(), manifest.id.0 - 1, manifest.next_run.next(), manifest.next_table.next());
    let _ = (manifest.last_seq.next(), manifest.wal_floor.next(), manifest.wal_end.segment.next());
    manifest.tables.iter().for_each(check_table);
}

fn good_values() -> &'static [Range<usize>] {
    static VALUES: OnceLock<Vec<Range<usize>>> = OnceLock::new();
    VALUES.get_or_init(|| values(GOOD_MANIFEST))
}

/// The number that the manifest gives itself, so that its name agrees.
fn id_in(bytes: &[u8]) -> ManifestId {
    let field = b"\"id\":";
    let rest = bytes.windows(field.len()).position(|window| window == field).map(|at| &bytes[at + field.len()..]);
    let digits = rest.unwrap_or_default().trim_ascii_start();
    let end = digits.iter().position(|digit| !digit.is_ascii_digit()).unwrap_or(digits.len());
    ManifestId(std::str::from_utf8(&digits[..end]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(1))
}

fn check_table(table: &TableManifest) {
    let Some(schema) = unless_corrupt(table.schema.schema("manifest", &table.name), "schema") else { return };
    let again = SchemaManifest::new(&schema);
    let reread = unless_corrupt(again.schema("manifest", &table.name), "schema again");
    assert_eq!(reread.as_deref(), Some(&*schema));
    KeyCodec::new(&table.name, &schema).unwrap_or_else(|error| panic!("a key that has no codec: {error}"));
    RowForm::new(schema.stored().clone()).unwrap_or_else(|error| panic!("columns that have no row form: {error}"));
    let converted = ArrowSchemaConverter::new().convert(schema.stored());
    converted.unwrap_or_else(|error| panic!("columns that Parquet cannot hold: {error}"));
    let _ = table.next_row_id + 1;
}

/// Changes values in a text of JSON, whose values are at `values`: each edit is the number of a value (two bytes), what
/// to do (one) and an operand. Numbers become others, texts and digits change, values go and are taken from elsewhere.
pub(super) fn edit(text: &str, values: &[Range<usize>], mut input: Input<'_>) -> Vec<u8> {
    let mut changed: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    while !input.0.is_empty() && !values.is_empty() {
        let place = input.below(values.len());
        let what = input.byte();
        let new = match what % 8 {
            0 => u64::from_le_bytes(input.array()).to_string().into_bytes(),
            1 => (1_u64 << (input.byte() % 64)).wrapping_sub(u64::from(what >> 7)).to_string().into_bytes(),
            2 => input.byte().to_string().into_bytes(),
            3 => i64::from_le_bytes(input.array()).to_string().into_bytes(),
            4 => text[values[input.below(values.len())].clone()].as_bytes().to_vec(),
            5 => b"null".to_vec(),
            6 => {
                let length = usize::from(input.byte() % 32);
                [b"\"", input.piece(length), b"\""].concat()
            }
            _ => {
                // Digits of hexadecimal text, which is where schemas, keys and digests are.
                let old = changed.remove(&place);
                let mut digits = old.unwrap_or_else(|| text[values[place].clone()].as_bytes().to_vec());
                let digit = b"0123456789abcdef\\\"Z"[usize::from(input.byte()) % 19];
                let at = input.below(digits.len());
                digits[at] = digit;
                digits
            }
        };
        changed.insert(place, new);
    }
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    for (place, new) in changed {
        bytes.extend_from_slice(&text.as_bytes()[at..values[place].start]);
        bytes.extend_from_slice(&new);
        at = values[place].end;
    }
    bytes.extend_from_slice(&text.as_bytes()[at..]);
    bytes
}

/// Where the values of a text of JSON are that are no lists and no objects.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                let end = bytes[at + 1..].iter().position(|byte| *byte == b'"').map_or(bytes.len(), |end| at + end + 2);
                at = end;
                if bytes.get(end) != Some(&b':') {
                    spans.push(start..end);
                }
            }
            b'0'..=b'9' | b'-' | b'n' => {
                let more = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
                at += more;
                spans.push(start..at);
            }
            _ => at += 1,
        }
    }
    spans
}

/// A good manifest as a file and as a text, one edit of each kind, and one with most types in its schema.
pub fn seeds() -> Result<Seeds> {
    let text = GOOD_MANIFEST.as_bytes();
    let edits = (0..8).flat_map(|what| [30 + what * 9, 0, what, 1, 2, 3, 4, 5, 6, 7, 8]).collect::<Vec<u8>>();
    Ok(vec![
        ("file", [&[0], &*seal::manifest(text)].concat()),
        ("text", [&[1], text].concat()),
        ("edits", [&[2], &*edits].concat()),
        ("one-edit", vec![2, 7, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]),
        ("schema-edit", vec![2, 20, 0, 7, 3, 99, 0, 20, 0, 7, 4, 140, 0]),
    ])
}
