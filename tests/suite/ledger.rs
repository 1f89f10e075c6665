//! The ledger adds up: the totals in tests/LEDGER.md are the sums of the rows in tests/ledger.tsv, and no seed of a
//! campaign counts twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

/// What all runs of a campaign covered.
#[derive(Default)]
struct Campaign {
    shards: Vec<Range<u64>>,
    figures: BTreeMap<String, u64>,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

/// Rows are: day, commit, campaign, seeds, figures; with tabs between them.
fn campaigns(rows: &str) -> BTreeMap<String, Campaign> {
    let mut campaigns: BTreeMap<String, Campaign> = BTreeMap::new();
    for row in rows.lines() {
        let fields: Vec<&str> = row.split('\t').collect();
        let [_day, _commit, name, seeds, figures] = fields[..] else { panic!("not a row of five fields: {row}") };
        let campaign = campaigns.entry(name.to_owned()).or_default();
        let (start, end) = seeds.split_once("..").unwrap();
        campaign.shards.push(start.parse().unwrap()..end.parse().unwrap());
        for figure in figures.split_whitespace() {
            let (name, value) = figure.split_once('=').unwrap();
            *campaign.figures.entry(name.to_owned()).or_default() += value.parse::<u64>().unwrap();
        }
    }
    campaigns
}

/// A number with a comma before every three digits.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn totals(campaigns: &BTreeMap<String, Campaign>) -> String {
    let mut table = String::from("| campaign | runs | totals |\n|---|---|---|\n");
    for (name, campaign) in campaigns {
        let figures: Vec<String> =
            campaign.figures.iter().map(|(name, value)| format!("{} {name}", grouped(*value))).collect();
        writeln!(table, "| {name} | {} | {} |", campaign.shards.len(), figures.join(", ")).unwrap();
    }
    table
}

#[test]
fn the_totals_are_the_sums_of_the_rows() {
    let campaigns = campaigns(&read("ledger.tsv"));
    assert!(!campaigns.is_empty());
    let table = totals(&campaigns);
    assert!(read("LEDGER.md").contains(&table), "tests/LEDGER.md should contain:\n{table}");
}

#[test]
fn no_seed_counts_twice_and_no_violation_is_left() {
    for (name, mut campaign) in campaigns(&read("ledger.tsv")) {
        campaign.shards.sort_by_key(|shard| shard.start);
        for pair in campaign.shards.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{name}: {:?} and {:?} overlap", pair[0], pair[1]);
        }
        assert_eq!(campaign.figures.get("violations"), Some(&0), "{name}");
    }
}
