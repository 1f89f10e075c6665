//! Long runs in shards: which seeds a run covers, and its row in the ledger.
//!
//! In: the environment. `SEEDS=from..to` widens a campaign beyond its share of an ordinary test run; `LEDGER=file`
//! names the file that gets a row per campaign (tests/ledger.tsv, which tests/LEDGER.md explains). Out: a line on the
//! screen, and that row. Seeds that ran before need not run again: shards are told apart by their seeds.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::process::Command;
use std::time::Instant;

/// One run of a campaign.
pub(crate) struct Run {
    campaign: &'static str,
    seeds: Range<u64>,
    started: Instant,
}

impl Run {
    /// Begins a run over the seeds that the environment names, or else over these.
    pub(crate) fn begin(campaign: &'static str, seeds: Range<u64>) -> Self {
        let seeds = std::env::var("SEEDS").map_or(seeds, |text| parse_seeds(&text));
        Self { campaign, seeds, started: Instant::now() }
    }

    /// The seeds to run.
    pub(crate) fn seeds(&self) -> Range<u64> {
        self.seeds.clone()
    }

    /// Tells what was counted.
    pub(crate) fn end(self, figures: &[(&str, u64)]) {
        let Range { start, end } = self.seeds;
        let mut row = format!("{}\t{start}..{end}\t", self.campaign);
        for (name, value) in figures {
            write!(row, "{name}={value} ").unwrap();
        }
        write!(row, "seconds={}", self.started.elapsed().as_secs()).unwrap();
        println!("{row}");
        if let Some(path) = std::env::var_os("LEDGER") {
            let (day, commit) = (output("date", &["-u", "+%F"]), output("git", &["rev-parse", "--short", "HEAD"]));
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            file.write_all(format!("{day}\t{commit}\t{row}\n").as_bytes()).unwrap();
        }
    }
}

fn parse_seeds(text: &str) -> Range<u64> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.unwrap_or_else(|| panic!("SEEDS={text}: expected from..to"))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
