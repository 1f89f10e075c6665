//! Bodies of records: the changes of a write batch, a committed manifest, the next segment.
//!
//! In: [`TableChanges`]; bytes whose checksum held. Out: bytes; decoded changes, again checked, keyed and sorted.
//! Invariants: small changes are written row by row, large ones as one Arrow IPC stream with LZ4; both give the same
//! changes back. Nothing a body claims is believed before the bytes for it are there.
//! Bytes: FORMAT.md, "WAL".

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use crate::error::{Damage, Result};
use crate::id::{Digest, ManifestId, SchemaId, TableId, WalId};
use crate::rows::change::{DELETED, SortedChanges, TableChanges};
use crate::rows::ipc::{Stream, read_batch};
use crate::rows::key::{KEY_BYTES_MAX, KeyCodec};
use crate::rows::keys::Keys;
use crate::rows::row_form::RowForm;
use crate::rows::schema::TableSchema;

const ROW_FORM: u8 = 0;
const COLUMN_FORM: u8 = 1;

/// One table's part of a write record, before its schema is known.
#[derive(Debug)]
pub struct RawChanges<'a> {
    /// The table.
    pub table: TableId,
    /// The schema its rows have.
    pub schema: SchemaId,
    rows: &'a [u8],
    form: u8,
    keys: &'a [u8],
}

/// Appends one table's changes to the body of a write record.
///
/// # Errors
/// Arrow's, where a batch cannot be encoded.
pub fn write_changes(body: &mut Vec<u8>, schema: &TableSchema, part: &TableChanges) -> Result<()> {
    body.extend_from_slice(&part.table.0.to_le_bytes());
    body.extend_from_slice(&schema.id().0.to_le_bytes());
    let form = if part.changes.encoded.is_some() { ROW_FORM } else { COLUMN_FORM };
    body.extend_from_slice(&[form, 0, 0, 0]);
    let rows_at = start_section(body);
    if let Some(rows) = &part.changes.encoded {
        rows.iter().for_each(|row| write_slice(body, row));
    } else if part.changes.batch.num_rows() > 0 {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(&mut *body, schema.stored(), options)?;
        writer.write(&part.changes.batch)?;
        writer.finish()?;
    }
    end_section(body, rows_at);
    let keys_at = start_section(body);
    for index in (0..part.changes.keys.len()).filter(|index| part.changes.is_deleted(*index)) {
        write_slice(body, part.changes.keys.get(index));
    }
    end_section(body, keys_at);
    Ok(())
}

/// Splits the body of a write record into its tables' parts.
///
/// # Errors
/// What is wrong with it.
pub fn read_changes(body: &[u8]) -> Result<Vec<RawChanges<'_>>, Damage> {
    let mut rest = body;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let table = TableId(u64::from_le_bytes(take_array(&mut rest, "table")?));
        let schema = SchemaId(u32::from_le_bytes(take_array(&mut rest, "schema")?));
        let [form, reserved @ ..]: [u8; 4] = take_array(&mut rest, "form")?;
        if form > COLUMN_FORM || reserved != [0; 3] {
            return Err(Damage::Field { field: "form", value: u64::from(form) });
        }
        let rows = take_section(&mut rest, "rows")?;
        let keys = take_section(&mut rest, "deleted keys")?;
        parts.push(RawChanges { table, schema, rows, form, keys });
    }
    Ok(parts)
}

impl RawChanges<'_> {
    /// Decodes rows and deleted keys, given the schema they have, and sorts them again by key.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(&self, schema: &TableSchema, codec: &KeyCodec) -> Result<SortedChanges, Damage> {
        let batch = self.decode_rows(schema)?;
        // Rows whose keys are refused were never written.
        let keys = codec.encode_batch(&batch).map_err(|refused| Damage::Refused(Box::new(refused)))?;
        let deleted = self.decode_deleted(codec)?;
        sort(batch, keys, &deleted)
    }

    fn decode_deleted(&self, codec: &KeyCodec) -> Result<Keys, Damage> {
        let mut deleted = Keys::new(codec.width());
        for (index, key) in slices(self.keys)?.into_iter().enumerate() {
            if key.len() > KEY_BYTES_MAX || codec.width().is_some_and(|width| width != key.len()) {
                return Err(Damage::Field { field: "deleted key", value: index as u64 });
            }
            deleted.push(key);
        }
        codec.decode(&deleted)?;
        Ok(deleted)
    }

    fn decode_rows(&self, schema: &TableSchema) -> Result<RecordBatch, Damage> {
        if self.form == ROW_FORM {
            let form =
                RowForm::new(schema.stored().clone()).map_err(|_| Damage::Field { field: "schema", value: 0 })?;
            return form.decode(slices(self.rows)?.into_iter());
        }
        if self.rows.is_empty() {
            return Ok(RecordBatch::new_empty(schema.stored().clone()));
        }
        read_batch(self.rows, schema.stored(), Stream::Rows)
    }
}

/// The changes that rows and deleted keys are.
fn sort(batch: RecordBatch, mut keys: Keys, deleted: &Keys) -> Result<SortedChanges, Damage> {
    let live = keys.len();
    keys.extend(deleted, 0..deleted.len());
    let order = keys.sort_order();
    let sorted = keys.take(&order);
    if let Some(row) = sorted.first_disorder() {
        return Err(Damage::KeyOrder { row: row as u64 });
    }
    let rows = order.iter().map(|row| if (*row as usize) < live { *row } else { DELETED }).collect();
    Ok(SortedChanges { keys: sorted, rows, batch, encoded: None })
}

/// The body of a manifest record.
pub fn manifest_body(id: ManifestId, digest: Digest) -> Vec<u8> {
    [&id.0.to_le_bytes()[..], &digest.0.to_le_bytes()].concat()
}

/// Reads the body of a manifest record.
///
/// # Errors
/// What is wrong with it.
pub fn read_manifest_body(mut body: &[u8]) -> Result<(ManifestId, Digest), Damage> {
    let id = ManifestId(u64::from_le_bytes(take_array(&mut body, "manifest")?));
    let digest = Digest(u128::from_le_bytes(take_array(&mut body, "digest")?));
    no_rest(body)?;
    Ok((id, digest))
}

/// The body of a record that seals a segment.
pub fn sealed_body(next: WalId) -> Vec<u8> {
    next.0.to_le_bytes().to_vec()
}

/// Reads the body of a record that seals a segment.
///
/// # Errors
/// What is wrong with it.
pub fn read_sealed_body(mut body: &[u8]) -> Result<WalId, Damage> {
    let next = WalId(u64::from_le_bytes(take_array(&mut body, "next segment")?));
    no_rest(body)?;
    Ok(next)
}

fn no_rest(rest: &[u8]) -> Result<(), Damage> {
    if rest.is_empty() { Ok(()) } else { Err(Damage::Field { field: "bytes left", value: rest.len() as u64 }) }
}

fn start_section(body: &mut Vec<u8>) -> usize {
    body.extend_from_slice(&[0; 8]);
    body.len()
}

fn end_section(body: &mut [u8], start: usize) {
    let length = (body.len() - start) as u64;
    body[start - 8..start].copy_from_slice(&length.to_le_bytes());
}

fn write_slice(body: &mut Vec<u8>, slice: &[u8]) {
    let start = start_section(body);
    body.extend_from_slice(slice);
    end_section(body, start);
}

fn slices(mut section: &[u8]) -> Result<Vec<&[u8]>, Damage> {
    let mut slices = Vec::new();
    while !section.is_empty() {
        slices.push(take_section(&mut section, "slice")?);
    }
    Ok(slices)
}

fn take_section<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<&'a [u8], Damage> {
    let needed = u64::from_le_bytes(take_array(rest, field)?);
    let available = rest.len() as u64;
    let truncated = Damage::Truncated { field, needed, available };
    let Some((section, behind)) = usize::try_from(needed).ok().and_then(|length| rest.split_at_checked(length)) else {
        return Err(truncated);
    };
    *rest = behind;
    Ok(section)
}

fn take_array<const N: usize>(rest: &mut &[u8], field: &'static str) -> Result<[u8; N], Damage> {
    let Some((array, behind)) = rest.split_first_chunk::<N>() else {
        return Err(Damage::Truncated { field, needed: N as u64, available: rest.len() as u64 });
    };
    *rest = behind;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// What a record says of keys that it deletes from a table with this key.
    fn deleted(key_type: DataType, keys: &[&[u8]]) -> Result<usize, Damage> {
        let schema = Schema::new(vec![Field::new("k", key_type, false)]);
        let schema = Arc::new(TableSchema::new("t", &schema, &["k"]).unwrap());
        let codec = KeyCodec::new("t", &schema).unwrap();
        let mut gone = Keys::new(codec.width());
        keys.iter().for_each(|key| gone.push(key));
        let (rows, batch) = (vec![DELETED; keys.len()], RecordBatch::new_empty(schema.stored().clone()));
        let changes = SortedChanges { keys: gone, rows, batch, encoded: None };
        let mut body = Vec::new();
        write_changes(&mut body, &schema, &TableChanges { table: TableId(1), changes, absent: Keys::new(None) })
            .unwrap();
        let parts = read_changes(&body).unwrap();
        parts[0].decode(&schema, &codec).map(|changes| changes.keys.len())
    }

    /// They were put into the memtable, and no flush could write them.
    #[test]
    fn deleted_keys_that_are_none_are_damage() {
        assert!(matches!(deleted(DataType::Boolean, &[&[0], &[1]]), Ok(2)));
        assert!(matches!(deleted(DataType::Boolean, &[&[7]]), Err(Damage::Field { field: "boolean of a key", .. })));
        assert!(matches!(deleted(DataType::Utf8, &["abc".as_bytes()]), Ok(1)));
        assert!(deleted(DataType::Utf8, &[&[0xff]]).is_err());
        let long = vec![b'x'; KEY_BYTES_MAX + 1];
        assert!(matches!(deleted(DataType::Utf8, &[&long[1..]]), Ok(1)));
        assert!(matches!(deleted(DataType::Utf8, &[&long]), Err(Damage::Field { field: "deleted key", value: 0 })));
    }
}
