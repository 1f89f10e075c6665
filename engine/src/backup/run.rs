//! Makes a copy of a database, step by step.
//!
//! In: an open database, or the folder of a closed one; a folder to make the copy in. Out: a database of its own that
//! holds what the source held at one sequence number, and a [`BackupReport`].
//! Invariants: the source is only read, and goes on meanwhile. The manifest comes last, when everything it names is
//! durable, so an interrupted copy is no database. The copy has a random number of its own, a new log, and manifests
//! from 1 on: the log of the one is never taken for that of the other. Only files of runs are linked, which nobody
//! changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backup::changes::write_run;
use crate::backup::contents::{Changes, Contents, TableContents};
use crate::backup::file::{BackupOptions, Side, transfer};
use crate::backup::target::TargetFolder;
use crate::config::KeptBytes;
use crate::config::Options;
use crate::deletion::file::write;
use crate::disk::api::{Disk, DiskLock, at};
use crate::disk::path::{self, RunFile};
use crate::error::{Error, Result};
use crate::id::{Digest, ManifestId, SeqNo, TableId, WalId};
use crate::read::resolve::resolved_version;
use crate::recover::commit_first;
use crate::sst::meta::FileMeta;
use crate::sst::store::Store;
use crate::sst::writer::Encoder;
use crate::state::{State, thread_pool};
use crate::version::manifest::{CURRENT_MANIFEST, FORMAT, Manifest, SchemaManifest, TableManifest};
use crate::version::run::RunMeta;
use crate::version::table::TableVersion;
use crate::wal::log::Wal;
use crate::wal::replay::TornTail;

/// What a copy of a database consists of.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// It holds every change up to this sequence number.
    pub seq: SeqNo,
    /// Tables in it.
    pub tables: usize,
    /// Files that share their bytes with the source.
    pub linked: FileCount,
    /// Files with bytes of their own: copied ones, and runs written from what was in the source's memory or log.
    pub copied: FileCount,
    /// The torn end of a closed source's log, which was never acknowledged and is left out.
    pub torn: Option<TornTail>,
}

/// Some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCount {
    /// How many.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
}

impl FileCount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A copy being made. Dropping it removes what was made.
pub struct Backup<'a> {
    source: Source<'a>,
    from: Side,
    to: Side,
    how: How,
    contents: Contents,
    /// Runs and dead rows of the tables that are settled, in the order of the tables.
    versions: Vec<TableVersion>,
    work: VecDeque<Work>,
    report: BackupReport,
    bytes_total: u64,
    /// Last, so that its files are closed when it removes them.
    target: TargetFolder,
}

/// What keeps the source as it is.
enum Source<'a> {
    /// Runs are kept for whoever holds them, until the database is closed.
    Open(&'a State),
    /// The source's lock, where it can be taken.
    Closed { _lock: Option<Box<dyn DiskLock>> },
}

/// How the copy is made.
struct How {
    options: BackupOptions,
    wal_segment_bytes: u64,
    encoder: Encoder,
}

/// One thing to do; `table` is an index.
enum Work {
    /// Make a table's folder.
    Folder { table: usize },
    /// Write changes that are in no run.
    Changes { table: usize, changes: Changes },
    /// Link or copy a file of a run.
    File { path: String, meta: FileMeta },
    /// Find out which rows of a table are dead, write that down, and make the names in its folder durable.
    Table { table: usize },
}

/// What a step led to.
#[expect(clippy::large_enum_variant, reason = "there is one of it, which is moved")]
pub enum Step<'a> {
    /// There is more to do.
    Next(Backup<'a>),
    /// The copy is complete and durable.
    Done(BackupReport),
}

impl<'a> Backup<'a> {
    /// Begins a copy of an open database as readers see it now.
    ///
    /// Cost: changes in memtables are sorted; a flush that runs is waited for. Writers wait for nothing.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Locked`] of the target; [`Error::Closed`]; the disks'.
    pub fn of_open(state: &'a State, target: Arc<dyn Disk>, options: BackupOptions) -> Result<Self> {
        let from = Side { disk: state.disk.clone(), is_named: false };
        let to = Side { disk: target, is_named: true };
        let target = TargetFolder::begin(to.disk.clone()).map_err(|error| to.failed(error))?;
        let contents = Contents::of_open(state)?;
        let how = How { options, wal_segment_bytes: state.options.wal_segment_bytes, encoder: state.encoder()? };
        Ok(Self::new(Source::Open(state), [from, to], how, contents, target))
    }

    /// Begins a copy of a database that nobody has open, and that nobody can open meanwhile. It is not changed.
    ///
    /// # Errors
    /// As opening it; [`Error::NotEmpty`], [`Error::Locked`] of the target; the disks'.
    pub fn of_closed(
        source: Arc<dyn Disk>,
        target: Arc<dyn Disk>,
        engine: &Options,
        options: BackupOptions,
    ) -> Result<Self> {
        let from = Side { disk: source, is_named: true };
        let to = Side { disk: target, is_named: true };
        TargetFolder::check(&*to.disk).map_err(|error| to.failed(error))?;
        let (contents, lock) = Contents::of_closed(&from.disk, engine).map_err(|error| from.failed(error))?;
        let target = TargetFolder::begin(to.disk.clone()).map_err(|error| to.failed(error))?;
        let encoder = Encoder { pool: thread_pool(engine.threads)?, row_group_bytes: engine.row_group_bytes() };
        let how = How { options, wal_segment_bytes: engine.wal_segment_bytes, encoder };
        Ok(Self::new(Source::Closed { _lock: lock }, [from, to], how, contents, target))
    }

    fn new(source: Source<'a>, [from, to]: [Side; 2], how: How, mut contents: Contents, target: TargetFolder) -> Self {
        let mut work = VecDeque::new();
        let mut bytes_total = 0;
        // Before all files: they take memory until they are written.
        for (table, found) in contents.tables.iter_mut().enumerate() {
            work.push_back(Work::Folder { table });
            work.extend(std::mem::take(&mut found.changes).into_iter().map(|changes| Work::Changes { table, changes }));
        }
        for (table, found) in contents.tables.iter().enumerate() {
            for (path, meta) in found.runs.iter().flat_map(|run| files(found.id, run.meta())) {
                bytes_total += meta.bytes;
                work.push_back(Work::File { path, meta });
            }
            work.push_back(Work::Table { table });
        }
        let report = BackupReport {
            seq: contents.seq,
            tables: contents.tables.len(),
            linked: FileCount::default(),
            copied: FileCount::default(),
            torn: contents.torn.clone(),
        };
        Self { source, from, to, how, contents, versions: Vec::new(), work, report, bytes_total, target }
    }

    /// The sequence number it shows.
    pub fn seq(&self) -> SeqNo {
        self.contents.seq
    }

    /// Bytes of the files made so far, and of those that are to be linked or copied.
    pub fn progress(&self) -> (u64, u64) {
        (self.report.linked.bytes + self.report.copied.bytes, self.bytes_total)
    }

    /// Does the rest.
    ///
    /// # Errors
    /// As [`Backup::step`].
    pub fn finish(mut self) -> Result<BackupReport> {
        loop {
            match self.step()? {
                Step::Next(next) => self = next,
                Step::Done(report) => return Ok(report),
            }
        }
    }

    /// Makes one file, or completes the copy.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a file of the source is not what its manifest says; [`Error::Closed`] if the source was
    /// closed meanwhile; the disks'. What was made is removed then, as far as the disk allows.
    pub fn step(mut self) -> Result<Step<'a>> {
        if let Source::Open(state) = &self.source
            && state.closed.load(Ordering::Acquire)
        {
            return Err(Error::Closed);
        }
        match self.work.pop_front() {
            Some(Work::Folder { table }) => self.make_folder(table)?,
            Some(Work::Changes { table, changes }) => self.write_changes(table, changes)?,
            Some(Work::File { path, meta }) => {
                let is_linked = transfer(&self.from, &self.to, &path, meta, self.how.options)?;
                let count = if is_linked { &mut self.report.linked } else { &mut self.report.copied };
                count.add(meta.bytes);
            }
            Some(Work::Table { table }) => self.settle_table(table).map_err(|error| self.to.failed(error))?,
            None => return self.complete().map(Step::Done),
        }
        Ok(Step::Next(self))
    }

    fn make_folder(&self, table: usize) -> Result<()> {
        let folder = path::table(self.contents.tables[table].id);
        let made = self.to.disk.create_dir(&folder).map_err(at("create", &folder));
        let synced = made.and_then(|()| self.to.disk.sync_dir(path::TABLES).map_err(at("sync", path::TABLES)));
        synced.map_err(|error| self.to.failed(error))
    }

    fn settle_table(&mut self, table: usize) -> Result<()> {
        let found = &self.contents.tables[table];
        let mut version = resolved_version(found.runs.clone(), self.contents.seq, &found.codec, CURRENT_MANIFEST)?;
        if !version.unrecorded().is_empty() {
            let id = self.contents.next_run;
            let file = write(&*self.to.disk, found.id, id, version.unrecorded())?;
            version = version.recorded(vec![file]);
            self.contents.next_run = id.next();
            self.report.copied.add(file.bytes);
        }
        self.versions.push(version);
        let folder = path::table(found.id);
        self.to.disk.sync_dir(&folder).map_err(at("sync", &folder))
    }

    fn write_changes(&mut self, table: usize, changes: Changes) -> Result<()> {
        let found = &mut self.contents.tables[table];
        let store = Store::new(self.to.disk.clone(), KeptBytes::default());
        let written = write_run(&store, &self.how.encoder, found, self.contents.next_run, changes);
        let Some(run) = written.map_err(|error| self.to.failed(error))? else { return Ok(()) };
        self.contents.next_run = self.contents.next_run.next();
        files(found.id, run.meta()).for_each(|(_, meta)| self.report.copied.add(meta.bytes));
        found.runs.push(Arc::new(run));
        Ok(())
    }

    /// Everything is there: a log without changes, and the manifest.
    fn complete(self) -> Result<BackupReport> {
        let database = Digest(self.to.disk.random());
        let create = Wal::create(self.to.disk.clone(), database.0, self.how.wal_segment_bytes);
        let mut wal = create.map_err(|error| self.to.failed(error))?;
        let manifest = self.manifest(database, &wal);
        commit_first(&*self.to.disk, &manifest, &mut wal).map_err(|error| self.to.failed(error))?;
        wal.give_back();
        self.target.complete();
        let report = self.report;
        tracing::info!(?report, folder = self.to.disk.describe(), "made a copy of the database");
        Ok(report)
    }

    fn manifest(&self, database: Digest, wal: &Wal) -> Manifest {
        let seq = self.contents.seq;
        Manifest {
            format: FORMAT,
            features: Vec::new(),
            id: ManifestId(1),
            commit: Digest(self.to.disk.random()),
            previous: Digest(0),
            database,
            retention_seconds: self.contents.retention_seconds,
            next_table: self.contents.next_table,
            next_run: self.contents.next_run,
            last_seq: seq,
            wal_floor: WalId(1),
            wal_end: wal.end(),
            tables: (self.contents.tables.iter().zip(&self.versions))
                .map(|(table, version)| describe(table, version))
                .collect(),
        }
    }
}

/// A table whose every change up to a sequence number is in its runs.
fn describe(table: &TableContents, version: &TableVersion) -> TableManifest {
    TableManifest {
        id: table.id,
        name: table.name.to_string(),
        schema: SchemaManifest::new(&table.schema),
        flushed_through: version.flushed_through(),
        next_row_id: table.next_row_id,
        runs: version.runs().iter().map(|run| run.meta().clone()).collect(),
        deletions: Some(version.deletions()),
        history: (**version.history()).clone(),
    }
}

/// The files of a run.
fn files(table: TableId, run: &RunMeta) -> impl Iterator<Item = (String, FileMeta)> {
    let files = &run.files;
    let all = [
        (RunFile::Sst, Some(files.sst)),
        (RunFile::Deletes, files.deletes.as_ref().map(|deletes| deletes.file)),
        (RunFile::Keys, Some(files.keys)),
    ];
    let run = files.run;
    all.into_iter().filter_map(move |(file, meta)| Some((path::run(table, run, file), meta?)))
}
