//! A disk that is a map from names to bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::disk::api::{Disk, DiskLock, ReadFile, WriteFile};

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
pub(super) struct MapDisk(Mutex<BTreeMap<String, Content>>);

impl MapDisk {
    fn content(&self, path: &str) -> io::Result<Content> {
        self.0.lock().unwrap().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MapDisk {
    fn create_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let map = self.0.lock().unwrap();
        Ok(map.keys().filter_map(|path| path.strip_prefix(dir)?.strip_prefix('/')).map(str::to_owned).collect())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn WriteFile>> {
        let mut map = self.0.lock().unwrap();
        if map.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Content::default();
        map.insert(path.to_owned(), content.clone());
        Ok(Box::new(MapWrite(content)))
    }

    fn append(&self, path: &str, length: u64) -> io::Result<Box<dyn WriteFile>> {
        let content = self.content(path)?;
        content.lock().unwrap().truncate(length as usize);
        Ok(Box::new(MapWrite(content)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn ReadFile>> {
        let bytes = self.content(path)?.lock().unwrap().clone();
        Ok(Arc::new(MapRead(bytes.into())))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let content = self.content(from)?;
        self.0.lock().unwrap().insert(to.to_owned(), content);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.link(from, to)?;
        self.remove(from)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lock(&self, _: &str) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(None)
    }

    fn describe(&self) -> String {
        "a map".to_owned()
    }
}

#[derive(Debug)]
struct MapWrite(Content);

impl WriteFile for MapWrite {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct MapRead(Bytes);

impl ReadFile for MapRead {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(self.0.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn map(&self) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}
