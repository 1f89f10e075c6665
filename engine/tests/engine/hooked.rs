//! A disk that tells of every call before it does it; the one who is told may refuse it, or panic.
//!
//! In: a disk and a function. Out: the same disk.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustling_engine::disk::api::{Disk, DiskLock, ReadFile, WriteFile};

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// One that only reads.
    Read,
    /// One that changes a name or makes a folder durable.
    Change,
    /// Bytes go into a file.
    Append,
    /// A file is made durable.
    Sync,
    /// The lock of the database is taken.
    Lock,
    /// It is released.
    Unlock,
}

type Hook = Arc<dyn Fn(Call, &str) -> io::Result<()> + Send + Sync>;

/// See the file's header.
pub(crate) struct HookedDisk {
    disk: Arc<dyn Disk>,
    hook: Hook,
}

impl HookedDisk {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        hook: impl Fn(Call, &str) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { disk, hook: Arc::new(hook) }
    }

    fn file(&self, path: &str, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(HookedFile { file, path: path.to_owned(), hook: self.hook.clone() })
    }
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Disk for HookedDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        (self.hook)(Call::Change, dir)?;
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        (self.hook)(Call::Read, dir)?;
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        (self.hook)(Call::Change, dir)?;
        self.disk.sync_dir(dir)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        (self.hook)(Call::Change, path)?;
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        (self.hook)(Call::Change, path)?;
        Ok(self.file(path, self.disk.append(path, length)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        (self.hook)(Call::Read, path)?;
        self.disk.open(path)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        (self.hook)(Call::Change, to)?;
        self.disk.link(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.hook)(Call::Change, to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        (self.hook)(Call::Change, path)?;
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        (self.hook)(Call::Change, dir)?;
        self.disk.remove_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        (self.hook)(Call::Lock, path)?;
        let lock = self.disk.lock(path)?;
        Ok(lock.map(|lock| Box::new(HookedLock { lock, hook: Hook::clone(&self.hook) }) as Box<dyn DiskLock>))
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }

    fn clock(&self) -> Duration {
        self.disk.clock()
    }

    fn random(&self) -> u128 {
        self.disk.random()
    }
}

struct HookedFile {
    file: Box<dyn WriteFile>,
    path: String,
    hook: Hook,
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl WriteFile for HookedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.hook)(Call::Append, &self.path)?;
        self.file.append(bytes)
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        (self.hook)(Call::Append, &self.path)?;
        self.file.reserve(bytes)
    }

    fn give_back(&mut self) -> io::Result<()> {
        (self.hook)(Call::Change, &self.path)?;
        self.file.give_back()
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.hook)(Call::Sync, &self.path)?;
        self.file.sync()
    }
}

struct HookedLock {
    lock: Box<dyn DiskLock>,
    hook: Hook,
}

impl fmt::Debug for HookedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock.fmt(f)
    }
}

impl DiskLock for HookedLock {
    fn is_in_place(&self) -> bool {
        self.lock.is_in_place()
    }
}

impl Drop for HookedLock {
    fn drop(&mut self) {
        drop((self.hook)(Call::Unlock, "LOCK"));
    }
}
