//! Kinds of work that a child does until it is killed, and what is there after any number of their steps.
//!
//! In: a seed. Out: endless streams of steps, each a pure function of seed, stream and serial number, so that the
//! parent knows what the child did from how often it said so.
//! Invariants: streams touch different keys or tables, so the order between streams does not matter.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::config::Options;

use crate::fixture::{Step, Tables};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Durable writes, one after the other, over two tables; the log changes segments often.
    Writes,
    /// Durable writes by several threads, so that groups share syncs.
    Groups,
    /// Bulk loads that sort, spill and replace rows.
    Loads,
    /// Writes beside flushes and compactions, the ones in the background and the ones asked for.
    Flushes,
    /// Tables come and go.
    Tables,
    /// The database is opened, written to, and closed or just dropped; most of the time goes into recovery.
    Openings,
}

/// Tables that are there from the start.
pub(crate) const TABLES: [&str; 6] = ["first", "second", "grouped", "loaded", "flushed", "opened"];

/// Most streams that a kind of work has.
pub(crate) const STREAMS_MAX: usize = 4;

/// How far each stream got.
pub(crate) type Positions = [u64; STREAMS_MAX];

impl Work {
    pub(crate) const ALL: [Self; 6] =
        [Self::Writes, Self::Groups, Self::Loads, Self::Flushes, Self::Tables, Self::Openings];

    /// The kind with this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|work| work.name() == name).unwrap_or_else(|| panic!("no work is named {name}"))
    }

    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Streams, each of which is done by a thread of its own.
    pub(crate) fn streams(self) -> usize {
        match self {
            Self::Groups => STREAMS_MAX,
            Self::Flushes => 2,
            Self::Writes | Self::Loads | Self::Tables | Self::Openings => 1,
        }
    }

    /// Options that make this work meet its limits soon.
    pub(crate) fn options(self) -> Options {
        let small = Options { memory_bytes: 4 << 20, memtable_bytes: 1 << 20, threads: 2, ..Options::default() };
        match self {
            Self::Writes => Options { wal_segment_bytes: 2 << 10, wal_bytes: 32 << 10, ..small },
            Self::Groups | Self::Tables => Options { wal_segment_bytes: 64 << 10, ..small },
            Self::Loads => Options { memory_bytes: 1 << 20, memtable_bytes: 256 << 10, ..small },
            Self::Flushes => {
                Options { memtable_bytes: 6 << 10, wal_segment_bytes: 8 << 10, compact_runs: 3, sst_rows: 150, ..small }
            }
            Self::Openings => Options { wal_segment_bytes: 16 << 10, wal_bytes: 96 << 10, ..small },
        }
    }

    /// The step of a stream with a serial number.
    pub(crate) fn step(self, seed: u64, stream: usize, serial: u64) -> Step {
        let place = (self as u64) << 60 | (stream as u64) << 56 | serial;
        let random = &mut StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place);
        let word = format!("{self:?} {stream} {serial}");
        let keys = (stream as i64 * 1000)..(stream as i64 * 1000 + 300);
        match self {
            Self::Writes => Step::Write(some_changes(random, &["first", "second"], keys, &word)),
            Self::Groups => {
                Step::Write(some_changes(random, &["grouped", "second"], 5000 + keys.start..5300 + keys.end, &word))
            }
            Self::Loads => Step::Load("loaded", some_rows(random, &word)),
            Self::Flushes => Step::Write(some_changes(random, &["flushed"], keys, &word)),
            Self::Tables => table_step(random, serial, &word),
            Self::Openings => Step::Write(some_changes(random, &["opened"], keys, &word)),
        }
    }
}

/// A few changes of the same moment: each carries the same word, so that half of them cannot pass as another step.
fn some_changes(
    random: &mut StdRng,
    tables: &[&'static str],
    keys: std::ops::Range<i64>,
    word: &str,
) -> Vec<(&'static str, i64, Option<String>)> {
    let mut changes = BTreeMap::new();
    for _ in 0..random.random_range(1..12) {
        let table = tables[random.random_range(0..tables.len())];
        let value = random.random_bool(0.8).then(|| word.to_owned());
        changes.insert((table, random.random_range(keys.clone())), value);
    }
    changes.into_iter().map(|((table, key), value)| (table, key, value)).collect()
}

/// Rows of a load: some thousand keys in no order, many of which are there already, long enough to be spilled now and
/// then.
fn some_rows(random: &mut StdRng, word: &str) -> Vec<(i64, String)> {
    let first = random.random_range(0..3000);
    let count = random.random_range(500..4000);
    // A multiplier without a factor in common with any count below its size visits every key once.
    let word = format!("{word:.<100}");
    (0..count).map(|row| (first + row * 7919 % count, word.clone())).collect()
}

/// Two tables that come and go, so that sometimes none, one or both are there.
fn table_step(random: &mut StdRng, serial: u64, word: &str) -> Step {
    let mut write = |tables| Step::Write(some_changes(random, tables, 0..100, word));
    match serial % 12 {
        0 | 8 => Step::Create("x"),
        1 => write(&["x"]),
        2 => Step::Create("y"),
        3 | 9 => write(&["x", "y"]),
        4 => Step::Load("y", (0..300).map(|key| (key, word.to_owned())).collect()),
        5 => Step::Drop("x"),
        6 => write(&["y"]),
        7 => Step::Compact("y"),
        10 => Step::Drop("y"),
        _ => Step::Drop("x"),
    }
}

/// Tables with nothing in them.
pub(crate) fn empty_tables() -> Tables {
    TABLES.iter().map(|table| ((*table).to_owned(), BTreeMap::new())).collect()
}

/// A process that was killed early did not make all tables.
pub(crate) fn with_all_tables(found: Tables) -> Tables {
    let mut tables = empty_tables();
    tables.extend(found);
    tables
}

/// The first rows that are not as they should be.
pub(crate) fn differences(expected: &Tables, found: &Tables) -> String {
    let names = |tables: &Tables| tables.keys().cloned().collect::<Vec<_>>();
    if names(expected) != names(found) {
        return format!("tables {:?}, acknowledged {:?}", names(found), names(expected));
    }
    let rows = expected.iter().flat_map(|(name, rows)| {
        let found = &found[name];
        let keys = rows.keys().chain(found.keys().filter(|key| !rows.contains_key(key)));
        keys.filter(|key| rows.get(key) != found.get(key))
            .map(move |key| format!("{name} {key}: found {:?}, acknowledged {:?}", found.get(key), rows.get(key)))
    });
    rows.take(5).collect::<Vec<_>>().join("; ")
}
