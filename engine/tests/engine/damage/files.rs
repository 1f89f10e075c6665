//! Files of a closed database that are cut, extended, missing, swapped, old, copied, zeroed: each is detected and
//! named, or it is one of the few that nothing depends on.
//!
//! That opening refuses a database as a whole, tables included that are whole, is how it is today.

use std::collections::{BTreeMap, BTreeSet};

use rustling_engine::disk::path;
use rustling_engine::disk::sim::Image;
use rustling_engine::id::{ManifestId, RunId, WalId};

use crate::damage::oracle::{Oracle, Outcome};
use crate::damage::reference::{Reference, Scale, kind};

const SECTOR: usize = 512;

/// What was done to files, and what came of it.
struct Trials {
    oracle: Oracle,
    outcomes: BTreeMap<(&'static str, &'static str, Outcome), usize>,
    count: usize,
    violations: Vec<String>,
}

impl Trials {
    fn new() -> Self {
        let oracle = Oracle::new(Reference::closed(Scale::Small));
        Self { oracle, outcomes: BTreeMap::new(), count: 0, violations: Vec::new() }
    }

    /// Judges an image in which `done` was done to some files, which errors may name.
    fn judge(&mut self, done: &'static str, image: &Image, files: &[&str]) {
        let reference = &self.oracle.reference.image;
        if image.digest() == reference.digest() {
            return;
        }
        self.count += 1;
        // Without any manifest there is no number by which to name one.
        let named = |named: &str| files.contains(&named) || named == path::MANIFESTS && kind(files[0]) == "manifest";
        match self.oracle.judge(image, &named, self.count) {
            Ok(judged) => {
                let unread = self.oracle.unread.contains(files[0]);
                let kind = if unread { "sst without rows" } else { kind(files[0]) };
                *self.outcomes.entry((done, kind, judged.outcome)).or_default() += 1;
            }
            Err(violation) => self.violations.push(format!("{done}, {files:?}: {violation}")),
        }
    }

    /// Does something to the bytes of every file.
    fn change(&mut self, done: &'static str, change: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
        for (path, bytes) in self.oracle.reference.files() {
            for changed in change(&bytes) {
                let image = self.oracle.reference.image.with_file(&path, changed);
                self.judge(done, &image, &[&path]);
            }
        }
    }

    /// All is detected but for what is listed.
    fn finish(self, without_effect: &[(&str, &str, Outcome)]) {
        println!("{} trials: {:#?}", self.count, self.outcomes);
        let shown = &self.violations[..self.violations.len().min(20)];
        assert!(shown.is_empty(), "{} of {}: {shown:#?}", self.violations.len(), self.count);
        let untold: BTreeSet<_> = (self.outcomes.keys().copied())
            .filter(|(.., outcome)| !matches!(outcome, Outcome::Refused | Outcome::Found))
            .collect();
        assert_eq!(untold, without_effect.iter().copied().collect());
    }
}

#[test]
fn a_file_that_is_cut_at_any_byte_is_named() {
    let mut trials = Trials::new();
    trials.change("cut", |bytes| (0..bytes.len()).map(|length| bytes[..length].to_vec()).collect());
    trials.finish(&[]);
}

/// Behind the end of the log nothing was ever acknowledged: what lies there is cut off and reported, unless it is zeros,
/// as in space that was reserved. Nobody reads what is in the lock's file.
#[test]
fn a_file_that_grew_is_named_or_its_tail_is_cut_off() {
    let mut trials = Trials::new();
    trials.change("extended", |bytes| {
        let tails = [vec![0], vec![0x5a], vec![0; SECTOR], vec![0; 4096], bytes.to_vec()];
        tails.iter().map(|tail| [bytes, tail].concat()).collect()
    });
    trials.finish(&[
        ("extended", "lock", Outcome::Harmless),
        ("extended", "log", Outcome::Harmless),
        ("extended", "log", Outcome::Cut),
    ]);
}

#[test]
fn zeros_and_misdirected_writes_are_named() {
    let mut trials = Trials::new();
    let sectors = |bytes: &[u8]| bytes.len().div_ceil(SECTOR);
    let overwrite = |bytes: &[u8], sector: usize, by: &[u8]| {
        let mut bytes = bytes.to_vec();
        let length = by.len().min(bytes.len() - sector * SECTOR);
        bytes[sector * SECTOR..][..length].copy_from_slice(&by[..length]);
        bytes
    };
    trials.change("a sector of zeros", |bytes| {
        (0..sectors(bytes)).map(|sector| overwrite(bytes, sector, &[0; SECTOR])).collect()
    });
    trials.change("a sector of its neighbour", |bytes| {
        let pairs = (1..sectors(bytes)).flat_map(|sector| [(sector, sector - 1), (sector - 1, sector)]);
        pairs.map(|(to, from)| overwrite(bytes, to, &bytes[from * SECTOR..])).collect()
    });
    trials.change("zeros", |bytes| vec![vec![0; bytes.len()]]);
    trials.finish(&[
        ("a sector of its neighbour", "sst without rows", Outcome::Harmless),
        ("a sector of zeros", "sst without rows", Outcome::Harmless),
        ("zeros", "sst without rows", Outcome::Harmless),
    ]);
}

#[test]
fn a_missing_file_is_named() {
    let mut trials = Trials::new();
    for (path, _) in trials.oracle.reference.files() {
        let image = trials.oracle.reference.image.without_file(&path);
        trials.judge("missing", &image, &[&path]);
    }
    // The lock's file is made again.
    trials.finish(&[("missing", "lock", Outcome::Harmless)]);
}

#[test]
fn swapped_files_are_named() {
    let mut trials = Trials::new();
    let files = trials.oracle.reference.files();
    for (index, (one, bytes)) in files.iter().enumerate() {
        for (other, others) in files[index + 1..].iter().filter(|(other, _)| kind(other) == kind(one)) {
            let image = trials.oracle.reference.image.with_file(one, others.clone()).with_file(other, bytes.clone());
            trials.judge("swapped", &image, &[one, other]);
        }
    }
    trials.finish(&[]);
}

/// The database recorded when it was closed how far its log went, and the log knows of each manifest but the one that
/// records that: it changes nothing else, so going back behind it loses nothing. The last segment had all its records
/// before, and reserved space behind them.
#[test]
fn an_older_copy_of_a_file_is_named() {
    let mut trials = Trials::new();
    let files = trials.oracle.reference.files();
    let (newest, _) = files.iter().find(|(path, _)| kind(path) == "manifest").unwrap();
    for older in trials.oracle.reference.older.clone() {
        for (path, bytes) in older.files() {
            let image = &trials.oracle.reference.image;
            if kind(path) == "manifest" {
                let under_new_name = image.with_file(newest, bytes.to_vec());
                let in_its_place = image.without_file(newest).with_file(path, bytes.to_vec());
                trials.judge("an older one under its name", &under_new_name, &[newest]);
                // What this one names may be gone, and what came after it is not there.
                let next = path::manifest(ManifestId(parse(path) + 1));
                let named: Vec<&str> = older.files().map(|(path, _)| path).chain([next.as_str()]).collect();
                let named: Vec<&str> = [newest.as_str()].into_iter().chain(named).collect();
                trials.judge("an older one in its place", &in_its_place, &named);
            } else if files.iter().any(|(now, _)| now == path) {
                let image = image.with_file(path, bytes.to_vec());
                trials.judge("an older one", &image, &[path]);
            }
        }
    }
    trials.finish(&[
        ("an older one", "log", Outcome::Harmless),
        ("an older one in its place", "manifest", Outcome::Harmless),
    ]);
}

fn parse(manifest: &str) -> u64 {
    path::parse_manifest(manifest.rsplit('/').next().unwrap()).unwrap().0
}

/// A copy under another name is never taken for what it is not. Where it is removed, it is a file that no state names.
#[test]
fn a_copy_under_another_name_is_named_or_swept() {
    let mut trials = Trials::new();
    let files = trials.oracle.reference.files();
    let last = files.iter().filter(|(path, _)| kind(path) == "log").map(|(path, _)| path.clone()).max().unwrap();
    for (path, bytes) in &files {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        for distance in [-3_i64, -2, -1, 1, 2, 30] {
            let Some(number) = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok()) else { continue };
            let Some(number) = number.checked_add_signed(distance).filter(|number| *number > 0) else { continue };
            let copy = match kind(path) {
                "manifest" => path::manifest(ManifestId(number)),
                "log" => path::wal(WalId(number)),
                _ => format!("{folder}/{:020}.{}", RunId(number).0, path.rsplit('.').next().unwrap()),
            };
            let image = trials.oracle.reference.image.with_file(&copy, bytes.clone());
            // Of a log that ends and a segment behind it, the end may be wrong or the segment.
            let before = kind(path) == "manifest" && distance == -1;
            let done = if before { "a copy as the manifest before" } else { "a copy" };
            trials.judge(done, &image, &[&copy, &last]);
        }
    }
    trials.finish(&[
        // Older than the newest one, or than the log's floor.
        ("a copy", "manifest", Outcome::Harmless),
        ("a copy", "log", Outcome::Harmless),
        // Of runs that no manifest names.
        ("a copy", "del", Outcome::Harmless),
        ("a copy", "dv", Outcome::Harmless),
        ("a copy", "keys", Outcome::Harmless),
        ("a copy", "sst", Outcome::Harmless),
    ]);
}
