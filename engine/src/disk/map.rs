//! Whole files as byte slices: mapped into memory, or read. The one file of the engine with `unsafe` in it but for
//! a test's allocator that counts.
//!
//! In: an open file that nobody changes any more, and its length. Out: [`Bytes`] that keep the mapping alive.
//! Invariants: [`map_whole`] and [`read_whole`] give the same bytes. The first costs page faults where it is touched,
//! the second a copy of everything.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::disk::api::ReadFile;

/// Maps the first `length` bytes of a file, which must have them; the caller has looked.
///
/// An empty file cannot be mapped on every system and needs no memory, so the caller reads it.
#[expect(
    unsafe_code,
    reason = "a map is a shared view of a file, and no safe function can promise that nobody changes it"
)]
pub(crate) fn map_whole(file: &impl AsFd, length: usize) -> io::Result<Bytes> {
    // SAFETY: a `&[u8]` must not change while it lives, and every byte of it must be there.
    // - No change: only files that have their final name are mapped, and such a file is never written or cut again (the
    //   invariant of `disk::api`; WAL segments, which grow and are cut, are read and not mapped). One process writes, by its lock.
    // - Presence: the caller has seen `length` bytes in the file, and it never shrinks. A removed file keeps its bytes
    //   for as long as it is mapped.
    // - Life: the mapping does not need the descriptor, and `Bytes` owns the mapping.
    // A foreign program that overwrites or cuts files of an open database breaks this, as it breaks the database; that
    // is outside of what we promise, and FORMAT.md says so.
    let map: Mmap = unsafe { MmapOptions::new().len(length).map(file.as_fd().as_raw_fd())? };
    Ok(Bytes::from_owner(map))
}

/// Reads a whole file into memory: the safe twin of [`map_whole`].
pub(crate) fn read_whole(file: &dyn ReadFile) -> io::Result<Bytes> {
    let length = usize::try_from(file.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::api::Disk;
    use crate::disk::local::LocalDisk;

    #[test]
    fn a_mapped_file_has_the_bytes_of_a_read_one() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::open(folder.path()).unwrap();
        for length in [0_usize, 1, 4095, 4096, 4097, 300_000] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let name = format!("{length}");
            disk.create(&name).unwrap().append(&content).unwrap();
            let file = disk.open(&name).unwrap();
            let mapped = file.map().unwrap();
            disk.remove(&name).unwrap();
            assert_eq!(mapped, read_whole(&*file).unwrap());
            drop(file);
            assert_eq!(mapped, content, "the map outlives the open file and its name");
        }
    }
}
