//! Schemas as people write them: any text.
//!
//! In: text. Promise: it is refused with its place, or read as a schema that is written and read again as the same.

use rustling_engine::error::Result;
use rustling_etl::schema_text::{parse, to_text};

use crate::targets::Seeds;

/// Reads a schema.
pub fn body(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let schema = match parse(&text) {
        Ok(schema) => schema,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = to_text(&schema).unwrap_or_else(|error| panic!("what was read cannot be written: {error}"));
    let again = parse(&written).unwrap_or_else(|error| panic!("what was written cannot be read: {written}: {error}"));
    assert_eq!(again, schema, "{written}");
}

/// Most types and names.
pub fn seeds() -> Result<Seeds> {
    let texts = [
        ("numbers", "Id bigint not null, a tinyint unsigned, b int2 null, c double precision, d float4"),
        ("names", "\"a \"\"b\"\", c\" Text null,\n größe decimal(15,2), \"\u{202e}\u{1f980}\" varchar ( 10 )"),
        ("times", "t time(3) without time zone, ts timestamp(9) with time zone not null, tz timestamptz(0), d date"),
        ("others", "x numeric(76,76), y character varying(5), z varbinary, w boolean not null, v timestamp"),
    ];
    Ok(texts.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect())
}
