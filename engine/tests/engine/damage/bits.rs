//! Every bit of a database that was closed in order, flipped: each one is detected, and the flipped file is named.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::damage::oracle::{Oracle, Outcome};
use crate::damage::reference::{Reference, Scale, UNREAD, kind};
use crate::ledger;

/// The names under which the ledger keeps the outcomes.
const FIGURES: [(&str, Outcome, &str); 10] = [
    ("manifest", Outcome::Refused, "manifest_refused"),
    ("log", Outcome::Refused, "log_refused"),
    ("keys", Outcome::Refused, "keys_refused"),
    ("keys", Outcome::Found, "keys_found"),
    ("sst", Outcome::Refused, "sst_refused"),
    ("sst", Outcome::Found, "sst_found"),
    ("del", Outcome::Refused, "del_refused"),
    ("del", Outcome::Found, "del_found"),
    ("dv", Outcome::Refused, "dv_refused"),
    (UNREAD, Outcome::Harmless, "sst_without_rows_unread"),
];

/// What flips came to.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<(&'static str, Outcome), u64>,
    flips: u64,
    peak_bytes: usize,
    violations: Vec<String>,
}

impl Tally {
    fn flip(&mut self, oracle: &Oracle, path: &str, bytes: &[u8], bit: usize) {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let image = oracle.reference.image.with_file(path, flipped);
        self.flips += 1;
        match oracle.judge(&image, &|named| named == path, bit) {
            Ok(judged) => {
                let kind = if oracle.unread.contains(path) { UNREAD } else { kind(path) };
                *self.outcomes.entry((kind, judged.outcome)).or_default() += 1;
                self.peak_bytes = self.peak_bytes.max(judged.peak_bytes);
            }
            Err(violation) => self.violations.push(format!("{path}, bit {} of byte {}: {violation}", bit % 8, bit / 8)),
        }
    }

    /// Nothing is wrong, and no flip was without effect but in a file that nobody reads.
    fn finish(&self, name: &str) {
        println!("{name}: {} flips, at most {} bytes of memory, {:?}", self.flips, self.peak_bytes, self.outcomes);
        assert!(self.violations.is_empty(), "{} of {}: {:#?}", self.violations.len(), self.flips, {
            &self.violations[..self.violations.len().min(20)]
        });
        for (kind, outcome) in self.outcomes.keys() {
            let told = matches!(outcome, Outcome::Refused | Outcome::Found);
            assert!(told || (*kind, *outcome) == (UNREAD, Outcome::Harmless), "{kind}: {outcome:?}");
        }
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let mut figures = vec![("flips", self.flips), ("violations", self.violations.len() as u64)];
        for (kind, outcome, name) in FIGURES {
            figures.push((name, self.outcomes.get(&(kind, outcome)).copied().unwrap_or(0)));
        }
        figures
    }
}

/// Rows are the bulk of a database; one bit of each byte of them is enough here.
#[test]
fn every_bit_of_a_closed_database_is_watched_over() {
    let oracle = Oracle::new(Reference::closed(Scale::Small));
    let seed = rand::rng().random();
    println!("one bit per byte of an SST, chosen with seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let files = oracle.reference.files();
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size >= 8 << 10, "{size} bytes");
    for (path, bytes) in &files {
        for byte in 0..bytes.len() {
            let bits = if kind(path) == "sst" { 1 << random.random_range(0..8) } else { u8::MAX };
            for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
                tally.flip(&oracle, path, bytes, byte * 8 + bit);
            }
        }
    }
    let kinds: std::collections::BTreeSet<_> = files.iter().map(|(path, _)| kind(path)).collect();
    assert_eq!(kinds.len(), 7, "a file of each kind: {kinds:?}");
    tally.finish("a small database");
}

/// Bytes of the larger database whose bits an ordinary run flips.
const SHARE_BYTES: u64 = 1000;

/// Seeds are bytes of the database, its files one behind the other in order of their paths. All of them take half an
/// hour, so an ordinary run takes some.
#[test]
fn every_bit_of_a_larger_database_is_watched_over() {
    let oracle = Oracle::new(Reference::closed(Scale::Large));
    let files = oracle.reference.files();
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size >= 64 << 10, "{size} bytes");
    println!("{size} bytes in {} files", files.len());
    for kind_of in ["sst", "keys"] {
        let longest = files.iter().filter(|(path, _)| kind(path) == kind_of).map(|(_, bytes)| bytes.len()).max();
        assert!(longest > Some(64 << 10), "the longest {kind_of} has {longest:?} bytes, which is one block");
    }
    let ledger = ledger::Run::begin("flipped bits", 0..SHARE_BYTES);
    let mut tally = Tally::default();
    let mut start = 0;
    for (path, bytes) in &files {
        for byte in 0..bytes.len() {
            if ledger.seeds().contains(&((start + byte) as u64)) {
                (0..8).for_each(|bit| tally.flip(&oracle, path, bytes, byte * 8 + bit));
            }
        }
        start += bytes.len();
    }
    let figures = tally.figures();
    tally.finish("a larger database");
    ledger.end(&figures);
}
