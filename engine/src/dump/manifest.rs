//! Shows the newest manifest, and finds the newest one that can be read for the other dumps.
//!
//! Invariants: a damaged manifest is shown and said to be damaged; an older one that is still there is used in its
//! place, since a dump is for looking at what is left.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::disk::api::{Disk, at};
use crate::disk::path;
use crate::dump::found::{Take, given, line};
use crate::error::{Error, Result};
use crate::id::ManifestId;
use crate::version::manifest::Manifest;

/// Shows the text of the newest manifest; of older ones that are still there, too, as long as the newer are damaged.
pub fn dump_manifest(disk: &dyn Disk, take: &mut Take<'_>) -> ControlFlow<()> {
    let Some(ids) = given(take, manifests(disk))? else { return ControlFlow::Continue(()) };
    for id in ids {
        let path = path::manifest(id);
        let Some(bytes) = given(take, read(disk, &path))? else { continue };
        // The first line is the checksum; the rest is the text.
        for text in String::from_utf8_lossy(&bytes).lines().skip(1) {
            line(take, text.to_owned())?;
        }
        if given(take, Manifest::decode(&path, id, &bytes))?.is_some() {
            break;
        }
    }
    ControlFlow::Continue(())
}

/// The newest manifest that can be read, once the damage of newer ones was given.
pub(super) fn newest(disk: &dyn Disk, take: &mut Take<'_>) -> ControlFlow<(), Option<Manifest>> {
    let Some(ids) = given(take, manifests(disk))? else { return ControlFlow::Continue(None) };
    for id in ids {
        let path = path::manifest(id);
        let manifest = read(disk, &path).and_then(|bytes| Manifest::decode(&path, id, &bytes));
        if let Some(manifest) = given(take, manifest)? {
            return ControlFlow::Continue(Some(manifest));
        }
    }
    ControlFlow::Continue(None)
}

/// The manifests that are there, newest first; at least one.
fn manifests(disk: &dyn Disk) -> Result<Vec<ManifestId>> {
    let names = match disk.list(path::MANIFESTS) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(at("list", path::MANIFESTS))?,
    };
    let mut ids: Vec<ManifestId> = names.iter().filter_map(|name| path::parse_manifest(name)).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    if ids.is_empty() { Err(Error::NoDatabase { path: disk.describe() }) } else { Ok(ids) }
}

/// The bytes of a file.
pub(super) fn read(disk: &dyn Disk, path: &str) -> Result<Bytes> {
    disk.open(path).map_err(at("open", path))?.map().map_err(at("read", path))
}
