//! Keeping the log short.

use super::{Applier, Driver};
use crate::store::Store;
use crate::transport::Transport;

impl<S: Store, T: Transport, A: Applier<R>, R> Driver<S, T, A, R> {
    /// Once in a tick: has the next write drop what nobody needs any more.
    pub(super) fn compact(&mut self) {
        if !std::mem::take(&mut self.tidy_due) || self.swapping || self.rolling_back {
            return;
        }
        self.weigh();
        // What a log of many short views has is the views.
        let settings = self.replica.settings();
        let keep = match self.replica.branches().epochs().len() > settings.max_epochs {
            true => 0,
            false => settings.log_keep,
        };
        let compacted = self.replica.compacted().index;
        let last = self.replica.branches().last_index();
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
        // Not for a handful: a write that drops entries costs more than one that appends.
        if limit >= compacted + keep.max(1) {
            self.replica.compact(limit);
        }
    }

    /// Now and then, while a replica is away: how much of the log is kept for it.
    fn weigh(&mut self) {
        let pause = 5 * self.suspect.max(1);
        if !self.now.is_multiple_of(pause) {
            return;
        }
        for (id, index) in self.replica.kept_for() {
            // A disk that cannot be read is told by whoever needs what is on it.
            if let Ok(bytes) = self.store.bytes_behind(index) {
                self.replica.kept_bytes(id, bytes);
            }
        }
    }
}
