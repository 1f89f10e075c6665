//! The local file system as a [`Disk`]. The only file of the engine that calls `std::fs`.
//!
//! In: paths relative to a root folder. Out: files below it, readable by their owner only (0600, folders 0700).
//! Invariants: no path leads out of the root; nothing is durable before a call that says so. Interrupted calls and
//! short reads and writes are finished here.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use crate::disk::map::{map_whole, read_whole};
use crate::disk::path::{check_file, check_folder};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder of the local file system.
#[derive(Debug)]
pub struct LocalDisk {
    /// Absolute, so that a later change of the working directory does not move the database.
    root: PathBuf,
    /// The root as it was given.
    name: String,
}

impl LocalDisk {
    /// The disk whose root is `root`. The folder need not be there: [`Disk::create_dir`] of `""` makes it.
    ///
    /// # Errors
    ///
    /// If `root` is empty, or relative and there is no working directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)?, name: root.display().to_string() })
    }

    fn file(&self, path: &str) -> io::Result<PathBuf> {
        check_file(path)?;
        Ok(self.root.join(path))
    }

    fn folder(&self, dir: &str) -> io::Result<PathBuf> {
        check_folder(dir)?;
        Ok(if dir.is_empty() { self.root.clone() } else { self.root.join(dir) })
    }

    /// Makes the root and its missing parents and their names durable, since no `sync_dir` reaches above the root.
    fn create_root(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|folder| !folder.is_dir()).collect();
        // Each name is synced before the next folder is made, so that of the folders found later only the root
        // itself may have a name that was never synced.
        for folder in missing.iter().rev() {
            make_folder(folder)?;
            sync_parent(folder)?;
        }
        if missing.is_empty() {
            // The process that made the root may have died before it synced the name. A parent that may not be read
            // is none that this user made the root in.
            sync_parent(&self.root).or_else(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(())
    }
}

impl Disk for LocalDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let folder = self.folder(dir)?;
        if dir.is_empty() || !self.root.is_dir() {
            self.create_root()?;
        }
        let mut below: Vec<&Path> = folder.ancestors().take_while(|part| *part != self.root).collect();
        below.reverse();
        below.into_iter().try_for_each(make_folder)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let folder = self.folder(dir)?;
        let mut names = finish(|| {
            // A name that is no UTF-8 is none of ours; its readable likeness stands for nothing either.
            let name = |entry: io::Result<DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
            fs::read_dir(&folder)?.map(name).collect::<io::Result<Vec<String>>>()
        })?;
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.folder(dir)?)?.sync_all()
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(self.file(path)?)?;
        Ok(Box::new(LocalWriteFile { file, end: 0, synced: false }))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).open(self.file(path)?)?;
        let found = file.metadata()?.len();
        if found < length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if found > length {
            file.set_len(length)?;
        }
        Ok(Box::new(LocalWriteFile { file, end: length, synced: false }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        let file = File::open(self.file(path)?)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(LocalReadFile { file, length: metadata.len() }))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.file(from)?, self.file(to)?);
        finish(|| fs::hard_link(&from, &to))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.file(from)?;
        // The seam renames files only: the simulation knows a folder by its path.
        if from.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let to = self.file(to)?;
        finish(|| fs::rename(&from, &to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.file(path)?;
        finish(|| fs::remove_file(&path))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        fs::remove_dir(self.folder(dir)?)
    }

    fn link_from(&self, other: &dyn Disk, path: &str, to: &str) -> io::Result<bool> {
        let Some(from) = other.local_path(path) else { return Ok(false) };
        // A second name of a symbolic link would lead nowhere once the folder is moved.
        if !fs::symlink_metadata(&from)?.is_file() {
            return Ok(false);
        }
        match fs::hard_link(from, self.file(to)?) {
            Ok(()) => Ok(true),
            Err(error) if cannot_share(error.kind()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.file(path).ok()
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        let path = self.file(path)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(&path)?;
        // Does not wait, so nothing interrupts it.
        match file.try_lock() {
            Ok(()) => {
                let metadata = file.metadata()?;
                Ok(Some(Box::new(LocalLock { _held: file, file: (metadata.dev(), metadata.ino()), path })))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// Whether a link failed because of where the two names are: on two file systems, on one without hard links, of a file
/// that belongs to someone else or has all the names it can have.
fn cannot_share(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(kind, CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// Makes one folder whose parent is there; that it is there already is no error.
fn make_folder(folder: &Path) -> io::Result<()> {
    match finish(|| DirBuilder::new().mode(FOLDER_MODE).create(folder)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes a call until nothing interrupts it. The standard library does so for opening, reading, writing and syncing,
/// but not for calls on names, which file systems over a network may interrupt.
fn finish<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            finished => return finished,
        }
    }
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[derive(Debug)]
struct LocalWriteFile {
    file: File,
    /// Behind what was appended.
    end: u64,
    /// Whether this handle synced the file before.
    synced: bool,
}

impl WriteFile for LocalWriteFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        // Written, because of space that is only allocated the file system has to note what was written to it since,
        // with the next sync, which then costs nearly as much as one of a file that grew.
        self.file.write_all_at(&vec![0; bytes], self.end)
    }

    fn give_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)
    }

    /// The first sync of a handle is a full one: it makes the mode and owner of a new file durable. Later only bytes
    /// and length change, which `fdatasync` covers (the length because the bytes cannot be read back without it), and
    /// the journal need not be written for the time of change.
    fn sync(&mut self) -> io::Result<()> {
        if self.synced {
            return self.file.sync_data();
        }
        self.file.sync_all()?;
        self.synced = true;
        Ok(())
    }
}

#[derive(Debug)]
struct LocalReadFile {
    file: File,
    length: u64,
}

impl ReadFile for LocalReadFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn map(&self) -> io::Result<Bytes> {
        if self.length == 0 {
            return read_whole(self);
        }
        // Touching a page behind the end of a file kills the process, so look again before handing out pages.
        if self.file.metadata()?.len() < self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(self.length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        map_whole(&self.file, length)
    }
}

/// The system releases the lock when the file is closed, also when the process dies.
#[derive(Debug)]
struct LocalLock {
    _held: File,
    /// Device and number of the file.
    file: (u64, u64),
    path: PathBuf,
}

impl DiskLock for LocalLock {
    fn is_in_place(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == self.file,
            // Whoever cannot look has not seen that it is gone.
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_root_is_made_with_its_parents_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b/db");
        let disk = LocalDisk::open(&root).unwrap();
        assert_eq!(disk.list("").unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create_dir("").unwrap();
        disk.create_dir("").unwrap();
        disk.create_dir("tables/1").unwrap();
        disk.create("tables/1/x").unwrap();
        assert_eq!((mode(&root), mode(&root.join("tables/1")), mode(&root.join("tables/1/x"))), (0o700, 0o700, 0o600));
        assert_eq!(disk.describe(), root.display().to_string());
    }

    #[test]
    fn a_root_under_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        LocalDisk::open(folder.path()).unwrap().create("file").unwrap();
        let disk = LocalDisk::open(&folder.path().join("file/db")).unwrap();
        assert!(disk.create_dir("").is_err());
        let disk = LocalDisk::open(&folder.path().join("file")).unwrap();
        assert_eq!(disk.create_dir("").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_second_handle_of_the_root_meets_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = LocalDisk::open(folder.path()).unwrap().lock("LOCK").unwrap().unwrap();
        let other = LocalDisk::open(folder.path()).unwrap();
        assert!(other.lock("LOCK").unwrap().is_none());
        drop(lock);
        assert!(other.lock("LOCK").unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_is_not_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::open(folder.path()).unwrap();
        let lock = disk.lock("LOCK").unwrap().unwrap();
        assert!(lock.is_in_place());
        disk.remove("LOCK").unwrap();
        assert!(!lock.is_in_place());
        let other = disk.lock("LOCK").unwrap().unwrap();
        assert!(other.is_in_place() && !lock.is_in_place());
    }

    #[test]
    fn a_file_that_was_cut_is_not_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::open(folder.path()).unwrap();
        disk.create("x").unwrap().append(&[1; 10_000]).unwrap();
        let file = disk.open("x").unwrap();
        disk.append("x", 100).unwrap();
        assert_eq!(file.map().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
