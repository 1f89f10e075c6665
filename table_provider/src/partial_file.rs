//! A file outside the database while it is written.
//!
//! In: where a file is to be. Out: a path beside it to write to, and the file in its place once that is complete.
//! Invariants: what is under the name stays as it was until a complete, durable file takes its place; a file that is
//! given up is removed. A symbolic link is followed. What is no regular file is refused before anything is written: a
//! rename would put a file where a pipe or a device was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many were made: two that are to be the same file are two.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A name beside the file that is to be. What has it is removed unless it is published.
#[derive(Debug)]
pub struct PartialFile {
    path: PathBuf,
    target: PathBuf,
}

impl PartialFile {
    /// A name beside `target`, with its extension. Makes no file.
    ///
    /// # Errors
    /// Something that is no regular file is there, or the system does not say what is.
    pub fn beside(target: &Path) -> Result<Self> {
        let target = match fs::metadata(target) {
            Ok(found) if found.is_file() => fs::canonicalize(target)?,
            Ok(found) => {
                let kind = if found.is_dir() { ErrorKind::IsADirectory } else { ErrorKind::InvalidInput };
                return Err(Error::new(kind, "not a regular file"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(error),
        };
        let mut name = OsString::from(".");
        name.push(target.file_stem().unwrap_or_default());
        name.push(format!(".{}-{}.partial", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
        if let Some(extension) = target.extension() {
            name.push(".");
            name.push(extension);
        }
        Ok(Self { path: target.with_file_name(name), target })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what was written durable and puts it in place of what was there.
    ///
    /// # Errors
    /// The system's; what was there stays then, unless the last of these steps failed.
    pub fn publish(self) -> Result<()> {
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After publishing nothing has the name any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_by_a_complete_one_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("a.csv"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let given_up = PartialFile::beside(&target).unwrap();
        fs::write(given_up.path(), "half").unwrap();
        drop(given_up);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        let complete = PartialFile::beside(&link).unwrap();
        assert_eq!(complete.path().extension().unwrap(), "csv");
        fs::write(complete.path(), "new").unwrap();
        complete.publish().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PartialFile::beside(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(PartialFile::beside(Path::new("/dev/null")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
