//! Where the engine's synchronous calls run.
//!
//! In: a closure that reads or writes files. Out: its result, awaited.
//! Invariants: a thread of the async runtime never waits for the disk. Outside of a runtime there is nobody to hold
//! up, and the closure runs where it is.

use datafusion::error::DataFusionError;
use futures::future::{Either, ready};
use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Runs a blocking closure on a blocking thread, from now on and not from when it is waited for. If the caller stops
/// waiting, the closure still runs to its end.
///
/// # Errors
/// The closure panicked, or the runtime is shutting down.
pub fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send + 'static {
    match Handle::try_current() {
        Ok(runtime) => Either::Left(runtime.spawn_blocking(run)),
        Err(_) => Either::Right(ready(Ok(run()))),
    }
}

/// A panic of the closure as DataFusion's error.
pub fn joined(error: JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}
