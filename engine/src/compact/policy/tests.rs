//! What the policy picks, drawn: runs newest first, over the key space from left to right.
//!
//! A line is `seqs [keys] rows dead deletes`; every row has ten bytes. Behind the arrow stand the reason, the runs that
//! are rewritten by their sequence numbers, and the runs afterwards.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::id::SeqNo;
use crate::run_writer::SeqRange;
use crate::sst::meta::KeyRange;

mod many;
mod whole;

/// Columns before the key space.
const MARGIN: usize = 8;
const WIDTH: usize = 32;

fn limits() -> Limits {
    Limits { runs: 8, dead_percent: 20, dead_bytes: 100, sst_bytes: 16_000, sst_rows: 1 << 20 }
}

fn parsed(line: &str) -> RunShape {
    let (min, max) = (line.find('[').expect("where keys begin"), line.find(']').expect("where keys end"));
    let seqs: Vec<u64> = line[..MARGIN].trim().split('-').map(|seq| seq.parse().expect("a number")).collect();
    let counts: Vec<u64> = line[max + 1..].split_whitespace().map(|count| count.parse().expect("a number")).collect();
    let key = |at: usize| vec![u8::try_from(at - MARGIN).expect("a narrow drawing")];
    RunShape {
        rows: counts[0],
        dead: counts[1],
        deletes: counts[2],
        bytes: (counts[0] + counts[2]) * 10,
        seqs: SeqRange { first: SeqNo(seqs[0]), last: SeqNo(seqs[seqs.len() - 1]) },
        keys: Some(KeyRange { min: key(min), max: key(max) }),
    }
}

fn seqs(run: &RunShape) -> String {
    let SeqRange { first, last } = run.seqs;
    if first == last { first.0.to_string() } else { format!("{}-{}", first.0, last.0) }
}

fn drawn(run: &RunShape) -> String {
    let keys = run.keys.as_ref().expect("keys");
    let (min, max) = (usize::from(keys.min[0]), usize::from(keys.max[0]));
    let line = format!("{}[{}]", " ".repeat(min), "=".repeat((max - min).saturating_sub(1)));
    format!("{:<MARGIN$}{line:<WIDTH$} {} {} {}", seqs(run), run.rows, run.dead, run.deletes)
}

/// The runs after a pick, if rows lie evenly and deletes hide nothing any more.
fn after(shape: &Shape, pick: &Pick) -> Vec<RunShape> {
    let mut runs: Vec<RunShape> = Vec::new();
    let picked: Vec<&RunShape> = pick.runs.iter().map(|run| &shape.runs()[*run]).collect();
    let key = |range: &RunShape, of: fn(&KeyRange) -> &Vec<u8>| of(range.keys.as_ref().expect("keys"))[0];
    let bounds: Vec<u8> = [0].into_iter().chain(pick.cuts.iter().map(|cut| cut[0])).chain([u8::MAX]).collect();
    for bounds in bounds.windows(2) {
        let inside = picked.iter().filter(|run| key(run, |k| &k.min) < bounds[1] && key(run, |k| &k.max) >= bounds[0]);
        let inside: Vec<&&RunShape> = inside.collect();
        let Some(first) = inside.iter().map(|run| run.seqs.first).min() else { continue };
        let last = inside.iter().map(|run| run.seqs.last).max().expect("as many");
        let min = inside.iter().map(|run| key(run, |k| &k.min)).min().expect("as many").max(bounds[0]);
        let max = inside.iter().map(|run| key(run, |k| &k.max)).max().expect("as many").min(bounds[1] - 1);
        let share = |run: &RunShape| {
            let (from, to) = (u64::from(key(run, |k| &k.min)), u64::from(key(run, |k| &k.max)) + 1);
            let within = to.min(u64::from(bounds[1])) - from.max(u64::from(bounds[0]));
            run.live() * within / (to - from)
        };
        let rows: u64 = inside.iter().map(|run| share(run)).sum();
        if rows > 0 {
            let keys = Some(KeyRange { min: vec![min], max: vec![max] });
            let seqs = SeqRange { first, last };
            runs.push(RunShape { rows, dead: 0, deletes: 0, bytes: rows * 10, seqs, keys });
        }
    }
    let stay = shape.runs().iter().enumerate().filter(|(place, _)| !pick.runs.contains(place));
    runs.extend(stay.map(|(_, run)| run.clone()));
    runs.sort_by_key(|run| (std::cmp::Reverse(run.seqs.last), run.keys.clone().map(|keys| keys.min)));
    runs
}

/// Compares what the policy does with a drawing of it.
fn check(effort: Effort, drawing: &str) {
    let lines: Vec<&str> = drawing.lines().skip(1).map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let before = lines.iter().take_while(|line| !line.starts_with("->"));
    let shape = Shape::new(before.clone().map(|line| parsed(line)).collect());
    let mut said = String::new();
    before.for_each(|line| writeln!(said, "{line}").expect("memory"));
    match pick(&shape, &limits(), effort) {
        None => said.push_str("-> nothing\n"),
        Some(pick) => {
            let runs: Vec<String> = pick.runs.iter().map(|run| seqs(&shape.runs()[*run])).collect();
            writeln!(said, "-> {}: {}", pick.reason.text(), runs.join(", ")).expect("memory");
            let runs = after(&shape, &pick);
            runs.iter().for_each(|run| writeln!(said, "{}", drawn(run)).expect("memory"));
        }
    }
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(said.trim_end(), expected.trim_end(), "the policy says:\n{said}");
}

#[test]
fn a_slot_is_rewritten_by_itself_with_what_lies_above_it() {
    check(
        Effort::Steady,
        "
    7-8     [==============]                 300 0 0
    7-8                     [==============] 300 0 0
    1       [==============]                 1600 800 0
    1                       [==============] 1600 10 0
    -> dead rows: 7-8, 1
    1-8     [==============]                 1100 0 0
    7-8                     [==============] 300 0 0
    1                       [==============] 1600 10 0
    ",
    );
}

#[test]
fn a_flush_over_all_slots_stays_where_one_slot_is_rewritten() {
    check(
        Effort::Steady,
        "
    9       [==============================] 100 0 0
    7-8     [==============]                 300 0 0
    7-8                     [==============] 300 0 0
    1       [==============]                 1600 800 0
    1                       [==============] 1600 10 0
    -> dead rows: 7-8, 1
    9       [==============================] 100 0 0
    1-8     [==============]                 1100 0 0
    7-8                     [==============] 300 0 0
    1                       [==============] 1600 10 0
    ",
    );
}

#[test]
fn a_run_by_itself_is_rewritten_where_that_pays_best() {
    check(
        Effort::Steady,
        "
    9       [==============================] 100 0 0
    8       [==============================] 900 880 0
    1       [==============================] 1600 0 0
    -> dead rows: 8
    9       [==============================] 100 0 0
    8       [==============================] 20 0 0
    1       [==============================] 1600 0 0
    ",
    );
}

#[test]
fn few_dead_rows_are_left_while_there_are_writers() {
    check(
        Effort::Steady,
        "
    9       [==============================] 200 0 0
    1       [==============================] 1600 200 0
    -> nothing
    ",
    );
}

#[test]
fn an_idle_table_is_cleaned() {
    check(
        Effort::Idle,
        "
    9       [==============================] 150 0 0
    1       [==============================] 1600 200 0
    -> dead rows: 9, 1
    1-9     [==============================] 1550 0 0
    ",
    );
}

#[test]
fn in_an_idle_table_merging_comes_first_and_collects_dead_rows() {
    check(
        Effort::Idle,
        "
    9       [==============]                 200 0 0
    8                       [==============] 200 0 0
    5       [==============]                 1600 200 0
    4                       [==============] 1600 120 0
    -> many runs: 8, 4
    9       [==============]                 200 0 0
    4-8                     [==============] 1680 0 0
    5       [==============]                 1600 200 0
    ",
    );
}

#[test]
fn an_idle_table_keeps_three_of_a_hundred() {
    check(
        Effort::Idle,
        "
    9       [==============================] 50 0 0
    1       [==============================] 1600 45 0
    -> nothing
    ",
    );
}

#[test]
fn in_an_idle_table_runs_over_all_slots_are_cut_where_base_runs_begin() {
    check(
        Effort::Idle,
        "
    9       [==============================] 320 0 0
    8       [==============================] 320 0 0
    5       [==============]                 1600 0 0
    4                       [==============] 1600 0 0
    -> many runs: 9, 8
    8-9     [==============]                 320 0 0
    8-9                     [==============] 320 0 0
    5       [==============]                 1600 0 0
    4                       [==============] 1600 0 0
    ",
    );
}

#[test]
fn in_an_idle_table_each_slot_is_merged() {
    check(
        Effort::Idle,
        "
    8-9     [==============]                 100 0 0
    8-9                     [==============] 320 0 0
    5       [==============]                 1600 0 0
    4                       [==============] 1600 0 0
    -> many runs: 8-9, 4
    8-9     [==============]                 100 0 0
    4-9                     [==============] 1920 0 0
    5       [==============]                 1600 0 0
    ",
    );
}

/// Wherever its runs lie: what overlaps in the end has less than an eighth of what it lies above, and where keys overlap
/// ages do not.
#[test]
fn an_idle_table_comes_to_rest() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let runs = (0..random.random_range(2..9)).rev().map(|seq| {
            let (min, rows) = (random.random_range(0..24), random.random_range(1..2000));
            let keys = KeyRange { min: vec![min], max: vec![random.random_range(min..32)] };
            let (dead, seqs) = (random.random_range(0..rows), SeqRange { first: SeqNo(seq), last: SeqNo(seq) });
            RunShape { rows, dead, deletes: 0, bytes: rows * 10, seqs, keys: Some(keys) }
        });
        let mut shape = Shape::new(runs.collect());
        let mut steps = 0;
        while let Some(pick) = pick(&shape, &limits(), Effort::Idle) {
            shape = Shape::new(after(&shape, &pick));
            steps += 1;
            assert!(steps < 100, "seed {seed}: {shape:?}");
        }
        let bytes = |run: &usize| shape.runs()[*run].live_bytes() / shape.reach(*run).len() as u64;
        for slot in shape.slots() {
            let (base, above) = slot.stack.split_last().expect("a base run");
            let above: u64 = above.iter().map(bytes).sum();
            let is_level = shape.depth_of(&slot.stack) < 2;
            assert!(is_level || above * 8 < bytes(base).max(1), "seed {seed}: {shape:?}");
        }
        for (index, run) in shape.runs().iter().enumerate() {
            let keys = |run: &RunShape| run.keys.clone().expect("keys");
            let older = shape.runs()[index + 1..].iter().filter(|older| keys(older).overlaps(&keys(run)));
            older.for_each(|older| assert!(older.seqs.last < run.seqs.first, "seed {seed}: {shape:?}"));
        }
    }
}

/// The second one reaches over the third, which is a base run, too; the first two have wide rows and narrow ones, so that
/// a result of theirs would be cut where they are.
#[test]
fn an_idle_table_leaves_what_lies_side_by_side_in_a_slot() {
    let run = |seqs: (u64, u64), keys: (u8, u8), rows, bytes| RunShape {
        rows,
        dead: 0,
        deletes: 0,
        bytes,
        seqs: SeqRange { first: SeqNo(seqs.0), last: SeqNo(seqs.1) },
        keys: Some(KeyRange { min: vec![keys.0], max: vec![keys.1] }),
    };
    let runs = [run((5, 9), (0, 9), 100, 960), run((5, 5), (10, 20), 100, 60), run((1, 1), (15, 30), 30, 300)];
    assert_eq!(pick(&Shape::new(runs.to_vec()), &limits(), Effort::Idle), None);
}

#[test]
fn a_run_without_a_live_row_goes() {
    check(
        Effort::Steady,
        "
    9       [==============================] 50 0 0
    8          [=====]                       50 50 0
    1       [==============================] 1600 45 0
    -> nothing lives: 8
    9       [==============================] 50 0 0
    1       [==============================] 1600 45 0
    ",
    );
}

#[test]
fn deletes_that_may_hide_something_stay() {
    check(
        Effort::Steady,
        "
    9       [==============================] 0 0 50
    1       [==============================] 1600 45 0
    -> nothing
    ",
    );
}

#[test]
fn deletes_below_which_nothing_lies_go() {
    check(
        Effort::Steady,
        "
    9       [==============================] 50 0 0
    1       [==============================] 0 0 50
    -> nothing lives: 1
    9       [==============================] 50 0 0
    ",
    );
}

#[test]
fn small_neighbours_become_one() {
    check(
        Effort::Steady,
        "
    9                               [=]      20 0 0
    8                         [=]            20 0 0
    7                   [=]                  20 0 0
    6             [=]                        20 0 0
    5       [===]                            1600 0 0
    -> small runs: 9, 8, 7, 6
    6-9           [===================]      80 0 0
    5       [===]                            1600 0 0
    ",
    );
}

/// No key is in more than two of them, however many there are.
#[test]
fn small_neighbours_above_a_base_run_become_one() {
    check(
        Effort::Steady,
        "
    9                               [=]      70 0 0
    8             [=]                        20 0 0
    7                   [=]                  20 0 0
    6                         [=]            20 0 0
    4         [=]                            70 0 0
    1       [==============================] 4800 0 0
    -> small runs: 9, 8, 7, 6, 4
    4-9       [=======================]      200 0 0
    1       [==============================] 4800 0 0
    ",
    );
}

#[test]
fn neighbours_that_are_parts_of_a_table_stay() {
    check(
        Effort::Steady,
        "
    9                               [=]      100 0 0
    8                         [=]            100 0 0
    7                   [=]                  100 0 0
    6             [=]                        100 0 0
    5       [===]                            1600 0 0
    -> nothing
    ",
    );
}

#[test]
fn full_neighbours_stay() {
    check(
        Effort::Steady,
        "
    9                               [=]      1600 0 0
    8                         [=]            1600 0 0
    7                   [=]                  1600 0 0
    6             [=]                        1600 0 0
    5       [===]                            1600 0 0
    -> nothing
    ",
    );
}
