//! What a replica keeps in memory of its log: everything but the commands.

use std::collections::BTreeMap;

use crate::branch::BranchTable;
use crate::store::{Durable, Persist};
use crate::types::{Configuration, Entry, Epoch, Index, Payload, Position, ViewStart};

/// The log in outline, and the writes that the next transaction takes to disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Outline {
    pub(super) branches: BranchTable,
    view_starts: BTreeMap<Index, ViewStart>,
    pub(super) promised: Epoch,
    /// The last index that is on disk.
    pub(super) durable: Index,
    pub(super) pending: Persist,
}

impl Outline {
    pub(super) fn new(durable: Durable) -> Outline {
        Outline {
            durable: durable.branches.last_index(),
            branches: durable.branches,
            view_starts: durable.view_starts.into_iter().collect(),
            promised: durable.promised,
            pending: Persist::default(),
        }
    }

    /// The newest view start; its epoch is that of the last entry, as every epoch begins with one.
    pub(super) fn newest(&self) -> Option<(Epoch, &ViewStart)> {
        let (_, start) = self.view_starts.last_key_value()?;
        Some((self.branches.last().epoch, start))
    }

    /// The view start of an epoch that the log has entries of.
    pub(super) fn view_start(&self, epoch: Epoch) -> Option<(Index, &ViewStart)> {
        let index = self.branches.first_of(epoch)?;
        self.view_starts.get(&index).map(|start| (index, start))
    }

    pub(super) fn configuration(&self) -> Option<&Configuration> {
        self.newest().map(|(_, start)| &start.configuration)
    }

    pub(super) fn last(&self) -> Position {
        self.branches.last()
    }

    /// Raises the promise; durable with the next transaction.
    pub(super) fn promise(&mut self, epoch: Epoch) {
        assert!(epoch >= self.promised, "promises only grow");
        if epoch > self.promised {
            self.promised = epoch;
            self.pending.promised = Some(epoch);
        }
    }

    pub(super) fn append(&mut self, entry: Entry) {
        assert!(
            entry.position.epoch <= self.promised,
            "nothing above the promise is appended"
        );
        self.branches.append(entry.position);
        if let Payload::ViewStart(start) = &entry.payload {
            self.view_starts.insert(entry.position.index, start.clone());
        }
        self.pending.append.push(entry);
    }

    /// Cuts the log behind an index. What is on disk behind it becomes orphans in the same transaction; what is not on
    /// disk yet was never acknowledged by this replica, nor sent, and is just dropped.
    pub(super) fn cut(&mut self, last: Index) {
        self.branches.truncate(last);
        self.view_starts.split_off(&(last + 1));
        while self
            .pending
            .append
            .last()
            .is_some_and(|entry| entry.position.index > last)
        {
            self.pending.append.pop();
        }
        if self.durable > last {
            self.durable = last;
            self.pending.truncate = Some(last);
            // Some of them may have been committed again only in what is cut. The rest is forgotten another time.
            self.pending.forget.clear();
        }
    }

    /// Takes an entry of somebody else's log, that stands right behind `previous`, which this log holds. Returns where
    /// the log was cut, if it held another entry there.
    pub(super) fn take(&mut self, entry: Entry) -> Option<Position> {
        let index = entry.position.index;
        if self.branches.holds(entry.position) {
            return None;
        }
        let mut ancestor = None;
        if index <= self.branches.last_index() {
            self.cut(index - 1);
            ancestor = Some(self.branches.last());
        }
        self.append(entry);
        ancestor
    }

    pub(super) fn take_pending(&mut self) -> Persist {
        std::mem::take(&mut self.pending)
    }

    pub(super) fn persisted(&mut self) {
        self.durable = self.branches.last_index();
    }
}
