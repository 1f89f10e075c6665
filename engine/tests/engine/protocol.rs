//! The oracle can fail: each step of the protocol that is left out is caught by the crash test.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustling_engine::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use rustling_engine::disk::sim::SimDisk;

use crate::crash::{first_violation, scripts};

/// A step that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Files whose path starts and ends so are not synced.
    NoFileSync(&'static str, &'static str),
    /// Folders whose path starts so are not synced.
    NoFolderSync(&'static str),
    /// A manifest is written in place instead of being linked when complete.
    ManifestInPlace,
}

const FAULTS: [Fault; 12] = [
    Fault::NoFileSync("wal/", ".wal"),
    Fault::NoFileSync("staging/manifest", ""),
    Fault::NoFileSync("staging/", ".parquet"),
    Fault::NoFileSync("staging/", ".keys"),
    Fault::NoFileSync("staging/", ".del"),
    Fault::NoFolderSync("wal"),
    Fault::NoFolderSync("manifest"),
    Fault::NoFolderSync("tables/"),
    Fault::NoFolderSync("tables"),
    Fault::NoFolderSync(""),
    Fault::NoFileSync("", ""),
    Fault::ManifestInPlace,
];

/// A simulated disk that leaves a step out.
#[derive(Debug)]
struct FaultyDisk {
    disk: SimDisk,
    fault: Fault,
}

#[derive(Debug)]
struct UnsyncedFile(Box<dyn WriteFile>);

impl WriteFile for UnsyncedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        self.0.reserve(bytes)
    }

    fn give_back(&mut self) -> io::Result<()> {
        self.0.give_back()
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FaultyDisk {
    fn file(&self, path: &str, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        match self.fault {
            Fault::NoFileSync(start, end) if path.starts_with(start) && path.ends_with(end) => {
                Box::new(UnsyncedFile(file))
            }
            _ => file,
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self.fault {
            Fault::NoFolderSync(folder) if dir == folder || (folder.ends_with('/') && dir.starts_with(folder)) => {
                Ok(())
            }
            _ => self.disk.sync_dir(dir),
        }
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(path, self.disk.append(path, length)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        self.disk.open(path)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        if self.fault != Fault::ManifestInPlace {
            return self.disk.link(from, to);
        }
        let bytes = self.disk.open(from)?.map()?;
        let mut file = self.disk.create(to)?;
        file.append(&bytes)?;
        file.sync()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(path)
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

#[test]
fn every_step_that_is_left_out_is_caught() {
    for fault in FAULTS {
        let wrap = |disk: &SimDisk| -> Arc<dyn Disk> { Arc::new(FaultyDisk { disk: disk.clone(), fault }) };
        match first_violation(&scripts(), &wrap) {
            Some(violation) => println!("{fault:?}: caught: {violation:.200}"),
            None => panic!("{fault:?} is not caught by any script"),
        }
    }
}
