//! Makes durable what a replay found, before anything builds on it.
//!
//! In: what a replay found, and the end of the log that the manifest knows to be durable. Out: the same log, durable.
//! Invariants: what lies behind the known end was read, but may be in the system's memory only: the process before may
//! have died between an append and its sync, or its sync may have failed. Syncing again does not help after a failed
//! sync, because the system may take the pages for written. So the bytes are written once more, into a file that takes
//! the old one's name when it is durable.

use std::io::ErrorKind;

use crate::disk::api::{Disk, at};
use crate::disk::path;
use crate::error::{Error, Result};
use crate::id::WalId;
use crate::wal::log::LogEnd;
use crate::wal::record::SEGMENT_HEADER_BYTES;
use crate::wal::replay::Replayed;

/// Makes the log durable up to where the replay ended. Only the group that was written last can be in doubt: it is in
/// the last segment, or it is the one that sealed the segment before.
///
/// # Errors
/// The disk's.
pub fn settle(disk: &dyn Disk, replayed: &Replayed, known_end: LogEnd) -> Result<()> {
    let end = replayed.end;
    if end == known_end {
        return Ok(());
    }
    if end.length <= SEGMENT_HEADER_BYTES
        && let Some(before) = replayed.sealed.last()
    {
        settle_segment(disk, before.id, None)?;
    }
    settle_segment(disk, end.segment, Some(end.length))
}

/// Writes a segment, or its first bytes, into a new file that takes its place.
fn settle_segment(disk: &dyn Disk, segment: WalId, length: Option<u64>) -> Result<()> {
    let (path, staged) = (path::wal(segment), path::staging(&format!("wal-{}", segment.0)));
    let file = disk.open(&path).map_err(at("open", &path))?;
    let length = length.unwrap_or_else(|| file.len());
    let bytes_count = usize::try_from(length).map_err(|_| at("read", &path)(ErrorKind::FileTooLarge.into()))?;
    let mut bytes = vec![0; bytes_count];
    file.read_at(0, &mut bytes).map_err(at("read", &path))?;
    // Opening may have failed to sweep what an earlier attempt left.
    let _ = disk.remove(&staged);
    match write_copy(disk, &staged, &bytes) {
        Ok(()) => {}
        // A full disk must not keep a database from being opened: there what is in the file is synced, which does unless
        // a sync of it failed before.
        Err(error) if is_full(&error) => {
            let _ = disk.remove(&staged);
            let mut file = disk.append(&path, length).map_err(at("open", &path))?;
            return file.sync().map_err(at("sync", &path));
        }
        Err(error) => return Err(error),
    }
    disk.rename(&staged, &path).map_err(at("rename", &staged))?;
    disk.sync_dir(path::WAL).map_err(at("sync", path::WAL))
}

fn write_copy(disk: &dyn Disk, staged: &str, bytes: &[u8]) -> Result<()> {
    let mut copy = disk.create(staged).map_err(at("create", staged))?;
    copy.append(bytes).map_err(at("write", staged))?;
    copy.sync().map_err(at("sync", staged))
}

fn is_full(error: &Error) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    matches!(error, Error::Io { source, .. } if full.contains(&source.kind()))
}
