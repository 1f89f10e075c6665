//! Writes down which rows die with a commit, before the manifest that says so.
//!
//! In: tables as an edit leaves them. Out: the same, their dead rows all in durable files.
//! Invariants: a commit adds one file at most for each table it changes; when there are many, one with everything takes
//! their place. Files that no manifest came to name are removed, unless it may have been committed.

use std::sync::Arc;

use crate::deletion::file::{DeadRows, DeletionFile, write};
use crate::disk::api::at;
use crate::disk::path::{self, RunFile};
use crate::error::Result;
use crate::id::{RunId, TableId};
use crate::seeded::{SeededFault, makes};
use crate::state::State;
use crate::version::table::TableVersion;
use crate::version::view::TableView;

/// Files of a table, at most; opening reads them all.
const FILES_MAX: usize = 16;

/// Tables whose dead rows are all in files.
pub struct Recorded<'a> {
    state: &'a State,
    tables: Vec<TableView>,
    /// Files that no manifest names.
    written: Vec<(TableId, RunId)>,
}

impl<'a> Recorded<'a> {
    /// Writes what is in no file.
    ///
    /// # Errors
    /// The disk's; nothing is left then, as far as the disk allows.
    pub fn write(state: &'a State, tables: Vec<TableView>) -> Result<Self> {
        let mut recorded = Self { state, tables, written: Vec::new() };
        for index in 0..recorded.tables.len() {
            let (id, version) = (recorded.tables[index].id, recorded.tables[index].version.clone());
            let files = recorded.files_of(id, &version)?;
            if files != version.deletion_files() || !version.unrecorded().is_empty() {
                recorded.tables[index].version = Arc::new((*version).clone().recorded(files));
            }
        }
        Ok(recorded)
    }

    /// The files that a version's dead rows are in, after writing those that are in none.
    fn files_of(&mut self, table: TableId, version: &TableVersion) -> Result<Vec<DeletionFile>> {
        let mut files = version.deletion_files().to_vec();
        if version.dead().iter().all(|dead| dead.is_empty()) {
            return Ok(Vec::new());
        }
        if version.unrecorded().is_empty() {
            return Ok(files);
        }
        if files.len() >= FILES_MAX && !makes(SeededFault::FoldForgetsOlder) {
            files = vec![self.write_file(table, &version.dead_rows())?];
        } else {
            if files.len() >= FILES_MAX || makes(SeededFault::DeletionFileReplaces) {
                files.clear();
            }
            files.push(self.write_file(table, version.unrecorded())?);
        }
        Ok(files)
    }

    fn write_file(&mut self, table: TableId, dead: &DeadRows) -> Result<DeletionFile> {
        let (disk, id, folder) = (&*self.state.disk, self.state.new_run_id(), path::table(table));
        let file = write(disk, table, id, dead)?;
        self.written.push((table, id));
        disk.sync_dir(&folder).map_err(at("sync", &folder))?;
        Ok(file)
    }

    /// The tables.
    pub fn tables(&self) -> &[TableView] {
        &self.tables
    }

    /// The tables, now that a manifest names the files.
    pub fn keep(mut self) -> Vec<TableView> {
        self.written.clear();
        std::mem::take(&mut self.tables)
    }
}

impl Drop for Recorded<'_> {
    fn drop(&mut self) {
        // A manifest that names them may have been committed. A panic poisons behind this.
        if self.state.poison.get().is_some() || std::thread::panicking() {
            return;
        }
        for (table, id) in &self.written {
            // Best effort: what is left is swept when the database opens.
            let _ = self.state.disk.remove(&path::run(*table, *id, RunFile::Deletions));
        }
    }
}
