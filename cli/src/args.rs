//! The command line: what can be asked for, and the help texts.
//!
//! In: the process's arguments. Out: [`Args`], checked as far as they can be without a database.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use rustling_db::OnConflict;
use rustling_db::arrow::datatypes::Schema;
use rustling_db::etl::csv::dialect::Dialect;
use rustling_db::etl::schema_text;

use crate::size::parse_size;

const EXAMPLES: &str = "\
Examples:
  rustling load trades.csv --table trades --key id
  rustling sql 'SELECT symbol, avg(price) FROM trades GROUP BY symbol'
  rustling insert greeting hello && rustling get greeting
  rustling export --table trades trades.parquet
  rustling demo

Standard output carries data only; everything else goes to standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by SIGINT or SIGTERM, 141 standard output was closed.";

const LOAD_EXAMPLES: &str = "\
Examples:
  rustling load trades.csv --table trades --key id
  rustling load part-*.csv --table lines --key order_id,line --schema 'order_id bigint, line int, price decimal(15,2)'
  zcat log.csv.gz | rustling load - --table log --no-key --no-header --schema 'at timestamp, text text'

All rows are loaded or none. An empty field is NULL, \"\" is the empty text. A file with a header is matched by name.";

const SQL_EXAMPLES: &str = "\
Examples:
  rustling sql 'SELECT count(*) FROM trades'
  rustling sql -f report.sql --format csv > report.csv
  echo 'SHOW TABLES' | rustling sql

Several statements run one after the other; all are checked before the first one runs. Statements that write say how
many rows they wrote on standard error.
csv: a header line, LF line ends, NULL is an empty field and the empty text is \"\".
json: one object a line, with every column; decimals are strings, so that no digit is lost on the way, as are floats
that JSON has no number for (\"NaN\", \"inf\"); binary is hexadecimal.";

const INSERT_EXAMPLES: &str = "\
Examples:
  rustling insert greeting hello
  rustling insert --replace greeting 'good morning'
  rustling insert --table trades '{\"id\": 5, \"symbol\": \"TSLA\", \"price\": 177.90}'

Without --table, KEY and VALUE go into the table `kv` (columns `key text` and `value text`), made when it is needed.
With --table, each argument is one JSON object; columns that it does not name are NULL. All rows are written or none.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  rustling backup backups/monday
  rustling backup --copy /mnt/other-disk/monday
  rustling restore backups/monday --db restored

The backup is a database: `--db backups/monday` opens it. Within one file system its files are linked, which takes no
space; they share their bytes with the database, so that such a backup is safe from what is done to the database, and
not from a failing disk. The database must not be open in another process: that process can call `Db::backup`.";

/// An embedded analytical database: upserts by key, SQL, Parquet files.
#[derive(Debug, Parser)]
#[command(name = "rustling", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Folder of the database; `load` of a new table, `insert` without --table, `sql` and `restore` create it
    #[arg(long, global = true, env = "RUSTLING_DB", value_name = "DIR", default_value = "./rustling-data")]
    pub(crate) db: PathBuf,
    /// Memory to use, such as 256MiB or 1GB [default: half of the machine's or the container's]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<usize>,
    /// Say what happens inside (-vv: more); RUST_LOG chooses exactly
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load CSV files into a table, which is made if it is not there
    #[command(after_help = LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// Run SQL
    #[command(after_help = SQL_EXAMPLES)]
    Sql(SqlArgs),
    /// Insert a key and its value, or rows of a table as JSON
    #[command(after_help = INSERT_EXAMPLES)]
    Insert(InsertArgs),
    /// Print the value of a key, or the row of a table as JSON; exit code 1 if there is none
    Get(KeyArgs),
    /// Delete a key, or the row of a table
    Delete(KeyArgs),
    /// Write a table or the rows of a query to a Parquet file
    #[command(group = ArgGroup::new("what").required(true).args(["table", "query"]))]
    Export(ExportArgs),
    /// Make a backup of the database: a database of its own in another folder
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Make the database from a backup, of which every byte is checked and copied
    Restore(RestoreArgs),
    /// Check every byte of a database that is not open, and its files against each other
    Verify(TableArgs),
    /// Rebuild key indexes that are lost or damaged, and deletion vectors if all else is whole; rows cannot be rebuilt
    Repair(TableArgs),
    /// Show the tables, their runs, the log and the memory
    Inspect,
    /// Show what the files say, also of a damaged database; changes nothing
    #[command(subcommand)]
    Dump(DumpArgs),
    /// Write what is in memory of a table, or of all, into files
    Flush(TableArgs),
    /// Rewrite a table, or all, so that the Parquet files in its folder are exactly its rows
    Compact(TableArgs),
    /// Drop a table with all its rows
    Drop(DropArgs),
    /// Show it all on TPC-H data: load, query, change, export; in a folder of its own
    Demo(DemoArgs),
}

/// `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// CSV files; `-` is standard input
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The table
    #[arg(long)]
    pub(crate) table: String,
    /// Key columns of a new table, separated by commas; for a table that exists, its key or nothing
    #[arg(long, value_name = "COLS", value_delimiter = ',')]
    pub(crate) key: Vec<String>,
    /// Make a new table without a key: its rows can be inserted and read only
    #[arg(long, conflicts_with = "key")]
    pub(crate) no_key: bool,
    /// Columns of a new table, such as 'id bigint not null, name text' [default: inferred from the first rows]
    #[arg(long, value_parser = parse_schema)]
    pub(crate) schema: Option<Schema>,
    /// What separates the fields: one character, or `tab`
    #[arg(long, default_value = ",", value_parser = parse_delimiter)]
    pub(crate) delimiter: Dialect,
    /// The first record of every file is data
    #[arg(long)]
    pub(crate) no_header: bool,
    /// What to do with keys that are in the table already, or twice in the files
    #[arg(long, value_enum, default_value_t = Conflict::Error)]
    pub(crate) on_conflict: Conflict,
}

/// What a load does with keys that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Conflict {
    /// Load nothing
    Error,
    /// The last row counts
    Update,
    /// The first row counts
    Skip,
}

impl From<Conflict> for OnConflict {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Error => Self::Error,
            Conflict::Update => Self::Update,
            Conflict::Skip => Self::Skip,
        }
    }
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes; at most 10,000 rows
    Table,
    /// With a header line
    Csv,
    /// One object a line
    Json,
}

/// `sql`.
#[derive(Debug, clap::Args)]
pub(crate) struct SqlArgs {
    /// SQL; without it and without --file it is read from standard input
    #[arg(value_name = "QUERY")]
    pub(crate) queries: Vec<String>,
    /// Read the SQL from a file
    #[arg(short, long, conflicts_with = "queries")]
    pub(crate) file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// `insert`.
#[derive(Debug, clap::Args)]
pub(crate) struct InsertArgs {
    /// KEY and VALUE; with --table, rows as JSON objects
    #[arg(required = true, value_name = "KEY VALUE | JSON", allow_negative_numbers = true)]
    pub(crate) values: Vec<String>,
    /// The table [default: kv]
    #[arg(long)]
    pub(crate) table: Option<String>,
    /// Replace the rows of keys that are there already instead of refusing (an upsert)
    #[arg(long, visible_alias = "upsert")]
    pub(crate) replace: bool,
}

/// `get` and `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The key; with --table, one value for each key column, in the order of the key, bytes in hexadecimal
    #[arg(required = true, allow_negative_numbers = true)]
    pub(crate) key: Vec<String>,
    /// The table [default: kv]
    #[arg(long)]
    pub(crate) table: Option<String>,
}

/// `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The table to write
    #[arg(long)]
    pub(crate) table: Option<String>,
    /// The query whose rows to write
    #[arg(long, value_name = "SQL")]
    pub(crate) query: Option<String>,
    /// The Parquet file; one of that name is replaced when the new one is complete
    #[arg(value_name = "OUT.parquet")]
    pub(crate) out: PathBuf,
}

/// `backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The backup's folder: a new or an empty one, or that of a backup that was interrupted
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Copy all files, link none
    #[arg(long)]
    pub(crate) copy: bool,
    /// Link files without reading them: done at once, but damage in them is not found
    #[arg(long, conflicts_with = "copy")]
    pub(crate) no_verify: bool,
}

/// `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup's folder; the database is made in that of --db, which must be a new or an empty one
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// `dump`.
#[derive(Debug, Subcommand)]
pub(crate) enum DumpArgs {
    /// The records of the log, with the keys they change
    Wal,
    /// The newest manifest, as JSON
    Manifest,
    /// The files of a run, every byte of them checked; without RUN the runs that there are
    Sst(RunArgs),
    /// The keys of a run with their rows, and the keys it deletes; without RUN the runs that there are
    Keys(RunArgs),
}

/// A run, or those of a table.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Number of the run
    pub(crate) run: Option<u64>,
    /// Show the runs of this table only
    #[arg(long, conflicts_with = "run")]
    pub(crate) table: Option<String>,
}

/// `flush`, `compact`, `verify` and `repair`.
#[derive(Debug, clap::Args)]
pub(crate) struct TableArgs {
    /// The table [default: all tables]
    #[arg(long)]
    pub(crate) table: Option<String>,
}

/// `drop`.
#[derive(Debug, clap::Args)]
pub(crate) struct DropArgs {
    /// The table
    #[arg(long)]
    pub(crate) table: String,
}

/// `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How much data: 1 is about 1 GB of CSV
    #[arg(long, default_value_t = 0.1, value_parser = parse_scale)]
    pub(crate) scale: f64,
    /// Work in this folder and keep it: the CSV files, the database and the exported file
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

fn parse_schema(text: &str) -> Result<Schema, schema_text::SchemaTextError> {
    schema_text::parse(text)
}

fn parse_delimiter(text: &str) -> Result<Dialect, rustling_db::etl::error::CsvError> {
    Dialect::parse(text, true)
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.0001..=1000.0).contains(&scale) => Ok(scale),
        _ => Err("write a number from 0.0001 to 1000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
