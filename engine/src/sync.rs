//! Locks, atomics, queues and threads, as everything that threads share takes them.
//!
//! In: nothing. Out: the standard library's and crossbeam's; with the feature `schedules`, shuttle's of the same names,
//! which run threads one at a time in orders that a test chooses, and find deadlocks.
//! Invariants: nothing else in the crate differs by the feature. Two kinds of sharing stay with the standard library:
//! `Arc` and `OnceLock`, which shuttle does not have, and what the encoding pool's threads touch, which it cannot stop.

#[cfg(not(feature = "schedules"))]
mod primitives {
    pub use crossbeam_channel::{Receiver, Sender, bounded};
    pub use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use std::thread;
}

#[cfg(feature = "schedules")]
mod primitives {
    pub use shuttle::sync::mpsc::{Receiver, SyncSender as Sender, sync_channel as bounded};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
    pub use shuttle::thread;
}

pub use primitives::{Condvar, Mutex, MutexGuard, Receiver, RwLock, Sender, atomic, bounded, thread};
