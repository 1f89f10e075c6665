//! Images that fail, as files: everything that is needed to open one again.
//!
//! In: an image and what was found wrong with it, or the environment: `CRASH_IMAGE=file` names such a file. Out: a file
//! in cargo's folder for tests; what an image holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustling_engine::config::Options;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Image, SimDisk};
use serde_json::{Value, json};

use crate::crash::examine::examine;
use crate::crash::scripts::{Script, scripts};
use crate::fixture::Tables;

/// Where a script led to an image that fails.
pub(crate) struct Failure<'a> {
    pub(crate) script: &'a Script,
    pub(crate) place: &'a str,
    pub(crate) problem: &'a str,
    pub(crate) allowed: &'a [Tables],
}

/// What a file says.
struct Saved {
    script: String,
    place: String,
    problem: String,
    options: Options,
    allowed: Vec<Tables>,
    image: Image,
}

impl Failure<'_> {
    /// Writes the image to a file and says how to open it again.
    pub(crate) fn save(&self, image: &Image) -> String {
        let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let file = folder.join(format!("crash-{:032x}.json", image.digest()));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, self.text(image)));
        let command = "cargo nextest run -p rustling-engine --test engine --no-capture crash::replay";
        match written {
            Ok(()) => format!("\n  open it again: CRASH_IMAGE={} {command}", file.display()),
            Err(error) => format!("\n  (cannot write {}: {error})", file.display()),
        }
    }

    fn text(&self, image: &Image) -> String {
        let Options { memory_bytes, memtable_bytes, wal_segment_bytes, wal_bytes, sst_rows, .. } = self.script.options;
        let files: Vec<Value> = image.files().map(|(path, bytes)| json!([path, to_hex(bytes)])).collect();
        let value = json!({
            "script": self.script.name,
            "steps": self.script.steps.iter().map(|step| format!("{step:.200?}")).collect::<Vec<_>>(),
            "place": self.place,
            "problem": self.problem,
            "options": [memory_bytes as u64, memtable_bytes as u64, wal_segment_bytes, wal_bytes, sst_rows],
            "allowed": self.allowed,
            "folders": image.folders().collect::<Vec<_>>(),
            "files": files,
        });
        format!("{value:#}")
    }
}

impl Saved {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let value: Value = serde_json::from_str(&text).unwrap();
        let string = |value: &Value| value.as_str().unwrap().to_owned();
        let sizes: Vec<u64> = value["options"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
        let options = Options {
            memory_bytes: usize::try_from(sizes[0]).unwrap(),
            memtable_bytes: usize::try_from(sizes[1]).unwrap(),
            wal_segment_bytes: sizes[2],
            wal_bytes: sizes[3],
            sst_rows: sizes[4],
            ..crate::fixture::small_options()
        };
        let disk = SimDisk::new();
        for folder in value["folders"].as_array().unwrap() {
            disk.create_dir(folder.as_str().unwrap()).unwrap();
        }
        for file in value["files"].as_array().unwrap() {
            let mut written = disk.create(file[0].as_str().unwrap()).unwrap();
            written.append(&from_hex(file[1].as_str().unwrap())).unwrap();
        }
        Self {
            script: string(&value["script"]),
            place: string(&value["place"]),
            problem: string(&value["problem"]),
            options,
            allowed: serde_json::from_value(value["allowed"].clone()).unwrap(),
            image: disk.killed_image(usize::MAX),
        }
    }

    /// Opens the image and says what it finds.
    fn report(&self) -> String {
        let mut text = format!("{}: {}\nfound then: {}\n", self.script, self.place, self.problem);
        for (path, bytes) in self.image.files() {
            writeln!(text, "{:>8}  {path}", bytes.len()).unwrap();
        }
        match examine(&self.image, &self.options, &self.allowed) {
            Ok(found) => write!(text, "found now: nothing wrong; it holds {found:?}").unwrap(),
            Err(problem) => write!(text, "found now: {problem}").unwrap(),
        }
        text
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = |index: usize| u8::from_str_radix(&text[index..index + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// An image of a disk on which a database was created, and its log lost what was in it.
fn image_that_fails() -> Image {
    let disk = SimDisk::new();
    let shared = std::sync::Arc::new(disk.clone());
    let db = rustling_engine::database::Database::open(shared, crate::fixture::small_options()).unwrap();
    drop(db);
    disk.append("wal/00000000000000000001.wal", 10).unwrap();
    disk.killed_image(usize::MAX)
}

#[test]
fn an_image_that_fails_is_kept_as_a_file_and_fails_again() {
    if let Some(path) = std::env::var_os("CRASH_IMAGE") {
        return println!("{}", Saved::read(Path::new(&path)).report());
    }
    let image = image_that_fails();
    let script = &scripts()[0];
    let problem = examine(&image, &script.options, &[Tables::new()]).unwrap_err();
    let failure = Failure { script, place: "here", problem: &problem, allowed: &[Tables::new()] };
    let said = failure.save(&image);
    let path = said.split("CRASH_IMAGE=").nth(1).unwrap().split(' ').next().unwrap();
    let saved = Saved::read(Path::new(path));
    std::fs::remove_file(path).unwrap();
    assert_eq!(saved.image.digest(), image.digest());
    assert_eq!(saved.options, script.options);
    let report = saved.report();
    assert!(report.contains(&script.name) && report.contains(&format!("found now: {problem}")), "{report}");
}
