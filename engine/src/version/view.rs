//! Everything a reader can see at one moment: the tables, their memtables and their runs.
//!
//! In: the states that publishing made. Out: shared, immutable views.
//! Invariants: a view and its tables never change (memtables get new changes, but at sequence numbers that the
//! readers of this view do not see); every change is in exactly one memtable or covered by the runs, unless a table is
//! taken without its changes in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{SeqNo, TableId};
use crate::memtable::table::Memtable;
use crate::rows::change::TableRef;
use crate::rows::key::KeyCodec;
use crate::rows::schema::TableSchema;
use crate::sync::atomic::AtomicI64;
use crate::version::table::TableVersion;

/// One table at one moment.
#[derive(Clone, Debug)]
pub struct TableView {
    /// Its id.
    pub id: TableId,
    /// Its name.
    pub name: Arc<str>,
    /// Its columns.
    pub schema: Arc<TableSchema>,
    /// Its key encoding.
    pub codec: Arc<KeyCodec>,
    /// Newest first; the first one is active, the others are frozen. Never empty.
    pub memtables: Vec<Arc<Memtable>>,
    /// Its runs.
    pub version: Arc<TableVersion>,
    /// The next row id of a table without a key.
    pub next_row_id: Arc<AtomicI64>,
}

impl TableView {
    /// What preparing changes needs to know.
    pub fn reference(&self) -> TableRef<'_> {
        let (schema, codec, form) = (&*self.schema, &*self.codec, self.active().form());
        TableRef { id: self.id, name: &self.name, schema, codec, form }
    }

    /// The memtable that takes writes.
    pub fn active(&self) -> &Arc<Memtable> {
        &self.memtables[0]
    }

    /// The memtable that is flushed next.
    pub fn oldest_frozen(&self) -> Option<&Arc<Memtable>> {
        self.memtables[1..].last()
    }

    /// The sequence number of the oldest change that is in no run.
    pub fn oldest_change(&self) -> Option<SeqNo> {
        self.memtables.iter().rev().find_map(|memtable| memtable.seq_range()).map(|(first, _)| first)
    }

    /// A memtable without changes for this table.
    ///
    /// # Errors
    /// None in practice.
    pub fn new_memtable(&self) -> Result<Arc<Memtable>> {
        Memtable::new(&self.schema, self.codec.width()).map(Arc::new)
    }

    /// The table without the changes that are in memory. Work that takes long holds on to this one: a memtable that is
    /// flushed meanwhile would stay in memory for its sake.
    ///
    /// # Errors
    /// None in practice.
    pub fn runs_only(&self) -> Result<Self> {
        Ok(Self { memtables: vec![self.new_memtable()?], ..self.clone() })
    }

    /// Bytes of all memtables.
    pub fn memtable_bytes(&self) -> usize {
        self.memtables.iter().map(|memtable| memtable.size_bytes()).sum()
    }
}

/// All tables at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    tables: BTreeMap<TableId, Arc<TableView>>,
}

impl View {
    /// A view of some tables.
    pub fn new(tables: impl IntoIterator<Item = TableView>) -> Self {
        Self { tables: tables.into_iter().map(|table| (table.id, Arc::new(table))).collect() }
    }

    /// The tables, ascending by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableView>> {
        self.tables.values()
    }

    /// A table by id.
    pub fn table(&self, id: TableId) -> Option<&Arc<TableView>> {
        self.tables.get(&id)
    }

    /// A table by name.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], naming the tables there are.
    pub fn named(&self, name: &str) -> Result<&Arc<TableView>> {
        self.tables.values().find(|table| &*table.name == name).ok_or_else(|| Error::NoSuchTable {
            name: name.to_owned(),
            known: self.tables.values().map(|table| table.name.to_string()).collect(),
        })
    }

    /// The table with the oldest change that is in no run yet: the log is needed from there on.
    pub fn with_oldest_change(&self) -> Option<&Arc<TableView>> {
        let changed = self.tables().filter_map(|table| Some((table.oldest_change()?, table)));
        changed.min_by_key(|(seq, _)| *seq).map(|(_, table)| table)
    }

    /// A table by name, which must be the one of this id, if one is given.
    ///
    /// # Errors
    /// As [`View::named`]; [`Error::Dropped`], if another one has the name, or none.
    pub fn expected(&self, name: &str, id: Option<TableId>) -> Result<&Arc<TableView>> {
        let found = self.named(name);
        match id {
            Some(id) => {
                found.ok().filter(|table| table.id == id).ok_or_else(|| Error::Dropped { table: name.to_owned() })
            }
            None => found,
        }
    }

    /// The view with a table added or replaced.
    #[must_use]
    pub fn with(&self, table: TableView) -> Self {
        let mut tables = self.tables.clone();
        tables.insert(table.id, Arc::new(table));
        Self { tables }
    }

    /// The view without a table.
    #[must_use]
    pub fn without(&self, id: TableId) -> Self {
        let mut tables = self.tables.clone();
        tables.remove(&id);
        Self { tables }
    }

    /// Bytes of all memtables.
    pub fn memtable_bytes(&self) -> usize {
        self.tables.values().map(|table| table.memtable_bytes()).sum()
    }
}
