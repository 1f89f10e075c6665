//! A run: one open SST with its companions, and the sequence numbers of its changes.
//!
//! In: what the manifest says about it. Out: shared handles to its files.
//! Invariants: a run never changes. Its deleted keys act on older runs only.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{RunId, SeqNo, TableId};
use crate::rows::key::KeyCodec;
use crate::rows::keys::{Ascent, Keys};
use crate::rows::schema::TableSchema;
use crate::sst::meta::SstMeta;
use crate::sst::reader::Sst;
use crate::sst::store::Store;

/// Deleted keys that are read at once.
const DELETED_BATCH_ROWS: usize = 8192;

/// What the manifest says about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMeta {
    /// Its files.
    pub files: SstMeta,
    /// Lowest sequence number of its changes.
    pub min_seq: SeqNo,
    /// Highest sequence number of its changes.
    pub max_seq: SeqNo,
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    meta: RunMeta,
    sst: Sst,
    deleted: OnceLock<Arc<Keys>>,
}

impl Run {
    /// Opens a run's files; the SST itself is read when it is first needed.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`] if a file is missing, has another length, or its key index does not fit.
    pub fn open(store: &Arc<Store>, table: TableId, schema: &Arc<TableSchema>, meta: RunMeta) -> Result<Self> {
        let sst = Sst::open(store, table, schema.clone(), meta.files.clone())?;
        Ok(Self { meta, sst, deleted: OnceLock::new() })
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.meta.files.run
    }

    /// What the manifest says about it.
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Its files.
    pub fn sst(&self) -> &Sst {
        &self.sst
    }

    /// Bytes on the heap, about, for as long as it is open: of its files, and the keys that it deletes.
    pub fn heap_bytes(&self) -> usize {
        self.sst.heap_bytes() + self.deleted.get().map_or(0, |keys| keys.size_bytes())
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.meta.files.rows
    }

    /// First and last key among its rows and its deleted keys; `None` if it has neither.
    pub fn key_bounds(&self) -> Option<(&[u8], &[u8])> {
        key_bounds(&self.meta.files)
    }

    /// The keys it deletes from older runs, ascending. Read once, then kept.
    ///
    /// # Errors
    /// [`crate::error::Error::Corrupt`], or the disk's.
    pub fn deleted(&self, codec: &KeyCodec) -> Result<Arc<Keys>> {
        if let Some(keys) = self.deleted.get() {
            return Ok(keys.clone());
        }
        let mut keys = Keys::new(codec.width());
        for batch in self.sst.deleted(DELETED_BATCH_ROWS)?.into_iter().flatten() {
            let part = codec.encode(batch?.columns())?;
            keys.extend(&part, 0..part.len());
        }
        // Who looks for a key among them relies on their order.
        Ascent::default().take(&keys).map_err(|damage| Error::corrupt(self.sst.deletes_path(), damage))?;
        Ok(self.deleted.get_or_init(|| Arc::new(keys)).clone())
    }
}

/// First and last key among a run's rows and its deleted keys.
pub fn key_bounds(files: &SstMeta) -> Option<(&[u8], &[u8])> {
    let rows = files.key_range.as_ref();
    let deletes = files.deletes.as_ref().map(|deletes| &deletes.key_range);
    let min = rows.into_iter().chain(deletes).map(|range| range.min.as_slice()).min()?;
    let max = rows.into_iter().chain(deletes).map(|range| range.max.as_slice()).max()?;
    Some((min, max))
}
