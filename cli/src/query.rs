//! `sql` and `export`: statements in order, rows to the screen or to a Parquet file.
//!
//! Invariants: all statements are checked before the first one runs; an error names its line.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use rustling_db::arrow::array::{AsArray, RecordBatch};
use rustling_db::arrow::datatypes::{DataType, UInt64Type};
use rustling_db::export::write_parquet;
use rustling_db::table_provider::error::Error as SqlError;
use rustling_db::table_provider::gate::Kind;
use rustling_db::table_provider::statement::{SQL_BYTES_MAX, Statement};
use rustling_db::{Db, Error};

use crate::args::{ExportArgs, Format, Global, SqlArgs};
use crate::failure::{Failure, Outcome, say};
use crate::interrupt::Interrupt;
use crate::output::print_rows;
use crate::session::{Missing, with_db};
use crate::size::{bytes, counted};

/// A text of SQL and where it came from.
struct Source<'a> {
    text: String,
    file: Option<&'a Path>,
}

/// Runs SQL.
///
/// # Errors
/// No SQL at all; what fails first. The statements before it have run.
pub(crate) fn sql(global: &Global, args: &SqlArgs, interrupt: &Interrupt) -> Outcome {
    let sources = sources(args)?;
    with_db(global, Missing::Create, |db| {
        let mut statements = Vec::new();
        for source in &sources {
            let parsed = db.statements(&source.text).map_err(|error| source.failure(None, Box::new(error)))?;
            statements.extend(parsed.into_iter().map(|statement| (source, statement)));
        }
        for (source, statement) in statements {
            let run = || run(db, &statement, args.format, interrupt);
            interrupt.patiently(run).map_err(|failure| match failure {
                Failure::Db(error) => source.failure(Some(statement.line()), error),
                other => other,
            })?;
        }
        Ok(())
    })
}

fn sources(args: &SqlArgs) -> Outcome<Vec<Source<'_>>> {
    if let Some(path) = args.file.as_deref().filter(|path| *path != Path::new("-")) {
        let failed = |source| Failure::File { operation: "read", path: path.display().to_string(), source };
        let text = File::open(path).and_then(read_text).map_err(failed)?;
        return Ok(vec![Source { text, file: Some(path) }]);
    }
    if !args.queries.is_empty() {
        return Ok(args.queries.iter().map(|text| Source { text: text.clone(), file: None }).collect());
    }
    let stdin = std::io::stdin();
    if args.file.is_none() && stdin.is_terminal() {
        let text = "no SQL; write it as an argument (rustling sql 'SELECT 1'), name a file with -f, or pipe it in";
        return Err(Failure::Usage(text.to_owned()));
    }
    let failed = |source| Failure::File { operation: "read", path: "standard input".to_owned(), source };
    Ok(vec![Source { text: read_text(stdin.lock()).map_err(failed)?, file: None }])
}

/// All of a text, without the mark that some editors put before it.
fn read_text(input: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than may be: what is too long is refused without reading on, wherever it is cut.
    input.take(SQL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > SQL_BYTES_MAX {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

impl Source<'_> {
    /// Adds file and line to an error, as far as it does not name them.
    fn failure(&self, line: Option<u64>, source: Box<Error>) -> Failure {
        let has_line = matches!(&*source, Error::Sql(SqlError::Syntax { .. } | SqlError::Refused { .. }));
        let mut place = self.file.map_or_else(String::new, |file| format!("{}: ", file.display()));
        if let Some(line) = line.filter(|_| !has_line && !matches!(*source, Error::Stopped | Error::InsertStopped)) {
            place.push_str(&format!("line {line}: "));
        }
        Failure::Statement { place, source }
    }
}

/// Runs one statement and prints its rows, or how many it wrote.
fn run(db: &Db, statement: &Statement, format: Format, interrupt: &Interrupt) -> Outcome {
    let rows = db.run(statement)?.until(&interrupt.stop);
    let schema = rows.schema().clone();
    let verb = match statement.kind() {
        Kind::CopyTo => Some("wrote"),
        // A prepared statement that is executed may be one, too.
        _ if rows.is_insert() => Some("inserted"),
        _ => None,
    };
    match verb {
        Some(verb) => {
            let batches = rows.collect::<Result<Vec<RecordBatch>, Error>>()?;
            say(&format!("{verb} {}", counted(batches.iter().map(counted_rows).sum(), "row")));
            Ok(())
        }
        None if schema.fields().is_empty() => {
            for batch in rows {
                batch?;
            }
            Ok(())
        }
        None => print_rows(format, &schema, rows).map(drop),
    }
}

fn counted_rows(batch: &RecordBatch) -> u64 {
    if batch.num_columns() != 1 || batch.column(0).data_type() != &DataType::UInt64 {
        return 0;
    }
    batch.column(0).as_primitive::<UInt64Type>().iter().flatten().sum()
}

/// Writes a table or the rows of a query to a Parquet file.
///
/// # Errors
/// Those of the query and of the file, which is complete or as it was before.
pub(crate) fn export(global: &Global, args: &ExportArgs, interrupt: &Interrupt) -> Outcome {
    let query = match (&args.table, &args.query) {
        (Some(table), _) => format!("SELECT * FROM {}", quoted(table)),
        (None, Some(query)) => query.clone(),
        (None, None) => return Err(Failure::Usage("name --table or --query".to_owned())),
    };
    with_db(global, Missing::Refuse, |db| {
        if let Some(table) = &args.table {
            db.snapshot().table(table)?;
        }
        let statements = db.statements(&query)?;
        let [statement] = statements.as_slice() else {
            return Err(Failure::Usage(format!("--query takes one statement, not {}", statements.len())));
        };
        if statement.kind() != Kind::Query {
            return Err(Failure::Usage("--query takes a query; run other statements with `rustling sql`".to_owned()));
        }
        let report = interrupt.patiently(|| {
            let rows = db.run(statement)?.until(&interrupt.stop);
            Ok(write_parquet(&args.out, rows.schema().clone(), rows)?)
        })?;
        let (rows, size) = (counted(report.rows, "row"), bytes(report.bytes));
        say(&format!("wrote {rows}, {size}, to {}", args.out.display()));
        Ok(())
    })
}

/// A name as SQL reads it unchanged.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
