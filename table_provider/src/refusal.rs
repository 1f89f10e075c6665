//! What to do instead of a statement that is refused.
//!
//! In: the statement's name. Out: advice, as the second half of a sentence.

/// What to use instead of a statement, by its first words.
pub fn advice(statement: &str) -> &'static str {
    let starts = |words: &[&str]| words.iter().any(|word| statement.starts_with(word));
    if starts(&["DELETE"]) {
        "delete rows with `delete` (by key) or `delete_where` of the API"
    } else if starts(&["UPDATE", "MERGE", "REPLACE", "INSERT OR", "INSERT with ON", "INSERT IGNORE"]) {
        "replace rows by key with `upsert` of the API, or `load` a file that updates"
    } else if starts(&["TRUNCATE", "INSERT OVERWRITE"]) {
        "drop the table, with `drop` on the command line or `drop_table` of the API, and make it again"
    } else if starts(&["COPY FROM", "COPY INTO", "LOAD", "CREATE EXTERNAL TABLE"]) {
        "`load` files with the API or the command line"
    } else if starts(&["CREATE TABLE", "SELECT INTO"]) {
        "create tables with the API or with `load`, then fill them with `INSERT INTO`"
    } else if starts(&["DROP TABLE"]) {
        "drop tables with `drop` on the command line or `drop_table` of the API"
    } else if starts(&["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"]) {
        "every statement is atomic by itself; write several tables at once with a write batch of the API"
    } else if starts(&["SET datafusion.sql_parser"]) {
        "SQL is read in DataFusion's generic dialect"
    } else if starts(&["SET datafusion.runtime"]) {
        "memory and files of queries are those that the database was opened with"
    } else if starts(&["INSERT INTO a snapshot"]) {
        "insert into the table itself"
    } else if starts(&["INSERT"]) {
        "use `INSERT INTO table (columns) VALUES ...` or `INSERT INTO table SELECT ...`"
    } else {
        "use queries, EXPLAIN, INSERT INTO, COPY ... TO, SHOW, DESCRIBE, SET, PREPARE and EXECUTE"
    }
}
