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
        let keep = self.replica.settings().log_keep;
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
}
