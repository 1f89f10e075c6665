//! Where the engine's synchronous calls run.
//!
//! In: a closure that reads or writes files. Out: its result, awaited.
//! Invariants: a thread of the async runtime never waits for the disk. Outside of a runtime there is nobody to hold
//! up, and the closure runs where it is.

use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Runs a blocking closure on a blocking thread. If the caller stops waiting, the closure still runs to its end.
///
/// # Errors
/// The closure panicked, or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(run).await,
        Err(_) => Ok(run()),
    }
}
