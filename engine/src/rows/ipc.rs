//! Arrow IPC streams of one batch, untrusted: nested cells of the row form, large batches of the log; and schemas.
//!
//! In: bytes, the columns they must hold. Out: one batch of exactly these types; a schema.
//! Invariants: the schema of a stream is compared before its rows are read; its buffers lie one behind the other, and a
//! compressed one claims no more than LZ4 can make of its bytes, so a batch takes no more memory than its bytes imply;
//! what is shared inside of a schema is counted as often as it is used; Arrow's reader, which panics on some damage,
//! cannot take the process with it.
//! Bytes: Arrow's IPC specification.

use std::collections::HashMap;
use std::panic::catch_unwind;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::{
    CompressionType, Endianness, Message, RecordBatch as BatchMessage, root_as_message_with_opts,
    root_as_schema_with_opts,
};
use flatbuffers::{InvalidFlatbuffer, VerifierOptions};

use crate::damage::Damage;

/// Stands before the length of every message.
const CONTINUATION: u64 = 0xffff_ffff;
/// The most bytes that LZ4 makes of one.
const LZ4_RATIO_MAX: u64 = 255;
/// Stands before the bytes of a compressed buffer: how many bytes it has without compression, or -1 if it has none.
const CLAIM_BYTES: u64 = 8;
/// Bytes that the least table of a FlatBuffer takes.
const TABLE_BYTES_MIN: usize = 4;
/// How often the bytes of a FlatBuffer are used, at most: columns share little but their layout.
const USES_MAX: usize = 16;

/// Which streams are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// One row that is not compressed.
    Cell,
    /// Any number of rows, each buffer compressed by LZ4 or not at all.
    Rows,
}

/// Reads a stream of one batch, whose columns have the types of `schema`; names and metadata are those of `schema`.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn read_batch(bytes: &[u8], schema: &SchemaRef, stream: Stream) -> Result<RecordBatch, Damage> {
    guard(|| {
        let mut rest = bytes;
        let (message, _) = next_message(&mut rest)?.ok_or(missing("schema of a stream"))?;
        check_schema(&message, schema)?;
        let (message, body) = next_message(&mut rest)?.ok_or(missing("batch of a stream"))?;
        let batch = decode_batch(&message, body, schema, stream)?;
        if next_message(&mut rest)?.is_some() || !rest.is_empty() {
            return Err(Damage::Field { field: "bytes behind a stream", value: rest.len() as u64 });
        }
        Ok(batch)
    })
}

/// Reads a schema without a stream around it.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn read_schema(bytes: &[u8]) -> Result<Schema, Damage> {
    guard(|| root_as_schema_with_opts(&limits(bytes), bytes).map(fb_to_schema).map_err(invalid))
}

/// Runs a part of Arrow's reader. A panic leaves nothing behind: what it reads is not changed.
fn guard<T>(read: impl FnOnce() -> Result<T, Damage> + std::panic::UnwindSafe) -> Result<T, Damage> {
    catch_unwind(read).unwrap_or(Err(Damage::DecoderPanic))
}

/// No more tables than there is room for, and little that is used twice, or a few bytes could stand for any number of
/// columns.
fn limits(bytes: &[u8]) -> VerifierOptions {
    VerifierOptions {
        max_tables: bytes.len() / TABLE_BYTES_MIN,
        max_apparent_size: bytes.len().saturating_mul(USES_MAX),
        ..VerifierOptions::default()
    }
}

fn invalid(error: InvalidFlatbuffer) -> Damage {
    Damage::Arrow(ArrowError::IpcError(error.to_string()))
}

fn missing(field: &'static str) -> Damage {
    Damage::Truncated { field, needed: 1, available: 0 }
}

/// Takes a message with its body; `None` at the end mark.
fn next_message<'a>(bytes: &mut &'a [u8]) -> Result<Option<(Message<'a>, &'a [u8])>, Damage> {
    let mark = next_u32(bytes)?;
    if mark != CONTINUATION {
        return Err(Damage::Field { field: "continuation mark of a stream", value: mark });
    }
    let length = next_u32(bytes)?;
    if length == 0 {
        return Ok(None);
    }
    let header = take(bytes, length, "message of a stream")?;
    let message = root_as_message_with_opts(&limits(header), header).map_err(invalid)?;
    let body_length = unsigned(message.bodyLength(), "body length of a stream")?;
    let body = take(bytes, body_length, "body of a stream")?;
    Ok(Some((message, body)))
}

fn next_u32(bytes: &mut &[u8]) -> Result<u64, Damage> {
    let taken = take(bytes, 4, "mark of a stream")?;
    Ok(taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn take<'a>(bytes: &mut &'a [u8], needed: u64, field: &'static str) -> Result<&'a [u8], Damage> {
    let split = usize::try_from(needed).ok().and_then(|needed| bytes.split_at_checked(needed));
    let (taken, rest) = split.ok_or(Damage::Truncated { field, needed, available: bytes.len() as u64 })?;
    *bytes = rest;
    Ok(taken)
}

/// A length that must not be negative.
fn unsigned(value: i64, field: &'static str) -> Result<u64, Damage> {
    u64::try_from(value).map_err(|_| Damage::Field { field, value: value.cast_unsigned() })
}

fn check_schema(message: &Message<'_>, expected: &SchemaRef) -> Result<(), Damage> {
    let schema = message.header_as_schema().ok_or(missing("schema of a stream"))?;
    if schema.endianness() != Endianness::Little {
        return Err(Damage::Field { field: "byte order of a stream", value: 1 });
    }
    let found = fb_to_schema(schema);
    let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    if types(&found) != types(expected) {
        let mismatch = ArrowError::SchemaError(format!("a stream has the columns {:?}", found.fields()));
        return Err(Damage::Arrow(mismatch));
    }
    Ok(())
}

fn decode_batch(message: &Message<'_>, body: &[u8], schema: &SchemaRef, stream: Stream) -> Result<RecordBatch, Damage> {
    let batch = message.header_as_record_batch().ok_or(missing("batch of a stream"))?;
    let rows = unsigned(batch.length(), "row count of a stream")?;
    if stream == Stream::Cell && rows != 1 {
        return Err(Damage::Disagreement { fact: "the row count of a stream", expected: 1, found: rows });
    }
    for node in batch.nodes().into_iter().flatten() {
        unsigned(node.length(), "row count in a stream")?;
        unsigned(node.null_count(), "null count in a stream")?;
    }
    check_buffers(&batch, body, stream)?;
    let body = Buffer::from(body);
    read_record_batch(&body, batch, schema.clone(), &HashMap::new(), None, &message.version()).map_err(Damage::Arrow)
}

/// Buffers lie one behind the other in the body, and claim no more than they can hold.
fn check_buffers(batch: &BatchMessage<'_>, body: &[u8], stream: Stream) -> Result<(), Damage> {
    let compression = batch.compression().map(|compression| compression.codec());
    match compression {
        None => {}
        Some(CompressionType::LZ4_FRAME) if stream == Stream::Rows => {}
        Some(_) => return Err(Damage::Field { field: "compression of a stream", value: 1 }),
    }
    let mut end = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let start = unsigned(buffer.offset(), "buffer offset of a stream")?;
        let length = unsigned(buffer.length(), "buffer length of a stream")?;
        if start < end {
            return Err(Damage::Field { field: "buffer offset of a stream", value: start });
        }
        end = start.saturating_add(length);
        let mut bytes = take(&mut &*body, end, "buffer of a stream")?;
        take(&mut bytes, start, "buffer of a stream")?;
        if compression.is_some() && length > 0 {
            check_claim(bytes)?;
        }
    }
    Ok(())
}

/// Whether a compressed buffer can have as many bytes as it says.
fn check_claim(mut bytes: &[u8]) -> Result<(), Damage> {
    let claim = take(&mut bytes, CLAIM_BYTES, "length of a compressed buffer")?;
    let claim = claim.iter().rev().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
    if claim == u64::MAX || claim <= LZ4_RATIO_MAX * bytes.len() as u64 {
        return Ok(());
    }
    Err(Damage::Field { field: "length of a compressed buffer", value: claim })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};
    use arrow::ipc::convert::IpcSchemaEncoder;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

    use super::*;

    fn batch() -> RecordBatch {
        let numbers = Arc::new(Int64Array::from(vec![7; 4000])) as ArrayRef;
        let words = Arc::new(StringArray::from(vec!["word"; 4000])) as ArrayRef;
        RecordBatch::try_from_iter([("n", numbers), ("w", words)]).unwrap()
    }

    fn stream(batch: &RecordBatch) -> Vec<u8> {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options).unwrap();
        writer.write(batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<RecordBatch, Damage> {
        read_batch(bytes, batch().schema_ref(), Stream::Rows)
    }

    /// Where the bytes of a number (or of several) first lie in a stream.
    fn find(bytes: &[u8], numbers: &[i64]) -> usize {
        let wanted: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
    }

    fn overwrite(bytes: &mut [u8], at: usize, value: i64) {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    #[test]
    fn a_stream_comes_back() {
        assert_eq!(read(&stream(&batch())).unwrap(), batch());
    }

    #[test]
    fn a_compressed_buffer_that_claims_terabytes_is_refused_before_it_is_allocated() {
        // 4000 numbers of 8 bytes are what the first buffer claims.
        let good = stream(&batch());
        let claim = find(&good, &[32_000]);
        for value in [1 << 30, 1 << 42, i64::MAX, i64::MIN, -2] {
            let mut bad = good.clone();
            overwrite(&mut bad, claim, value);
            let refused = read(&bad);
            let named = matches!(refused, Err(Damage::Field { field: "length of a compressed buffer", .. }));
            assert!(named, "{value}: {refused:?}");
        }
    }

    #[test]
    fn buffers_that_share_bytes_are_refused() {
        // Length 0 and offset 0 of the validity that the numbers have not, then offset and length of their values.
        let good = stream(&batch());
        let message = find(&good, &[4000, 0]);
        let mut seen = 0;
        for at in (message..good.len().min(message + 200)).step_by(8) {
            let mut bad = good.clone();
            let offset = i64::from_le_bytes(*bad[at..].first_chunk().unwrap());
            if offset < 64 || offset % 64 != 0 {
                continue;
            }
            overwrite(&mut bad, at, offset - 64);
            if let Err(Damage::Field { field: "buffer offset of a stream", .. }) = read(&bad) {
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn streams_of_other_columns_and_with_more_behind_them_are_refused() {
        let refused = |bytes: &[u8], want: &str| {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        let good = stream(&batch());
        let other = batch().project(&[1]).unwrap();
        refused(&stream(&other), "a stream has the columns");
        refused(&[&good[..], &[0]].concat(), "bytes behind a stream");
        refused(&good[..good.len() - 8], "mark of a stream");
        let mut writer = StreamWriter::try_new(Vec::new(), batch().schema_ref()).unwrap();
        (0..2).for_each(|_| writer.write(&batch()).unwrap());
        refused(&writer.into_inner().unwrap(), "bytes behind a stream");
    }

    #[test]
    fn a_schema_of_two_thousand_columns_is_read() {
        let field = |n| Field::new(format!("c{n}"), DataType::new_list(DataType::Utf8View, true), true);
        let schema = Schema::new((0..2000).map(field).collect::<Vec<_>>());
        let message = IpcSchemaEncoder::new().schema_to_fb(&schema);
        assert_eq!(read_schema(message.finished_data()).unwrap(), schema);
    }

    /// A FlatBuffer of a schema in which each field's children are twice the field behind it: 2^depth fields in few bytes.
    fn doubled(depth: u32) -> Vec<u8> {
        use arrow::ipc::{FieldBuilder, IntBuilder, SchemaBuilder, Struct_Builder, Type};
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        let name = builder.create_string("f");
        let mut int = IntBuilder::new(&mut builder);
        int.add_bitWidth(8);
        int.add_is_signed(true);
        let int = int.finish();
        let empty = builder.create_vector::<flatbuffers::WIPOffset<arrow::ipc::Field<'_>>>(&[]);
        let mut field = FieldBuilder::new(&mut builder);
        field.add_name(name);
        field.add_type_type(Type::Int);
        field.add_type_(int.as_union_value());
        field.add_children(empty);
        let mut field = field.finish();
        let structure = Struct_Builder::new(&mut builder).finish();
        for _ in 0..depth {
            let children = builder.create_vector(&[field, field]);
            let mut parent = FieldBuilder::new(&mut builder);
            parent.add_name(name);
            parent.add_type_type(Type::Struct_);
            parent.add_type_(structure.as_union_value());
            parent.add_children(children);
            field = parent.finish();
        }
        let fields = builder.create_vector(&[field]);
        let mut schema = SchemaBuilder::new(&mut builder);
        schema.add_fields(fields);
        let schema = schema.finish();
        builder.finish(schema, None);
        builder.finished_data().to_vec()
    }

    #[test]
    fn a_few_bytes_do_not_stand_for_a_million_columns() {
        assert_eq!(read_schema(&doubled(1)).unwrap().fields().len(), 1);
        let bytes = doubled(19);
        assert!(bytes.len() < 2000, "{}", bytes.len());
        assert!(matches!(read_schema(&bytes), Err(Damage::Arrow(_))));
    }
}
