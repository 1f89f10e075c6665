//! Opens one image and says whether it keeps the promise.
//!
//! In: an image, and the states that it may hold. Out: the state it holds, or what is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::path;
use rustling_engine::disk::sim::{Image, SimDisk};

use crate::fixture::{Step, Tables, contents, run, run_model};

/// Opens an image: it must hold one of the allowed states, keep it, be tidy, and go on.
pub(crate) fn examine(image: &Image, options: &Options, allowed: &[Tables]) -> Result<Tables, String> {
    let sim = image.clone().into_disk();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut db = open(&sim, options)?;
    let found = contents(&db).map_err(|error| format!("does not read: {error}"))?;
    if !allowed.contains(&found) {
        return Err(format!("holds {found:?}, allowed is {allowed:?}"));
    }
    check_files(&sim, &db)?;
    // What was found is there to stay, and the database goes on.
    let mut expected = found.clone();
    let reopen = if image.digest().is_multiple_of(2) { Step::Reopen } else { Step::Kill };
    for step in [Step::Create("z"), Step::Write(vec![("z", 1, Some("z".to_owned()))]), reopen] {
        run(&mut db, &disk, options, &step).map_err(|error| format!("{step:?} fails: {error}"))?;
        run_model(&mut expected, &step);
    }
    let again = contents(&db).map_err(|error| format!("does not read again: {error}"))?;
    if again == expected { Ok(found) } else { Err(format!("opened again it holds {again:?}, expected {expected:?}")) }
}

pub(crate) fn open(sim: &SimDisk, options: &Options) -> Result<Database, String> {
    Database::open(Arc::new(sim.clone()), options.clone()).map_err(|error| format!("does not open: {error}"))
}

/// After opening there are no files but those that the database needs.
fn check_files(disk: &SimDisk, db: &Database) -> Result<(), String> {
    let list = |folder: &str| disk.list(folder).unwrap_or_default();
    let report = db.report();
    let mut left: Vec<String> = list(path::STAGING);
    let manifest = path::manifest(report.manifest);
    left.extend(list(path::MANIFESTS).into_iter().filter(|name| !manifest.ends_with(name.as_str())));
    for folder in list(path::TABLES) {
        let table = path::parse_table(&folder).and_then(|id| report.tables.iter().find(|table| table.id == id));
        let named = |name: &str| {
            let run = path::parse_run(name).map(|(run, _)| run);
            table.is_some_and(|table| table.files().any(|other| Some(other) == run))
        };
        left.extend(list(&format!("{}/{folder}", path::TABLES)).into_iter().filter(|name| !named(name)));
    }
    if left.is_empty() { Ok(()) } else { Err(format!("nobody needs {left:?}, but they are still there")) }
}

/// A panic is a problem like any other.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panics: {}", text.unwrap_or("without a word")))
    })
}
