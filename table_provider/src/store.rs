//! The runs of one database as a read-only object store.
//!
//! In: paths `<table id>/<run id>.parquet`. Out: verified bytes of runs that the newest version names.
//! Invariants: nothing can be written through it, and it keeps neither database nor run alive. A scan does not read
//! through it: its readers hold their runs (see [`crate::reader`]). DataFusion asks for a store all the same, and
//! whoever looks at a path in a plan can read it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use rustling_engine::database::Database;
use rustling_engine::id::TableId;
use rustling_engine::version::run::Run;

use crate::blocking::blocking;

/// Name of the store in errors.
const STORE: &str = "rustling";

/// The runs of one database.
#[derive(Debug)]
pub struct RunStore {
    database: Weak<Database>,
}

/// Path of a run in the store.
pub fn run_path(table: TableId, run: &Run) -> Path {
    Path::from_iter([table.0.to_string(), format!("{}.parquet", run.id().0)])
}

impl RunStore {
    /// The store of a database.
    pub fn new(database: &Arc<Database>) -> Self {
        Self { database: Arc::downgrade(database) }
    }

    /// All runs of the newest version with their paths.
    fn runs(&self) -> Vec<(Path, Arc<Run>)> {
        let Some(database) = self.database.upgrade() else { return Vec::new() };
        let snapshot = database.snapshot();
        let mut runs = Vec::new();
        for name in snapshot.table_names() {
            let Ok(table) = snapshot.table(&name) else { continue };
            let id = table.table().id;
            runs.extend(table.table().version.runs().iter().map(|run| (run_path(id, run), run.clone())));
        }
        runs
    }

    fn run(&self, location: &Path) -> Result<Arc<Run>> {
        let found = self.runs().into_iter().find(|(path, _)| path == location);
        found.map(|(_, run)| run).ok_or_else(|| Error::NotFound {
            path: location.to_string(),
            source: "no run of the database has this path".into(),
        })
    }
}

/// What DataFusion wants to know of a file. Runs never change, so the time is fixed and the run id is the tag.
pub fn run_meta(location: Path, run: &Run) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: Default::default(),
        size: run.sst().sst().file_bytes(),
        e_tag: Some(run.id().0.to_string()),
        version: None,
    }
}

fn refused<T>(operation: &str) -> Result<T> {
    let text = format!("{operation}: the runs of a database are written by the database only");
    Err(Error::NotSupported { source: text.into() })
}

fn failed(error: rustling_engine::error::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(error) }
}

impl fmt::Display for RunStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rustling runs (read-only)")
    }
}

#[async_trait]
impl ObjectStore for RunStore {
    async fn put_opts(&self, _location: &Path, _payload: PutPayload, _options: PutOptions) -> Result<PutResult> {
        refused("put")
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        refused("put")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let run = self.run(location)?;
        let meta = run_meta(location.clone(), &run);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => {
                range.as_range(meta.size).map_err(|source| Error::Generic { store: STORE, source: Box::new(source) })?
            }
            None => 0..meta.size,
        };
        let wanted = if options.head { range.start..range.start } else { range.clone() };
        let bytes = read(run, vec![wanted]).await?.pop().unwrap_or_default();
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        read(self.run(location)?, ranges.to_vec()).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|_| refused("delete")).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let runs = self.runs().into_iter().filter(move |(path, _)| path.prefix_matches(&prefix));
        stream::iter(runs.map(|(path, run)| Ok(run_meta(path, &run))).collect::<Vec<_>>()).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for (path, run) in self.runs() {
            let Some(rest) = path.prefix_match(&prefix).map(|rest| rest.collect::<Vec<_>>()) else { continue };
            match rest.as_slice() {
                [] => {}
                [_] => result.objects.push(run_meta(path.clone(), &run)),
                [folder, ..] => {
                    let folder = prefix.clone().join(folder.clone());
                    if !result.common_prefixes.contains(&folder) {
                        result.common_prefixes.push(folder);
                    }
                }
            }
        }
        Ok(result)
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        refused("copy")
    }

    async fn rename_opts(&self, _from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        refused("rename")
    }
}

/// Reads ranges where waiting for the disk stops nobody else.
async fn read(run: Arc<Run>, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
    let read = blocking(move || ranges.into_iter().map(|range| run.sst().sst().read(range).map_err(failed)).collect());
    read.await.map_err(|source| Error::JoinError { source })?
}
