//! Keeping the log short, a little at a time, so that no write waits for it.

use super::{Applier, Driver};
use crate::store::{Persist, Store, StoreError};
use crate::transport::Transport;
use crate::types::Mode;

/// Entries that are dropped or archived with one write, while nobody waits.
const STEP: u64 = 2048;

/// The same while others wait for their writes.
const BUSY_STEP: u64 = 256;

impl<S: Store, T: Transport, A: Applier<R>, R> Driver<S, T, A, R> {
    /// Once in a tick: has the next write drop what nobody needs any more.
    pub(super) fn compact(&mut self) {
        if !std::mem::take(&mut self.tidy_due) || self.swapping || self.rolling_back {
            return;
        }
        let settings = self.replica.settings();
        let (keep, cap) = (settings.log_keep, settings.log_cap);
        let compacted = self.replica.compacted().index;
        let last = self.replica.branches().last_index();
        let step = if self.is_idle() { STEP } else { BUSY_STEP };

        // Below what the state holds durably, whatever happens to the rest of it.
        let held = match self.replica.branches().holds(self.durable) {
            true => self.durable.index,
            false => 0,
        };
        let limit = self
            .replica
            .compaction_limit()
            .min(held)
            .min(self.servings.pin())
            .min(last.saturating_sub(keep));
        // Not for a handful, as it costs a write.
        if limit >= compacted + BUSY_STEP.min(keep / 4 + 1) {
            self.replica.compact(limit.min(compacted + step));
        }

        let archived = self.archived.clamp(compacted, last);
        self.archived = archived;
        let available = self
            .replica
            .configuration()
            .is_some_and(|known| known.mode == Mode::Available);
        let beyond = last.saturating_sub(cap).min(self.handed.index);
        if available && beyond >= archived + BUSY_STEP.min(cap / 4 + 1) {
            self.archive_to = Some(beyond.min(archived + step));
        }
    }

    /// Moves to the archive what only somebody who is away still needs.
    pub(super) fn archive(&mut self) -> Result<(), StoreError> {
        let Some(through) = self.archive_to.take() else {
            return Ok(());
        };
        let compacted = self.replica.compacted().index;
        if through > compacted && through <= self.replica.branches().last_index() {
            self.persisted = self.store.persist(&Persist {
                archive: Some(through),
                ..Persist::default()
            })?;
            self.archived = through;
        }
        Ok(())
    }
}
