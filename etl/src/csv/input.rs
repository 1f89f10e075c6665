//! Reads files one after the other, and finds out which field holds which column.
//!
//! In: paths, `-` being standard input. Out: [`FileChunk`]s, in the order of the files.
//! Invariants: every file has the same columns; with a header they are matched by name, so their order is the file's
//! own, else by position. The names are given, or those of the first file: its header's, or `column_1` and so on.
//! An unquoted name of a header is taken without the spaces around it; names are compared byte by byte.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::csv::dialect::Dialect;
use crate::csv::fields::{Cursor, Records, Tokenizer};
use crate::csv::parse::{FileChunk, Layout};
use crate::csv::progress::Progress;
use crate::csv::split::{Chunk, Splitter};
use crate::error::CsvError;

/// Sizes that bound what is read at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Size of a chunk, unless a record is longer.
    pub(crate) chunk_bytes: usize,
    /// Size of a record.
    pub(crate) record_bytes_max: usize,
}

/// The files, and the place in them up to which they have been read.
pub(crate) struct Input {
    files: VecDeque<PathBuf>,
    dialect: Dialect,
    limits: Limits,
    names: Option<Vec<String>>,
    current: Option<Opened>,
    /// A chunk that was read to count its columns.
    first: Option<FileChunk>,
    progress: Arc<Progress>,
    may_block: bool,
}

struct Opened {
    splitter: Splitter<Counted>,
    layout: Arc<Layout>,
}

impl Input {
    /// Checks that the files are there. With `names` these are the columns of every file.
    ///
    /// # Errors
    /// A file that is not there or is a directory; no file at all.
    pub(crate) fn new(
        files: &[PathBuf],
        dialect: Dialect,
        limits: Limits,
        names: Option<Vec<String>>,
    ) -> Result<Self, CsvError> {
        if files.is_empty() {
            return Err(CsvError::NoFiles);
        }
        if files.iter().filter(|path| is_stdin(path)).count() > 1 {
            return Err(CsvError::StdinTwice);
        }
        let mut bytes_total = Some(0);
        for path in files {
            bytes_total = bytes_total.zip(file_size(path)?).map(|(total, size)| total + size);
        }
        Ok(Self {
            files: files.iter().cloned().collect(),
            dialect,
            limits,
            names,
            current: None,
            first: None,
            progress: Arc::new(Progress::new(bytes_total)),
            may_block: bytes_total.is_none(),
        })
    }

    /// Counts what is read.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Whether one of the files is a pipe, which may keep a reader waiting.
    pub(crate) fn may_block(&self) -> bool {
        self.may_block
    }

    /// Names of the columns, from the first file if they were not given.
    ///
    /// # Errors
    /// A first file that cannot be read, a bad header, no record to count columns of.
    pub(crate) fn names(&mut self) -> Result<&[String], CsvError> {
        while self.names.is_none() {
            if !self.open_next()? {
                return Err(CsvError::NoRecords);
            }
        }
        Ok(self.names.as_deref().unwrap_or_default())
    }

    fn next_chunk(&mut self) -> Result<Option<FileChunk>, CsvError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if let Some(Opened { splitter, layout }) = &mut self.current {
                if let Some(chunk) = splitter.cut(self.limits.chunk_bytes)? {
                    return Ok(Some(FileChunk { chunk, layout: layout.clone() }));
                }
                self.current = None;
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }

    /// Opens the next file up to its first record of data; false if there is none.
    fn open_next(&mut self) -> Result<bool, CsvError> {
        let Some(path) = self.files.pop_front() else {
            return Ok(false);
        };
        let file = file_name(&path);
        let reader = Counted { reader: open(&path, &file)?, progress: self.progress.clone() };
        let delimiter = self.dialect.delimiter();
        let mut splitter = Splitter::new(reader, file.clone(), delimiter, self.limits.record_bytes_max)?;
        if !self.dialect.header()
            && let Some(names) = &self.names
        {
            let layout = Arc::new(Layout { file, fields: (0..names.len()).collect() });
            self.current = Some(Opened { splitter, layout });
            return Ok(true);
        }
        let record = first_record(&mut splitter, delimiter)?;
        if !self.dialect.header() {
            let Some(FirstRecord { chunk, records }) = record else {
                return Ok(true);
            };
            let width = records.spans.len();
            let layout = Arc::new(Layout { file, fields: (0..width).collect() });
            self.names = Some((1..=width).map(|number| format!("column_{number}")).collect());
            self.first = Some(FileChunk { chunk, layout: layout.clone() });
            self.current = Some(Opened { splitter, layout });
            return Ok(true);
        }
        let Some(record) = record else {
            return Err(CsvError::NoHeader { file });
        };
        let header = Header::new(file.clone(), &record)?;
        let fields = match &self.names {
            Some(names) => header.positions(names)?,
            None => (0..header.names.len()).collect(),
        };
        self.names.get_or_insert(header.names);
        self.current = Some(Opened { splitter, layout: Arc::new(Layout { file, fields }) });
        Ok(true)
    }
}

impl Iterator for Input {
    type Item = Result<FileChunk, CsvError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

struct FirstRecord {
    chunk: Chunk,
    records: Records,
}

/// The first record of a file, if it has one.
fn first_record<R: Read>(splitter: &mut Splitter<R>, delimiter: u8) -> Result<Option<FirstRecord>, CsvError> {
    let (mut tokenizer, mut records) = (Tokenizer::new(delimiter), Records::default());
    while let Some(chunk) = splitter.cut(1)? {
        let mut cursor = Cursor { at: 0, line: chunk.line };
        if tokenizer.read(&chunk.bytes, &mut cursor, &mut records) {
            return Ok(Some(FirstRecord { chunk, records }));
        }
    }
    Ok(None)
}

/// Names of a file's columns: none empty, none twice.
struct Header {
    file: Arc<str>,
    line: u64,
    names: Vec<String>,
}

impl Header {
    fn new(file: Arc<str>, record: &FirstRecord) -> Result<Self, CsvError> {
        let line = record.chunk.line;
        let mut names: Vec<String> = Vec::new();
        for (field, index) in record.records.fields(&record.chunk.bytes).zip(1..) {
            let text = if field.quoted { field.text } else { field.text.trim_ascii() };
            let Ok(name) = std::str::from_utf8(text) else {
                return Err(CsvError::HeaderNotUtf8 { file, line, index });
            };
            if name.is_empty() {
                return Err(CsvError::EmptyHeaderName { file, line, index });
            }
            names.push(name.to_owned());
        }
        let mut seen = HashMap::new();
        for (name, second) in names.iter().zip(1..) {
            if let Some(first) = seen.insert(name, second) {
                let column = name.clone();
                return Err(CsvError::DuplicateHeaderName { file, line, column, first, second });
            }
        }
        Ok(Self { file, line, names })
    }

    /// Where in the header each of some columns stands; it must have these and no others.
    fn positions(&self, columns: &[String]) -> Result<Vec<usize>, CsvError> {
        let (file, line) = (self.file.clone(), self.line);
        let mut found: HashMap<&str, usize> = self.names.iter().map(String::as_str).zip(0..).collect();
        let mut positions = Vec::with_capacity(columns.len());
        for column in columns {
            let Some(position) = found.remove(column.as_str()) else {
                let (column, found) = (column.clone(), self.names.clone());
                return Err(CsvError::MissingColumn { file, line, column, found });
            };
            positions.push(position);
        }
        match found.into_values().min() {
            None => Ok(positions),
            Some(extra) => {
                let (column, known) = (self.names[extra].clone(), columns.to_vec());
                Err(CsvError::UnknownColumn { file, line, column, known })
            }
        }
    }
}

/// Counts the bytes that a reader returns.
struct Counted {
    reader: Box<dyn Read + Send>,
    progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.progress.add_bytes(read);
        Ok(read)
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// How errors and origins name a file.
fn file_name(path: &Path) -> Arc<str> {
    if is_stdin(path) { "<stdin>".into() } else { path.display().to_string().into() }
}

fn cannot_open(path: &Path) -> impl FnOnce(io::Error) -> CsvError {
    let file = file_name(path);
    move |source| CsvError::Io { operation: "open", file, source }
}

/// Bytes of a file, or `None` for a pipe.
fn file_size(path: &Path) -> Result<Option<u64>, CsvError> {
    if is_stdin(path) {
        return Ok(None);
    }
    let metadata: Metadata = std::fs::metadata(path).map_err(cannot_open(path))?;
    if metadata.is_dir() {
        return Err(cannot_open(path)(io::ErrorKind::IsADirectory.into()));
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

fn open(path: &Path, file: &Arc<str>) -> Result<Box<dyn Read + Send>, CsvError> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(opened) => Ok(Box::new(opened)),
        Err(source) => Err(CsvError::Io { operation: "open", file: file.clone(), source }),
    }
}
