//! The runtime that a replica's own thread turns.

use std::io;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// A runtime for one thread. Dropped, it ends at once what was spawned on it; unlike tokio's own it may be dropped
/// anywhere, within another runtime too.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(super) fn new() -> io::Result<OwnRuntime> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(OwnRuntime(Some(runtime)))
    }
}

impl Deref for OwnRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken out only by drop")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
