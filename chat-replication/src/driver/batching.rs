//! Group commit: what is proposed while a batch is on its way makes up the next one.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::replica::{ProposalId, Replica};
use crate::types::Index;

/// After a batch of so many the next one gathers.
const BUSY: usize = 16;
/// A batch of so many gathers no longer: what a batch costs is small beside what its commands cost.
const ENOUGH: usize = 256;
/// A crowd goes in so many batches, so that some are written while others are answered and send again: one of all would
/// leave the disk idle while it is answered, and the processors while it is written.
const BATCHES: usize = 2;
/// A crowd of fewer than this goes in more of them: its commands do not keep the processors busy for as long as a write
/// takes.
const FEW: usize = 128;
const BATCHES_OF_FEW: usize = 3;

/// Proposals that the replica has not been given yet.
///
/// A batch costs every replica a message, a flush and a few changes of thread, however many commands it has, and the next
/// commit cannot overtake it. So a leader appends when nothing of its own is on its way: one command alone waits for
/// nothing, and under load batches grow to a part of what is in flight. A batch that is as large as a message goes at once.
#[derive(Debug, Default)]
pub(super) struct Batching {
    held: VecDeque<(ProposalId, Bytes)>,
    /// Of the commands held.
    bytes: usize,
    /// The last entry of the batch on its way.
    under_way: Index,
    /// How many the last batch had.
    last: usize,
    crowd: Crowd,
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
            && (1..self.crowd.enough()).contains(&self.held.len())
            && self.last >= BUSY
            && replica.leads().is_some()
            && !self.is_under_way(replica)
    }

    /// Proposes what is held, unless it has to wait for a batch or for more. A replica that does not lead is given
    /// everything: it knows what becomes of it.
    pub(super) fn release(&mut self, replica: &mut Replica, most: usize) {
        let under_way = match self.is_under_way(replica) {
            true => self.last,
            false => 0,
        };
        self.crowd.counted(self.held.len() + under_way);
        let waits = replica.leads().is_some()
            && self.bytes < most
            && (self.is_under_way(replica) || self.is_gathering(replica));
        if self.held.is_empty() || waits {
            return;
        }
        self.last = match replica.leads().is_some() && self.last >= BUSY {
            true => self.held.len().min(self.crowd.part()),
            false => self.held.len(),
        };
        self.crowd.batch_went();
        for (id, command) in self.held.drain(..self.last) {
            self.bytes -= command.len();
            replica.propose(id, command);
        }
        self.under_way = replica.branches().last_index();
    }

    fn is_under_way(&self, replica: &Replica) -> bool {
        // The log may have been cut since.
        replica.commit() < self.under_way.min(replica.branches().last_index())
    }
}

/// How many wait for an answer at once when it is busy, as far as can be seen: where each sends its next command once the
/// last is answered, no batch can have more, and waiting for more is in vain.
#[derive(Debug, Default)]
struct Crowd {
    /// The most since the last batch went.
    most: usize,
    /// The most of late.
    usual: usize,
}

impl Crowd {
    /// So many wait now.
    fn counted(&mut self, waiting: usize) {
        self.most = self.most.max(waiting);
    }

    /// Those who have left are forgotten within a few batches.
    fn batch_went(&mut self) {
        self.usual = self.most.max(self.usual - self.usual.div_ceil(8));
        self.most = 0;
    }

    /// How many of them make up a batch that gathers no longer.
    fn enough(&self) -> usize {
        self.part().min(ENOUGH)
    }

    /// How many of them a batch has at most.
    fn part(&self) -> usize {
        let there = self.usual.max(self.most);
        let batches = match there < FEW {
            true => BATCHES_OF_FEW,
            false => BATCHES,
        };
        (there / batches).max(BUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(batches: usize, waiting: usize, crowd: &mut Crowd) -> usize {
        for _ in 0..batches {
            crowd.counted(waiting);
            crowd.counted(waiting / 2);
            crowd.batch_went();
        }
        crowd.enough()
    }

    #[test]
    fn a_batch_is_a_part_of_those_who_are_there() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.enough(), BUSY, "nobody has been seen");
        assert_eq!(after(1, 64, &mut crowd), 21);
        assert_eq!(after(5, 200, &mut crowd), 100);
        assert_eq!(after(1, 100_000, &mut crowd), ENOUGH);
        assert_eq!(crowd.part(), 50_000);
    }

    #[test]
    fn those_who_have_left_are_not_waited_for() {
        let mut crowd = Crowd::default();
        after(1, 400, &mut crowd);
        let first = after(1, 40, &mut crowd);
        assert!((40..200).contains(&first), "not at once: {first}");
        assert_eq!(after(30, 60, &mut crowd), 20);
        assert_eq!(after(100, 0, &mut crowd), BUSY);
    }
}
