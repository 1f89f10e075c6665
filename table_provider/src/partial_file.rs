//! A file outside the database while it is written.
//!
//! In: where a file is to be. Out: a path beside it to write to, and the file in its place once that is complete.
//! Invariants: what is under the name stays as it was until a complete, durable file takes its place, with the permissions
//! of the one that was there; a file that is given up is removed. No two writers, of any process, have one path. A
//! symbolic link is followed. What is no regular file is refused before anything is written: a rename would put a file
//! where a pipe or a device was.

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

/// Bytes of the file's name that the name beside it begins with, at most. File systems have names of 255.
const NAME_BYTES_MAX: usize = 128;

/// How many were made: two that are to be the same file are two.
static MADE: AtomicU64 = AtomicU64::new(0);

/// A name beside the file that is to be. What has it is removed unless it is published.
#[derive(Debug)]
pub struct PartialFile {
    path: PathBuf,
    target: PathBuf,
}

impl PartialFile {
    /// A name beside `target`, with its extension, and an empty file that has it, if there is the folder.
    ///
    /// # Errors
    /// Something that is no regular file is there, or the system does not say what is; the system's.
    pub fn beside(target: &Path) -> Result<Self, FileError> {
        let target = existing(target).map_err(FileError::of("write", target))?;
        loop {
            let path = target.with_file_name(name_beside(&target));
            match File::create_new(&path) {
                // Another process has this number, too, in another container, or had it and was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                // Whoever writes may make the folder first.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(FileError::of("create", &target)(error));
                }
                _ => return Ok(Self { path, target }),
            }
        }
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
        if let Ok(before) = fs::metadata(target) {
            fs::set_permissions(&self.path, before.permissions()).map_err(FileError::of("write", target))?;
        }
        File::open(&self.path).and_then(|file| file.sync_all()).map_err(FileError::of("sync", target))?;
        fs::rename(&self.path, target).map_err(FileError::of("rename", target))?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync", folder))
    }
}

/// The name of a file like `target` that nobody of this process has.
fn name_beside(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    // A longer name might not have room for what is added.
    name.push(target.file_stem().filter(|stem| stem.len() <= NAME_BYTES_MAX).unwrap_or_default());
    name.push(format!(".{}-{}.partial", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)));
    if let Some(extension) = target.extension() {
        name.push(".");
        name.push(extension);
    }
    name
}

/// The regular file that a path leads to, or the path where there is nothing.
fn existing(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::canonicalize(path),
        Ok(found) => {
            let kind = if found.is_dir() { ErrorKind::IsADirectory } else { ErrorKind::InvalidInput };
            Err(io::Error::new(kind, "not a regular file"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => existing(&without_dots(&path.parent().unwrap_or(Path::new("")).join(link))?),
            Err(_) => Ok(path.to_owned()),
        },
        Err(error) => Err(error),
    }
}

/// The same path, to a folder that there is: no `..` is left in it, which a URL would not keep.
fn without_dots(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::canonicalize(folder)?.join(path.file_name().ok_or(ErrorKind::InvalidInput)?))
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After publishing nothing has the name any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
    fn a_file_keeps_its_permissions_and_a_link_to_nothing_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("secret.csv"), folder.path().join("link"));
        std::os::unix::fs::symlink("secret.csv", &link).unwrap();
        for text in ["first", "second"] {
            let partial = PartialFile::beside(&link).unwrap();
            fs::write(partial.path(), text).unwrap();
            partial.publish().unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let partial = PartialFile::beside(&target).unwrap();
        partial.publish().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_out_of_its_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (links, files) = (folder.path().join("links"), folder.path().join("files"));
        [&links, &files].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        std::os::unix::fs::symlink("../files/a.csv", links.join("link")).unwrap();
        let partial = PartialFile::beside(&links.join("link")).unwrap();
        assert_eq!(partial.path().parent().unwrap(), fs::canonicalize(&files).unwrap());
        fs::write(partial.path(), "text").unwrap();
        partial.publish().unwrap();
        assert_eq!(fs::read_to_string(files.join("a.csv")).unwrap(), "text");
        fs::remove_dir_all(&files).unwrap();
        assert_eq!(PartialFile::beside(&links.join("link")).unwrap_err().source.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_name_that_another_process_has_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.csv");
        // The names that are made next here, as if by a process of the same number; other tests make some, too.
        let next = MADE.load(Ordering::Relaxed);
        let taken = |made| folder.path().join(format!(".a.{}-{made}.partial.csv", std::process::id()));
        (next..next + 100).for_each(|made| fs::write(taken(made), "theirs").unwrap());
        let partial = PartialFile::beside(&target).unwrap();
        fs::write(partial.path(), "ours").unwrap();
        partial.publish().unwrap();
        assert!((next..next + 100).all(|made| fs::read_to_string(taken(made)).unwrap() == "theirs"));
        assert_eq!(fs::read_to_string(&target).unwrap(), "ours");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PartialFile::beside(folder.path()).unwrap_err().source.kind(), ErrorKind::IsADirectory);
        let error = PartialFile::beside(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/null: not a regular file");
    }
}
