//! Warnings that are said once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

/// Beyond so many different warnings nothing more is said: a stranger must not fill the log.
const LIMIT: usize = 256;

/// Remembers what was said.
#[derive(Debug, Default)]
pub(super) struct Once {
    said: Mutex<BTreeSet<String>>,
}

impl Once {
    /// Logs a warning, unless it was logged before.
    pub(super) fn warn(&self, warning: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < LIMIT && !said.contains(&warning) {
            warn!("{warning}");
            said.insert(warning);
        }
    }
}
