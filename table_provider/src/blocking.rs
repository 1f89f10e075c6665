//! Where the engine's synchronous calls run.
//!
//! In: a closure that reads or writes files. Out: its result, awaited.
//! Invariants: a thread of the async runtime never waits for the disk. Outside of a runtime there is nobody to hold
//! up, and the closure runs where it is; unless it waits for its caller: then it has a thread of its own.

use std::thread::Builder;

use datafusion::error::DataFusionError;
use futures::future::{Either, ready};
use rustling_engine::error::{Error as EngineError, Result as EngineResult};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
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

/// Runs a closure that waits for what its caller goes on to do, from now on, on a thread of its own: on one of the
/// runtime's blocking threads it could keep the caller from the one that it needs, and where it is it would wait for ever.
/// If the caller stops waiting, the closure still runs to its end.
///
/// # Errors
/// The closure's; it panicked; the system starts no thread.
pub fn on_own_thread<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> EngineResult<T> + Send + 'static,
) -> impl Future<Output = EngineResult<T>> + Send + 'static {
    let (sender, receiver) = oneshot::channel();
    // Nobody may wait for it any more.
    let body = move || drop(sender.send(run()));
    let started = Builder::new().name(format!("rustling-{name}")).spawn(body);
    async move {
        started.map_err(|source| EngineError::Io { operation: "start", path: format!("the {name} thread"), source })?;
        receiver.await.unwrap_or(Err(EngineError::ThreadPanicked { thread: name }))
    }
}

/// A panic of the closure as DataFusion's error.
pub fn joined(error: JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}
