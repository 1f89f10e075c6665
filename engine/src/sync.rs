//! Locks, atomics, queues and threads, as everything that threads share takes them.
//!
//! In: nothing. Out: the standard library's and crossbeam's; with the feature `schedules`, shuttle's of the same names,
//! which run threads one at a time in orders that a test chooses, and find deadlocks.
//! Invariants: nothing else in the crate differs by the feature. Two kinds of sharing stay with the standard library:
//! `Arc` and `OnceLock`, which shuttle does not have, and what the encoding pool's threads touch, which it cannot stop.

#[cfg(not(feature = "schedules"))]
mod primitives {
    use std::io::Result;
    use std::panic::resume_unwind;

    pub use crossbeam_channel::{Receiver, Sender, bounded};
    pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use std::thread;

    /// Does one thing on a thread of its own beside another one, and waits for both. A panic of either goes on.
    ///
    /// # Errors
    /// The system starts no thread; then neither was done.
    pub fn beside<A: Send, B>(
        name: &str,
        task: impl FnOnce() -> A + Send,
        other: impl FnOnce() -> B,
    ) -> Result<(A, B)> {
        thread::scope(|scope| {
            let started = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, task)?;
            let done = other();
            Ok((started.join().unwrap_or_else(|panic| resume_unwind(panic)), done))
        })
    }
}

#[cfg(feature = "schedules")]
mod primitives {
    use std::io::Result;
    use std::panic::resume_unwind;

    pub use shuttle::sync::mpsc::{Receiver, SyncSender as Sender, sync_channel as bounded};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use shuttle::thread;

    /// As without the feature; shuttle's threads in a scope have no names.
    ///
    /// # Errors
    /// None.
    pub fn beside<A: Send, B>(_: &str, task: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> Result<(A, B)> {
        thread::scope(|scope| {
            let started = scope.spawn(task);
            let done = other();
            Ok((started.join().unwrap_or_else(|panic| resume_unwind(panic)), done))
        })
    }
}

pub use primitives::{Condvar, Mutex, MutexGuard, Receiver, RwLock, Sender, atomic, beside, bounded, thread};
