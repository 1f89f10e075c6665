//! Files of deletion vectors: any bytes.
//!
//! In: a byte, the most rows that may be dead in each run, in thousands; then the bytes of a file.
//! Promise: what is decoded is at most that, holds only runs that were asked for, and is written and read again as the
//! same; all else is damage.

use rustling_engine::deletion::file::{DeadCount, DeadRows, decode, encode};
use rustling_engine::deletion::vector::DeletionVector;
use rustling_engine::error::{Error, Result};
use rustling_engine::id::{Digest, RunId};

use crate::input::Input;
use crate::targets::{Seeds, unless_corrupt};

/// Runs that are asked for.
const RUNS: u64 = 8;

/// Reads a file.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let rows = u64::from(input.byte()) * 1000;
    let counts: Vec<DeadCount> = (1..=RUNS).map(|run| DeadCount { run: RunId(run), rows, digest: Digest(0) }).collect();
    let decoded = decode(input.0, &counts).map_err(|damage| Error::corrupt("deletions", damage));
    let Some(dead) = unless_corrupt(decoded, "decode") else { return };
    assert!(dead.iter().all(|(run, dead)| (1..=RUNS).contains(&run.0) && dead.len() <= rows));
    for (_, dead) in &dead {
        let mut before = None;
        assert!(dead.rows().all(|row| before.replace(row).is_none_or(|before| before < row) && dead.contains(row)));
        assert_eq!(dead.rows().count() as u64, dead.len());
    }
    let again = unless_corrupt(encode(&dead), "encode").unwrap_or_default();
    let reread = decode(&again, &counts);
    assert_eq!(reread.unwrap_or_else(|damage| panic!("what was written cannot be read: {damage}")), dead);
}

/// Files with few rows and many, close together and far apart.
///
/// # Errors
/// None in practice.
pub fn seeds() -> Result<Seeds> {
    let rows = |rows: &mut dyn Iterator<Item = u64>| -> DeletionVector { rows.collect() };
    let files: [(&str, DeadRows); 3] = [
        ("empty", Vec::new()),
        (
            "scattered",
            vec![(RunId(1), rows(&mut (0..90_000).step_by(1009))), (RunId(3), rows(&mut [7, 1 << 31].into_iter()))],
        ),
        (
            "dense",
            vec![(RunId(2), rows(&mut (65_000..80_000).filter(|row| row % 3 != 0))), (RunId(2), rows(&mut (0..5000)))],
        ),
    ];
    files.into_iter().map(|(name, dead)| Ok((name, [&[200][..], &encode(&dead)?].concat()))).collect()
}
