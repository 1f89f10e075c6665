//! SQL text, statement by statement.
//!
//! In: text with any number of statements, `;` between them. Out: [`Statement`]s that passed the gate, to plan or
//! execute one after the other.
//! Invariants: all statements of a text are parsed and checked before the first one runs. A refused statement is
//! refused by name, with what to use instead, and is never executed, not in memory either. A statement shows one
//! snapshot.

use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement as DFStatement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::copy_to::{into_partial_file, publish_before};
use crate::error::{Error, Result};
use crate::gate::{Kind, check_plan, first_words, kind};
use crate::pin::pin;
use crate::refusal::advice;

/// Longest SQL text in bytes: the parser keeps some hundred times as much in memory.
pub const SQL_BYTES_MAX: usize = 16 << 20;

/// A statement that passed the gate.
#[derive(Clone, Debug)]
pub struct Statement {
    ast: DFStatement,
    text: String,
    line: u64,
    kind: Kind,
}

/// A statement that runs.
pub struct Executed {
    /// Its rows.
    pub rows: SendableRecordBatchStream,
    /// Whether its one row says how many were inserted: an insert, or an `EXECUTE` of one.
    pub is_insert: bool,
}

/// Parses SQL text into its statements.
///
/// # Errors
/// [`Error::TooLong`]; [`Error::Syntax`]; [`Error::Refused`] for the first statement that this database does not do.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::TooLong { bytes: sql.len(), limit: SQL_BYTES_MAX });
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(|error| {
        let line = error.location.line;
        Error::Syntax { line, source: Box::new(DataFusionError::SQL(Box::new(ParserError::from(error)), None)) }
    })?;
    let mut lines = Lines::new(sql);
    let mut statements = Vec::new();
    for part in tokens.split(|token| token.token == Token::SemiColon) {
        let mut solid = part.iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        let Some(first) = solid.next() else { continue };
        let last = solid.next_back().unwrap_or(first);
        let text = lines.between(first.span.start, last.span.end).to_owned();
        statements.push(parse_one(part, text, first.span.start.line)?);
    }
    Ok(statements)
}

/// Parses the tokens of one statement.
fn parse_one(tokens: &[TokenWithSpan], text: String, line: u64) -> Result<Statement> {
    let refused = |statement: String| {
        let advice = advice(&statement);
        Error::Refused { statement, line, advice }
    };
    let syntax = |source| Error::Syntax { line, source: Box::new(source) };
    let parsed = DFParserBuilder::new(tokens.to_vec()).build().and_then(|mut parser| parser.parse_statements());
    let mut parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Err(refused_by_keyword(tokens).map_or_else(|| syntax(error), refused)),
    };
    let (Some(ast), None) = (parsed.pop_front(), parsed.pop_front()) else {
        return Err(syntax(DataFusionError::Plan("expected one statement".to_owned())));
    };
    let kind = kind(&ast).map_err(refused)?;
    Ok(Statement { ast, text, line, kind })
}

/// The name of a refused statement that the parser does not understand, judged by its keywords.
fn refused_by_keyword(tokens: &[TokenWithSpan]) -> Option<String> {
    let mut words = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word),
        _ => None,
    });
    let first = words.by_ref().find(|word| {
        !matches!(word.keyword, Keyword::EXPLAIN | Keyword::ANALYZE | Keyword::VERBOSE | Keyword::FORMAT)
    })?;
    match first.keyword {
        Keyword::COPY => {
            let direction = words.find(|word| matches!(word.keyword, Keyword::FROM | Keyword::TO | Keyword::INTO))?;
            (direction.keyword != Keyword::TO).then(|| format!("COPY {}", direction.value.to_uppercase()))
        }
        Keyword::INSERT => {
            words.find(|word| word.keyword == Keyword::CONFLICT).map(|_| "INSERT with ON CONFLICT".to_owned())
        }
        Keyword::CREATE | Keyword::DROP | Keyword::ALTER => {
            let second = words.next().map(|word| word.value.as_str()).unwrap_or_default();
            Some(first_words(&format!("{} {second}", first.value)))
        }
        Keyword::UPDATE
        | Keyword::DELETE
        | Keyword::TRUNCATE
        | Keyword::MERGE
        | Keyword::REPLACE
        | Keyword::VACUUM
        | Keyword::ATTACH
        | Keyword::BEGIN
        | Keyword::COMMIT
        | Keyword::ROLLBACK
        | Keyword::GRANT
        | Keyword::REVOKE => Some(first.value.to_uppercase()),
        _ => None,
    }
}

impl Statement {
    /// Its text, without what is around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line that it starts at, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its logical plan, checked again and pinned to one snapshot.
    ///
    /// # Errors
    /// Names and types that do not fit; [`Error::Refused`].
    pub async fn plan(&self, state: &SessionState) -> Result<LogicalPlan> {
        Ok(pin(self.unpinned_plan(state).await?)?)
    }

    /// Its logical plan, checked again, over tables that show the newest rows whenever it runs.
    ///
    /// # Errors
    /// As [`Statement::plan`].
    pub async fn unpinned_plan(&self, state: &SessionState) -> Result<LogicalPlan> {
        let plan = state.statement_to_plan(self.ast.clone()).await?;
        if let Err(statement) = check_plan(&plan)? {
            let advice = advice(&statement);
            return Err(Error::Refused { statement, line: self.line, advice });
        }
        Ok(plan)
    }

    /// Runs it in a session. A query runs when its rows are asked for; so does what writes, whose one row is the number
    /// of rows written. Dropping the rows stops it.
    ///
    /// # Errors
    /// As [`Statement::plan`]; a file of a `COPY` that cannot be made.
    pub async fn execute(&self, context: &SessionContext) -> Result<Executed> {
        let (plan, file) = into_partial_file(self.plan(&context.state()).await?)?;
        // What is executed may have been prepared, and is not pinned then.
        let (state, plan) = context.execute_logical_plan(plan).await?.into_parts();
        let frame = DataFrame::new(state, pin(plan)?);
        let is_insert = matches!(frame.logical_plan(), LogicalPlan::Dml(_));
        let rows = frame.execute_stream().await?;
        let rows = match file {
            Some(file) => publish_before(rows, file),
            None => rows,
        };
        Ok(Executed { rows, is_insert })
    }
}

/// Where the lines of a text start.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// The last place that was asked for, and its byte: what follows in its line is counted from there, since a text of
    /// many statements may be one line.
    last: (Location, usize),
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: (Location::new(1, 1), 0) }
    }

    /// Byte of a place, whose column counts characters.
    fn byte(&mut self, place: Location) -> usize {
        let index = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
        let (last, byte) = self.last;
        let (column, from) = if last.line == place.line && last.column <= place.column {
            (last.column, byte)
        } else {
            (1, self.starts.get(index(place.line)).copied().unwrap_or(self.text.len()))
        };
        let rest = &self.text[from..];
        let ahead = index(place.column).saturating_sub(index(column));
        let byte = from + rest.char_indices().nth(ahead).map_or(rest.len(), |(at, _)| at);
        self.last = (place, byte);
        byte
    }

    fn between(&mut self, start: Location, end: Location) -> &'a str {
        let (start, end) = (self.byte(start), self.byte(end));
        self.text.get(start..end.max(start)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_keep_their_text_and_line() {
        let sql = "-- one\nSELECT 'a;b', \"ö\" ;\n\n ;; EXPLAIN SELECT 2 -- two\n";
        let found: Vec<_> = parse(sql).unwrap().iter().map(|s| (s.line(), s.kind(), s.text().to_owned())).collect();
        let first = (2, Kind::Query, "SELECT 'a;b', \"ö\"".to_owned());
        assert_eq!(found, [first, (4, Kind::Explain, "EXPLAIN SELECT 2".to_owned())]);
    }

    #[test]
    fn many_statements_on_one_line_keep_their_texts() {
        let sql: String = (0..20_000).map(|number| format!("SELECT 'ö{number}';")).collect();
        let found = parse(&sql).unwrap();
        assert!(found.iter().enumerate().all(|(number, found)| found.text() == format!("SELECT 'ö{number}'")));
        assert_eq!(found.len(), 20_000);
    }

    #[test]
    fn an_error_names_its_line_and_nothing_before_it_passes() {
        let error = parse("SELECT 1;\nSELEC 2").unwrap_err();
        assert!(matches!(error, Error::Syntax { line: 2, .. }), "{error}");
        let error = parse("SELECT 1;\n\nSELECT 'open").unwrap_err();
        assert!(matches!(error, Error::Syntax { line: 3, .. }), "{error}");
    }

    #[test]
    fn too_long_and_too_deep_texts_are_errors() {
        let long = format!("SELECT '{}'", "a".repeat(SQL_BYTES_MAX));
        assert!(matches!(parse(&long).unwrap_err(), Error::TooLong { .. }));
        let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
        assert!(matches!(parse(&deep).unwrap_err(), Error::Syntax { line: 1, .. }));
    }
}
