//! Sorts the batches of a load, in memory or with spilled parts, or passes them through if they are in order.
//!
//! In: batches in input order. Out: blocks in key order to a [`Sink`]; of equal keys the one that came first in the
//! input first.
//! Invariants: at most the budget is held in memory, and about as much again while parts are merged. As long as the
//! input is strictly ascending nothing is sorted and, after its first part, nothing is held: rows go straight into
//! runs. If order breaks after that, those runs become one more sorted part.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use rayon::ThreadPool;

use crate::disk::path;
use crate::error::Result;
use crate::id::SeqNo;
use crate::load::origin::{OriginRuns, Origins, schema_with_origin, split_origin, with_origin};
use crate::load::sink::{OnConflict, Sink, Written};
use crate::load::spill::{Spill, SpillReader};
use crate::read::cursor::{Cursor, KeyedBatch, KeyedBatches};
use crate::read::merge::{Equal, Merge, MergeOptions};
use crate::read::snapshot::{SCAN_BATCH_ROWS, TableSnapshot};
use crate::rows::canonical::{batch_bytes, kept_bytes};
use crate::rows::interleave::interleave;
use crate::rows::key::KeyCodec;
use crate::rows::keys::Keys;
use crate::run_writer::{ClosedRuns, SeqRange};
use crate::sst::rows::SstRows;
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::version::run::Run;
use crate::version::view::TableView;

/// More memory than this does not make sorting faster.
const SORT_BYTES_MAX: usize = 256 << 20;
/// Spilled parts that are merged at once, at most.
const PARTS_MAX: usize = 256;
/// Spilled parts that are merged at once even if their rows are so long that this exceeds the budget.
const PARTS_MIN: usize = 4;
/// Bytes of a block of sorted rows, about, unless a single row has more.
const BLOCK_BYTES: usize = 4 << 20;
/// Bytes that sorting takes for a row beside the row and its key: where it is, and its place in the order.
const PLACE_BYTES: usize = size_of::<(usize, usize)>() + size_of::<u32>();
/// An input that was in order for so long is taken to be in order.
const PASS_BYTES_MAX: usize = 16 << 20;

/// Takes the batches of a load.
pub struct Sorter<'a> {
    state: &'a State,
    snapshot: TableSnapshot,
    on_conflict: OnConflict,
    schema: SchemaRef,
    budget_bytes: usize,
    /// Rows that are in memory, in input order.
    buffer: Vec<(Keys, RecordBatch)>,
    buffer_bytes: usize,
    /// Whether everything so far came in strictly ascending order.
    ascending: bool,
    last_key: Option<Vec<u8>>,
    /// Where rows go without sorting, once the input was in order for more than the budget.
    passing: Option<Sink<'a>>,
    parts: Vec<Part<'a>>,
    /// Bytes of the largest block that was spilled: a merge holds one of every part.
    spilled_block_bytes: usize,
    /// Rows that were left out of a part that is in runs.
    skipped: u64,
    /// How often rows in memory were spilled.
    spills: usize,
}

/// A sorted part of the input.
enum Part<'a> {
    /// With how often its rows were spilled.
    Spill(Spill, u32),
    Runs(ClosedRuns<'a>, Arc<OriginRuns>),
}

impl<'a> Sorter<'a> {
    /// Sorts rows for the table of a snapshot with a budget of memory.
    pub fn new(state: &'a State, snapshot: TableSnapshot, on_conflict: OnConflict, budget_bytes: usize) -> Self {
        let schema = schema_with_origin(snapshot.schema());
        let budget_bytes = budget_bytes.min(SORT_BYTES_MAX);
        Self {
            state,
            snapshot,
            on_conflict,
            schema,
            budget_bytes,
            buffer: Vec::new(),
            buffer_bytes: 0,
            ascending: true,
            last_key: None,
            passing: None,
            parts: Vec::new(),
            spilled_block_bytes: 0,
            skipped: 0,
            spills: 0,
        }
    }

    /// Takes a batch of stored columns with its keys and packed origins.
    ///
    /// # Errors
    /// Those of the [`Sink`]; the disk's.
    pub fn push(&mut self, keys: Keys, stored: &RecordBatch, lines: UInt64Array, origins: &Origins) -> Result<()> {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let follows = self.last_key.as_deref().is_none_or(|before| before < first);
        self.ascending &= follows && keys.first_disorder().is_none();
        self.last_key = Some(last.to_vec());
        // An input whose lines do not follow each other is sorted, too, before their numbers take much memory.
        let origin_bytes = self.passing.as_ref().map_or(0, Sink::origin_bytes);
        self.ascending &= origin_bytes <= self.budget_bytes / 4;
        if !self.ascending
            && let Some(sink) = self.passing.take()
        {
            let written = sink.close(origins)?;
            self.skipped += written.skipped;
            self.parts.push(Part::Runs(written.runs, Arc::new(written.origins.unwrap_or_default())));
        }
        let batch = with_origin(&self.schema, stored, lines)?;
        if let Some(sink) = &mut self.passing {
            return sink.take(&keys, &batch, origins);
        }
        self.buffer_bytes += keys.size_bytes() + kept_bytes(batch.columns()) + keys.len() * PLACE_BYTES;
        self.buffer.push((keys, batch));
        if !self.ascending {
            return if self.buffer_bytes < self.budget_bytes { Ok(()) } else { self.spill() };
        }
        if self.buffer_bytes < PASS_BYTES_MAX.min(self.budget_bytes / 8) {
            return Ok(());
        }
        let mut sink = self.sink().keeping_origins();
        for (keys, batch) in self.take_buffer() {
            sink.take(&keys, &batch, origins)?;
        }
        self.passing = Some(sink);
        Ok(())
    }

    /// Writes everything in key order; also gives the number of parts that were spilled.
    ///
    /// # Errors
    /// Those of the [`Sink`]; the disk's.
    pub fn finish(mut self, origins: &Origins) -> Result<(Written<'a>, usize)> {
        if let Some(sink) = self.passing.take() {
            return Ok((sink.close(origins)?, self.spills));
        }
        let mut sink = self.sink();
        if self.parts.is_empty() {
            for block in self.sorted_buffer(BLOCK_BYTES)? {
                let (keys, batch) = block?;
                sink.take(&keys, &batch, origins)?;
            }
        } else {
            self.spill()?;
            let mut merge = self.merge(&self.parts)?;
            while let Some(block) = merge.next_block()? {
                sink.take(&block.keys, &block.batch, origins)?;
            }
        }
        let mut written = sink.close(origins)?;
        written.skipped += self.skipped;
        Ok((written, self.spills))
    }

    fn sink(&self) -> Sink<'a> {
        Sink::new(self.state, self.snapshot.clone(), self.on_conflict)
    }

    fn take_buffer(&mut self) -> Vec<(Keys, RecordBatch)> {
        self.buffer_bytes = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Writes the rows in memory to a sorted part.
    fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let blocks = self.sorted_buffer(self.spill_block_bytes())?.map(|block| block.map(|(_, batch)| batch));
        let spill = self.write_spill(blocks)?;
        self.parts.push(Part::Spill(spill, 1));
        self.spills += 1;
        self.merge_latest()
    }

    /// Bytes of a block of a spill, about: a merge of as many as there may be holds one of each.
    fn spill_block_bytes(&self) -> usize {
        self.budget_bytes / (2 * PARTS_MAX)
    }

    fn write_spill(&mut self, blocks: impl Iterator<Item = Result<RecordBatch>>) -> Result<Spill> {
        let path = path::staging(&format!("load-{}.arrow", self.state.new_run_id().0));
        let spill = Spill::write(&self.state.disk, path, &self.schema, self.spill_block_bytes(), blocks)?;
        self.state.counters.spills.fetch_add(1, Ordering::Relaxed);
        self.state.counters.spilled_bytes.fetch_add(spill.bytes(), Ordering::Relaxed);
        self.spilled_block_bytes = self.spilled_block_bytes.max(spill.block_bytes());
        Ok(spill)
    }

    /// Merges the latest parts into one as soon as there are as many of one kind as can be merged at once.
    fn merge_latest(&mut self) -> Result<()> {
        let at_once = (self.budget_bytes / self.spilled_block_bytes.max(1)).clamp(PARTS_MIN, PARTS_MAX);
        while let Some(Part::Spill(_, level)) = self.parts.last() {
            let level = *level;
            let same = |part: &Part<'_>| matches!(part, Part::Spill(_, other) if *other == level);
            let from = self.parts.iter().rposition(|part| !same(part)).map_or(0, |before| before + 1);
            if self.parts.len() - from < at_once {
                break;
            }
            let mut merge = self.merge(&self.parts[from..])?;
            let blocks =
                std::iter::from_fn(|| merge.next_block().map(|block| block.map(|block| block.batch)).transpose());
            let spill = self.write_spill(blocks)?;
            self.parts.truncate(from);
            self.parts.push(Part::Spill(spill, level + 1));
        }
        Ok(())
    }

    /// The rows in memory, in key order, in blocks of about so many bytes.
    fn sorted_buffer(&mut self, block_bytes: usize) -> Result<SortedBuffer> {
        let buffer = self.take_buffer();
        let width = self.snapshot.table().codec.width();
        let mut keys = Keys::new(width);
        let mut places = Vec::new();
        let mut batches = Vec::with_capacity(buffer.len());
        for (index, (part, batch)) in buffer.into_iter().enumerate() {
            keys.extend(&part, 0..part.len());
            places.extend((0..part.len()).map(|row| (index, row)));
            batches.push(batch);
        }
        let order = if self.ascending { (0..).take(keys.len()).collect() } else { keys.sort_order() };
        let bytes: usize = batches.iter().map(batch_bytes).sum();
        let block_rows = (block_bytes / (bytes / keys.len().max(1)).max(1)).clamp(1, SCAN_BATCH_ROWS);
        let (schema, pool) = (self.schema.clone(), self.state.pool()?);
        Ok(SortedBuffer { schema, pool, keys, places, batches, order, at: 0, block_rows })
    }

    /// Some parts as one; of equal keys the earlier part's comes first.
    fn merge(&self, parts: &[Part<'_>]) -> Result<Merge> {
        let table = self.snapshot.table();
        let mut cursors = Vec::new();
        for part in parts {
            match part {
                Part::Spill(spill, _) => {
                    let codec = table.codec.clone();
                    let batches = spill.read()?;
                    let table = table.clone();
                    cursors.push(Cursor::batches(Box::new(SpillBatches { batches, table, codec }))?);
                }
                Part::Runs(runs, origins) => {
                    let batches = RunsWithOrigins::new(runs, origins.clone(), table, &self.schema)?;
                    cursors.push(Cursor::batches(Box::new(batches))?);
                }
            }
        }
        let options = MergeOptions::keyed(self.schema.clone(), table.codec.width(), Equal::All);
        Ok(Merge::new(cursors, MergeOptions { pool: Some(self.state.pool()?), ..options }))
    }
}

/// Rows in memory, given in key order.
struct SortedBuffer {
    schema: SchemaRef,
    pool: Arc<ThreadPool>,
    keys: Keys,
    /// For each key its batch and its row.
    places: Vec<(usize, usize)>,
    batches: Vec<RecordBatch>,
    order: Vec<u32>,
    at: usize,
    block_rows: usize,
}

impl Iterator for SortedBuffer {
    type Item = Result<(Keys, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.order.len().min(self.at + self.block_rows);
        let order = self.order.get(self.at..end).filter(|order| !order.is_empty())?;
        self.at = end;
        let picks: Vec<(usize, usize)> = order.iter().map(|index| self.places[*index as usize]).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave(&self.schema, &batches, &picks, Some(&self.pool));
        Some(batch.map(|batch| (self.keys.take(order), batch)))
    }
}

/// A spilled part, its keys encoded again.
struct SpillBatches {
    batches: SpillReader,
    table: Arc<TableView>,
    codec: Arc<KeyCodec>,
}

impl KeyedBatches for SpillBatches {
    fn next_keyed(&mut self) -> Result<Option<KeyedBatch>> {
        let Some(batch) = self.batches.next().transpose()? else { return Ok(None) };
        let (stored, _) = split_origin(&self.table.schema, &batch)?;
        Ok(Some(KeyedBatch::all(self.codec.encode_batch(&stored)?, batch)))
    }
}

/// Runs that were written before order broke, with the origins of their rows.
struct RunsWithOrigins {
    runs: std::vec::IntoIter<Arc<Run>>,
    rows: Option<SstRows>,
    codec: Arc<KeyCodec>,
    projection: Vec<usize>,
    schema: SchemaRef,
    origins: Arc<OriginRuns>,
    at: u64,
}

impl RunsWithOrigins {
    fn new(
        runs: &ClosedRuns<'_>,
        origins: Arc<OriginRuns>,
        table: &Arc<TableView>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let runs = runs.open(|_| SeqRange { first: SeqNo::NONE, last: SeqNo::NONE })?.into_iter();
        let projection = (0..table.schema.stored().fields().len()).collect();
        let (codec, schema) = (table.codec.clone(), schema.clone());
        Ok(Self { runs, rows: None, codec, projection, schema, origins, at: 0 })
    }
}

impl KeyedBatches for RunsWithOrigins {
    fn next_keyed(&mut self) -> Result<Option<KeyedBatch>> {
        loop {
            if let Some(stored) = self.rows.as_mut().and_then(Iterator::next).transpose()? {
                let lines = self.origins.get(self.at, stored.num_rows() as u64);
                self.at += stored.num_rows() as u64;
                let batch = with_origin(&self.schema, &stored, lines)?;
                return Ok(Some(KeyedBatch::all(self.codec.encode_batch(&stored)?, batch)));
            }
            let Some(run) = self.runs.next() else { return Ok(None) };
            self.rows = Some(run.sst().rows(0..run.rows(), &self.projection, SCAN_BATCH_ROWS)?);
        }
    }
}
