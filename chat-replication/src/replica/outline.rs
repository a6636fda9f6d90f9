//! What a replica keeps in memory of its log: everything but the commands.

use std::collections::BTreeMap;

use super::damage::Damage;
use crate::branch::BranchTable;
use crate::store::{Durable, Persist, Reset};
use crate::types::{
    Configuration, Entry, Epoch, Index, Mode, Payload, Position, StoreUuid, ViewStart,
};

/// The log in outline, and the writes that the next transaction takes to disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Outline {
    pub(super) branches: BranchTable,
    view_starts: BTreeMap<Index, ViewStart>,
    /// The newest view start, where it was given up together with damaged entries: who the members are is not lost with it.
    kept: Option<ViewStart>,
    /// Where the newest forced one of them stands; 0 where there is none.
    forced: Index,
    pub(super) promised: Epoch,
    /// The last index that is on disk.
    pub(super) durable: Index,
    /// The last position whose entry is gone.
    pub(super) compacted: Position,
    /// Entries that are on disk and cannot be read.
    pub(super) damage: Damage,
    pub(super) pending: Persist,
}

/// The end of a log that another branch took the place of.
pub(super) struct Cut {
    /// The last position that both branches have.
    pub(super) ancestor: Position,
    /// What stood behind it.
    pub(super) positions: Vec<Position>,
    /// Whether somebody may have been told that the commands there are safe.
    pub(super) may_be_acknowledged: bool,
}

impl Outline {
    pub(super) fn new(durable: Durable) -> Outline {
        let mut outline = Outline {
            durable: durable.branches.last_index(),
            compacted: durable.compacted,
            damage: Damage::of(durable.damaged),
            branches: durable.branches,
            view_starts: durable.view_starts.into_iter().collect(),
            kept: None,
            forced: 0,
            promised: durable.promised,
            pending: Persist::default(),
        };
        outline.find_forced();
        outline
    }

    /// Where the newest forced view start stands that the log still has; 0 where there is none.
    pub(super) fn newest_forced(&self) -> Index {
        self.forced
    }

    fn find_forced(&mut self) {
        let mut starts = self.view_starts.iter().rev();
        self.forced = starts
            .find(|(_, start)| start.forced)
            .map_or(0, |(index, _)| *index);
    }

    /// The newest view start; its epoch is that of the last entry, as every epoch begins with one.
    pub(super) fn newest(&self) -> Option<(Epoch, &ViewStart)> {
        let in_log = self.view_starts.last_key_value().map(|(_, start)| start);
        let start = self.kept.as_ref().or(in_log)?;
        Some((self.branches.last().epoch, start))
    }

    /// The view starts, and where they stand.
    pub(super) fn view_starts(&self) -> impl Iterator<Item = (Index, &ViewStart)> {
        self.view_starts
            .iter()
            .map(|(index, start)| (*index, start))
    }

    /// The view start of an epoch that the log has entries of.
    pub(super) fn view_start(&self, epoch: Epoch) -> Option<(Index, &ViewStart)> {
        let index = self.branches.first_of(epoch)?;
        self.view_starts.get(&index).map(|start| (index, start))
    }

    /// The view starts from the one on that begins the epoch of an entry.
    pub(super) fn views_since(&self, index: Index) -> impl Iterator<Item = &ViewStart> {
        let epoch = self.branches.epoch_at(index);
        let first = epoch.and_then(|epoch| self.branches.first_of(epoch));
        let starts = self.view_starts.range(first.unwrap_or(index)..);
        starts.map(|(_, start)| start)
    }

    /// The last entry that software of a version can apply, of those up to an index.
    pub(super) fn known_up_to(&self, index: Index, version: u32) -> Index {
        let newest = self.newest().map_or(0, |(_, start)| start.apply_version);
        if newest <= version {
            // Versions only grow along a log.
            return index;
        }
        let mut starts = self.view_starts.iter();
        let unknown = starts.find(|(_, start)| start.apply_version > version);
        unknown.map_or(index, |(first, _)| index.min(first - 1))
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
            self.kept = None;
            self.view_starts.insert(entry.position.index, start.clone());
            if start.forced {
                self.forced = entry.position.index;
            }
        }
        self.pending.append.push(entry);
    }

    /// Cuts the log behind an index. What is on disk behind it becomes orphans in the same transaction; what is not on
    /// disk yet was never acknowledged by this replica, nor sent, and is just dropped.
    pub(super) fn cut(&mut self, last: Index) {
        assert!(last >= self.compacted.index, "what is compacted is not cut");
        assert!(
            last >= self.damage.last() || self.pending.give_up,
            "damaged entries are not cut, as they could not be kept"
        );
        self.damage.keep(0..=last);
        self.branches.truncate(last);
        if self.pending.dropped.is_some() {
            self.pending.dropped = Some(self.branches.dropped());
        }
        self.view_starts.split_off(&(last + 1));
        self.find_forced();
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

    /// Cuts the log behind an index though damaged entries stand there, which are lost with that. The others become orphans;
    /// and `keeps` tells whether who the members are stays as it was, until another view starts.
    pub(super) fn give_up_behind(&mut self, last: Index, keeps: bool) {
        let newest = self.newest().map(|(_, start)| start.clone());
        self.pending.give_up = true;
        self.cut(last);
        self.kept = newest.filter(|_| keeps);
    }

    /// The last entry that is gone, or as good as gone: the log can be neither read from before it nor cut there.
    pub(super) fn unusable_up_to(&self) -> Index {
        self.compacted.index.max(self.damage.last())
    }

    /// Whether entries can be taken: where they differ from this log's own, its own are still there to be cut.
    pub(super) fn can_take(&self, entries: &[Entry]) -> bool {
        let unusable = self.unusable_up_to();
        let mut among_the_gone = entries
            .iter()
            .take_while(|entry| entry.position.index <= unusable);
        among_the_gone.all(|entry| self.branches.holds(entry.position))
    }

    /// Drops entries that every other has, or has no need of, or that a view has decided to drop.
    pub(super) fn compact(&mut self, through: Index, decided: bool) {
        let position = self.branches.position_at(through);
        self.compacted = position.expect("only entries of the log are dropped");
        self.damage.keep(through + 1..=Index::MAX);
        self.pending.compact = Some(through);
        if decided {
            self.note_drop(Position {
                epoch: self.promised,
                index: through,
            });
        }
    }

    /// Entries were dropped in an epoch, up to an index, here or on a side whose replicas have come over.
    pub(super) fn note_drop(&mut self, dropped: Position) {
        let before = self.branches.dropped();
        if dropped.epoch <= self.promised {
            self.branches.note_drop(dropped);
        }
        if self.branches.dropped() != before {
            self.pending.dropped = Some(self.branches.dropped());
        }
    }

    /// Forgets the oldest epochs, as far as no entries of them are left, until there are so many.
    pub(super) fn forget_epochs(&mut self, keep: usize) {
        let epochs = self.branches.epochs();
        let gone = epochs.partition_point(|(_, first)| *first <= self.compacted.index);
        let surplus = epochs.len().saturating_sub(keep);
        let oldest = surplus.min(gone.saturating_sub(1));
        let Some((_, first)) = epochs.get(oldest).copied().filter(|_| oldest > 0) else {
            return;
        };
        self.branches.forget_before(first);
        self.view_starts = self.view_starts.split_off(&first);
        self.pending.forget_epochs = Some(first);
    }

    /// The disk goes on under another name.
    pub(super) fn rename(&mut self, store: StoreUuid) {
        self.pending.rename = Some(store);
    }

    /// A snapshot takes the place of the log, that is cut behind `ancestor` first.
    pub(super) fn reset(&mut self, ancestor: Index, reset: Reset) {
        // What is not on disk yet was never acknowledged by this replica.
        self.pending.append.clear();
        self.pending.compact = None;
        self.pending.dropped = None;
        self.pending.forget_epochs = None;
        if self.durable > ancestor {
            let before = self.pending.truncate.unwrap_or(Index::MAX);
            self.pending.truncate = Some(ancestor.min(before));
            self.pending.forget.clear();
        }
        self.branches.clone_from(&reset.branches);
        self.view_starts = BTreeMap::from([reset.newest.clone()]);
        self.kept = None;
        self.find_forced();
        self.compacted = self.branches.last();
        self.damage = Damage::default();
        self.durable = self.compacted.index;
        self.pending.reset = Some(reset);
    }

    /// Whether a log is to be gone on from, and not this one, however new this one is: of the other one entries were dropped
    /// that this one lacks.
    pub(super) fn has_to_yield_to(&self, other: &BranchTable, its_compacted: Index) -> bool {
        let available = self
            .configuration()
            .is_some_and(|known| known.mode == Mode::Available);
        let common = self.branches.common_ancestor(other).index;
        let lacks = its_compacted > common;
        let both = self.compacted.index > common;
        let dropped = |log: &BranchTable| log.dropped_behind(common);
        available && lacks && !(both && dropped(&self.branches) >= dropped(other))
    }

    /// Whether another entry stands where this one is to stand.
    pub(super) fn holds_another(&self, entry: &Entry) -> bool {
        entry.position.index <= self.branches.last_index() && !self.branches.holds(entry.position)
    }

    /// Takes an entry of somebody else's log, that stands right behind `previous`, which this log holds, and whose newest
    /// forced view starts at `forced`. Returns what was cut, if it held another entry there.
    pub(super) fn take(&mut self, entry: Entry, forced: Index) -> Option<Cut> {
        let index = entry.position.index;
        if self.branches.holds(entry.position) {
            return None;
        }
        let mut cut = None;
        if index <= self.branches.last_index() {
            let positions = self.behind(index - 1);
            let may_be_acknowledged = self.may_be_acknowledged(index, forced);
            self.cut(index - 1);
            let ancestor = self.branches.last();
            cut = Some(Cut {
                ancestor,
                positions,
                may_be_acknowledged,
            });
        }
        self.append(entry);
        cut
    }

    /// What stands behind an index.
    pub(super) fn behind(&self, index: Index) -> Vec<Position> {
        (index.max(self.compacted.index) + 1..=self.branches.last_index())
            .filter_map(|index| self.branches.position_at(index))
            .collect()
    }

    /// Whether somebody may have been told that the commands from an index on are safe, though another branch has won.
    ///
    /// What a view of a majority acknowledged does not lose, unless views were forced: on the branch that won, since the
    /// two parted, or on this one, where the first view that is cut may be such a one itself. Whoever they were forced
    /// without may have acknowledged more, and so may the views that followed them, with replicas that others do not know.
    fn may_be_acknowledged(&self, from: Index, forced_there: Index) -> bool {
        let majority = self
            .configuration()
            .is_some_and(|known| known.mode == Mode::Consistent);
        let begins = self
            .branches
            .epoch_at(from)
            .and_then(|epoch| self.branches.first_of(epoch));
        !majority || forced_there >= from || begins.is_none_or(|begins| self.forced >= begins)
    }

    pub(super) fn take_pending(&mut self) -> Persist {
        std::mem::take(&mut self.pending)
    }

    pub(super) fn persisted(&mut self) {
        self.durable = self.branches.last_index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Identity;
    use crate::types::{ClusterId, ReplicaId, StoreUuid};

    fn position(number: u64, index: Index) -> Position {
        let epoch = Epoch {
            number,
            ..Epoch::default()
        };
        Position { epoch, index }
    }

    fn start(number: u64, index: Index, mode: Mode, forced: bool) -> Entry {
        Entry {
            position: position(number, index),
            payload: Payload::ViewStart(ViewStart {
                members: vec![ReplicaId(0)],
                configuration: Configuration {
                    mode,
                    ..Configuration::default()
                },
                forced,
                apply_version: 1,
            }),
        }
    }

    /// A log of views, each with a command behind its start.
    fn log(mode: Mode, views: &[(u64, bool)]) -> Outline {
        let mut log = Outline::new(Durable {
            identity: Identity {
                cluster: ClusterId::default(),
                replica: ReplicaId(0),
                store: StoreUuid::default(),
            },
            promised: position(99, 0).epoch,
            branches: BranchTable::default(),
            compacted: Position::default(),
            view_starts: Vec::new(),
            damaged: Vec::new(),
            orphans: 0,
        });
        for (number, forced) in views {
            let index = log.last().index + 1;
            log.append(start(*number, index, mode, *forced));
            log.append(Entry {
                position: position(*number, index + 1),
                payload: Payload::Command(Default::default()),
            });
        }
        log
    }

    /// A replica that had just been added was a member of nothing once the entry was given up that said so.
    #[test]
    fn who_the_members_are_is_not_given_up_with_damaged_entries() {
        let members = |log: &Outline| log.newest().map(|(_, start)| start.members.clone());
        let cut = |keeps| {
            let mut log = log(Mode::Available, &[(1, false)]);
            let mut joined = start(4, 3, Mode::Available, false);
            if let Payload::ViewStart(start) = &mut joined.payload {
                start.members.push(ReplicaId(1));
            }
            log.append(joined);
            log.give_up_behind(1, keeps);
            log
        };
        let both = Some(vec![ReplicaId(0), ReplicaId(1)]);
        assert_eq!(members(&cut(true)), both);
        assert_eq!(members(&cut(false)), Some(vec![ReplicaId(0)]));
        // The next view says who they are.
        let mut log = cut(true);
        log.append(start(5, 2, Mode::Available, false));
        assert_eq!(members(&log), Some(vec![ReplicaId(0)]));
    }

    /// A follower told that a command was on all members of a view that had not begun.
    #[test]
    fn what_a_view_has_committed_is_on_its_members() {
        let log = log(Mode::Available, &[(1, false), (4, false), (6, false)]);
        let numbers = |index| {
            let views = log.views_since(index);
            views.count()
        };
        assert_eq!((numbers(2), numbers(3), numbers(6)), (3, 2, 1));
    }

    /// Whether commands are kept that stood behind an index, when another branch has this view there, and its newest forced
    /// one where it says.
    fn keeps(mut log: Outline, index: Index, number: u64, forced: Index) -> bool {
        let cut = log.take(
            start(number, index, Mode::Consistent, forced == index),
            forced,
        );
        cut.expect("it held another").may_be_acknowledged
    }

    /// What a majority had acknowledged was dropped when a minority was forced: the views that lost were asked, and not
    /// those that won.
    #[test]
    fn what_a_forced_view_cuts_is_kept() {
        let consistent = |views: &[(u64, bool)]| log(Mode::Consistent, views);
        let plain = || consistent(&[(1, false), (4, false)]);
        assert!(!keeps(plain(), 3, 5, 0), "nobody was overruled");
        assert!(keeps(plain(), 3, 5, 3), "the view that won is forced");
        assert!(
            keeps(plain(), 3, 5, 7),
            "it began unforced, and a later one is forced"
        );
        assert!(
            !keeps(plain(), 3, 5, 1),
            "a forced view that both have behind them overruled nobody since"
        );
        let forced = || consistent(&[(1, false), (4, true), (6, false)]);
        assert!(keeps(forced(), 3, 7, 0), "this branch was forced");
        assert!(
            keeps(forced(), 4, 7, 0),
            "what a forced view acknowledged is on fewer than half"
        );
        assert!(!keeps(forced(), 5, 7, 0), "a majority followed on it");
        assert!(keeps(
            log(Mode::Available, &[(1, false), (4, false)]),
            3,
            5,
            0
        ));
    }
}
