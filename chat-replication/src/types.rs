//! The nouns of the protocol: who, when, and where in the log.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::branch::BranchTable;

/// A replica's number. Lower ids are preferred as leaders.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ReplicaId(pub u32);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a cluster. Replicas of different clusters never talk.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one disk: drawn at random when a store is created, so that a wiped or swapped disk is never taken for the one
/// that made the old promises.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct StoreUuid(pub Uuid);

/// A replica as its peers know it: by its number, and by the disk that it runs with at the moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerId {
    /// The replica.
    pub replica: ReplicaId,
    /// Its disk.
    pub store: StoreUuid,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.replica.fmt(f)
    }
}

/// A leader's reign. Ordered by number, then replica, then store, and therefore never minted twice, not even by a
/// replica whose disk was wiped.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Grows with every view.
    pub number: u64,
    /// The leader.
    pub replica: ReplicaId,
    /// The leader's disk.
    pub store: StoreUuid,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.replica)
    }
}

/// A place in the log, from 1; 0 is before the first entry.
pub type Index = u64;

/// A log index together with the epoch of the entry there. Two logs that hold an entry of the same position are equal up
/// to it. Ordered by epoch first: of two logs, the one with the greater last position is the donor.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// The epoch that the entry was appended in.
    pub epoch: Epoch,
    /// Where it stands.
    pub index: Index,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.epoch)
    }
}

/// One store of a configuration, and where it is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The replica.
    pub id: ReplicaId,
    /// Its disk: only this one counts as a vote.
    pub store: StoreUuid,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
}

/// What a view needs to start.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum Mode {
    /// One replica is enough. Forks that a partition makes are merged.
    #[default]
    Available,
    /// A majority of the configured replicas. Below it, the cluster stops rather than fork.
    Consistent,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Available => "available",
            Mode::Consistent => "consistent",
        })
    }
}

/// The durable configuration. It lives in [`ViewStart`] entries and nowhere else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// All replicas of the cluster, in id order.
    pub members: Vec<Member>,
    /// What a view needs.
    pub mode: Mode,
    /// Stores that were members once: told so when they come back, and never given a vote again. The newest last.
    pub removed: Vec<Member>,
    /// Those of them that may come back with a history of their own: what the log has behind the place where they can have
    /// parted from it is kept for them, unless this side may drop it.
    pub absent: Vec<Absent>,
    /// The disks that decide which side of a partition may drop what absent ones lack: the members of the last
    /// configuration that all disks knew of which may come back.
    pub base: Vec<(ReplicaId, StoreUuid)>,
    /// For how many ticks members have been away, as far as those know who started the view.
    pub away: Vec<(ReplicaId, u64)>,
}

/// A removed disk that may come back with a history of its own: it was not there when it was removed, and nobody has said
/// that it is destroyed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Absent {
    /// The replica.
    pub replica: ReplicaId,
    /// Its disk.
    pub store: StoreUuid,
    /// It has the log up to here at least.
    pub holds: Index,
    /// It was away past a limit and removed by itself: it is added again by itself as well.
    pub returns: bool,
}

/// Removed stores that a configuration remembers.
pub(crate) const REMEMBERED: usize = 16;

impl Configuration {
    /// The member with this id.
    pub fn member(&self, id: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The configuration with one member more, or with another store for one that it has.
    pub fn with(&self, member: Member) -> Configuration {
        let mut after = self.clone();
        after
            .removed
            .retain(|removed| removed.store != member.store);
        if self
            .member(member.id)
            .is_some_and(|before| before.store != member.store)
        {
            after = after.without(member.id);
        }
        after.members.retain(|before| before.id != member.id);
        // Its disk was lost, or has handed over what it held.
        after.absent.retain(|absent| absent.replica != member.id);
        after.members.push(member);
        after.members.sort_by_key(|member| member.id);
        after
    }

    /// The configuration with one member less.
    pub fn without(&self, id: ReplicaId) -> Configuration {
        let mut after = self.clone();
        after.members.retain(|member| member.id != id);
        after.removed.extend(self.member(id).cloned());
        let surplus = after.removed.len().saturating_sub(REMEMBERED);
        after.removed.drain(..surplus);
        after
    }

    /// The configuration without a member that may come back with a history of its own.
    pub fn without_absent(&self, id: ReplicaId, holds: Index, returns: bool) -> Configuration {
        let mut after = self.without(id);
        after.absent.extend(self.member(id).map(|member| Absent {
            replica: id,
            store: member.store,
            holds,
            returns,
        }));
        let surplus = after.absent.len().saturating_sub(REMEMBERED);
        after.absent.drain(..surplus);
        after
    }

    /// The same, but that nothing is kept any more for some disks: they are destroyed, or have nothing that others lack.
    pub fn without_absence(&self, of: impl Fn(&Absent) -> bool) -> Configuration {
        let mut after = self.clone();
        after.absent.retain(|absent| !of(absent));
        after
    }

    /// Whether a view of these members may drop what absent replicas lack. Of any two such views one has a disk of the
    /// other, so of two sides of a partition only one may: more than half of those that decide, or half with the lowest;
    /// and as long as not all that decide know of this configuration, as many of its own members.
    pub fn may_drop(&self, members: &[ReplicaId]) -> bool {
        let there: BTreeSet<StoreUuid> = members
            .iter()
            .filter_map(|id| self.member(*id))
            .map(|member| member.store)
            .collect();
        let decides = |disks: &[(ReplicaId, StoreUuid)]| {
            let count = disks.iter().filter(|(_, store)| there.contains(store));
            let count = 2 * count.count();
            let lowest = disks.iter().min();
            let tie = lowest.is_some_and(|(_, store)| there.contains(store));
            count > disks.len() || count == disks.len() && tie
        };
        decides(&self.base) && decides(&self.disks())
    }

    /// The members' disks.
    pub fn disks(&self) -> Vec<(ReplicaId, StoreUuid)> {
        let members = self.members.iter();
        members.map(|member| (member.id, member.store)).collect()
    }

    /// Lets this configuration's own members decide from now on, if all disks know of it that decided until now and may
    /// come back.
    pub fn settle(&mut self, known_to: &BTreeSet<StoreUuid>) {
        let gone = |id: ReplicaId, store: StoreUuid| {
            !self.votes(id, store) && !self.absent.iter().any(|absent| absent.store == store)
        };
        let all = self
            .base
            .iter()
            .all(|(id, store)| known_to.contains(store) || gone(*id, *store));
        if all {
            self.base = self.disks();
        }
    }

    /// Whether this disk was a member once and is none any more.
    pub fn has_removed(&self, store: StoreUuid) -> bool {
        self.removed.iter().any(|member| member.store == store)
    }

    /// Whether these are more than half of the members.
    pub fn is_majority(&self, ids: impl IntoIterator<Item = ReplicaId>) -> bool {
        self.count(ids) * 2 > self.members.len()
    }

    /// Whether these are at least half of the members.
    pub fn is_half(&self, ids: impl IntoIterator<Item = ReplicaId>) -> bool {
        self.count(ids) * 2 >= self.members.len()
    }

    fn count(&self, ids: impl IntoIterator<Item = ReplicaId>) -> usize {
        let known = |id: &ReplicaId| self.member(*id).is_some();
        let among: BTreeSet<ReplicaId> = ids.into_iter().filter(known).collect();
        among.len()
    }

    /// Whether this disk of this replica has a vote.
    pub fn votes(&self, id: ReplicaId, store: StoreUuid) -> bool {
        self.member(id).is_some_and(|member| member.store == store)
    }

    /// Whether a disk is a member's.
    pub fn has_disk(&self, store: StoreUuid) -> bool {
        self.members.iter().any(|member| member.store == store)
    }

    /// Whether what a disk has dropped from a log of this configuration, behind an index, may be nowhere else. It is a
    /// member's. Or it still is one of those that decide, and some were dropped by decision: else it took a snapshot in place
    /// of what others hold.
    pub fn may_have_dropped(&self, store: StoreUuid, log: &BranchTable, behind: Index) -> bool {
        let decides = || self.base.iter().any(|(_, disk)| *disk == store);
        self.has_disk(store) || decides() && log.dropped_behind(behind) > Epoch::default()
    }

    /// Whether this disk was removed because it was away for long, and its replica comes in again by itself.
    pub fn returns(&self, store: StoreUuid) -> bool {
        let mut absent = self.absent.iter();
        absent.any(|absent| absent.store == store && absent.returns)
    }

    /// Whether a replica of this id is a member, or becomes one by itself once it is there.
    pub fn takes_in(&self, id: ReplicaId) -> bool {
        let mut absent = self.absent.iter();
        self.member(id).is_some() || absent.any(|absent| absent.replica == id && absent.returns)
    }
}

/// The first entry of every epoch: who acknowledges in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ViewStart {
    /// The view: every one of these has an entry on disk before it counts as committed. In id order.
    pub members: Vec<ReplicaId>,
    /// The cluster at this time.
    pub configuration: Configuration,
    /// Started after the recovery grace, or on an operator's word, without the replicas that the rules wait for.
    pub forced: bool,
    /// The lowest version of the state machine among the members.
    pub apply_version: u32,
}

/// What an entry carries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Payload {
    /// A command of the application, opaque here.
    Command(Bytes),
    /// A command that was cut from a losing branch and proposed again. `origin` is where it stood first.
    Reproposed {
        /// Where the command was first appended; its name among orphans.
        origin: Position,
        /// What stood before it there.
        lineage: Lineage,
        /// The command as it was.
        command: Bytes,
    },
    /// The first entry of an epoch.
    ViewStart(ViewStart),
}

impl Payload {
    /// Bytes that the payload takes, roughly: what batches are measured in.
    pub fn len(&self) -> usize {
        match self {
            Payload::Command(command) => command.len(),
            Payload::Reproposed {
                lineage, command, ..
            } => command.len() + 48 + 40 * lineage.epochs.len(),
            Payload::ViewStart(start) => {
                let known = &start.configuration;
                64 + 96 * (known.members.len() + known.removed.len() + known.absent.len())
            }
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands, and since which epoch.
    pub position: Position,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// What becomes of the entry when its log is cut behind an index before it. A view start is dropped.
    pub fn orphaned(self, log: &BranchTable, keep: Index) -> Option<Orphan> {
        match self.payload {
            Payload::Command(command) => Some(Orphan {
                origin: self.position,
                lineage: Lineage::of(self.position, log, keep),
                command,
            }),
            Payload::Reproposed {
                origin,
                mut lineage,
                command,
            } => {
                lineage.cut(log, keep);
                Some(Orphan {
                    origin,
                    lineage,
                    command,
                })
            }
            Payload::ViewStart(_) => None,
        }
    }
}

/// A command that was cut from this replica's log because another branch won. It may have been acknowledged, so it is
/// kept until it is committed again in this replica's own log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Orphan {
    /// Where the command was first appended.
    pub origin: Position,
    /// What stood before it there.
    pub lineage: Lineage,
    /// The command.
    pub command: Bytes,
}

/// What stood before a command where it was first appended, as far as it is known: all that its author can have seen.
///
/// Two logs that hold an entry of the same position are equal up to it, so that the epochs of a branch say which entries
/// stand in it. What was proposed again on the branch is not told from what was appended there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Entries up to this index stand in both logs: the one that the command was cut from, and the one in which it is
    /// proposed again.
    pub fork: Index,
    /// The epochs of its branch behind the fork, each with its first index there, in order; the command's own is the last.
    /// Of very many the oldest are left out.
    pub epochs: Vec<(Epoch, Index)>,
}

impl Lineage {
    /// Epochs that are remembered. A branch that began so many views before a command has had a bad day: what its author
    /// saw before them counts as unseen.
    pub const MAX_EPOCHS: usize = 64;

    /// Of a command that was appended at this position of a log, which is cut behind an index.
    pub fn of(position: Position, log: &BranchTable, keep: Index) -> Lineage {
        let mut lineage = Lineage::alone(position);
        lineage.cut(log, keep);
        lineage
    }

    /// Of a command from which nothing before it was cut: the fork is right below it.
    pub(crate) fn alone(position: Position) -> Lineage {
        Lineage {
            fork: position.index.saturating_sub(1),
            epochs: vec![(position.epoch, position.index)],
        }
    }

    /// The log that the command was, or was to be, proposed again in is cut behind an index: the command's branch and the
    /// log that wins have no more in common than that.
    pub fn cut(&mut self, log: &BranchTable, keep: Index) {
        if keep >= self.fork {
            return;
        }
        // Up to the fork the log is the branch's own.
        let behind = log.stretches(keep + 1, self.fork);
        let mut epochs: Vec<_> = behind.collect();
        if let (Some((epoch, _)), Some((next, first))) = (epochs.last(), self.epochs.first_mut())
            && epoch == next
        {
            // One epoch on both sides of the fork.
            *first = epochs.pop().map_or(*first, |(_, first)| first);
        }
        epochs.append(&mut self.epochs);
        let surplus = epochs.len().saturating_sub(Lineage::MAX_EPOCHS);
        epochs.drain(..surplus);
        (self.fork, self.epochs) = (keep, epochs);
    }

    /// Whether it can be the lineage of a command that was first appended there.
    pub fn fits(&self, origin: Position) -> bool {
        let grows = |pair: &[(Epoch, Index)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        let (Some((_, first)), Some((epoch, last))) = (self.epochs.first(), self.epochs.last())
        else {
            return false;
        };
        self.epochs.len() <= Lineage::MAX_EPOCHS
            && self.epochs.windows(2).all(grows)
            && self.fork < *first
            && (*epoch, true) == (origin.epoch, *last <= origin.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch {
            number,
            ..Epoch::default()
        }
    }

    fn table(epochs: &[(u64, Index)], last: Index) -> BranchTable {
        let epochs = epochs
            .iter()
            .map(|(number, first)| (epoch(*number), *first));
        BranchTable::from_parts(epochs.collect(), last).expect("the parts fit")
    }

    #[test]
    fn a_lineage_is_what_stands_between_the_fork_and_the_command() {
        let log = table(&[(1, 1), (2, 10), (3, 20), (5, 30)], 40);
        let position = |number, index| Position {
            epoch: epoch(number),
            index,
        };
        let named = |lineage: &Lineage| -> Vec<(u64, Index)> {
            let epochs = lineage.epochs.iter();
            epochs
                .map(|(epoch, first)| (epoch.number, *first))
                .collect()
        };
        for (at, keep, expected) in [
            (position(3, 25), 14, vec![(2, 15), (3, 20)]),
            (position(3, 25), 19, vec![(3, 20)]),
            (position(3, 25), 22, vec![(3, 23)]),
            (position(3, 25), 24, vec![(3, 25)]),
            (position(3, 20), 19, vec![(3, 20)]),
            (position(5, 30), 0, vec![(1, 1), (2, 10), (3, 20), (5, 30)]),
        ] {
            let mut lineage = Lineage::of(at, &log, keep);
            assert_eq!((lineage.fork, named(&lineage)), (keep, expected));
            assert!(lineage.fits(at), "{lineage:?}");
            // Cut again, further up, it stays; further down, it is as if it had been cut there at once.
            let before = lineage.clone();
            lineage.cut(&log, keep + 3);
            assert_eq!(lineage, before);
            lineage.cut(&log, keep / 2);
            assert_eq!(lineage, Lineage::of(at, &log, keep / 2));
        }
    }

    #[test]
    fn of_very_many_epochs_the_newest_are_kept() {
        let many = 3 * Lineage::MAX_EPOCHS as u64;
        let epochs: Vec<_> = (1..=many).map(|number| (number, number)).collect();
        let last = Position {
            epoch: epoch(many),
            index: many,
        };
        let lineage = Lineage::of(last, &table(&epochs, many), 0);
        assert_eq!(lineage.epochs.len(), Lineage::MAX_EPOCHS);
        assert!(lineage.fits(last));
    }
}
