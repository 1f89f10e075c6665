//! The named scripts: each leads through some part of the engine's protocol with as few calls as will do.

use std::ops::Range;

use rustling_engine::compact::policy::Effort;
use rustling_engine::config::Options;

use crate::fixture::{KEYLESS, Step, small_options};

/// What happens to a database.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) steps: Vec<Step>,
    /// Made of a seed, which is in all of its rows.
    pub(crate) is_random: bool,
}

type Rows = Vec<(i64, String)>;

fn text(value: i64) -> Option<String> {
    Some(format!("value {value}"))
}

fn some_rows(keys: Range<i64>, word: &str) -> Rows {
    keys.map(|key| (key, format!("{word} {key}"))).collect()
}

fn write(table: &'static str, key: i64) -> Step {
    Step::Write(vec![(table, key, text(key))])
}

fn delete(table: &'static str, key: i64) -> Step {
    Step::Write(vec![(table, key, None)])
}

fn script(name: &str, steps: Vec<Step>) -> Script {
    Script { name: name.to_owned(), options: small_options(), steps, is_random: false }
}

/// All scripts.
pub(crate) fn scripts() -> Vec<Script> {
    [logging(), flushing(), rewriting(), meanwhile(), tables(), large()].into_iter().flatten().collect()
}

/// Scripts of writes.
fn logging() -> Vec<Script> {
    let mut segments = vec![Step::Create("a")];
    segments.extend((0..14).map(|key| write("a", key % 5)));
    let groups = |first| Step::Group((first..first + 3).map(|key| ("a", key % 4, text(key))).collect());
    vec![
        script(
            "writes over two tables",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                Step::Write(vec![("a", 1, text(1)), ("b", 1, text(10))]),
                Step::Write(vec![("a", 2, text(2)), ("a", 1, None), ("b", 1, text(11))]),
                delete("b", 1),
            ],
        ),
        script(
            "a group with one sync",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Group(vec![("a", 2, text(2)), ("a", 3, text(3)), ("a", 1, None), ("a", 4, text(4))]),
                write("a", 5),
            ],
        ),
        script("log segments", segments),
        script("groups that fill segments", vec![Step::Create("a"), groups(1), groups(4), groups(7), groups(10)]),
    ]
}

/// Scripts in which memtables become runs.
fn flushing() -> Vec<Script> {
    let mut limit = vec![Step::Create("a"), Step::Create("b"), write("b", 1)];
    limit.extend((0..12).map(|key| write("a", key % 3)));
    limit.extend([Step::FlushFrozen, write("b", 2), write("a", 2), Step::FlushFrozen]);
    vec![
        script(
            "flush",
            vec![
                Step::Create("a"),
                write("a", 1),
                write("a", 2),
                Step::Flush("a"),
                Step::Write(vec![("a", 1, None), ("a", 3, text(3))]),
                Step::Flush("a"),
                write("a", 2),
            ],
        ),
        script(
            "one table is flushed, the other is not",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                write("b", 1),
                write("a", 1),
                write("a", 2),
                Step::Flush("a"),
                write("a", 3),
                write("b", 2),
                Step::Flush("a"),
                Step::Flush("b"),
            ],
        ),
        Script { options: Options { wal_bytes: 1500, ..small_options() }, ..script("the log passes its limit", limit) },
        script(
            "everything is deleted and flushed",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Flush("a"),
                delete("a", 1),
                Step::Flush("a"),
                Step::Compact("a"),
                write("a", 1),
            ],
        ),
    ]
}

/// Scripts in which runs are loaded and rewritten.
fn rewriting() -> Vec<Script> {
    vec![
        script(
            "load",
            vec![
                Step::Create("a"),
                write("a", 100),
                Step::Load("a", some_rows(0..8, "loaded")),
                write("a", 3),
                Step::Load("a", some_rows(2..5, "again")),
                write("a", 4),
            ],
        ),
        script(
            "rows are deleted by a predicate",
            vec![
                Step::Create("a"),
                Step::Load("a", some_rows(0..8, "loaded")),
                Step::Write(vec![("a", 2, text(2)), ("a", 4, None), ("a", 9, text(9))]),
                Step::DeleteMultiples("a", 3),
                write("a", 3),
                Step::DeleteMultiples("a", 2),
                Step::DeleteMultiples("a", 2),
                Step::Compact("a"),
            ],
        ),
        script(
            "compaction",
            vec![
                Step::Create("a"),
                Step::Load("a", some_rows(0..6, "old")),
                Step::Write(vec![("a", 2, None), ("a", 7, text(7))]),
                Step::Flush("a"),
                Step::Compact("a"),
                write("a", 1),
                Step::Compact("a"),
            ],
        ),
        Script {
            options: Options { sst_rows: 2, ..small_options() },
            ..script(
                "runs of two rows",
                vec![
                    Step::Create("a"),
                    Step::Load("a", some_rows(0..5, "old")),
                    Step::Write(vec![("a", 1, text(1)), ("a", 4, None)]),
                    Step::Compact("a"),
                ],
            )
        },
        Script {
            options: Options { sst_rows: 3, compact_runs: 2, dead_percent: 10, ..small_options() },
            ..script(
                "part after part of a table is rewritten",
                vec![
                    Step::Create("a"),
                    Step::Load("a", some_rows(0..12, "old")),
                    Step::Write(vec![("a", 1, text(1)), ("a", 4, None), ("a", 10, text(10))]),
                    Step::Flush("a"),
                    Step::Upsert("a", some_rows(2..6, "newer")),
                    Step::Flush("a"),
                    Step::CompactDue(Effort::Steady),
                    Step::Upsert("a", some_rows(0..3, "newest")),
                    Step::Flush("a"),
                    Step::CompactDue(Effort::Idle),
                ],
            )
        },
    ]
}

/// Scripts in which rows come while a table is compacted: before an early call of it, in the middle, at its end.
fn meanwhile() -> Vec<Script> {
    let script = |name: &str, call: usize, during: Vec<Step>| {
        script(
            &format!("{name} before call {call} of a compaction"),
            vec![
                Step::Create("a"),
                Step::Load("a", some_rows(0..4, "old")),
                Step::Upsert("a", some_rows(2..3, "newer")),
                Step::Flush("a"),
                Step::CompactWhile("a", call, during),
                write("a", 6),
            ],
        )
    };
    let flush = |call| script("a flush", call, vec![write("a", 1), Step::Flush("a"), delete("a", 2)]);
    let load = |call| script("a load", call, vec![Step::Load("a", some_rows(1..3, "loaded"))]);
    vec![flush(0), load(5), flush(10), load(15)]
}

/// Scripts that reopen, drop, and do without a key.
fn tables() -> Vec<Script> {
    vec![
        script(
            "closing and opening",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Reopen,
                write("a", 2),
                Step::Flush("a"),
                Step::Reopen,
                Step::Reopen,
                write("a", 3),
            ],
        ),
        script(
            "opening without having closed",
            vec![
                Step::Create("a"),
                write("a", 1),
                Step::Kill,
                write("a", 2),
                Step::Flush("a"),
                Step::Kill,
                write("a", 3),
            ],
        ),
        script(
            "dropping a table",
            vec![
                Step::Create("a"),
                Step::Create("b"),
                Step::Write(vec![("a", 1, text(1)), ("b", 2, text(2))]),
                Step::Flush("a"),
                Step::Drop("a"),
                write("b", 3),
                Step::Create("a"),
                write("a", 4),
            ],
        ),
        script(
            "a table without a key",
            vec![
                Step::Create(KEYLESS),
                Step::Upsert(KEYLESS, some_rows(0..3, "first")),
                Step::Flush(KEYLESS),
                write(KEYLESS, 1),
                Step::Load(KEYLESS, some_rows(0..2, "loaded")),
                Step::Kill,
                Step::DeleteMultiples(KEYLESS, 2),
                write(KEYLESS, 2),
            ],
        ),
    ]
}

/// Scripts with many or large rows, last because their images take longest.
fn large() -> Vec<Script> {
    // Backwards and wide, so that a part is sorted and spilled before the load ends.
    let wide: Rows = (0..200).rev().map(|key| (key, format!("{key:04}").repeat(500))).collect();
    vec![
        script(
            "a batch large enough for the Arrow form",
            vec![
                Step::Create("a"),
                write("a", 5),
                Step::Upsert("a", some_rows(0..1100, "row")),
                delete("a", 7),
                Step::Flush("a"),
                write("a", 5),
            ],
        ),
        Script {
            options: Options { memory_bytes: 1 << 20, ..small_options() },
            ..script("a load that spills", vec![Step::Create("a"), write("a", 3), Step::Load("a", wide), write("a", 4)])
        },
    ]
}
