//! What of a simulated disk is durable, and what is pending.
//!
//! In: the journal's changes in order, from the image the disk began with. Out: names and contents for every cut of the
//! pending changes. Invariants: syncing a file promotes its bytes and no name, syncing a folder its names and no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::disk::path::split;
use crate::disk::sim::cut::{DataCut, NameCut};
use crate::disk::sim::image::{Content, Image, Names};
use crate::disk::sim::journal::Change;
use crate::disk::sim::sector::{lost_sectors, sector_cut, write_sectors};
use crate::disk::tree::{InodeId, write_at};

/// A change of the names in one folder.
#[derive(Clone)]
enum NameChange {
    AddFolder(Arc<str>),
    Add(Arc<str>, InodeId),
    Remove(Arc<str>),
    RemoveFolder(Arc<str>),
    /// Within one folder, so it happens whole or not at all.
    Rename(Arc<str>, Arc<str>, InodeId),
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            Self::AddFolder(path)
            | Self::Add(path, _)
            | Self::Remove(path)
            | Self::RemoveFolder(path)
            | Self::Rename(path, _, _) => split(path).0,
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::AddFolder(path) => {
                names.folders.insert(Arc::clone(path));
            }
            Self::Add(path, inode) => {
                names.files.insert(Arc::clone(path), *inode);
            }
            Self::Remove(path) => {
                names.files.remove(path);
            }
            Self::RemoveFolder(path) => {
                names.folders.remove(path);
                // Names whose removal was not synced go with it: one made later at this path is another folder.
                names.files.retain(|file, _| split(file).0 != &**path);
            }
            Self::Rename(from, to, inode) => {
                names.files.remove(from);
                names.files.insert(Arc::clone(to), *inode);
            }
        }
    }
}

/// A change of a file's bytes.
#[derive(Clone)]
enum DataChange {
    Write { offset: usize, bytes: Arc<[u8]> },
    Truncate(usize),
}

impl DataChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write_at(content, *offset, bytes),
            Self::Truncate(length) => content.resize(*length, 0),
        }
    }
}

#[derive(Clone)]
struct File {
    durable: Content,
    pending: Vec<DataChange>,
    /// What a reader finds, once that is more than the durable and the pending bytes: after a sync that dropped some.
    cached: Option<Vec<u8>>,
}

impl File {
    fn new(durable: Content) -> Self {
        Self { durable, pending: Vec::new(), cached: None }
    }

    fn push(&mut self, change: DataChange) {
        if let Some(cached) = &mut self.cached {
            change.apply(cached);
        }
        self.pending.push(change);
    }

    fn content(&self, cut: DataCut) -> Content {
        if matches!(cut, DataCut::First(0)) || self.pending.is_empty() {
            return self.durable.clone();
        }
        let mut bytes = self.durable.bytes().to_vec();
        let whole = match cut {
            DataCut::First(count) => count,
            DataCut::Torn { index, .. } | DataCut::Zeros(index) | DataCut::Sectors { index, .. } => index,
            DataCut::AllBut(_) => self.pending.len(),
        };
        for (index, change) in self.pending.iter().enumerate().take(whole) {
            if cut != DataCut::AllBut(index) {
                change.apply(&mut bytes);
            }
        }
        match (cut, self.pending.get(whole)) {
            (DataCut::Torn { bytes: kept, .. }, Some(DataChange::Write { offset, bytes: written })) => {
                write_at(&mut bytes, *offset, &written[..kept.min(written.len())]);
            }
            (DataCut::Zeros(_), Some(DataChange::Write { offset, bytes: written })) => {
                write_at(&mut bytes, *offset, &vec![0; written.len()]);
            }
            (DataCut::Sectors { lost, .. }, Some(DataChange::Write { offset, bytes: written })) => {
                write_sectors(&mut bytes, *offset, written, lost);
            }
            _ => {}
        }
        Content::new(bytes)
    }

    fn all_pending(&self) -> DataCut {
        DataCut::First(self.pending.len())
    }

    /// Every cut but "none" and "all".
    fn cuts(&self) -> Vec<DataCut> {
        let mut cuts = Vec::new();
        for (index, change) in self.pending.iter().enumerate() {
            if index > 0 {
                cuts.push(DataCut::First(index));
            }
            if index + 1 < self.pending.len() {
                cuts.push(DataCut::AllBut(index));
            }
            if let DataChange::Write { offset, bytes } = change {
                cuts.push(DataCut::Zeros(index));
                cuts.push(DataCut::Torn { index, bytes: bytes.len() / 2 });
                cuts.extend(sector_cut(*offset, bytes.len()).map(|bytes| DataCut::Torn { index, bytes }));
                cuts.extend(lost_sectors(*offset, bytes.len()).map(|lost| DataCut::Sectors { index, lost }));
            }
        }
        cuts
    }
}

/// The durable and the pending state after some changes.
#[derive(Clone)]
pub(super) struct Model {
    durable: Names,
    pending: Vec<NameChange>,
    files: BTreeMap<InodeId, File>,
}

impl Model {
    /// All of the image is durable.
    pub(super) fn new(image: &Image) -> Self {
        let files = image.contents().map(|(_, inode, content)| (inode, File::new(content.clone())));
        Self { durable: image.names().clone(), pending: Vec::new(), files: files.collect() }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::CreateDir { dir } => self.pending.push(NameChange::AddFolder(Arc::clone(dir))),
            Change::Create { path, inode } => {
                self.files.insert(*inode, File::new(Content::new(Vec::new())));
                self.pending.push(NameChange::Add(Arc::clone(path), *inode));
            }
            Change::Write { inode, offset, bytes } => {
                self.change_file(*inode, DataChange::Write { offset: *offset, bytes: Arc::clone(bytes) });
            }
            Change::Truncate { inode, length } => self.change_file(*inode, DataChange::Truncate(*length)),
            Change::SyncFile { inode } => self.sync_file(*inode),
            Change::LoseFile { inode } => self.lose_file(*inode),
            Change::SyncDir { dir } => self.sync_dir(dir),
            Change::Link { to, inode } => self.pending.push(NameChange::Add(Arc::clone(to), *inode)),
            Change::Rename { from, to, inode } => self.rename(from, to, *inode),
            Change::Remove { path } => self.pending.push(NameChange::Remove(Arc::clone(path))),
            Change::RemoveDir { dir } => self.pending.push(NameChange::RemoveFolder(Arc::clone(dir))),
            Change::Mark(_) => {}
        }
    }

    fn change_file(&mut self, inode: InodeId, change: DataChange) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.push(change);
        }
    }

    fn sync_file(&mut self, inode: InodeId) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.durable = file.content(file.all_pending());
            file.pending.clear();
        }
    }

    fn lose_file(&mut self, inode: InodeId) {
        if let Some(file) = self.files.get_mut(&inode) {
            if file.cached.is_none() {
                file.cached = Some(file.content(file.all_pending()).bytes().to_vec());
            }
            file.pending.clear();
        }
    }

    fn sync_dir(&mut self, dir: &str) {
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let synced = change.folder() == dir;
            if synced {
                change.apply(durable);
            }
            !synced
        });
    }

    fn rename(&mut self, from: &Arc<str>, to: &Arc<str>, inode: InodeId) {
        if split(from).0 == split(to).0 {
            self.pending.push(NameChange::Rename(Arc::clone(from), Arc::clone(to), inode));
        } else {
            // Two folders are two places on the disk, and each is synced for itself.
            self.pending.push(NameChange::Add(Arc::clone(to), inode));
            self.pending.push(NameChange::Remove(Arc::clone(from)));
        }
    }

    /// The names of every cut, without those that are as another's.
    pub(super) fn names(&self) -> Vec<(NameCut, Arc<Names>)> {
        let mut variants: Vec<(NameCut, Arc<Names>)> = Vec::new();
        for cut in NameCut::all(self.pending.len()) {
            let mut names = self.durable.clone();
            for (_, change) in self.pending.iter().enumerate().filter(|(index, _)| cut.keeps(*index)) {
                change.apply(&mut names);
            }
            let names = names.reachable();
            if !variants.iter().any(|(_, other)| **other == names) {
                variants.push((cut, Arc::new(names)));
            }
        }
        variants
    }

    /// The names that a process finds.
    pub(super) fn live_names(&self) -> Arc<Names> {
        let mut names = self.durable.clone();
        self.pending.iter().for_each(|change| change.apply(&mut names));
        Arc::new(names.reachable())
    }

    /// What a process finds in the files of these names.
    pub(super) fn live_contents(&self, names: &Names) -> BTreeMap<InodeId, Content> {
        let content = |file: &File| match &file.cached {
            Some(cached) => Content::new(cached.clone()),
            None => file.content(file.all_pending()),
        };
        let inodes: BTreeSet<InodeId> = names.files.values().copied().collect();
        inodes.into_iter().filter_map(|inode| Some((inode, content(self.files.get(&inode)?)))).collect()
    }

    /// The contents of some files with all their pending changes, or none.
    pub(super) fn contents(&self, inodes: &BTreeSet<InodeId>, pending: bool) -> BTreeMap<InodeId, Content> {
        let cut = |file: &File| {
            if pending { file.all_pending() } else { DataCut::First(0) }
        };
        inodes.iter().filter_map(|inode| self.files.get(inode).map(|file| (*inode, file.content(cut(file))))).collect()
    }

    /// Behind all inodes that were ever used.
    pub(super) fn next_inode(&self) -> InodeId {
        InodeId(self.files.last_key_value().map_or(0, |(inode, _)| inode.0 + 1))
    }

    /// Whether a file has pending changes.
    pub(super) fn is_dirty(&self, inode: InodeId) -> bool {
        self.files.get(&inode).is_some_and(|file| !file.pending.is_empty())
    }

    /// Every cut of a file's pending changes, "none" and "all" included.
    pub(super) fn cuts(&self, inode: InodeId) -> Vec<DataCut> {
        let Some(file) = self.files.get(&inode).filter(|file| !file.pending.is_empty()) else {
            return Vec::new();
        };
        let mut cuts = vec![DataCut::First(0), file.all_pending()];
        cuts.extend(file.cuts());
        cuts
    }

    /// A file's content after a cut.
    pub(super) fn content(&self, inode: InodeId, cut: DataCut) -> Option<Content> {
        self.files.get(&inode).map(|file| file.content(cut))
    }
}
