//! Group commit: what is proposed while a batch is on its way makes up the next one.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::replica::{ProposalId, Replica};
use crate::types::Index;

/// After a batch of so many the next one gathers.
const BUSY: usize = 16;
/// A batch of so many gathers no longer: what a batch costs is small beside what its commands cost.
const ENOUGH: usize = 256;

/// Proposals that the replica has not been given yet.
///
/// A batch costs every replica a message, a flush and a few changes of thread, however many commands it has, and the next
/// commit cannot overtake it. So a leader appends when nothing of its own is on its way: one command alone waits for
/// nothing, and under load batches grow to what is in flight. A batch that is as large as a message goes at once.
#[derive(Debug, Default)]
pub(super) struct Batching {
    held: VecDeque<(ProposalId, Bytes)>,
    /// Of the commands held.
    bytes: usize,
    /// The last entry of the batch on its way.
    under_way: Index,
    /// How many the last batch had.
    last: usize,
    /// Somebody sees to it that a batch that gathers goes in the end.
    gathers: bool,
}

impl Batching {
    pub(super) fn add(&mut self, id: ProposalId, command: Bytes) {
        self.bytes += command.len();
        self.held.push_back((id, command));
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// From now on, or no longer, batches wait for others to join where many are likely to come.
    pub(super) fn gather(&mut self, gathers: bool) {
        self.gathers = gathers;
    }

    /// Whether what is added now does not go yet.
    pub(super) fn holds(&self, replica: &Replica) -> bool {
        replica.leads().is_some() && self.is_under_way(replica)
    }

    /// Whether what is held could go and waits for more.
    pub(super) fn is_gathering(&self, replica: &Replica) -> bool {
        self.gathers
            && (1..ENOUGH).contains(&self.held.len())
            && self.last >= BUSY
            && replica.leads().is_some()
            && !self.is_under_way(replica)
    }

    /// Proposes what is held, unless it has to wait for a batch or for more. A replica that does not lead is given
    /// everything: it knows what becomes of it.
    pub(super) fn release(&mut self, replica: &mut Replica, most: usize) {
        let waits = replica.leads().is_some()
            && self.bytes < most
            && (self.is_under_way(replica) || self.is_gathering(replica));
        if self.held.is_empty() || waits {
            return;
        }
        self.last = self.held.len();
        for (id, command) in self.held.drain(..) {
            replica.propose(id, command);
        }
        self.bytes = 0;
        self.under_way = replica.branches().last_index();
    }

    fn is_under_way(&self, replica: &Replica) -> bool {
        // The log may have been cut since.
        replica.commit() < self.under_way.min(replica.branches().last_index())
    }
}
