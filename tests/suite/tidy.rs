//! The house rules that a machine can hold: length, headers, storeys.
//!
//! A module may use only modules that are declared before it (in `lib.rs` for top-level ones, in its folder's `mod.rs`
//! for those beside it), so imports have no circles.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const CRATES: [&str; 5] = ["", "engine", "table_provider", "etl", "cli"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The lines of a file before its unit tests.
fn code_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

fn sources() -> Vec<PathBuf> {
    CRATES.iter().flat_map(|name| rust_files(&root().join(name).join("src"))).collect()
}

fn everything() -> Vec<PathBuf> {
    let folders = ["tests", "benches", "examples", "engine/tests", "table_provider/tests", "etl/tests", "cli/tests"];
    sources().into_iter().chain(folders.iter().flat_map(|folder| rust_files(&root().join(folder)))).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Functions longer than allowed: name and length. A function ends at the first line that closes its indentation.
fn long_functions(lines: &[&str]) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let is_function =
            line.trim_start().split(' ').take(5).any(|word| word == "fn") && !line.trim_start().starts_with("//");
        if !is_function || line.trim_end().ends_with(';') || line.trim_end().ends_with('}') {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| line.trim_end() == end).map_or(0, |length| length + 1);
        if length > FUNCTION_LINES_MAX {
            long.push((line.trim().to_owned(), length));
        }
    }
    long
}

#[test]
fn files_and_functions_are_short_and_files_say_what_they_are() {
    let mut problems = String::new();
    for path in everything() {
        let text = read(&path);
        let lines = code_lines(&text);
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if lines.len() > FILE_LINES_MAX {
            writeln!(problems, "{name}: {} lines, the limit is {FILE_LINES_MAX}", lines.len()).unwrap();
        }
        if !text.starts_with("//!") {
            writeln!(problems, "{name}: does not start with a header").unwrap();
        }
        for (function, length) in long_functions(&lines) {
            writeln!(problems, "{name}: {length} lines, the limit is {FUNCTION_LINES_MAX}: {function}").unwrap();
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

/// Modules declared in a file, in order.
fn declared(path: &Path) -> Vec<String> {
    let declaration = |line: &str| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')).map(str::to_owned)
    };
    read(path).lines().filter_map(declaration).collect()
}

/// Paths that a file uses from its own crate, as lists of modules.
fn used(lines: &[&str]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for line in lines.iter().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            let path =
                line[at + "crate::".len()..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next();
            paths.push(path.unwrap_or_default().split("::").map(str::to_owned).collect());
        }
    }
    paths
}

/// Uses in `file` (module path `own`) that point to a module declared behind its own.
fn upward(source: &Path, own: &[String], lines: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for path in used(lines) {
        let shared = own.iter().zip(&path).take_while(|(a, b)| a == b).count();
        let folder = own[..shared].iter().fold(source.to_path_buf(), |folder, part| folder.join(part));
        let face = if shared == 0 { source.join("lib.rs") } else { folder.join("mod.rs") };
        let face = if face.exists() { face } else { folder.with_extension("rs") };
        let (Some(from), Some(to)) = (own.get(shared), path.get(shared)) else { continue };
        if !face.exists() {
            continue;
        }
        let order = declared(&face);
        let place = |name: &String| order.iter().position(|other| other == name);
        if let (Some(from), Some(to)) = (place(from), place(to))
            && to > from
        {
            problems.push(path.join("::"));
        }
    }
    problems
}

#[test]
fn modules_use_only_what_is_declared_before_them() {
    let mut problems = String::new();
    for name in CRATES {
        let source = root().join(name).join("src");
        if !source.join("lib.rs").exists() {
            continue;
        }
        for path in rust_files(&source) {
            let text = read(&path);
            let relative = path.strip_prefix(&source).unwrap().with_extension("");
            let own: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let is_face = own.last().is_some_and(|last| last == "mod" || last == "lib");
            let in_tests = own.iter().any(|part| part == "tests" || part == "samples");
            if is_face || in_tests {
                continue;
            }
            for import in upward(&source, &own, &code_lines(&text)) {
                writeln!(problems, "{}: uses crate::{import}, declared behind it", path.display()).unwrap();
            }
            if let Some(line) =
                text.lines().find(|line| line.trim_start().starts_with("use super::") && !line.ends_with("::*;"))
            {
                writeln!(problems, "{}: `{}`: import from where it is defined", path.display(), line.trim()).unwrap();
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn the_engine_knows_no_datafusion_and_no_csv() {
    let manifest = read(&root().join("engine/Cargo.toml"));
    for refused in ["datafusion", "csv", "clap", "tokio"] {
        assert!(!manifest.contains(&format!("\n{refused}")), "engine depends on {refused}");
    }
    for path in rust_files(&root().join("engine/src")) {
        let text = read(&path);
        let is_local = path.ends_with("disk/local.rs");
        assert!(is_local || !text.contains("std::fs"), "{}: only disk/local.rs touches files", path.display());
    }
}

#[test]
fn a_broken_rule_is_seen() {
    let long: Vec<String> = std::iter::once("fn long() {".to_owned())
        .chain((0..80).map(|line| format!("    let _ = {line};")))
        .chain(["}".to_owned()])
        .collect();
    let lines: Vec<&str> = long.iter().map(String::as_str).collect();
    assert_eq!(long_functions(&lines), [("fn long() {".to_owned(), 82)]);
    let own = ["error".to_owned()];
    let source = root().join("engine/src");
    assert_eq!(upward(&source, &own, &["use crate::database::Database;"]), ["database::Database"]);
    assert_eq!(upward(&source, &["database".to_owned()], &["use crate::error::Error;"]), Vec::<String>::new());
}
