//! When a process is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and the polite kill.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

/// The signal by which an operator says that the configuration has changed.
pub(super) fn reloads() -> Result<Signal, String> {
    signal(SignalKind::hangup()).map_err(|error| format!("cannot listen for signals: {error}"))
}

impl StopSignals {
    pub(super) fn listen() -> Result<StopSignals, String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(StopSignals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Resolves once so many have come.
    pub(super) async fn nth(&mut self, count: u32) {
        for _ in 0..count {
            self.next().await;
        }
    }

    /// Resolves at the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
