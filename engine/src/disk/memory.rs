//! Memory as a [`Disk`]: databases that end with the process.
//!
//! In and out: as the seam says. Invariants: answers are those of [`crate::disk::local`] (one test runs on both); a sync
//! has nothing to do, since nothing here outlives the process.

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use crate::disk::tree::{Inode, Tree};
use crate::sync::{Mutex, MutexGuard};

/// A disk in memory. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self { tree: Arc::new(Mutex::new(Tree::new())) }
    }

    /// The tree changes in single steps, so one that a panicking thread left is whole.
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.tree().create_dir(dir).map(|_| ())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.tree().list(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.tree().check_dir(dir)
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(MemoryWriteFile { inode: self.tree().create(path)?, end: 0 }))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        let (inode, _) = self.tree().cut(path, length)?;
        Ok(Box::new(MemoryWriteFile { end: inode.len(), inode }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        let inode = self.tree().find(path)?;
        Ok(Arc::new(MemoryReadFile { length: inode.len(), inode }))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.tree().link(from, to).map(|_| ())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.tree().rename(from, to).map(|_| ())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.tree().remove(path)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.tree().remove_dir(dir)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut tree = self.tree();
        match tree.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => tree.create(path)?,
            found => found?,
        };
        if !tree.take_lock(path) {
            return Ok(None);
        }
        drop(tree);
        Ok(Some(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

#[derive(Debug)]
struct MemoryWriteFile {
    inode: Arc<Inode>,
    /// Behind what was appended.
    end: usize,
}

impl WriteFile for MemoryWriteFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inode.write_at(self.end, bytes);
        self.end += bytes.len();
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        self.inode.write_at(self.end, &vec![0; bytes]);
        Ok(())
    }

    fn give_back(&mut self) -> io::Result<()> {
        self.inode.truncate(self.end);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryReadFile {
    inode: Arc<Inode>,
    length: usize,
}

impl ReadFile for MemoryReadFile {
    fn len(&self) -> u64 {
        self.length as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inode.read_at(offset, buffer)
    }

    fn map(&self) -> io::Result<Bytes> {
        self.inode.prefix(self.length)
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: String,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.tree().release_lock(&self.path);
    }
}

impl DiskLock for MemoryLock {
    /// Nobody else gets at the folder.
    fn is_in_place(&self) -> bool {
        true
    }
}
