//! `inspect`, `flush`, `compact`, `drop`: the state of the tables, and the work that changes it.

use std::time::Duration;

use rustling_db::Db;
use rustling_db::engine::report::{DatabaseReport, RunReport, TableReport};
use rustling_db::engine::version::history::{Compaction, History};

use crate::args::{DropArgs, Global, TableArgs};
use crate::failure::{Outcome, say};
use crate::output::print_texts;
use crate::session::{Missing, with_db};
use crate::size::{bytes, count, counted, seconds};

/// Characters of a key that are shown.
const KEY_CHARS: usize = 40;

/// Shows what the database consists of.
///
/// # Errors
/// Those of the database and of the output.
pub(crate) fn inspect(global: &Global) -> Outcome {
    with_db(global, Missing::Refuse, |db| {
        let report = db.report();
        print_texts(&["database", ""], &database_rows(global, &report))?;
        let columns = [
            "table",
            "key",
            "columns",
            "runs",
            "rows in runs",
            "dead rows",
            "deletes",
            "bytes",
            "in memory",
            "flushed to",
            "runs of a key",
            "written again",
        ];
        print_texts(&columns, &report.tables.iter().map(table_row).collect::<Vec<_>>())?;
        let columns =
            ["run", "table", "rows", "dead rows", "deletes", "bytes", "key index", "seq", "first key", "last key"];
        let runs = report.tables.iter().flat_map(|table| table.runs.iter().map(|run| run_row(table, run)));
        print_texts(&columns, &runs.collect::<Vec<_>>())?;
        let of = |table: &TableReport| -> Vec<Vec<String>> {
            table.history.compactions.iter().map(|compaction| compaction_row(table, compaction)).collect()
        };
        let compactions: Vec<Vec<String>> = report.tables.iter().flat_map(of).collect();
        if compactions.is_empty() {
            return Ok(());
        }
        let columns = ["compacted", "because of", "runs", "rows read", "dead rows", "bytes", "time"];
        print_texts(&columns, &compactions)
    })
}

fn database_rows(global: &Global, report: &DatabaseReport) -> Vec<Vec<String>> {
    let in_memory = report.tables.iter().map(|table| table.memtable_bytes as u64).sum();
    let for_runs = report.tables.iter().map(|table| table.run_heap_bytes as u64).sum();
    [
        ("folder", global.db.display().to_string()),
        ("manifest", report.manifest.0.to_string()),
        ("sequence number", report.visible.0.to_string()),
        ("log (WAL)", format!("{} up to segment {}", bytes(report.wal_bytes), report.wal_end.segment.0)),
        ("in memory", bytes(in_memory)),
        ("in memory for runs", bytes(for_runs)),
    ]
    .map(|(name, value)| vec![name.to_owned(), value])
    .to_vec()
}

fn table_row(table: &TableReport) -> Vec<String> {
    let sum = |part: fn(&RunReport) -> u64| table.runs.iter().map(part).sum::<u64>();
    vec![
        table.name.clone(),
        table.key.join(", "),
        table.columns.to_string(),
        table.runs.len().to_string(),
        count(sum(|run| run.rows)),
        count(table.dead_rows()),
        count(sum(|run| run.deletes)),
        bytes(sum(|run| run.sst_bytes + run.key_index_bytes)),
        bytes(table.memtable_bytes as u64),
        table.flushed_through.0.to_string(),
        table.depth.to_string(),
        written_again(&table.history),
    ]
}

/// Bytes that compactions wrote for each byte that flushes and loads wrote.
fn written_again(history: &History) -> String {
    let first = u128::from(history.flushed.bytes) + u128::from(history.loaded.bytes);
    let hundredths = (u128::from(history.compacted.bytes) * 100).checked_div(first).unwrap_or(0);
    format!("{}.{:02}x", hundredths / 100, hundredths % 100)
}

fn compaction_row(table: &TableReport, compaction: &Compaction) -> Vec<String> {
    let Compaction { reason, read, dead_rows, written, millis } = compaction;
    vec![
        table.name.clone(),
        reason.text().to_owned(),
        format!("{} to {}", count(read.runs), count(written.runs)),
        count(read.rows),
        count(*dead_rows),
        format!("{} to {}", bytes(read.bytes), bytes(written.bytes)),
        seconds(Duration::from_millis(*millis)),
    ]
}

fn run_row(table: &TableReport, run: &RunReport) -> Vec<String> {
    let (first, last) = run.keys.clone().unwrap_or_default();
    vec![
        run.id.0.to_string(),
        table.name.clone(),
        count(run.rows),
        count(run.dead_rows),
        count(run.deletes),
        bytes(run.sst_bytes),
        bytes(run.key_index_bytes),
        format!("{} to {}", run.min_seq.0, run.max_seq.0),
        shortened(&first),
        shortened(&last),
    ]
}

fn shortened(key: &str) -> String {
    match key.char_indices().nth(KEY_CHARS) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

/// Writes what is in memory into files.
///
/// # Errors
/// No such table; those of the database.
pub(crate) fn flush(global: &Global, args: &TableArgs) -> Outcome {
    each_table(global, args, |db, table| {
        db.flush(table)?;
        say(&format!("flushed `{table}`: {}", summary(db, table)));
        Ok(())
    })
}

/// Rewrites tables into runs that hold exactly their rows.
///
/// # Errors
/// No such table; those of the database.
pub(crate) fn compact(global: &Global, args: &TableArgs) -> Outcome {
    each_table(global, args, |db, table| {
        let before = summary(db, table);
        db.compact(table)?;
        say(&format!("compacted `{table}`: {before}, now {}", summary(db, table)));
        Ok(())
    })
}

/// Drops a table.
///
/// # Errors
/// No such table; those of the database.
pub(crate) fn drop_table(global: &Global, args: &DropArgs) -> Outcome {
    with_db(global, Missing::Refuse, |db| {
        let before = summary(db, &args.table);
        db.drop_table(&args.table)?;
        say(&format!("dropped `{}`: {before}", args.table));
        Ok(())
    })
}

/// The one table that was named, or all of them.
fn each_table(global: &Global, args: &TableArgs, work: impl Fn(&Db, &str) -> Outcome) -> Outcome {
    with_db(global, Missing::Refuse, |db| {
        let tables = args.table.as_ref().map_or_else(|| db.snapshot().table_names(), |table| vec![table.clone()]);
        tables.iter().try_for_each(|table| work(db, table))
    })
}

fn summary(db: &Db, name: &str) -> String {
    let report = db.report();
    let runs = report.tables.iter().filter(|table| table.name == name).flat_map(|table| &table.runs);
    let (mut number, mut rows, mut size) = (0, 0, 0);
    for run in runs {
        number += 1;
        rows += run.rows;
        size += run.sst_bytes + run.key_index_bytes;
    }
    format!("{} of {}, {}", counted(number, "run"), counted(rows, "row"), bytes(size))
}
