//! The branch table: which epoch each stretch of a log belongs to.

use serde::{Deserialize, Serialize};

use crate::types::{Epoch, Index, Position};

/// The epochs of a log in order, each with the index of its first entry, and the index of the last entry.
///
/// An epoch has one leader, who appends each index at most once. So where two logs hold an entry of the same epoch and
/// index they are equal up to there, and two tables alone tell where two logs part.
///
/// A table has no more epochs than a limit: what is below the oldest of them, every replica has that may come back with a
/// branch, or had its time to. A log that parts from it below is compared as one that parts at the beginning.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BranchTable {
    epochs: Vec<(Epoch, Index)>,
    last: Index,
    /// The last epoch in which it was decided to drop entries of the log, and up to which.
    dropped: Position,
}

impl BranchTable {
    /// A table from its stored parts: epochs with their first indexes, both growing, and the last index of the log.
    /// `None` where the parts contradict each other.
    pub fn from_parts(epochs: Vec<(Epoch, Index)>, last: Index) -> Option<BranchTable> {
        let table = BranchTable {
            epochs,
            last,
            dropped: Position::default(),
        };
        table.is_sound().then_some(table)
    }

    /// Whether its parts fit together: one that somebody sent need not.
    pub(crate) fn is_sound(&self) -> bool {
        let grows = self
            .epochs
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let inside = match (self.epochs.first(), self.epochs.last()) {
            (Some(first), Some(newest)) => first.1 >= 1 && newest.1 <= self.last,
            _ => self.last == 0,
        };
        grows && inside
    }

    /// The last epoch in which it was decided to drop entries of the log, and up to which. Of two logs that part below what both
    /// have dropped, the one with the greater epoch stays: a disk of the other's has brought over what that one had dropped.
    pub fn dropped(&self) -> Position {
        self.dropped
    }

    /// The epoch of that where it was of entries behind an index; else the beginning's.
    pub fn dropped_behind(&self, index: Index) -> Epoch {
        match self.dropped.index > index {
            true => self.dropped.epoch,
            false => Epoch::default(),
        }
    }

    /// Notes that entries were dropped, in which epoch and up to which.
    pub fn note_drop(&mut self, dropped: Position) {
        self.dropped.epoch = self.dropped.epoch.max(dropped.epoch);
        self.dropped.index = self.dropped.index.max(dropped.index);
    }

    /// Forgets the epochs that end before an index.
    pub fn forget_before(&mut self, index: Index) {
        let begun = self.epochs.partition_point(|(_, first)| *first <= index);
        self.epochs.drain(..begun.saturating_sub(1));
    }

    /// The epochs in order, each with the index of its first entry.
    pub fn epochs(&self) -> &[(Epoch, Index)] {
        &self.epochs
    }

    /// The index of the last entry; 0 for an empty log.
    pub fn last_index(&self) -> Index {
        self.last
    }

    /// Where the last entry stands. Its default value for an empty log.
    pub fn last(&self) -> Position {
        let epoch = self
            .epochs
            .last()
            .map(|(epoch, _)| *epoch)
            .unwrap_or_default();
        Position {
            epoch,
            index: self.last,
        }
    }

    /// The epoch of the entry at an index that the log holds.
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        if index == 0 || index > self.last {
            return None;
        }
        let after = self.epochs.partition_point(|(_, first)| *first <= index);
        after.checked_sub(1).map(|at| self.epochs[at].0)
    }

    /// The position of an index that the log holds; the default position for 0.
    pub fn position_at(&self, index: Index) -> Option<Position> {
        if index == 0 {
            return Some(Position::default());
        }
        self.epoch_at(index).map(|epoch| Position { epoch, index })
    }

    /// Whether the log holds the entry of this position. Every log holds the beginning.
    pub fn holds(&self, position: Position) -> bool {
        self.position_at(position.index) == Some(position)
    }

    /// Index of the last entry of an epoch that the log has entries of.
    pub fn last_of(&self, epoch: Epoch) -> Option<Index> {
        let at = self
            .epochs
            .binary_search_by_key(&epoch, |(epoch, _)| *epoch)
            .ok()?;
        Some(
            self.epochs
                .get(at + 1)
                .map_or(self.last, |(_, next)| next - 1),
        )
    }

    /// Index of the first entry of an epoch, its view start.
    pub fn first_of(&self, epoch: Epoch) -> Option<Index> {
        let at = self
            .epochs
            .binary_search_by_key(&epoch, |(epoch, _)| *epoch)
            .ok()?;
        Some(self.epochs[at].1)
    }

    /// The epochs of the entries between two indexes, both included, each with the first index of it among them.
    pub fn stretches(
        &self,
        from: Index,
        through: Index,
    ) -> impl Iterator<Item = (Epoch, Index)> + '_ {
        let before = self.epochs.partition_point(|(_, first)| *first <= from);
        let among = self.epochs[before.saturating_sub(1)..].iter();
        among
            .take_while(move |(_, first)| *first <= through)
            .map(move |(epoch, first)| (*epoch, from.max(*first)))
    }

    /// The last position that both logs hold.
    pub fn common_ancestor(&self, other: &BranchTable) -> Position {
        for (epoch, _) in self.epochs.iter().rev() {
            if let (Some(mine), Some(theirs)) = (self.last_of(*epoch), other.last_of(*epoch)) {
                return Position {
                    epoch: *epoch,
                    index: mine.min(theirs),
                };
            }
        }
        Position::default()
    }

    /// Notes that an entry was appended.
    ///
    /// # Panics
    ///
    /// Where the position does not follow the last one: the caller has verified it.
    pub fn append(&mut self, position: Position) {
        assert_eq!(
            position.index,
            self.last + 1,
            "an entry is appended behind the last one"
        );
        let newest = self.last().epoch;
        assert!(
            position.epoch >= newest,
            "epochs never go back within a log"
        );
        if self
            .epochs
            .last()
            .is_none_or(|(epoch, _)| *epoch < position.epoch)
        {
            self.epochs.push((position.epoch, position.index));
        }
        self.last = position.index;
    }

    /// Forgets everything behind an index.
    pub fn truncate(&mut self, last: Index) {
        self.last = self.last.min(last);
        self.dropped.index = self.dropped.index.min(last);
        let keep = self
            .epochs
            .partition_point(|(_, first)| *first <= self.last);
        self.epochs.truncate(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ReplicaId, StoreUuid};

    fn position(number: u64, index: Index) -> Position {
        let epoch = Epoch {
            number,
            replica: ReplicaId(0),
            store: StoreUuid::default(),
        };
        Position { epoch, index }
    }

    /// Two logs that part amid an epoch in which entries before the fork were dropped passed for ones that had dropped what
    /// stands behind it.
    #[test]
    fn what_was_dropped_before_a_fork_was_not_dropped_behind_it() {
        let mut log = BranchTable::default();
        for index in 1..=10 {
            log.append(position(if index < 6 { 1 } else { 4 }, index));
        }
        log.note_drop(position(4, 7));
        assert_eq!(log.dropped_behind(6), position(4, 0).epoch);
        assert_eq!(log.dropped_behind(7), Epoch::default());
        // The later epoch counts, and the last entry of all.
        log.note_drop(position(5, 3));
        assert_eq!(log.dropped(), position(5, 7));
        // Entries that are cut were not dropped.
        log.truncate(6);
        assert_eq!(log.dropped_behind(6), Epoch::default());
        assert_eq!(log.dropped_behind(5), position(5, 0).epoch);
    }
}
