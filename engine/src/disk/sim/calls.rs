//! The seam's calls on a simulated disk.
//!
//! In: calls. Out: the answers of [`crate::disk::memory`], or those of a fault. Invariants: each call is counted once,
//! before it does anything; what changes something is written to the journal in the same step.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::disk::api::{Disk, DiskLock, ReadFile, WriteFile};
use crate::disk::sim::disk::{SimDisk, State};
use crate::disk::sim::fault::{Course, Operation};
use crate::disk::sim::journal::Change;
use crate::disk::tree::Inode;

impl Disk for SimDisk {
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.call(Operation::CreateDir, dir, |state| {
            let made = state.live.create_dir(dir)?;
            state.journal.extend(made.into_iter().map(|dir| Change::CreateDir { dir: dir.into() }));
            Ok(())
        })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.call(Operation::List, dir, |state| state.live.list(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.call(Operation::SyncDir, dir, |state| {
            state.live.check_dir(dir)?;
            state.journal.push(Change::SyncDir { dir: dir.into() });
            Ok(())
        })
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        let inode = self.call(Operation::Create, path, |state| create(state, path))?;
        Ok(Box::new(SimWriteFile { disk: self.clone(), path: path.to_owned(), inode, end: 0 }))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        let inode = self.call(Operation::OpenAppend, path, |state| {
            let (inode, cut) = state.live.cut(path, length)?;
            if cut {
                state.journal.push(Change::Truncate { inode: inode.id(), length: inode.len() });
            }
            Ok(inode)
        })?;
        Ok(Box::new(SimWriteFile { disk: self.clone(), path: path.to_owned(), end: inode.len(), inode }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        let inode = self.call(Operation::Open, path, |state| state.live.find(path))?;
        Ok(Arc::new(SimReadFile { disk: self.clone(), path: path.to_owned(), length: inode.len(), inode }))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Operation::Link, from, |state| {
            let inode = state.live.link(from, to)?.id();
            state.journal.push(Change::Link { to: to.into(), inode });
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Operation::Rename, from, |state| {
            if let Some(inode) = state.live.rename(from, to)? {
                state.journal.push(Change::Rename { from: from.into(), to: to.into(), inode: inode.id() });
            }
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.call(Operation::Remove, path, |state| {
            state.live.remove(path)?;
            state.journal.push(Change::Remove { path: path.into() });
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.call(Operation::RemoveDir, dir, |state| {
            state.live.remove_dir(dir)?;
            state.journal.push(Change::RemoveDir { dir: dir.into() });
            Ok(())
        })
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.call(Operation::Lock, path, |state| match state.live.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(state, path),
            found => found,
        })?;
        if !self.state().live.take_lock(path) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn describe(&self) -> String {
        "simulation".to_owned()
    }

    fn clock(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> u128 {
        self.next_random()
    }
}

fn create(state: &mut State, path: &str) -> io::Result<Arc<Inode>> {
    let inode = state.live.create(path)?;
    state.journal.push(Change::Create { path: path.into(), inode: inode.id() });
    Ok(inode)
}

#[derive(Debug)]
struct SimWriteFile {
    disk: SimDisk,
    path: String,
    inode: Arc<Inode>,
    /// Behind what was appended.
    end: usize,
}

impl SimWriteFile {
    /// Writes as much as a fault lets it at the end, which stays where it is; how many bytes that were, and the answer.
    fn write(&self, operation: Operation, bytes: &[u8]) -> io::Result<(usize, io::Result<()>)> {
        let mut state = self.disk.state();
        let (written, answer) = match state.plan.enter(operation, &self.path)? {
            Course::Proceed => (bytes, Ok(())),
            Course::FailAfter(failure) => (bytes, Err(failure.error())),
            Course::Half(failure) => (&bytes[..bytes.len() / 2], Err(failure.error())),
            Course::Drop(failure) => (&bytes[..0], Err(failure.error())),
        };
        if !written.is_empty() {
            let inode = self.inode.id();
            state.journal.push(Change::Write { inode, offset: self.end, bytes: written.into() });
            self.inode.write_at(self.end, written);
        }
        Ok((written.len(), answer))
    }
}

impl WriteFile for SimWriteFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (written, answer) = self.write(Operation::Append, bytes)?;
        self.end += written;
        answer
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        self.write(Operation::Reserve, &vec![0; bytes])?.1
    }

    fn give_back(&mut self) -> io::Result<()> {
        self.disk.call(Operation::GiveBack, &self.path, |state| {
            if self.inode.len() > self.end {
                self.inode.truncate(self.end);
                state.journal.push(Change::Truncate { inode: self.inode.id(), length: self.end });
            }
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let inode = self.inode.id();
        let mut state = self.disk.state();
        let (change, answer) = match state.plan.enter(Operation::SyncFile, &self.path)? {
            Course::Proceed => (Change::SyncFile { inode }, Ok(())),
            Course::FailAfter(failure) => (Change::SyncFile { inode }, Err(failure.error())),
            Course::Half(failure) | Course::Drop(failure) => (Change::LoseFile { inode }, Err(failure.error())),
        };
        state.journal.push(change);
        answer
    }
}

#[derive(Debug)]
struct SimReadFile {
    disk: SimDisk,
    path: String,
    inode: Arc<Inode>,
    length: usize,
}

impl ReadFile for SimReadFile {
    fn len(&self) -> u64 {
        self.length as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let course = self.disk.state().plan.enter(Operation::ReadAt, &self.path)?;
        let half = buffer.len() / 2;
        match course {
            Course::Proceed => self.inode.read_at(offset, buffer),
            Course::FailAfter(failure) => self.inode.read_at(offset, buffer).and(Err(failure.error())),
            Course::Half(failure) | Course::Drop(failure) => {
                self.inode.read_at(offset, &mut buffer[..half]).and(Err(failure.error()))
            }
        }
    }

    fn map(&self) -> io::Result<Bytes> {
        self.disk.call(Operation::Map, &self.path, |_| self.inode.prefix(self.length))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().live.release_lock(&self.path);
    }
}

impl DiskLock for SimLock {
    /// Nobody else gets at the folder.
    fn is_in_place(&self) -> bool {
        true
    }
}
