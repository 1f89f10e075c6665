//! What a manifest keeps of a run's files, so that they need not be trusted.
//!
//! In: what the writer counted. Out: serde's text form; keys and digests as hexadecimal digits.
//! Invariants: a range is not empty: `min <= max`.

use serde::{Deserialize, Serialize};

use crate::disk::path::RunFile;
use crate::id::{Digest, RunId, TableId};
use crate::sst::checksum::HashedFile;

/// A Parquet file of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The table.
    pub table: TableId,
    /// The run.
    pub run: RunId,
    /// Which of its files.
    pub file: RunFile,
}

/// A finished run: its rows, its deleted keys and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SstMeta {
    /// The run.
    pub run: RunId,
    /// Rows of the SST.
    pub rows: u64,
    /// Range of the rows' keys; none without rows.
    pub key_range: Option<KeyRange>,
    /// The deleted keys, if there are any.
    pub deletes: Option<DeletesMeta>,
    /// The SST.
    pub sst: FileMeta,
    /// The key index.
    pub keys: FileMeta,
    /// CRC32C of the key index's footer; through it the block checksums of all three files are trusted.
    pub footer_checksum: u32,
}

impl SstMeta {
    /// Bytes of all the run's files, as they are stated.
    pub fn total_bytes(&self) -> u64 {
        let deletes = self.deletes.as_ref().map_or(0, |deletes| deletes.file.bytes);
        self.sst.bytes.saturating_add(self.keys.bytes).saturating_add(deletes)
    }
}

/// The deleted keys of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletesMeta {
    /// How many; at least one.
    pub count: u64,
    /// The `.del` file.
    pub file: FileMeta,
    /// Range of the keys.
    pub key_range: KeyRange,
}

/// Length and digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Its length.
    pub bytes: u64,
    /// Digest of all its bytes.
    pub digest: Digest,
}

impl From<&HashedFile> for FileMeta {
    fn from(file: &HashedFile) -> Self {
        Self { bytes: file.bytes, digest: file.digest }
    }
}

/// The least and the greatest of some encoded keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The least key.
    #[serde(with = "digits")]
    pub min: Vec<u8>,
    /// The greatest key.
    #[serde(with = "digits")]
    pub max: Vec<u8>,
}

impl KeyRange {
    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.min <= *key && *key <= *self.max
    }

    /// Whether a key can be in both ranges.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// Bytes as hexadecimal digits.
mod digits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        let file = FileMeta { bytes: 12, digest: Digest(0xabc) };
        let key_range = KeyRange { min: vec![], max: vec![0, 0xff, 0x1e] };
        let meta = SstMeta {
            run: RunId(3),
            rows: 2,
            key_range: Some(key_range.clone()),
            deletes: Some(DeletesMeta { count: 1, file, key_range }),
            sst: file,
            keys: file,
            footer_checksum: 7,
        };
        let text = serde_json::to_string(&meta).unwrap();
        assert!(text.contains(r#""max":"00ff1e""#) && text.contains(r#""min":"""#), "{text}");
        assert_eq!(serde_json::from_str::<SstMeta>(&text).unwrap(), meta);
        for bad in ["00ff1", "0g", "é"] {
            let error = serde_json::from_str::<SstMeta>(&text.replace("00ff1e", bad)).unwrap_err();
            assert!(error.is_data(), "{bad}: {error}");
        }
    }
}
