//! Scripts made of random steps. A seed is a script; its number is in every key and value, so that rows of different
//! seeds are different bytes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;

use crate::crash::scripts::Script;
use crate::fixture::{KEYLESS, Step, small_options};

const TABLES: [&str; 4] = ["a", "b", "c", KEYLESS];

/// The script of a seed.
pub(crate) fn script(seed: u64) -> Script {
    let mut random = StdRng::seed_from_u64(seed);
    let options = options(&mut random);
    let mut generator = Generator { seed, random, tables: Vec::new(), counter: 0, steps: Vec::new() };
    let length = generator.random.random_range(6..14);
    while generator.steps.len() < length {
        generator.step();
    }
    Script { name: format!("seed {seed}"), options, steps: generator.steps, is_random: true }
}

fn options(random: &mut StdRng) -> Options {
    let mut pick = |sizes: &[u64]| sizes[random.random_range(0..sizes.len())];
    Options {
        memtable_bytes: usize::try_from(pick(&[500, 4096])).unwrap(),
        wal_segment_bytes: pick(&[200, 600, 1 << 20]),
        wal_bytes: pick(&[1000, 1 << 30]),
        sst_rows: pick(&[3, 1 << 20, 1 << 20]),
        compact_runs: 2,
        dead_percent: 10,
        ..small_options()
    }
}

struct Generator {
    seed: u64,
    random: StdRng,
    /// Those there are.
    tables: Vec<&'static str>,
    counter: u64,
    steps: Vec<Step>,
}

impl Generator {
    fn step(&mut self) {
        let Some(table) = self.table() else { return self.create() };
        let step = match self.random.random_range(0..100) {
            0..25 => Step::Write(self.changes(4)),
            25..37 => Step::Group(self.changes(5)),
            37..45 => Step::Upsert(table, self.rows(1..12)),
            // So many rows go into the log as Arrow.
            45..47 => Step::Upsert(table, self.rows(1025..1100)),
            47..55 => Step::Load(table, self.rows(1..20)),
            55..59 => Step::DeleteMultiples(table, self.random.random_range(2..5)),
            59..68 => Step::Flush(table),
            68..72 => Step::FlushFrozen,
            72..74 => Step::Compact(table),
            74..77 => self.compact_while(table),
            77..79 => Step::CompactDue(Effort::Steady),
            79..81 => Step::CompactDue(Effort::Idle),
            81..87 => Step::Reopen,
            87..91 => Step::Kill,
            91..94 => {
                self.tables.retain(|other| *other != table);
                Step::Drop(table)
            }
            _ => return self.create(),
        };
        self.steps.push(step);
    }

    /// A compaction, and what needs not wait for it.
    fn compact_while(&mut self, table: &'static str) -> Step {
        let step = |generator: &mut Self| match generator.random.random_range(0..6) {
            0..2 => Step::Write(generator.changes(4)),
            2 => Step::Upsert(table, generator.rows(1..6)),
            3 => Step::Load(table, generator.rows(1..6)),
            _ => Step::Flush(table),
        };
        let steps = (0..self.random.random_range(1..4)).map(|_| step(self)).collect();
        Step::CompactWhile(table, self.random.random_range(0..24), steps)
    }

    fn create(&mut self) {
        let table = TABLES[self.random.random_range(0..TABLES.len())];
        if !self.tables.contains(&table) {
            self.tables.push(table);
            self.steps.push(Step::Create(table));
        }
    }

    fn table(&mut self) -> Option<&'static str> {
        (!self.tables.is_empty()).then(|| self.tables[self.random.random_range(0..self.tables.len())])
    }

    fn key(&mut self) -> i64 {
        let offset = self.random.random_range(0..20);
        i64::try_from(self.seed).unwrap() * 10_000 + offset
    }

    fn value(&mut self) -> String {
        self.counter += 1;
        format!("seed {} row {}", self.seed, self.counter)
    }

    fn changes(&mut self, count: usize) -> Vec<(&'static str, i64, Option<String>)> {
        let count = self.random.random_range(1..=count);
        let change = |generator: &mut Self| {
            let table = generator.table()?;
            let deleted = table != KEYLESS && generator.random.random_bool(0.25);
            Some((table, generator.key(), (!deleted).then(|| generator.value())))
        };
        (0..count).filter_map(|_| change(self)).collect()
    }

    fn rows(&mut self, count: std::ops::Range<usize>) -> Vec<(i64, String)> {
        let count = self.random.random_range(count);
        if count < 100 {
            return (0..count).map(|_| (self.key(), self.value())).collect();
        }
        let first = self.key();
        (first..).take(count).map(|key| (key, self.value())).collect()
    }
}

#[test]
fn random_scripts_have_steps_of_every_kind() {
    let kind = |step: &Step| format!("{step:?}").chars().take_while(char::is_ascii_alphabetic).collect::<String>();
    let scripts: Vec<Script> = (0..100).map(script).collect();
    let steps: Vec<&Step> = scripts.iter().flat_map(|script| &script.steps).collect();
    let kinds: std::collections::BTreeSet<String> = steps.iter().map(|step| kind(step)).collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
    let large = |step: &Step| matches!(step, Step::Upsert(_, rows) if rows.len() > 1024);
    assert!(steps.iter().any(|step| large(step)) && steps.iter().any(|step| matches!(step, Step::Create(KEYLESS))));
    assert_eq!(format!("{:?}", script(7)), format!("{:?}", script(7)), "a seed is a script");
}
