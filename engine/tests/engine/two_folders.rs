//! Folders of one simulated disk, each as a disk of its own: they lose power at once, and can share files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustling_engine::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use rustling_engine::disk::sim::SimDisk;

/// A folder directly below the root of a simulated disk.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    disk: SimDisk,
    name: &'static str,
}

impl Folder {
    pub(crate) fn new(disk: &SimDisk, name: &'static str) -> Self {
        Self { disk: disk.clone(), name }
    }

    pub(crate) fn shared(disk: &SimDisk, name: &'static str) -> Arc<dyn Disk> {
        Arc::new(Self::new(disk, name))
    }

    fn path(&self, path: &str) -> String {
        if path.is_empty() { self.name.to_owned() } else { format!("{}/{path}", self.name) }
    }
}

impl Disk for Folder {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(&self.path(dir))?;
        // The name of a disk's root is durable with this call.
        if dir.is_empty() { self.disk.sync_dir("") } else { Ok(()) }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(&self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(&self.path(dir))
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        self.disk.create(&self.path(path))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        self.disk.append(&self.path(path), length)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        self.disk.open(&self.path(path))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.link(&self.path(from), &self.path(to))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(&self.path(path))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.remove_dir(&self.path(dir))
    }

    fn link_from(&self, other: &dyn Disk, path: &str, to: &str) -> io::Result<bool> {
        let Some(from) = other.local_path(path) else { return Ok(false) };
        self.disk.link(&from.to_string_lossy(), &self.path(to)).map(|()| true)
    }

    fn local_path(&self, path: &str) -> Option<PathBuf> {
        Some(self.path(path).into())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(&self.path(path))
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }
}
