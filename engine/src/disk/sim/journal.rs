//! What was done to a simulated disk, in order.
//!
//! In: every change that took effect, and the test's marks. Out: [`Change`]s for the model of what is durable.
//! Invariants: reads and calls without effect leave no entry; a write knows where in the file it went.

use std::fmt;
use std::sync::Arc;

use crate::disk::tree::InodeId;

/// One entry of the journal.
#[derive(Clone)]
pub(super) enum Change {
    /// A folder was made.
    CreateDir { dir: Arc<str> },
    /// An empty file was made.
    Create { path: Arc<str>, inode: InodeId },
    /// Bytes were written at an offset: appended, or zeros for what is appended later.
    Write { inode: InodeId, offset: usize, bytes: Arc<[u8]> },
    /// A file was cut.
    Truncate { inode: InodeId, length: usize },
    /// A file's bytes became durable.
    SyncFile { inode: InodeId },
    /// A sync failed and dropped the bytes that were not durable.
    LoseFile { inode: InodeId },
    /// A folder's names became durable.
    SyncDir { dir: Arc<str> },
    /// A file got one more name.
    Link { to: Arc<str>, inode: InodeId },
    /// A file got another name.
    Rename { from: Arc<str>, to: Arc<str>, inode: InodeId },
    /// A name was removed.
    Remove { path: Arc<str> },
    /// An empty folder was removed.
    RemoveDir { dir: Arc<str> },
    /// The test marked this place.
    Mark(u64),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateDir { dir } => write!(f, "create folder {dir}"),
            Self::Create { path, inode } => write!(f, "create {path} as {inode}"),
            Self::Write { inode, offset, bytes } => {
                write!(f, "write {} bytes to {inode} at {offset}", bytes.len())
            }
            Self::Truncate { inode, length } => write!(f, "cut {inode} to {length} bytes"),
            Self::SyncFile { inode } => write!(f, "sync {inode}"),
            Self::LoseFile { inode } => write!(f, "fail to sync {inode} and drop its bytes"),
            Self::SyncDir { dir } => write!(f, "sync folder `{dir}`"),
            Self::Link { to, inode } => write!(f, "link {inode} as {to}"),
            Self::Rename { from, to, inode } => write!(f, "rename {inode} from {from} to {to}"),
            Self::Remove { path } => write!(f, "remove {path}"),
            Self::RemoveDir { dir } => write!(f, "remove folder {dir}"),
            Self::Mark(mark) => write!(f, "mark {mark}"),
        }
    }
}
