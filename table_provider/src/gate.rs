//! Which statements pass.
//!
//! In: a parsed statement, or a logical plan. Out: what kind of statement it is, or the name under which it is refused.
//! Invariants: what is not listed is refused, also inside of `EXPLAIN ANALYZE`, `PREPARE`, `COPY` and common table
//! expressions. Two looks: at the syntax, for the name and the advice, and at the plan, so that a form of syntax that
//! was overlooked still changes nothing.

use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement, WriteOp};
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{Insert, Select, Set, SetExpr, Statement as Ast, TableObject, Visit, Visitor};

use crate::pin::rustling_table;
use crate::refusal::advice;

/// Settings that are refused: of a parser that is not the one that reads these statements; of the memory and the files that
/// all queries share, whose limits would go with a new one.
const REFUSED_SETTINGS: [&str; 2] = ["datafusion.sql_parser", "datafusion.runtime"];

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Gives rows.
    Query,
    /// Shows how a statement is executed; with `ANALYZE` also executes it.
    Explain,
    /// Adds rows to a table.
    Insert,
    /// Writes a query's rows into files.
    CopyTo,
    /// Describes tables or settings.
    Show,
    /// Changes a setting of the session.
    Set,
    /// Stores a statement in the session, runs it, forgets it.
    Prepared,
}

/// What kind of statement it is.
///
/// # Errors
/// The name under which it is refused.
pub fn kind(statement: &DFStatement) -> Result<Kind, String> {
    let mut look = Look;
    match statement {
        DFStatement::Statement(ast) => {
            look.within(&**ast)?;
            kind_of(ast)
        }
        DFStatement::Explain(explain) => kind(&explain.statement).map(|_| Kind::Explain),
        DFStatement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &copy.source {
                look.within(&**query)?;
            }
            Ok(Kind::CopyTo)
        }
        DFStatement::Reset(_) => Ok(Kind::Set),
        DFStatement::CreateExternalTable(_) => Err("CREATE EXTERNAL TABLE".to_owned()),
    }
}

/// Looks for what is refused at any depth.
struct Look;

impl Look {
    fn within(&mut self, part: &impl Visit) -> Result<(), String> {
        match part.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(name) => Err(name),
        }
    }
}

impl Visitor for Look {
    type Break = String;

    fn pre_visit_statement(&mut self, statement: &Ast) -> ControlFlow<String> {
        match kind_of(statement) {
            Ok(_) => ControlFlow::Continue(()),
            Err(name) => ControlFlow::Break(name),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        if select.into.is_some() { ControlFlow::Break("SELECT INTO".to_owned()) } else { ControlFlow::Continue(()) }
    }
}

/// What a statement does, without a look into it.
fn kind_of(statement: &Ast) -> Result<Kind, String> {
    match statement {
        Ast::Query(query) => match &*query.body {
            SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) | SetExpr::Merge(inner) => {
                kind_of(inner)
            }
            _ => Ok(Kind::Query),
        },
        Ast::Insert(insert) => check_insert(insert),
        Ast::Explain { .. } => Ok(Kind::Explain),
        Ast::ExplainTable { .. }
        | Ast::ShowVariable { .. }
        | Ast::ShowVariables { .. }
        | Ast::ShowTables { .. }
        | Ast::ShowColumns { .. }
        | Ast::ShowCreate { .. }
        | Ast::ShowFunctions { .. }
        | Ast::ShowSchemas { .. }
        | Ast::ShowDatabases { .. } => Ok(Kind::Show),
        Ast::Set(Set::SingleAssignment { .. } | Set::SetTimeZone { .. }) => Ok(Kind::Set),
        Ast::Prepare { .. } | Ast::Execute { .. } | Ast::Deallocate { .. } => Ok(Kind::Prepared),
        other => Err(name(other)),
    }
}

fn check_insert(insert: &Insert) -> Result<Kind, String> {
    let refused = if insert.replace_into {
        "REPLACE INTO"
    } else if insert.overwrite {
        "INSERT OVERWRITE"
    } else if insert.on.is_some() {
        "INSERT with ON CONFLICT"
    } else if insert.or.is_some() {
        "INSERT OR"
    } else if insert.ignore {
        "INSERT IGNORE"
    } else if insert.returning.is_some() || insert.output.is_some() {
        "INSERT with RETURNING"
    } else if !matches!(insert.table, TableObject::TableName(_)) {
        "INSERT into something that is no table"
    } else {
        return Ok(Kind::Insert);
    };
    Err(refused.to_owned())
}

/// The name under which a statement is refused.
fn name(statement: &Ast) -> String {
    let name = match statement {
        Ast::CreateTable(_) => "CREATE TABLE",
        Ast::CreateView(_) => "CREATE VIEW",
        Ast::CreateSchema { .. } => "CREATE SCHEMA",
        Ast::CreateDatabase { .. } => "CREATE DATABASE",
        Ast::CreateFunction(_) => "CREATE FUNCTION",
        Ast::CreateIndex(_) => "CREATE INDEX",
        Ast::Drop { object_type, .. } => return format!("DROP {object_type}"),
        Ast::DropFunction(_) => "DROP FUNCTION",
        Ast::AlterTable(_) => "ALTER TABLE",
        Ast::Copy { .. } => "COPY FROM",
        Ast::CopyIntoSnowflake { .. } => "COPY INTO",
        Ast::LoadData { .. } => "LOAD DATA",
        Ast::StartTransaction { .. } => "BEGIN",
        other => return first_words(&other.to_string()),
    };
    name.to_owned()
}

/// The keyword a statement starts with; two where one says little.
pub fn first_words(text: &str) -> String {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("it").to_uppercase();
    match (first.as_str(), words.next()) {
        ("CREATE" | "DROP" | "ALTER" | "LOCK" | "UNLOCK" | "ATTACH" | "DETACH" | "RENAME" | "SET", Some(second)) => {
            format!("{first} {}", second.to_uppercase())
        }
        _ => first,
    }
}

/// Refuses a plan that changes anything but by `INSERT INTO` one of our tables, or `COPY ... TO`.
///
/// # Errors
/// The name under which the plan is refused; DataFusion's, for a plan that is not consistent.
pub fn check_plan(plan: &LogicalPlan) -> Result<Result<(), String>> {
    let mut refused = Ok(());
    plan.apply_with_subqueries(|node| {
        refused = match node {
            LogicalPlan::Ddl(ddl) => Err(first_words(&split_camel(ddl.name()))),
            LogicalPlan::Dml(dml) => match &dml.op {
                WriteOp::Insert(InsertOp::Append) if rustling_table(&dml.target).is_some() => Ok(()),
                WriteOp::Insert(InsertOp::Append) => Err(format!("INSERT INTO {}, a table elsewhere,", dml.table_name)),
                other => Err(other.name().to_uppercase()),
            },
            LogicalPlan::Statement(PlanStatement::SetVariable(set)) => check_setting(&set.variable),
            LogicalPlan::Statement(PlanStatement::ResetVariable(reset)) => check_setting(&reset.variable),
            LogicalPlan::Statement(PlanStatement::TransactionStart(_)) => Err("BEGIN".to_owned()),
            LogicalPlan::Statement(PlanStatement::TransactionEnd(_)) => Err("COMMIT".to_owned()),
            _ => Ok(()),
        };
        Ok(if refused.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(refused)
}

fn check_setting(variable: &str) -> Result<(), String> {
    match REFUSED_SETTINGS.iter().find(|refused| variable.starts_with(**refused)) {
        Some(refused) => Err(format!("SET {refused}")),
        None => Ok(()),
    }
}

/// `CreateMemoryTable` as `Create Memory Table`.
fn split_camel(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c);
    }
    words
}

/// A refusal as DataFusion's error, where there is no statement with a line.
pub fn refusal(name: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!("{name} is not supported; {}", advice(name)))
}
