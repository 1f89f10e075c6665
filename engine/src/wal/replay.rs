//! Reads the log back when a database opens.
//!
//! In: the segments from the manifest's floor on. Out: every write record in order, and where the log ends.
//! Invariants: a damaged record is a torn tail only if nothing behind it shows that it was durable once: no intact
//! record written after it, no later segment, no log end recorded by a manifest. Else it is [`Error::Corrupt`], at the
//! place where the log breaks off.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::api::{Disk, at};
use crate::disk::map::read_whole;
use crate::disk::path;
use crate::error::{Damage, Error, Result};
use crate::id::{Digest, ManifestId, NUMBER_LIMIT, SeqNo, WalId};
use crate::seeded::{SeededFault, makes};
use crate::wal::body::{RawChanges, read_changes, read_manifest_body, read_sealed_body};
use crate::wal::intact::{intact_behind, intact_records};
use crate::wal::log::{LogEnd, Sealed};
use crate::wal::record::{Frame, RecordKind, SEGMENT_HEADER_BYTES, check_segment_header, read_frame, zeros_from};

/// A torn tail that was found and left out.
#[derive(Clone, Debug)]
pub struct TornTail {
    /// The segment's file.
    pub path: String,
    /// Where the tail starts: at a record that is not whole.
    pub offset: u64,
    /// Its bytes, without the zeros at the end, which cannot be told from reserved space.
    pub bytes: u64,
    /// Records behind that one that are whole: they belong to its sync group, so they were not acknowledged either.
    pub records: u64,
    /// What is wrong with the record that the tail starts with.
    pub damage: Arc<Damage>,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, bytes, records, damage } = self;
        let end = offset + bytes;
        write!(f, "{path}: bytes {offset} to {end} were cut off: the record there is not whole ({damage}), and ")?;
        write!(f, "nothing behind it shows that it was ever durable, so it belongs to the last sync group, ")?;
        write!(f, "whose writers were not told that it was")?;
        match records {
            0 => {}
            1 => write!(f, "; 1 whole record of that group went with it")?,
            records => write!(f, "; {records} whole records of that group went with it")?,
        }
        write!(f, "; if neither the process nor the machine stopped while it wrote, then the disk is at fault")
    }
}

/// What the log held.
#[derive(Debug)]
pub struct Replayed {
    /// Behind the last intact record.
    pub end: LogEnd,
    /// Highest sequence number seen.
    pub last_seq: SeqNo,
    /// Complete segments, oldest first.
    pub sealed: Vec<Sealed>,
    /// The newest manifest that the log knows of.
    pub manifest: Option<(ManifestId, Digest)>,
    /// The torn tail, if there was one: part of a sync group that was never acknowledged.
    pub torn: Option<TornTail>,
    /// Write records seen.
    pub writes: u64,
}

/// Where a record lies, for errors about its body.
#[derive(Clone, Copy, Debug)]
pub struct RecordPlace<'a> {
    /// The segment's file.
    pub path: &'a str,
    /// Where the record starts.
    pub offset: u64,
}

impl RecordPlace<'_> {
    /// Damage found in the record.
    pub fn corrupt(&self, damage: Damage) -> Error {
        Error::corrupt_at(self.path, self.offset, damage)
    }
}

/// What is done with each write record: its place, its sequence number, its changes.
pub type Visit<'a> = dyn FnMut(RecordPlace<'_>, SeqNo, &[RawChanges<'_>]) -> Result<()> + 'a;

/// Reads the log from segment `floor` on and visits every write record in order. The log reached at least `known_end`
/// when a manifest recorded it.
///
/// # Errors
/// [`Error::Corrupt`] for anything but a torn tail; the visitor's errors; the disk's.
pub fn replay(
    disk: &Arc<dyn Disk>,
    database: u128,
    floor: WalId,
    known_end: Option<LogEnd>,
    visit: &mut Visit<'_>,
) -> Result<Replayed> {
    let mut replay = Replay {
        disk,
        database,
        known_end,
        found: Replayed {
            end: LogEnd { segment: floor, length: 0 },
            last_seq: SeqNo::NONE,
            sealed: Vec::new(),
            manifest: None,
            torn: None,
            writes: 0,
        },
    };
    let mut segment = Some(floor);
    while let Some(id) = segment {
        segment = replay.segment(id, visit)?;
    }
    Ok(replay.found)
}

/// The bytes of a segment: read and not mapped, because the last one is written and cut while others look at it.
///
/// # Errors
/// [`Damage::Missing`]; the disk's.
pub fn read_segment(disk: &dyn Disk, path: &str) -> Result<Bytes> {
    let file = disk.open(path).map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            return Error::corrupt(path, Damage::Missing);
        }
        at("open", path)(error)
    })?;
    read_whole(&*file).map_err(at("read", path))
}

struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    database: u128,
    known_end: Option<LogEnd>,
    found: Replayed,
}

impl Replay<'_> {
    /// Reads one segment; returns the next one if this one is sealed.
    fn segment(&mut self, id: WalId, visit: &mut Visit<'_>) -> Result<Option<WalId>> {
        let path = path::wal(id);
        let bytes = read_segment(&**self.disk, &path)?;
        check_segment_header(&path, &bytes, id, self.database)?;
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut next = None;
        let written = zeros_from(&bytes);
        while offset < written && next.is_none() {
            let place = RecordPlace { path: &path, offset };
            match read_frame(&bytes, id, offset) {
                Ok(frame) => {
                    next = self.record(place, &frame, visit)?;
                    offset = frame.end;
                }
                Err(damage) => {
                    self.torn_tail(place, id, &bytes, damage)?;
                    break;
                }
            }
        }
        self.found.end = LogEnd { segment: id, length: offset };
        match next {
            Some(next) if offset < bytes.len() as u64 || next != id.next() => {
                let damage = Damage::Field { field: "next segment", value: next.0 };
                Err(Error::corrupt_at(path, offset, damage))
            }
            Some(next) => {
                self.found.sealed.push(Sealed { id, max_seq: self.found.last_seq, length: offset });
                Ok(Some(next))
            }
            None => self.check_end().map(|()| None),
        }
    }

    /// Takes one record; returns the next segment if it seals this one.
    fn record(&mut self, place: RecordPlace<'_>, frame: &Frame<'_>, visit: &mut Visit<'_>) -> Result<Option<WalId>> {
        if frame.seq.0 >= NUMBER_LIMIT {
            return Err(place.corrupt(Damage::Field { field: "seq", value: frame.seq.0 }));
        }
        match frame.kind {
            RecordKind::Write => {
                if frame.seq <= self.found.last_seq {
                    let (expected, found) = (self.found.last_seq.next().0, frame.seq.0);
                    return Err(place.corrupt(Damage::Disagreement { fact: "the sequence number", expected, found }));
                }
                self.found.last_seq = frame.seq;
                self.found.writes += 1;
                let changes = read_changes(frame.body).map_err(|damage| place.corrupt(damage))?;
                visit(place, frame.seq, &changes)?;
                Ok(None)
            }
            RecordKind::Manifest => {
                let manifest = read_manifest_body(frame.body).map_err(|damage| place.corrupt(damage))?;
                self.found.last_seq = self.found.last_seq.max(frame.seq);
                self.found.manifest = Some(manifest);
                Ok(None)
            }
            RecordKind::Sealed => read_sealed_body(frame.body).map(Some).map_err(|damage| place.corrupt(damage)),
        }
    }

    /// Accepts a damaged record as a torn tail, or says why it is none.
    fn torn_tail(&mut self, place: RecordPlace<'_>, id: WalId, bytes: &[u8], damage: Damage) -> Result<()> {
        let forgiven = makes(SeededFault::EveryDamageIsATornTail);
        let reached = LogEnd { segment: id, length: place.offset };
        let was_durable = self.known_end.is_some_and(|end| reached < end) || later_segment(&**self.disk, id)?.is_some();
        if was_durable && !forgiven {
            return Err(place.corrupt(damage));
        }
        if let Some(intact_at) = intact_behind(bytes, id, place.offset)
            && !forgiven
        {
            return Err(place.corrupt(Damage::MidLog { intact_at }));
        }
        self.found.torn = Some(TornTail {
            path: place.path.to_owned(),
            offset: place.offset,
            bytes: zeros_from(bytes) - place.offset,
            records: intact_records(bytes, id, place.offset).count() as u64,
            damage: Arc::new(damage),
        });
        Ok(())
    }

    /// The log must not end before a place that it is known to have reached.
    fn check_end(&self) -> Result<()> {
        let end = self.found.end;
        let later = self.known_end.filter(|known| *known > end);
        let Some(reached) = later.map_or_else(|| later_segment(&**self.disk, end.segment), |known| Ok(Some(known)))?
        else {
            return Ok(());
        };
        let damage = Damage::LogEndsEarly { segment: reached.segment.0, length: reached.length };
        Err(Error::corrupt_at(path::wal(end.segment), end.length, damage))
    }
}

/// A segment behind one that is not sealed, with its length. One that was just begun is none: it has no records.
///
/// # Errors
/// The disk's.
pub fn later_segment(disk: &dyn Disk, id: WalId) -> Result<Option<LogEnd>> {
    let names = disk.list(path::WAL).map_err(at("list", path::WAL))?;
    for segment in names.iter().filter_map(|name| path::parse_wal(name)).filter(|other| *other > id) {
        let path = path::wal(segment);
        let length = disk.open(&path).map_err(at("open", &path))?.len();
        if segment > id.next() || length > SEGMENT_HEADER_BYTES {
            return Ok(Some(LogEnd { segment, length }));
        }
    }
    Ok(None)
}
