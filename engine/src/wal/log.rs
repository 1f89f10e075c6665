//! Appends sync groups to the log and starts new segments.
//!
//! In: record bodies. Out: durable records; the segments that nobody needs any more.
//! Invariants: [`Wal::commit`] returned `Ok` means everything pushed is durable. A group is appended in one call and
//! synced before the next one starts. A segment is begun (created, synced, its name synced) before the record that
//! points to it. After a failed sync the log is never written again. Small groups overwrite zeros that were reserved for
//! them, so that their syncs have no new length to make durable; behind the last group there is nothing but such zeros.

use std::sync::Arc;

use crate::disk::api::{Disk, WriteFile, at};
use crate::disk::path;
use crate::error::{Error, Result};
use crate::id::{SeqNo, WalId};
use crate::seeded::{SeededFault, makes};
use crate::wal::body::sealed_body;
use crate::wal::record::{RecordKind, SEGMENT_HEADER_BYTES, frame, segment_header, usize_of};

/// A place in the log: behind `length` bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LogEnd {
    /// The segment.
    pub segment: WalId,
    /// Bytes in it.
    pub length: u64,
}

/// A segment that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The segment.
    pub id: WalId,
    /// The highest sequence number in it or before it.
    pub max_seq: SeqNo,
    /// Bytes in it.
    pub length: u64,
}

/// Memory of a group that is kept for the next one.
const GROUP_BYTES_KEPT: usize = 1 << 20;

/// Zeros that are put behind the end at once, at most.
const RESERVED_BYTES: u64 = 64 << 10;

/// Why a commit failed, and whether the log can be used on.
#[derive(Debug)]
pub struct CommitFailure {
    /// The cause.
    pub error: Box<Error>,
    /// The log's state on disk is unknown: nothing may be written any more.
    pub poisoned: bool,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    database: u128,
    segment_bytes_max: u64,
    file: Box<dyn WriteFile>,
    end: LogEnd,
    /// Up to where the segment has zeros behind its end; `None` where none are put there any more.
    reserved: Option<u64>,
    group: Vec<u8>,
    last_seq: SeqNo,
    sealed: Vec<Sealed>,
    syncs: u64,
}

impl Wal {
    /// Begins the log of a new database.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(disk: Arc<dyn Disk>, database: u128, segment_bytes_max: u64) -> Result<Self> {
        let segment = WalId(1);
        let file = begin_segment(&*disk, database, segment)?;
        let end = LogEnd { segment, length: SEGMENT_HEADER_BYTES };
        Ok(Self::at(disk, database, segment_bytes_max, file, end))
    }

    /// Goes on with a log behind its last intact record; what lies behind that is cut off, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn resume(
        disk: Arc<dyn Disk>,
        database: u128,
        segment_bytes_max: u64,
        end: LogEnd,
        last_seq: SeqNo,
        sealed: Vec<Sealed>,
    ) -> Result<Self> {
        let path = path::wal(end.segment);
        let mut length = end.length;
        if makes(SeededFault::TornTailNotCut) {
            length = disk.open(&path).map_err(at("open", &path))?.len();
        }
        let mut file = disk.append(&path, length).map_err(at("open", &path))?;
        file.sync().map_err(at("sync", &path))?;
        Ok(Self { last_seq, sealed, ..Self::at(disk, database, segment_bytes_max, file, end) })
    }

    fn at(disk: Arc<dyn Disk>, database: u128, segment_bytes_max: u64, file: Box<dyn WriteFile>, end: LogEnd) -> Self {
        let (last_seq, sealed) = (SeqNo::NONE, Vec::new());
        let group = Vec::new();
        Self { disk, database, segment_bytes_max, file, end, reserved: Some(0), group, last_seq, sealed, syncs: 0 }
    }

    /// Where the durable log ends.
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// Number of syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Bytes of all segments that are still there.
    pub fn size_bytes(&self) -> u64 {
        self.sealed.iter().fold(self.end.length, |bytes, sealed| bytes.saturating_add(sealed.length))
    }

    /// Adds a record to the group that the next [`Wal::commit`] writes.
    pub fn push(&mut self, kind: RecordKind, seq: SeqNo, body: &[u8]) {
        self.last_seq = self.last_seq.max(seq);
        frame(&mut self.group, self.end.segment, self.end.length, kind, seq, body);
    }

    /// Writes the group and makes it durable. Begins a new segment afterwards if this one is full.
    ///
    /// # Errors
    /// The disk's. If only the append failed and could be taken back, the log goes on (`poisoned` is false).
    pub fn commit(&mut self) -> Result<(), CommitFailure> {
        self.write_group()?;
        if self.end.length >= self.segment_bytes_max {
            self.begin_next_segment()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), CommitFailure> {
        let group = std::mem::take(&mut self.group);
        self.reserve(group.len() as u64);
        let path = path::wal(self.end.segment);
        if let Err(error) = self.file.append(&group) {
            let error = Box::new(at("append to", &path)(error));
            let poisoned = self.cut_back().is_err();
            return Err(CommitFailure { error, poisoned });
        }
        self.syncs += 1;
        let synced = if makes(SeededFault::AckBeforeSync) { Ok(()) } else { self.file.sync() };
        let poisoned = !makes(SeededFault::SyncFailureForgiven);
        synced.map_err(|error| CommitFailure { error: Box::new(at("sync", &path)(error)), poisoned })?;
        self.end.length += group.len() as u64;
        self.group = group;
        self.group.clear();
        self.group.shrink_to(GROUP_BYTES_KEPT);
        Ok(())
    }

    /// Puts zeros behind the end where too few are left for a group and they will do for two like it. Each byte is
    /// written twice then, which for large groups costs more than it saves. A segment that is full enough to be sealed
    /// has none. No space for them is no failure: what there is left is for the group, and the segment goes on without.
    fn reserve(&mut self, group: u64) {
        let LogEnd { segment, length: end } = self.end;
        let zeros = RESERVED_BYTES.min(self.segment_bytes_max.saturating_sub(end));
        if self.reserved.is_none_or(|reserved| end + group <= reserved) || zeros < 2 * group {
            return;
        }
        self.reserved = Some(end + zeros);
        if let Err(error) = self.file.reserve(usize_of(zeros)) {
            tracing::debug!(%error, segment = segment.0, "cannot reserve space for the log");
            self.give_back();
        }
    }

    /// Gives back what is reserved, and reserves no more in this segment. That it stays is no failure: zeros behind the
    /// end mean nothing.
    pub fn give_back(&mut self) {
        if self.reserved.take().is_some_and(|reserved| reserved > self.end.length)
            && let Err(error) = self.file.give_back()
        {
            tracing::debug!(%error, segment = self.end.segment.0, "cannot give back the space reserved for the log");
        }
    }

    /// Takes a half-written group back, so that its records can never be found.
    fn cut_back(&mut self) -> Result<()> {
        if makes(SeededFault::HalfGroupNotTakenBack) {
            return Ok(());
        }
        let path = path::wal(self.end.segment);
        self.reserved = Some(0);
        self.file = self.disk.append(&path, self.end.length).map_err(at("cut", &path))?;
        self.file.sync().map_err(at("sync", &path))
    }

    /// A new segment that cannot be made is no failure: the log goes on in the old one and tries again.
    fn begin_next_segment(&mut self) -> Result<(), CommitFailure> {
        let next = self.end.segment.next();
        let file = match begin_segment(&*self.disk, self.database, next) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, segment = next.0, "cannot begin a WAL segment, going on in the old one");
                return Ok(());
            }
        };
        self.push(RecordKind::Sealed, self.last_seq, &sealed_body(next));
        match self.write_group() {
            Ok(()) => {}
            Err(failure) if failure.poisoned => return Err(failure),
            Err(failure) => {
                tracing::warn!(error = %failure.error, "cannot seal a WAL segment, going on in it");
                return Ok(());
            }
        }
        self.sealed.push(Sealed { id: self.end.segment, max_seq: self.last_seq, length: self.end.length });
        self.file = file;
        self.reserved = Some(0);
        self.end = LogEnd { segment: next, length: SEGMENT_HEADER_BYTES };
        Ok(())
    }

    /// The segment that the log must be kept from if every change up to `flushed` is in runs.
    pub fn floor(&self, flushed: SeqNo) -> WalId {
        let needed = self.sealed.iter().find(|sealed| sealed.max_seq > flushed);
        needed.map_or(self.end.segment, |sealed| sealed.id)
    }

    /// Forgets the segments before `floor` and returns them; the caller removes their files.
    pub fn forget_before(&mut self, floor: WalId) -> Vec<WalId> {
        let keep = self.sealed.partition_point(|sealed| sealed.id < floor);
        self.sealed.drain(..keep).map(|sealed| sealed.id).collect()
    }
}

/// Creates a segment, durably. A file that an earlier attempt left, and that no record points to, is used again.
fn begin_segment(disk: &dyn Disk, database: u128, segment: WalId) -> Result<Box<dyn WriteFile>> {
    let path = path::wal(segment);
    let mut file = match disk.create(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => disk.append(&path, 0),
        created => created,
    }
    .map_err(at("create", &path))?;
    file.append(&segment_header(segment, database)).map_err(at("write", &path))?;
    file.sync().map_err(at("sync", &path))?;
    disk.sync_dir(path::WAL).map_err(at("sync", path::WAL))?;
    Ok(file)
}
