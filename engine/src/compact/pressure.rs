//! How far compactions are behind with a table.
//!
//! In: its shape, its limits, what is about to be flushed. Out: nothing within the limits; [`FULL`] where flushes wait.
//! Invariants: where there is pressure, the policy finds something to do, so nobody waits in vain.

use crate::compact::policy::{Limits, has_dead};
use crate::compact::shape::Shape;
use crate::pace::FULL;

/// The pressure once `coming` changes are flushed, each of which may kill a row: full with twice the limit of runs of a
/// key, or half more than the limit of dead rows.
pub fn pressure(shape: &Shape, limits: &Limits, coming: u64) -> u64 {
    let beyond = |value: u64, soft: u64, full: u64| {
        let part = u128::from(value.saturating_sub(soft)) * u128::from(FULL) / u128::from((full - soft).max(1));
        u64::try_from(part).unwrap_or(u64::MAX).min(FULL)
    };
    let soft = limits.runs as u64;
    let runs = beyond(shape.depth() as u64, soft, soft.saturating_mul(2));
    if !has_dead(shape, limits.dead_percent, limits.dead_bytes) {
        return runs;
    }
    let (dead, rows) = (shape.dead().saturating_add(coming), shape.rows().saturating_add(coming));
    let share = u64::try_from(u128::from(dead) * 10_000 / u128::from(rows.max(1))).unwrap_or(u64::MAX);
    let soft = limits.dead_percent.saturating_mul(100);
    runs.max(beyond(share, soft, soft.saturating_add(soft / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::shape::RunShape;
    use crate::id::SeqNo;
    use crate::run_writer::SeqRange;
    use crate::sst::meta::KeyRange;

    const LIMITS: Limits = Limits { runs: 4, dead_percent: 20, dead_bytes: 100, sst_bytes: 1 << 20, sst_rows: 1 << 20 };

    fn shape(runs: &[(u64, u64)]) -> Shape {
        let run = |(seq, (rows, dead)): (usize, &(u64, u64))| RunShape {
            rows: *rows,
            dead: *dead,
            deletes: 0,
            bytes: rows * 10,
            seqs: SeqRange { first: SeqNo(100 - seq as u64), last: SeqNo(100 - seq as u64) },
            keys: Some(KeyRange { min: vec![0], max: vec![9] }),
        };
        Shape::new(runs.iter().enumerate().map(run).collect())
    }

    #[test]
    fn pressure_rises_with_dead_rows_and_with_those_that_are_to_die() {
        let dead = |dead, coming| pressure(&shape(&[(1000, dead)]), &LIMITS, coming);
        assert_eq!([dead(200, 0), dead(220, 0), dead(250, 0), dead(300, 0), dead(900, 0)], [0, 200, 500, 1000, 1000]);
        assert_eq!([dead(220, 50), dead(220, 115), dead(0, 1 << 40)], [571, 1000, 0]);
        assert_eq!(pressure(&shape(&[(20, 9)]), &LIMITS, 0), 0, "too few bytes to collect");
    }

    #[test]
    fn pressure_rises_with_runs() {
        let runs = |count| pressure(&shape(&vec![(10, 0); count]), &LIMITS, 1 << 40);
        assert_eq!([runs(0), runs(4), runs(5), runs(6), runs(8), runs(20)], [0, 0, 250, 500, 1000, 1000]);
    }
}
