//! Ctrl-C and SIGTERM.
//!
//! In: signals. Out: a flag for loads, a [`Stop`] for queries, an exit code.
//! Invariants: while something that can be given up runs, the first signal asks it to, and the command ends in order.
//! Else, with the second signal, and if it has not ended after a while, such as a load that waits for its input, the
//! process ends at once: the database is always one that opens again, with everything that was acknowledged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use rustling_db::rows::Stop;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, Outcome, say};

/// 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// 128 + SIGTERM.
const TERMINATED: u8 = 143;
/// How long what was asked to stop may take to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What signals do to this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    /// Set to stop a load.
    pub(crate) cancel: Arc<AtomicBool>,
    /// Stops queries.
    pub(crate) stop: Stop,
    /// Something runs that can be given up.
    patient: Arc<AtomicBool>,
    /// Exit code of the first signal; 0 before.
    code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Starts to listen.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start() -> Outcome<Self> {
        let failed = |source: io::Error| Failure::System { operation: "listen to signals", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let signals = {
            let _guard = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        let this = Self::default();
        let listener = this.clone();
        let listen = move || runtime.block_on(listener.listen(signals));
        std::thread::Builder::new().name("rustling-signals".to_owned()).spawn(listen).map_err(failed)?;
        Ok(this)
    }

    async fn listen(self, (mut interrupt, mut terminate): (Signal, Signal)) {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => INTERRUPTED,
                _ = terminate.recv() => TERMINATED,
            };
            if !self.patient.load(Ordering::SeqCst) || self.code.load(Ordering::SeqCst) != 0 {
                std::process::exit(i32::from(code));
            }
            self.code.store(code, Ordering::SeqCst);
            self.cancel.store(true, Ordering::SeqCst);
            self.stop.stop();
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                if this.patient.load(Ordering::SeqCst) {
                    say(
                        "error: it did not stop, and was ended; what was being committed is there or not, never by half",
                    );
                    std::process::exit(i32::from(code));
                }
            });
        }
    }

    /// Does something that looks at the flag or the stop: a signal does not end the process meanwhile.
    pub(crate) fn patiently<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        self.patient.store(true, Ordering::SeqCst);
        let done = work();
        self.patient.store(false, Ordering::SeqCst);
        done
    }

    /// The exit code of a signal that came.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        Some(self.code.load(Ordering::SeqCst)).filter(|code| *code != 0)
    }
}
