//! The last step of a load: rows in key order, with duplicates, become the rows of runs.
//!
//! In: blocks in key order; of equal keys the row that came first in the input comes first. Out: runs.
//! Invariants: each key is written once, the one that the policy chooses; keys that are in the table already are
//! refused, skipped, or written on top, as the policy says.

use arrow::array::{RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result};
use crate::id::SeqNo;
use crate::load::origin::{OriginRuns, Origins, split_origin};
use crate::read::locate;
use crate::read::snapshot::TableSnapshot;
use crate::rows::canonical::compact;
use crate::rows::keys::Keys;
use crate::run_writer::{ClosedRuns, RunWriter};
use crate::state::State;

/// Longest text of a stored row in an error.
const ROW_TEXT_CHARS: usize = 200;

/// What a load does with keys that occur twice in it, or are in the table already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuses the load.
    #[default]
    Error,
    /// The row that comes last in the input counts, and replaces the one in the table.
    Update,
    /// The row in the table stays; without one, the row that comes first in the input counts. Which keys are there is
    /// decided as the load begins: one that is deleted meanwhile is left out all the same.
    Skip,
}

/// Writes the rows of a load.
pub struct Sink<'a> {
    snapshot: TableSnapshot,
    on_conflict: OnConflict,
    writer: RunWriter<'a>,
    /// Key and origin of the last row seen.
    last: Option<(Vec<u8>, u64)>,
    /// With [`OnConflict::Update`] the last row, which the next block may supersede.
    held: Option<(Keys, RecordBatch, UInt64Array)>,
    skipped: u64,
    check_stored: bool,
    /// Kept where the runs may become a part of a sort.
    written: Option<OriginRuns>,
}

/// What a sink wrote.
pub struct Written<'a> {
    /// The runs.
    pub runs: ClosedRuns<'a>,
    /// Rows that were left out because of their keys.
    pub skipped: u64,
    /// Origins of the rows in the runs, if they were kept.
    pub origins: Option<OriginRuns>,
}

impl<'a> Sink<'a> {
    /// Writes runs for the table of a snapshot, against whose runs keys are checked.
    pub fn new(state: &'a State, snapshot: TableSnapshot, on_conflict: OnConflict) -> Self {
        let table = snapshot.table().clone();
        let empty = table.version.runs().is_empty();
        let check_stored = !empty && table.schema.has_key() && on_conflict != OnConflict::Update;
        Self {
            snapshot,
            on_conflict,
            writer: RunWriter::new(state, table).in_parts(),
            last: None,
            held: None,
            skipped: 0,
            check_stored,
            written: None,
        }
    }

    /// Keeps the origins of the rows that it writes. Rows whose lines do not follow each other cost 16 bytes each.
    #[must_use]
    pub fn keeping_origins(self) -> Self {
        Self { written: Some(OriginRuns::default()), ..self }
    }

    /// Bytes of the origins that are kept.
    pub fn origin_bytes(&self) -> usize {
        self.written.as_ref().map_or(0, OriginRuns::size_bytes)
    }

    /// Takes a block: ascending keys, stored columns and origins.
    ///
    /// # Errors
    /// [`Error::DuplicateInLoad`], [`Error::DuplicateOfStored`]; the disk's.
    pub fn take(&mut self, keys: &Keys, batch: &RecordBatch, origins: &Origins) -> Result<()> {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(()) };
        let (stored, lines) = split_origin(self.snapshot.schema(), batch)?;
        let mut kept = self.choose(keys, &lines, origins)?;
        if self.on_conflict == OnConflict::Update {
            let superseded = |held: &Keys| held.first() == Some(first);
            if let Some((key, row, origin)) = self.held.take().filter(|(held, ..)| !superseded(held)) {
                self.write(key, row, &origin, origins)?;
            }
            kept.pop();
            let index = keys.len() - 1;
            let index_32 = u32::try_from(index).unwrap_or(u32::MAX);
            self.held = Some((keys.take(&[index_32]), compact(stored.slice(index, 1))?, lines.slice(index, 1)));
        }
        self.last = Some((last.to_vec(), lines.value(lines.len() - 1)));
        match kept.as_slice() {
            [] => Ok(()),
            [0, ..] if kept.len() == keys.len() => self.write(keys.clone(), stored, &lines, origins),
            [from, .., to] if (to - from) as usize + 1 == kept.len() => {
                let (from, length) = (*from as usize, kept.len());
                self.write(keys.take(&kept), stored.slice(from, length), &lines.slice(from, length), origins)
            }
            _ => {
                let indexes = UInt32Array::from(kept.clone());
                let lines = UInt64Array::from_iter_values(kept.iter().map(|row| lines.value(*row as usize)));
                self.write(keys.take(&kept), take_record_batch(&stored, &indexes)?, &lines, origins)
            }
        }
    }

    /// Writes the row that is held back and makes the runs durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(mut self, origins: &Origins) -> Result<Written<'a>> {
        if let Some((key, row, origin)) = self.held.take() {
            self.write(key, row, &origin, origins)?;
        }
        Ok(Written { runs: self.writer.close()?, skipped: self.skipped, origins: self.written })
    }

    /// Indexes of the rows that count, as far as the block tells. Counts the others.
    fn choose(&mut self, keys: &Keys, lines: &UInt64Array, origins: &Origins) -> Result<Vec<u32>> {
        let mut kept: Vec<u32> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let before = match index {
                0 => self.last.as_ref().map(|(key, origin)| (key.as_slice(), *origin)),
                _ => Some((keys.get(index - 1), lines.value(index - 1))),
            };
            let same = before.filter(|(before, _)| *before == key);
            match (same, self.on_conflict) {
                (Some((_, first)), OnConflict::Error) => {
                    let (first, second) = (origins.unpack(first), origins.unpack(lines.value(index)));
                    let key = self.snapshot.table().codec.text(key);
                    return Err(Error::DuplicateInLoad { key, first, second });
                }
                (Some(_), OnConflict::Skip) => {
                    self.skipped += 1;
                    continue;
                }
                (Some(_), OnConflict::Update) => {
                    self.skipped += 1;
                    kept.pop();
                }
                (None, _) => {}
            }
            kept.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        Ok(kept)
    }

    /// Writes rows with distinct keys, as far as the table's rows allow.
    fn write(&mut self, keys: Keys, rows: RecordBatch, lines: &UInt64Array, origins: &Origins) -> Result<()> {
        let present = match self.check_stored {
            true => locate::contains(&self.snapshot, &keys, SeqNo::NONE)?,
            false => Vec::new(),
        };
        let Some(first) = present.iter().position(|present| *present) else {
            self.keep(lines);
            return self.writer.append(&keys, &rows);
        };
        if self.on_conflict == OnConflict::Error {
            return Err(self.duplicate_of_stored(keys.get(first), lines.value(first), origins));
        }
        let absent: Vec<u32> = (0u32..).zip(&present).filter(|(_, present)| !**present).map(|(row, _)| row).collect();
        self.skipped += (keys.len() - absent.len()) as u64;
        let rows = take_record_batch(&rows, &UInt32Array::from(absent.clone()))?;
        self.keep(&UInt64Array::from_iter_values(absent.iter().map(|row| lines.value(*row as usize))));
        self.writer.append(&keys.take(&absent), &rows)
    }

    fn keep(&mut self, lines: &UInt64Array) {
        if let Some(written) = &mut self.written {
            written.push(lines);
        }
    }

    fn duplicate_of_stored(&self, key: &[u8], line: u64, origins: &Origins) -> Error {
        let table = self.snapshot.table();
        let stored = match self.snapshot.get_encoded(key) {
            Ok(Some(row)) => row_text(&row),
            Ok(None) => String::new(),
            Err(error) => return error,
        };
        Error::DuplicateOfStored {
            table: table.name.to_string(),
            key: table.codec.text(key),
            origin: origins.unpack(line),
            stored,
        }
    }
}

/// The first row of a batch as text: `a=1, b=x`.
fn row_text(row: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let mut parts = Vec::new();
    for (field, column) in row.schema().fields().iter().zip(row.columns()) {
        if let Ok(formatter) = ArrayFormatter::try_new(column, &options) {
            parts.push(format!("{}={}", field.name(), formatter.value(0)));
        }
    }
    let text = parts.join(", ");
    match text.char_indices().nth(ROW_TEXT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
