//! The seam to the disk: everything the engine does to files goes through [`Disk`].
//!
//! In: paths relative to the database folder, `/` between parts, made of ids and fixed words only (see
//! [`crate::disk::path`]); anything else is `InvalidInput`. Out: plain `std::io` results; the caller adds operation and path.
//! Invariants: what a crash leaves is what was synced. Bytes of a file survive after [`WriteFile::sync`]; a name made,
//! linked, renamed or removed survives after [`Disk::sync_dir`] of its folder; neither implies the other. A file is
//! never changed once it was linked or renamed to its final name, WAL segments excepted: what is appended to the last one
//! takes the place of zeros that were reserved, or lies behind its end; what is not needed is cut off.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Error, Result};

/// A folder with files: the local file system, memory, or a simulation of one that loses power.
pub trait Disk: Send + Sync + Debug {
    /// Makes a folder below the database folder, and its parents; that it is there already is no error.
    /// `""` is the database folder itself; its name, which no [`Disk::sync_dir`] reaches, is durable with this call.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Names of the files and folders directly in a folder, ascending. `NotFound` if the folder is not there.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes the folder's names durable: what was created, linked, renamed, removed in it before this call.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Creates a new file for appending; `AlreadyExists` if the name is taken.
    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file for appending after cutting it to its first `length` bytes; `InvalidInput` if it is shorter. The
    /// cut is durable with the next [`WriteFile::sync`].
    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>>;

    /// Opens a file for reading.
    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>>;

    /// Gives a file a second name; `AlreadyExists` if that name is taken (the atomic "create if absent").
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives a file (no folder) another name, replacing the file that has that name. Within one folder a crash leaves
    /// the old name or the new one; between folders the two are made durable each by its own [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name of a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a folder that is empty; `Unsupported` where a disk keeps its folders, as it may.
    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file of another disk a name on this one, so that both share its bytes; `false` if they cannot, so that
    /// the file has to be copied. Only for files that never change. `AlreadyExists` if the name is taken.
    fn link_from(&self, other: &dyn Disk, path: &str, to: &str) -> io::Result<bool> {
        let _ = (other, path, to);
        Ok(false)
    }

    /// Where the local file system has a file, if the disk is a folder of it.
    fn local_path(&self, path: &str) -> Option<PathBuf> {
        let _ = path;
        None
    }

    /// Takes the exclusive lock that lives in a file (created if absent); `None` if another holds it.
    /// Dropping the lock releases it.
    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// How people know the folder: a path, or `memory`.
    fn describe(&self) -> String;

    /// Time since some moment, for telling people how long something took. In a simulation no time passes.
    fn clock(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    /// A number that no other call gives, by which databases and commits are told apart. Not for secrets. A simulation
    /// gives the same numbers in every run, so that its files have the same bytes.
    fn random(&self) -> u128 {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let half = || u128::from(RandomState::new().build_hasher().finish());
        half() << 64 | half()
    }
}

/// A file being written, from its first byte to its last.
pub trait WriteFile: Send + Debug {
    /// Appends all of `bytes` or fails; after a failure any prefix of them may be in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts `bytes` zeros behind what was appended; appends go on before them and overwrite them. Once they are synced,
    /// syncs of what overwrites them have no length to make durable, which saves about a third of their time.
    /// After a failure any part of the zeros may be in the file, and it may be used on.
    fn reserve(&mut self, bytes: usize) -> io::Result<()>;

    /// Cuts the file behind what was appended, which gives back what was reserved. The cut is durable with the next
    /// [`WriteFile::sync`].
    fn give_back(&mut self) -> io::Result<()>;

    /// Makes everything appended so far durable. After a failure the file must not be used any more.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file open for reading. It stays readable after its name was removed.
#[expect(clippy::len_without_is_empty, reason = "an empty file needs no special case anywhere")]
pub trait ReadFile: Send + Sync + Debug {
    /// Bytes in the file when it was opened.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset` on; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The whole file as one slice, mapped where the system can. Only for files that never change.
    fn map(&self) -> io::Result<Bytes>;
}

/// A held lock; dropping it releases it.
pub trait DiskLock: Send + Sync + Debug {
    /// Whether the file that is locked is still the one at its path. It is not when somebody removed or replaced the
    /// folder: then another process can hold the lock that one finds there.
    fn is_in_place(&self) -> bool;
}

/// Names of the files and folders directly in a folder, ascending; none if it is not there.
///
/// # Errors
/// The disk's.
pub fn names(disk: &dyn Disk, folder: &str) -> Result<Vec<String>> {
    match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(at("list", if folder.is_empty() { "the database folder" } else { folder })),
    }
}

/// Adds the operation (a verb, "sync") and the path to a system error.
pub fn at<'a>(operation: &'static str, path: &'a str) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { operation, path: path.to_owned(), source }
}
