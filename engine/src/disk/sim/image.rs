//! What a crash leaves: folders and files with their contents, unchangeable.
//!
//! In: names and contents from the model of a simulated disk. Out: reads, and a digest by which equal images are known.
//! Invariants: contents are shared between the images of a disk, never copied; every file's folder is in the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::disk::path::split;
use crate::disk::sim::cut::Origin;
use crate::disk::tree::InodeId;

/// The bytes of a file, and their digest.
#[derive(Clone)]
pub(super) struct Content {
    bytes: Arc<Vec<u8>>,
    digest: u128,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: xxh3_128(&bytes), bytes: Arc::new(bytes) }
    }

    pub(super) fn bytes(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    pub(super) fn digest(&self) -> u128 {
        self.digest
    }
}

/// Folders, and which file has which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) folders: BTreeSet<Arc<str>>,
    pub(super) files: BTreeMap<Arc<str>, InodeId>,
}

impl Names {
    /// Without the names that no path leads to because a folder above them is not there.
    pub(super) fn reachable(&self) -> Self {
        let mut folders = BTreeSet::from([Arc::from("")]);
        // Ascending, so a folder comes after the one it is in.
        for folder in &self.folders {
            if folders.contains(split(folder).0) {
                folders.insert(Arc::clone(folder));
            }
        }
        let files = self.files.iter().filter(|(path, _)| folders.contains(split(path).0));
        Self { files: files.map(|(path, inode)| (Arc::clone(path), *inode)).collect(), folders }
    }
}

/// One state of a disk after a crash. Cheap to clone.
#[derive(Clone)]
pub struct Image {
    names: Arc<Names>,
    /// Of the files of `names`, in their order.
    contents: Arc<[Content]>,
    digest: u128,
    origin: Origin,
}

impl Image {
    /// `contents` has every inode of `names`, which are reachable ones.
    pub(super) fn new(names: &Arc<Names>, contents: &BTreeMap<InodeId, Content>, origin: Origin) -> Self {
        let contents = names.files.values().filter_map(|inode| contents.get(inode).cloned()).collect();
        let mut image = Self { names: Arc::clone(names), contents, digest: 0, origin };
        image.digest = image.compute_digest();
        image
    }

    /// The image of an empty disk.
    pub(super) fn empty() -> Self {
        let names = Names { folders: BTreeSet::from([Arc::from("")]), files: BTreeMap::new() };
        Self::new(&Arc::new(names), &BTreeMap::new(), Origin::Killed)
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn contents(&self) -> impl Iterator<Item = (&Arc<str>, InodeId, &Content)> {
        let files = self.names.files.iter().zip(self.contents.iter());
        files.map(|((path, inode), content)| (path, *inode, content))
    }

    /// XXH3-128 of all folders, and of all paths with the digests of their contents, in order of paths.
    fn compute_digest(&self) -> u128 {
        let mut state = Xxh3::new();
        for folder in &self.names.folders {
            state.update(&(folder.len() as u64).to_le_bytes());
            state.update(folder.as_bytes());
        }
        // No path is that long, so the folders end here.
        state.update(&u64::MAX.to_le_bytes());
        for (path, _, content) in self.contents() {
            state.update(&(path.len() as u64).to_le_bytes());
            state.update(path.as_bytes());
            state.update(&content.digest.to_le_bytes());
        }
        state.digest128()
    }

    /// Equal for images with the same folders, paths and contents, whatever their origin.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// How it came to be, for the message of a failed test.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The same image but for the bytes of one file, which may be a new one in a folder of the image: what a bad disk
    /// or a bad copy leaves. All other contents are shared.
    #[must_use]
    pub fn with_file(&self, path: &str, bytes: Vec<u8>) -> Self {
        let mut names = (*self.names).clone();
        // A file of its own: other names of what was there keep their content.
        let next = InodeId(names.files.values().map(|inode| inode.0 + 1).max().unwrap_or(0));
        names.files.insert(path.into(), next);
        self.renamed(names, Some((next, Content::new(bytes))))
    }

    /// The same image without the name of a file.
    #[must_use]
    pub fn without_file(&self, path: &str) -> Self {
        let mut names = (*self.names).clone();
        names.files.remove(path);
        self.renamed(names, None)
    }

    fn renamed(&self, names: Names, added: Option<(InodeId, Content)>) -> Self {
        let known = self.contents().map(|(_, inode, content)| (inode, content.clone()));
        let contents = known.chain(added).collect();
        Self::new(&Arc::new(names), &contents, self.origin)
    }

    /// The content of a file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files().find_map(|(found, bytes)| (found == path).then_some(bytes))
    }

    /// All files with their contents, in order of paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.contents().map(|(path, _, content)| (&**path, content.bytes.as_slice()))
    }

    /// All folders in order; the first is `""`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.names.folders.iter().map(|folder| &**folder)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; ", self.origin)?;
        f.debug_set().entries(self.folders()).finish()?;
        f.debug_map().entries(self.files().map(|(path, bytes)| (path, bytes.len()))).finish()
    }
}
