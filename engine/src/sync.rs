//! Locks, atomics, queues and threads, as everything that threads share takes them.
//!
//! In: nothing. Out: the standard library's and crossbeam's; with the feature `schedules`, shuttle's of the same names,
//! which run threads one at a time in orders that a test chooses, and find deadlocks; two things done beside each other.
//! Invariants: nothing else in the crate differs by the feature. Two kinds of sharing stay with the standard library:
//! `Arc` and `OnceLock`, which shuttle does not have, and what the encoding pool's threads touch, which it cannot stop.

use std::io;
use std::panic::resume_unwind;

#[cfg(not(feature = "schedules"))]
mod primitives {
    use std::io;

    pub use crossbeam_channel::{Receiver, Sender, bounded};
    pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use std::thread;

    /// Starts a thread of a scope under a name.
    pub(super) fn start<'scope, T: Send + 'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        name: &str,
        task: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<thread::ScopedJoinHandle<'scope, T>> {
        thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, task)
    }
}

#[cfg(feature = "schedules")]
mod primitives {
    use std::io;

    pub use shuttle::sync::mpsc::{Receiver, SyncSender as Sender, sync_channel as bounded};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use shuttle::thread;

    /// Starts a thread of a scope; shuttle gives such threads no names.
    pub(super) fn start<'scope, T: Send + 'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        _: &str,
        task: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<thread::ScopedJoinHandle<'scope, T>> {
        Ok(scope.spawn(task))
    }
}

use primitives::start;
pub use primitives::{Condvar, Mutex, MutexGuard, Receiver, RwLock, Sender, atomic, bounded, thread};

/// Does one thing on a thread of its own, which has a name, beside another one, and waits for both. A panic of either goes
/// on.
///
/// # Errors
/// The system starts no thread; then neither was done.
pub fn beside<A: Send, B>(
    name: &str,
    task: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> io::Result<(A, B)> {
    thread::scope(|scope| {
        let started = start(scope, name, task)?;
        let done = other();
        Ok((started.join().unwrap_or_else(|panic| resume_unwind(panic)), done))
    })
}
