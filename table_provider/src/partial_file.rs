//! A file outside the database while it is written.
//!
//! In: where a file is to be. Out: a path beside it to write to, and the file in its place once that is complete.
//! Invariants: what is under the name stays as it was until a complete, durable file takes its place; a file that is
//! given up is removed. A symbolic link is followed. What is no regular file is refused before anything is written: a
//! rename would put a file where a pipe or a device was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file outside the database that cannot be made, written, or put in place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// The error of an operation on a file.
    pub fn of<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self { operation, path: path.to_owned(), source }
    }
}

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
    pub fn beside(target: &Path) -> Result<Self, FileError> {
        let target = existing(target).map_err(FileError::of("write", target))?;
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
    pub fn publish(self) -> Result<(), FileError> {
        let target = &self.target;
        File::open(&self.path).and_then(|file| file.sync_all()).map_err(FileError::of("sync", target))?;
        fs::rename(&self.path, target).map_err(FileError::of("rename", target))?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync", folder))
    }
}

/// The regular file that a path leads to, or the path where there is nothing.
fn existing(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::canonicalize(path),
        Ok(found) => {
            let kind = if found.is_dir() { ErrorKind::IsADirectory } else { ErrorKind::InvalidInput };
            Err(io::Error::new(kind, "not a regular file"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
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
        assert_eq!(PartialFile::beside(folder.path()).unwrap_err().source.kind(), ErrorKind::IsADirectory);
        let error = PartialFile::beside(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/null: not a regular file");
    }
}
