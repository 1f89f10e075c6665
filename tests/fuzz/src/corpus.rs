//! The corpus: good inputs of each target, and inputs that once broke a promise.
//!
//! In: `corpus/`, a folder per target. Out: its entries; and new ones, where `CORPUS_WRITE=1` asks for them (do that
//! when a format changes, or a target's way to take its input apart).
//! Invariants: entries named `regression-...` are never written anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::targets::{TARGETS, Target, database};

/// The text of the manifest that the manifest's target changes.
pub const GOOD_MANIFEST: &str = include_str!("../corpus/manifest.json");

/// The database that the database's target changes.
pub const DATABASE: &[u8] = include_bytes!("../corpus/database.image");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The entries of a target with their names, in the order of their names.
///
/// # Errors
/// The system's.
pub fn entries(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder().join(target.name))? {
        let entry = entry?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    entries.sort();
    Ok(entries)
}

/// Writes all good entries anew. The crate must be built again afterwards: two of the files are part of it, and the
/// entries of two targets depend on them.
///
/// # Errors
/// The engine's; the system's.
pub fn write() -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder())?;
    let image = database::image()?;
    fs::write(folder().join("database.image"), &image)?;
    fs::write(folder().join("manifest.json"), database::manifest_text(&image))?;
    for target in TARGETS {
        let folder = folder().join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, content) in (target.seeds)()? {
            fs::write(folder.join(name), content)?;
        }
    }
    Ok(())
}
