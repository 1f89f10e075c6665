//! Writes changes that are in no run of the source as a run of the copy.
//!
//! In: the changes of one memtable. Out: an open run on the copy's disk, its files durable.
//! Invariants: as in a flush: each key once, with its newest change; deleted keys only where an older run may hold them.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::backup::contents::{Changes, TableContents};
use crate::error::{Error, Result};
use crate::flush::merge_changes;
use crate::id::RunId;
use crate::read::merge::MergeBlock;
use crate::sst::store::Store;
use crate::sst::writer::{Encoder, SstWriter};
use crate::version::run::{Run, RunMeta};

/// Writes a run with this id; `None` if nothing is left of the changes.
///
/// # Errors
/// The disk's; Parquet's.
pub(super) fn write_run(
    store: &Arc<Store>,
    encoder: &Encoder,
    table: &TableContents,
    run: RunId,
    changes: Changes,
) -> Result<Option<Run>> {
    let has_older = !table.runs.is_empty();
    let mut merge = merge_changes(&table.schema, table.codec.width(), changes.chunks)?;
    let mut open = None;
    while let Some(block) = merge.next_block()? {
        if block.keys.is_empty() && !has_older {
            continue;
        }
        let mut writer = match open.take() {
            Some(writer) => writer,
            None => SstWriter::create(store.disk().clone(), table.id, run, table.schema.clone(), encoder.clone())?,
        };
        if has_older {
            append_deletes(&mut writer, table, &block)?;
        }
        writer.append(&block.keys, &block.batch)?;
        open = Some(writer);
    }
    let Some(writer) = open else { return Ok(None) };
    let meta = RunMeta { files: writer.finish()?, min_seq: changes.seqs.first, max_seq: changes.seqs.last };
    Run::open(store, table.id, &table.schema, meta).map(Some)
}

fn append_deletes(writer: &mut SstWriter, table: &TableContents, block: &MergeBlock) -> Result<()> {
    if block.deleted.is_empty() {
        return Ok(());
    }
    let columns = table.codec.decode(&block.deleted).map_err(|damage| Error::corrupt("memory", damage))?;
    writer.append_deletes(&block.deleted, &RecordBatch::try_new(table.schema.key_schema(), columns)?)
}
