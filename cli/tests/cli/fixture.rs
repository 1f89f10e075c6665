//! A folder to run the binary in, and what a run gave.
//!
//! Invariants: the folder is the working directory, so that texts name files as the arguments do.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder of its own; the database is `db` in it.
pub(crate) struct Folder(TempDir);

/// What a run gave.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Names in a folder, sorted.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The binary with the database `db` and no settings from outside.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rustling"));
        command.current_dir(self.0.path()).args(args).env_clear().env("RUSTLING_DB", "db").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap().into()
    }

    /// Runs what must succeed; its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran}");
        ran.stdout
    }

    /// Runs what must fail with exit code 1 and say nothing on standard output; its standard error.
    pub(crate) fn failed(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}: {ran}");
        ran.stderr
    }

    /// One value of a query.
    pub(crate) fn value(&self, sql: &str) -> String {
        let text = self.ok(&["sql", sql, "--format", "csv"]);
        text.lines().nth(1).unwrap_or_default().to_owned()
    }

    /// Loads `id,name,price` rows into the table `t` with the key `id`.
    pub(crate) fn with_table() -> Self {
        let folder = Self::new();
        folder.write("t.csv", "id,name,price\n1,one,1.50\n2,two,2.25\n3,,\n");
        folder.ok(&["load", "t.csv", "--table", "t", "--key", "id", "--schema", SCHEMA]);
        folder
    }
}

/// Columns of the table `t`.
pub(crate) const SCHEMA: &str = "id bigint not null, name text, price decimal(10,2)";

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("by a signal".to_owned(), |code| code.to_string());
        write!(f, "exit {code}\n{}{}", self.stdout, self.stderr)
    }
}
