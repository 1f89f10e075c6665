//! Random changes and random queries against the model, seeded.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rustling_engine::config::Options;

use crate::fixture::{Fixture, options};

const KEYS: i64 = 3000;

fn change(fixture: &mut Fixture, random: &mut StdRng, version: i32) {
    let keys = |random: &mut StdRng| -> Vec<i64> {
        let (start, count) = (random.random_range(0..KEYS), random.random_range(1..400));
        match random.random_range(0..3) {
            0 => (start..start + count).collect(),
            1 => Vec::from_iter(BTreeSet::from_iter((0..count).map(|_| random.random_range(0..KEYS)))),
            _ => vec![start],
        }
    };
    match random.random_range(0..20) {
        0..9 => {
            let keys = keys(random);
            fixture.upsert(keys, version);
        }
        9..13 => {
            let keys = keys(random);
            fixture.delete(keys);
        }
        13 => fixture.upsert((0..5).map(|i| KEYS + i64::from(version) * 10 + i), version),
        14..18 => fixture.flush(),
        18 => fixture.compact(),
        _ => {}
    }
}

fn predicate(random: &mut StdRng) -> String {
    let (a, b) = (random.random_range(-10..KEYS + 50), random.random_range(1..300));
    let all = [
        format!("k = {a}"),
        format!("k BETWEEN {a} AND {}", a + b),
        format!("k < {b} OR k > {a}"),
        format!("n % 7 = {}", b % 7),
        format!("v = 'text {}'", b % 14),
        "v IS NULL".to_owned(),
        format!("f > {a}.25"),
        format!("k IN ({a}, {}, {b})", a + 1),
        format!("n > {} AND f IS NOT NULL", b * 10),
        "true".to_owned(),
    ];
    let count = random.random_range(1..3);
    (0..count).map(|_| format!("({})", all.choose(random).unwrap())).collect::<Vec<_>>().join(" AND ")
}

fn query(random: &mut StdRng) -> String {
    let predicate = predicate(random);
    let limit = random.random_range(0..50);
    let all = [
        format!("SELECT * FROM t WHERE {predicate}"),
        format!("SELECT n, f, k FROM t WHERE {predicate}"),
        format!("SELECT count(*) FROM t WHERE {predicate}"),
        "SELECT count(*), min(k), max(k), count(f) FROM t".to_owned(),
        format!("SELECT v, count(*), sum(n), max(f) FROM t WHERE {predicate} GROUP BY v"),
        format!("SELECT k, v FROM t WHERE {predicate} ORDER BY k DESC LIMIT {limit}"),
        format!("SELECT n, k FROM t WHERE {predicate} ORDER BY n, k LIMIT {limit} OFFSET 3"),
        format!("SELECT a.k, b.v FROM (SELECT * FROM t WHERE {predicate}) a JOIN t b ON a.k = b.n"),
        format!("SELECT k FROM t WHERE k NOT IN (SELECT n FROM t WHERE {predicate})"),
        format!("SELECT DISTINCT n % 10 FROM t WHERE {predicate}"),
    ];
    all.choose(random).unwrap().clone()
}

async fn check(seed: u64, steps: i32) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut fixture = Fixture::with(Options { memtable_bytes: 256 << 10, ..options() });
    for version in 1..=steps {
        change(&mut fixture, &mut random, version);
        if version % 4 == 0 {
            let sql = query(&mut random);
            println!("seed {seed}, step {version}: {sql}");
            fixture.check(&sql).await;
        }
    }
}

#[tokio::test]
async fn random_changes_and_queries_agree_with_the_model() {
    for seed in 1..=6 {
        check(seed, 80).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_agree_on_several_threads_too() {
    for seed in 101..=103 {
        check(seed, 80).await;
    }
}
