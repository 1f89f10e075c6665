//! What is refused, by what name, and that it changes nothing.

use futures::TryStreamExt;
use rustling_engine::error::ErrorKind;
use rustling_table_provider::error::Error;
use rustling_table_provider::gate::Kind;
use rustling_table_provider::statement::parse;

use crate::fixture::{Fixture, number, run, text};

/// Statement, name under which it is refused.
const REFUSED: [(&str, &str); 42] = [
    ("CREATE TABLE x (a INT)", "CREATE TABLE"),
    ("CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
    ("CREATE TABLE x (a INT) WITH (b = 1)", "CREATE TABLE"),
    ("CREATE VIEW x AS SELECT 1", "CREATE VIEW"),
    ("CREATE OR REPLACE VIEW t AS SELECT 1", "CREATE VIEW"),
    ("CREATE SCHEMA x", "CREATE SCHEMA"),
    ("CREATE DATABASE x", "CREATE DATABASE"),
    ("CREATE FUNCTION x(INT) RETURNS INT RETURN $1", "CREATE FUNCTION"),
    ("CREATE INDEX x ON t (k)", "CREATE INDEX"),
    ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'a.csv'", "CREATE EXTERNAL TABLE"),
    ("SELECT * INTO x FROM t", "SELECT INTO"),
    ("SELECT k FROM t UNION ALL SELECT 1 INTO x", "SELECT INTO"),
    ("DROP TABLE t", "DROP TABLE"),
    ("DROP VIEW x", "DROP VIEW"),
    ("DROP SCHEMA public CASCADE", "DROP SCHEMA"),
    ("ALTER TABLE t ADD COLUMN a INT", "ALTER TABLE"),
    ("ALTER TABLE t RENAME TO x", "ALTER TABLE"),
    ("UPDATE t SET n = 1", "UPDATE"),
    ("UPDATE t SET n = 1 WHERE k = 1", "UPDATE"),
    ("DELETE FROM t", "DELETE"),
    ("DELETE FROM t WHERE k IN (SELECT n FROM t)", "DELETE"),
    ("DELETE FROM t WHERE false", "DELETE"),
    ("WITH x AS (SELECT 1) DELETE FROM t", "DELETE"),
    ("TRUNCATE TABLE t", "TRUNCATE"),
    ("MERGE INTO t USING t AS s ON t.k = s.k WHEN MATCHED THEN DELETE", "MERGE"),
    ("BEGIN", "BEGIN"),
    ("START TRANSACTION", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("SAVEPOINT x", "SAVEPOINT"),
    ("INSERT INTO t VALUES ('a', 1, 1, 1.0) ON CONFLICT (k) DO NOTHING", "INSERT with ON CONFLICT"),
    ("INSERT INTO t VALUES ('a', 1, 1, 1.0) ON CONFLICT (k) DO UPDATE SET n = 1", "INSERT with ON CONFLICT"),
    ("INSERT INTO t VALUES ('a', 1, 1, 1.0) RETURNING k", "INSERT with RETURNING"),
    ("REPLACE INTO t VALUES ('a', 1, 1, 1.0)", "REPLACE INTO"),
    ("INSERT OR REPLACE INTO t VALUES ('a', 1, 1, 1.0)", "INSERT OR"),
    ("INSERT OVERWRITE t VALUES ('a', 1, 1, 1.0)", "INSERT OVERWRITE"),
    ("COPY t FROM 'a.csv'", "COPY FROM"),
    ("COPY t (k, v) FROM 'a.csv'", "COPY FROM"),
    ("COPY INTO t FROM 'a.csv'", "COPY INTO"),
    ("GRANT SELECT ON t TO x", "GRANT"),
    ("VACUUM", "VACUUM"),
    ("USE x", "USE"),
];

fn name(sql: &str) -> String {
    match parse(sql) {
        Err(error @ Error::Refused { .. }) => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let Error::Refused { statement, advice, .. } = error else { unreachable!() };
            assert!(!advice.is_empty());
            statement
        }
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn statements_are_refused_by_name() {
    for (sql, expected) in REFUSED {
        assert_eq!(name(sql), expected, "{sql}");
    }
}

#[test]
fn hiding_a_statement_does_not_help() {
    for (sql, expected) in REFUSED {
        if sql.starts_with("SAVEPOINT") || sql.starts_with("VACUUM") {
            continue;
        }
        assert_eq!(name(&format!("EXPLAIN ANALYZE {sql}")), expected, "{sql}");
        assert_eq!(name(&format!("SELECT 1;\n{sql}")), expected, "{sql}");
    }
    for inner in ["DELETE FROM t", "UPDATE t SET n = 1", "REPLACE INTO t VALUES ('a', 1, 1, 1.0)", "SELECT 1 INTO x"] {
        name(&format!("PREPARE p AS {inner}"));
        name(&format!("EXPLAIN ANALYZE VERBOSE {inner}"));
    }
    name("COPY (SELECT * INTO x FROM t) TO 'a.csv'");
    name("SELECT * FROM (SELECT 1 INTO x)");
}

#[test]
fn a_refusal_names_the_line_and_what_to_do() {
    let error = parse("SELECT 1;\n\nDELETE FROM t").unwrap_err();
    let expected = "line 3: DELETE is not supported; delete rows with `delete` (by key) or `delete_where` of the API";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn allowed_statements_run() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    for (sql, kind) in [
        ("SELECT 1", Kind::Query),
        ("WITH x AS (SELECT * FROM t) SELECT count(*) FROM x", Kind::Query),
        ("VALUES (1), (2)", Kind::Query),
        ("EXPLAIN SELECT * FROM t", Kind::Explain),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES ('a', 1001, 1, 1.0)", Kind::Explain),
        ("INSERT INTO t VALUES ('a', 1000, 1, 1.0)", Kind::Insert),
        ("SHOW TABLES", Kind::Show),
        ("SHOW COLUMNS FROM t", Kind::Show),
        ("SHOW datafusion.execution.batch_size", Kind::Show),
        ("DESCRIBE t", Kind::Show),
        ("SET datafusion.execution.batch_size = 100", Kind::Set),
        ("RESET datafusion.execution.batch_size", Kind::Set),
        ("PREPARE p AS INSERT INTO t VALUES ('a', $1, 1, 1.0)", Kind::Prepared),
        ("EXECUTE p(1002)", Kind::Prepared),
        ("DEALLOCATE p", Kind::Prepared),
    ] {
        let statements = parse(sql).unwrap();
        assert_eq!((statements.len(), statements[0].kind()), (1, kind), "{sql}");
        let rows = statements[0].execute(&fixture.context).await.unwrap().rows;
        rows.try_collect::<Vec<_>>().await.unwrap();
    }
    assert_eq!(number(&fixture.context, "SELECT count(*) FROM t").await, 13);
}

/// DataFusion hands `DELETE` and `UPDATE` an empty filter for these; done as told, every row would go.
#[tokio::test]
async fn the_table_itself_refuses_what_loses_its_filter() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..10, 0);
    for sql in [
        "DELETE FROM t WHERE k IN (SELECT n FROM t WHERE false)",
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM t s WHERE s.k = t.k + 100)",
        "DELETE FROM t WHERE false",
        "DELETE FROM t",
        "UPDATE t SET n = 1 WHERE k IN (SELECT 100)",
        "UPDATE t SET n = 1 WHERE 1 = 2",
        "TRUNCATE TABLE t",
        "MERGE INTO t USING t AS s ON t.k = s.k WHEN MATCHED THEN DELETE",
        "REPLACE INTO t VALUES ('a', 1, 1, 1.0)",
        "INSERT OVERWRITE t VALUES ('a', 1, 1, 1.0)",
    ] {
        for sql in [sql.to_owned(), format!("EXPLAIN ANALYZE {sql}")] {
            let error = run(&fixture.context, &sql).await.unwrap_err();
            assert!(error.to_string().contains("not supported; "), "{sql}: {error}");
        }
    }
    fixture.check("SELECT * FROM t").await;
}

#[tokio::test]
async fn the_plan_is_looked_at_as_well() {
    let fixture = Fixture::new();
    run(&fixture.context, "CREATE TABLE elsewhere (a INT)").await.unwrap();
    let statements = parse("INSERT INTO elsewhere VALUES (1)").unwrap();
    let error = statements[0].execute(&fixture.context).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE t",
        "DELETE FROM t",
        "START TRANSACTION",
        "CREATE VIEW x AS SELECT 1",
        "SET DataFusion.sql_parser.dialect = 'mysql'",
        "SET datafusion.sql_parser.recursion_limit = 5",
        "RESET datafusion.sql_parser.dialect",
        "SET datafusion.runtime.memory_limit = '64M'",
        "SET Datafusion.RUNTIME.temp_directory = '/tmp'",
        "RESET datafusion.runtime.memory_limit",
    ] {
        let plan = fixture.context.state().create_logical_plan(sql).await.unwrap();
        assert!(rustling_table_provider::gate::check_plan(&plan).unwrap().is_err(), "{sql}");
    }
}

#[tokio::test]
async fn engine_errors_keep_their_text_through_sql() {
    let mut fixture = Fixture::new();
    fixture.upsert([1], 0);
    let statements = parse("INSERT INTO t VALUES ('a', 1, 1, 1.0)").unwrap();
    let rows = statements[0].execute(&fixture.context).await.unwrap().rows;
    let error = rows.try_collect::<Vec<_>>().await.map_err(Error::from).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.to_string(), "key 1 is in table `t` already; use upsert to replace its row");
    assert_eq!(text(&run(&fixture.context, "SELECT v FROM t").await.unwrap()), ["text 1"]);
}
