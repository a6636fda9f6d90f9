//! What makes a read linearizable: every member of the view has said, after the read began, that it still follows.
//!
//! Whoever acknowledges more than this leader has started a view since, and needed the promise of one of these members; a
//! member that has promised no longer follows. So what this leader had committed when the read began is all that was
//! acknowledged by then.

use super::progress::Progress;
use super::state::{Leading, State};
use super::{Mutation, ReadId, Replica};
use crate::types::Index;

/// A read that waits for the members' word.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PendingRead {
    id: ReadId,
    /// What was committed when it began.
    index: Index,
    /// The heartbeat after it; none was sent yet where this is absent.
    round: Option<u64>,
}

impl Replica {
    /// Wants to know up to where the state must be applied to answer a read that began now. The answer is in a later
    /// [`Ready`](super::Ready).
    pub fn read(&mut self, id: ReadId) {
        let index = self.commit;
        match &mut self.state {
            State::Leading(leading)
                if leading.established_at.is_some()
                    && (leading.reads.len() as u64) < self.settings.max_uncommitted =>
            {
                leading.reads.push(PendingRead {
                    id,
                    index,
                    round: None,
                });
            }
            _ => self.ready.reads_refused.push(id),
        }
    }

    /// Asks the members about new reads, all in one round, and answers those whose round is complete.
    pub(super) fn confirm_reads(&mut self) {
        let me = self.me();
        let unconfirmed = self.is_broken(Mutation::ReadsUnconfirmed);
        let State::Leading(leading) = &mut self.state else {
            return;
        };
        if leading.reads.is_empty() {
            return;
        }
        let new = leading.reads.iter().any(|read| read.round.is_none());
        if new {
            leading.round += 1;
            for read in leading.reads.iter_mut().filter(|read| read.round.is_none()) {
                read.round = Some(leading.round);
            }
        }
        let confirmed = leading
            .members
            .iter()
            .filter(|id| **id != me)
            .map(|id| leading.progress.get(id).map_or(0, Progress::confirmed))
            .min()
            .unwrap_or(u64::MAX);
        let confirmed = if unconfirmed { u64::MAX } else { confirmed };
        let (done, waiting) = std::mem::take(&mut leading.reads)
            .into_iter()
            .partition(|read| read.round.is_some_and(|round| round <= confirmed));
        leading.reads = waiting;
        let done: Vec<PendingRead> = done;
        self.ready
            .reads
            .extend(done.into_iter().map(|read| (read.id, read.index)));
        if new {
            self.send_heartbeats();
        }
    }

    pub(super) fn refuse_reads(&mut self, leading: &Leading) {
        self.ready
            .reads_refused
            .extend(leading.reads.iter().map(|read| read.id));
    }
}
