//! Where each file of a database lies, relative to the database folder.
//!
//! In: ids. Out: paths, and ids back from the names found in a folder.
//! Invariants: a path is made of ids and fixed words, never of a user's name. FORMAT.md, "Files", is the map. What is
//! no such path is refused by every disk, so that nothing reaches a file outside the database folder.

use std::io;

use crate::id::{ManifestId, RunId, TableId, WalId};

/// The file whose lock makes a process the one writer.
pub const LOCK: &str = "LOCK";
/// The file that says that the folder is an unfinished copy of a database, unless it has a manifest.
pub const INCOMPLETE: &str = "INCOMPLETE";
/// Folder of the manifests.
pub const MANIFESTS: &str = "manifest";
/// Folder of the WAL segments.
pub const WAL: &str = "wal";
/// Folder of the tables' folders.
pub const TABLES: &str = "tables";
/// Folder of files that are being made, and of spills; swept when the database opens.
pub const STAGING: &str = "staging";

/// Which of the files in a table's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunFile {
    /// The rows.
    Sst,
    /// The deleted keys.
    Deletes,
    /// The key index.
    Keys,
    /// Deletion vectors that a commit adds; a file of its own number, of no run.
    Deletions,
}

impl RunFile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sst, Self::Deletes, Self::Keys, Self::Deletions];

    fn extension(self) -> &'static str {
        match self {
            Self::Sst => "parquet",
            Self::Deletes => "del",
            Self::Keys => "keys",
            Self::Deletions => "dv",
        }
    }
}

/// Path of a manifest.
pub fn manifest(id: ManifestId) -> String {
    format!("{MANIFESTS}/{:020}.json", id.0)
}

/// The manifest that a name in [`MANIFESTS`] stands for.
pub fn parse_manifest(name: &str) -> Option<ManifestId> {
    parse_number(name.strip_suffix(".json")?).map(ManifestId)
}

/// Path of a WAL segment.
pub fn wal(id: WalId) -> String {
    format!("{WAL}/{:020}.wal", id.0)
}

/// The WAL segment that a name in [`WAL`] stands for.
pub fn parse_wal(name: &str) -> Option<WalId> {
    parse_number(name.strip_suffix(".wal")?).map(WalId)
}

/// Folder of a table's runs.
pub fn table(id: TableId) -> String {
    format!("{TABLES}/{:010}", id.0)
}

/// The table whose folder has this name in [`TABLES`].
pub fn parse_table(name: &str) -> Option<TableId> {
    let id = name.parse().ok().map(TableId)?;
    (table(id) == format!("{TABLES}/{name}")).then_some(id)
}

/// Path of one file of a run.
pub fn run(table_id: TableId, run: RunId, file: RunFile) -> String {
    format!("{}/{:020}.{}", table(table_id), run.0, file.extension())
}

/// The run and the file that a name in a table's folder stands for.
pub fn parse_run(name: &str) -> Option<(RunId, RunFile)> {
    let (stem, extension) = name.split_once('.')?;
    let file = RunFile::ALL.into_iter().find(|file| file.extension() == extension)?;
    Some((RunId(parse_number(stem)?), file))
}

/// Path of a file that is being made; `name` is a word and numbers.
pub fn staging(name: &str) -> String {
    format!("{STAGING}/{name}")
}

/// Refuses what is no path of a file in the database folder.
pub(crate) fn check_file(path: &str) -> io::Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    let allowed = path.split('/').all(plain);
    allowed.then_some(()).ok_or(io::ErrorKind::InvalidInput.into())
}

/// Refuses what is neither the database folder nor the path of a folder in it.
pub(crate) fn check_folder(dir: &str) -> io::Result<()> {
    if dir.is_empty() { Ok(()) } else { check_file(dir) }
}

/// The folder of a path, and the name in it.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Exactly 20 digits.
fn parse_number(text: &str) -> Option<u64> {
    (text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_the_ids_they_were_made_of() {
        let path = run(TableId(7), RunId(12), RunFile::Keys);
        assert_eq!(path, "tables/0000000007/00000000000000000012.keys");
        let name = path.rsplit('/').next().unwrap_or_default();
        assert_eq!(parse_run(name), Some((RunId(12), RunFile::Keys)));
        assert_eq!(parse_table("0000000007"), Some(TableId(7)));
        assert_eq!(parse_wal("00000000000000000003.wal"), Some(WalId(3)));
        assert_eq!(parse_manifest("00000000000000000009.json"), Some(ManifestId(9)));
    }

    #[test]
    fn foreign_names_stand_for_nothing() {
        for name in ["", "1.parquet", "00000000000000000012.parquet.tmp", "+0000000000000000012.keys", "x"] {
            assert_eq!(parse_run(name), None, "{name}");
            assert_eq!(parse_wal(name), None, "{name}");
            assert_eq!(parse_manifest(name), None, "{name}");
        }
        assert_eq!(parse_table("7"), None);
    }
}
