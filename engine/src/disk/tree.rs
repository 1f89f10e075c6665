//! Folders and files in memory: the state behind [`crate::disk::memory`] and [`crate::disk::sim`].
//!
//! In: checked calls, one at a time (the owner of the [`Tree`] locks it). Out: what a file system would answer.
//! Invariants: every folder's parent is a folder; the root is always there; an inode lives as long as a name or an open
//! file needs it; contents are shared until one side changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::disk::path::{check_file, check_folder, split};

/// Which file, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeId(pub(crate) u64);

impl fmt::Display for InodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.0)
    }
}

/// A file without its names.
pub(crate) struct Inode {
    id: InodeId,
    content: RwLock<Arc<Vec<u8>>>,
}

impl Inode {
    fn new(id: InodeId, content: Arc<Vec<u8>>) -> Self {
        Self { id, content: RwLock::new(content) }
    }

    pub(crate) fn id(&self) -> InodeId {
        self.id
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    pub(crate) fn write_at(&self, offset: usize, bytes: &[u8]) {
        write_at(Arc::make_mut(&mut *self.write()), offset, bytes);
    }

    pub(crate) fn truncate(&self, length: usize) {
        Arc::make_mut(&mut *self.write()).truncate(length);
    }

    /// Fills the buffer, or fails and leaves it as it was.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = self.read();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| content.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    /// The first `length` bytes as they are now; later changes do not reach them.
    pub(crate) fn prefix(&self, length: usize) -> io::Result<Bytes> {
        let content = Arc::clone(&self.read());
        if content.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from_owner(Shared(content)).slice(..length))
    }

    // A writer that panicked cannot leave half a change behind, so a poisoned lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, Arc<Vec<u8>>> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<Vec<u8>>> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inode").field("id", &self.id.0).field("length", &self.len()).finish()
    }
}

/// Writes as a file system does: a hole before the offset reads as zeros.
pub(crate) fn write_at(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug)]
enum Node {
    Folder,
    File(Arc<Inode>),
}

type Folder = BTreeMap<String, Node>;

/// All folders, files and locks of a disk.
#[derive(Debug)]
pub(crate) struct Tree {
    folders: BTreeMap<String, Folder>,
    locks: BTreeSet<String>,
    inode_count: u64,
}

impl Tree {
    /// An empty root.
    pub(crate) fn new() -> Self {
        Self { folders: BTreeMap::from([(String::new(), Folder::new())]), locks: BTreeSet::new(), inode_count: 0 }
    }

    /// Folders, each behind the one it is in, and files by names in them; names with one id are names of one file.
    pub(crate) fn from_durable<'a>(
        folders: impl Iterator<Item = &'a str>,
        files: impl Iterator<Item = (&'a str, InodeId, Arc<Vec<u8>>)>,
    ) -> Self {
        let mut tree = Self::new();
        for dir in folders.filter(|dir| !dir.is_empty()) {
            let (parent, name) = split(dir);
            tree.folders.entry(parent.to_owned()).or_default().insert(name.to_owned(), Node::Folder);
            tree.folders.insert(dir.to_owned(), Folder::new());
        }
        let mut inodes = BTreeMap::new();
        for (path, id, content) in files {
            let inode = inodes.entry(id).or_insert_with(|| Arc::new(Inode::new(id, content)));
            let (parent, name) = split(path);
            let node = Node::File(Arc::clone(inode));
            tree.folders.entry(parent.to_owned()).or_default().insert(name.to_owned(), node);
        }
        tree.inode_count = inodes.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        tree
    }

    /// Gives no new file an inode before this one.
    pub(crate) fn skip_inodes(&mut self, to: InodeId) {
        self.inode_count = self.inode_count.max(to.0);
    }

    /// Makes a folder and its parents; returns those that were not there, outermost first.
    pub(crate) fn create_dir(&mut self, dir: &str) -> io::Result<Vec<String>> {
        check_folder(dir)?;
        let mut made = Vec::new();
        let ends = dir.match_indices('/').map(|(index, _)| index).chain([dir.len()]);
        for part in ends.map(|end| &dir[..end]).filter(|part| !self.folders.contains_key(*part)).collect::<Vec<_>>() {
            let (parent, name) = split(part);
            let siblings = self.folder_mut(parent)?;
            if siblings.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            siblings.insert(name.to_owned(), Node::Folder);
            self.folders.insert(part.to_owned(), Folder::new());
            made.push(part.to_owned());
        }
        Ok(made)
    }

    pub(crate) fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        check_folder(dir)?;
        Ok(self.folder(dir)?.keys().cloned().collect())
    }

    /// Answers whether the folder is there, by an error if not.
    pub(crate) fn check_dir(&self, dir: &str) -> io::Result<()> {
        check_folder(dir)?;
        self.folder(dir).map(|_| ())
    }

    pub(crate) fn create(&mut self, path: &str) -> io::Result<Arc<Inode>> {
        let inode = Arc::new(Inode::new(InodeId(self.inode_count), Arc::default()));
        self.add(path, Arc::clone(&inode))?;
        self.inode_count += 1;
        Ok(inode)
    }

    /// Gives a file a name that is not taken.
    pub(crate) fn add(&mut self, path: &str, inode: Arc<Inode>) -> io::Result<()> {
        check_file(path)?;
        let (parent, name) = split(path);
        let siblings = self.folder_mut(parent)?;
        if siblings.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        siblings.insert(name.to_owned(), Node::File(inode));
        Ok(())
    }

    pub(crate) fn find(&self, path: &str) -> io::Result<Arc<Inode>> {
        check_file(path)?;
        let (parent, name) = split(path);
        match self.folder(parent)?.get(name) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Finds a file and cuts it to `length` bytes; the flag says whether it was longer.
    pub(crate) fn cut(&mut self, path: &str, length: u64) -> io::Result<(Arc<Inode>, bool)> {
        let inode = self.find(path)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= inode.len());
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let longer = inode.len() > length;
        if longer {
            inode.truncate(length);
        }
        Ok((inode, longer))
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> io::Result<Arc<Inode>> {
        let inode = self.find(from)?;
        self.add(to, Arc::clone(&inode))?;
        Ok(inode)
    }

    /// Renames a file; `None` if both are names of one file, which changes nothing (POSIX says so).
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<Option<Arc<Inode>>> {
        let inode = self.find(from)?;
        match self.find(to) {
            Ok(replaced) if replaced.id == inode.id => return Ok(None),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (parent, name) = split(to);
        self.folder_mut(parent)?.insert(name.to_owned(), Node::File(Arc::clone(&inode)));
        self.remove(from)?;
        Ok(Some(inode))
    }

    pub(crate) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.find(path)?;
        let (parent, name) = split(path);
        self.folder_mut(parent)?.remove(name);
        Ok(())
    }

    /// Removes an empty folder that is not the root.
    pub(crate) fn remove_dir(&mut self, dir: &str) -> io::Result<()> {
        check_folder(dir)?;
        if !self.folder(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if dir.is_empty() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let (parent, name) = split(dir);
        self.folder_mut(parent)?.remove(name);
        self.folders.remove(dir);
        Ok(())
    }

    /// Takes a lock; whether it was free.
    pub(crate) fn take_lock(&mut self, path: &str) -> bool {
        self.locks.insert(path.to_owned())
    }

    pub(crate) fn release_lock(&mut self, path: &str) {
        self.locks.remove(path);
    }

    fn folder(&self, dir: &str) -> io::Result<&Folder> {
        self.folders.get(dir).ok_or_else(|| self.no_folder(dir).into())
    }

    fn folder_mut(&mut self, dir: &str) -> io::Result<&mut Folder> {
        if !self.folders.contains_key(dir) {
            return Err(self.no_folder(dir).into());
        }
        Ok(self.folders.entry(dir.to_owned()).or_default())
    }

    /// What a system says of a path that leads through `dir`, which is no folder.
    fn no_folder(&self, dir: &str) -> io::ErrorKind {
        match self.find(dir) {
            Ok(_) => io::ErrorKind::NotADirectory,
            Err(error) => error.kind(),
        }
    }
}
