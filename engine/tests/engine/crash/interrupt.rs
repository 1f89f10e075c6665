//! Lets something happen in the middle of a compaction.
//!
//! In: a disk, a database on it, the number of a call. Out: the compaction waits before that call until the rest is done,
//! so that one thread runs at a time, and a script leaves the same bytes whenever it runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::error::Result;

use crate::hooked::HookedDisk;

/// See the file's header.
#[derive(Default)]
pub(crate) struct Interrupt(Mutex<Option<Armed>>);

struct Armed {
    /// Calls that pass before.
    calls: usize,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

/// Forgets what was armed, at the end of the compaction, however it ends.
struct Disarm<'a>(&'a Interrupt);

impl Drop for Disarm<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().take();
    }
}

impl Interrupt {
    /// The disk that the database has to be on.
    pub(crate) fn disk(self: &Arc<Self>, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        let interrupt = self.clone();
        Arc::new(HookedDisk::new(disk, move |_, path| {
            interrupt.call(path);
            Ok(())
        }))
    }

    fn call(&self, path: &str) {
        // From its manifest on a compaction lets nobody publish.
        if !(path.ends_with(".parquet") || path.ends_with(".keys") || path.ends_with(".del")) {
            return;
        }
        let mut armed = self.0.lock().unwrap();
        match armed.as_mut() {
            Some(Armed { calls: 0, .. }) => {}
            Some(Armed { calls, .. }) => return *calls -= 1,
            None => return,
        }
        let Some(Armed { reached, go_on, .. }) = armed.take() else { return };
        drop(armed);
        // Whoever waits is there, or has panicked; then there is nothing to wait for.
        if reached.send(()).is_ok() {
            let _ = go_on.recv();
        }
    }

    /// Compacts a table. `during` comes before a call of it, or afterwards if it has not so many.
    pub(crate) fn compact<T>(&self, db: &Database, table: &str, call: usize, during: impl FnOnce() -> T) -> Result<T> {
        // A compaction begins with a flush, and while one flushes nobody else does.
        db.flush(table)?;
        let (reached, waits) = channel();
        let (lets_go_on, go_on) = channel();
        *self.0.lock().unwrap() = Some(Armed { calls: call, reached, go_on });
        thread::scope(|scope| {
            let compaction = scope.spawn(|| {
                let _disarm = Disarm(self);
                db.compact(table)
            });
            let _ = waits.recv();
            let happened = during();
            drop(lets_go_on);
            compaction.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(|()| happened)
        })
    }
}
