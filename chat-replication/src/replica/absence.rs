//! Who is away for too long is not waited for: it is removed by itself, and comes back by itself as a new one.
//!
//! What a configured replica lacks is kept for it, or its branch, if it has gone on alone, could not be joined to the
//! others' any more. That has limits: bytes of the log, time, and views. Past one of them the leader removes it. Only a
//! side of a partition that may then drop what is kept does so ([`may_drop`](crate::types::Configuration::may_drop)): the
//! other would gain nothing by it.
//!
//! When it is back it learns of that, hands over what only it has, and then gives its disk a new name: as far as the
//! others are concerned it is a new disk, which has no vote until it has caught up and is added again.

use std::collections::BTreeSet;
use std::fmt;

use uuid::Uuid;

use super::membership::Change;
use super::progress::Progress;
use super::state::State;
use super::{Note, Replica};
use crate::types::{Index, Mode, ReplicaId, StoreUuid};

/// Which limit a replica that is away has reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AwayFor {
    /// The log that is kept for it has so many bytes.
    Bytes(u64),
    /// It has been away for so many ticks.
    Ticks(u64),
    /// So many views have started without it.
    Views(u64),
}

impl fmt::Display for AwayFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AwayFor::Bytes(bytes) => write!(f, "{bytes} bytes of the log were kept for it"),
            AwayFor::Ticks(_) => write!(f, "it was away for longer than the limit"),
            AwayFor::Views(views) => write!(f, "{views} views started without it"),
        }
    }
}

impl Replica {
    /// Counts for how long members of the configuration have not been in the view. Each of its members does, so that one of
    /// them knows whoever leads next.
    pub(super) fn count_absence(&mut self) {
        let view = match &self.state {
            State::Leading(leading) if leading.established_at.is_some() => &leading.members,
            State::Following(following) if following.started => &following.members,
            _ => return,
        };
        let Some(configuration) = self.log.configuration() else {
            return;
        };
        if configuration.members.len() == view.len() {
            self.away.clear();
            return;
        }
        let absent = configuration.members.iter().map(|member| member.id);
        let absent: BTreeSet<ReplicaId> = absent.filter(|id| !view.contains(id)).collect();
        self.away.retain(|id, _| absent.contains(id));
        for id in absent {
            let told = configuration.away.iter().find(|(away, _)| *away == id);
            let told = told.map_or(0, |(_, ticks)| *ticks);
            let away = self.away.entry(id).or_default();
            *away = told.max(*away) + 1;
        }
    }

    /// Up to where a replica has this leader's log for certain.
    pub(super) fn surely_holds(&self, id: ReplicaId) -> Index {
        let acknowledged = match &self.state {
            State::Leading(leading) => leading.progress.get(&id).and_then(Progress::acknowledged),
            State::Seeking | State::Candidate(_) | State::Following(_) => None,
        };
        // What is gone it had when that went.
        acknowledged.unwrap_or(0).max(self.log.compacted.index)
    }

    /// The replicas that are away, and from where on this leader keeps the log for them.
    pub(crate) fn kept_for(&self) -> Vec<(ReplicaId, Index)> {
        if self.leads().is_none() {
            return Vec::new();
        }
        let away = self.away.keys().filter(|id| self.suspects(**id));
        away.map(|id| (*id, self.surely_holds(*id))).collect()
    }

    /// So many bytes of the log are kept for a replica that is away.
    pub(crate) fn kept_bytes(&mut self, id: ReplicaId, bytes: u64) {
        self.kept.insert(id, bytes);
    }

    /// Removes a replica that has been away past a limit.
    pub(super) fn tick_absence(&mut self) {
        if self.change.is_some() || self.leads().is_none() || self.now < self.next_removal {
            return;
        }
        let past_limit = |id: &ReplicaId| Some((*id, self.past_limit(*id)?));
        let away = self.away.keys().filter(|id| self.suspects(**id));
        let Some((id, why)) = away
            .filter_map(past_limit)
            .find(|(id, _)| self.may_remove(*id))
        else {
            return;
        };
        self.next_removal = self.now + self.settings.change;
        self.kept.remove(&id);
        self.note(Note::AwayTooLong { replica: id, why });
        self.remove_by_itself(id);
    }

    fn past_limit(&self, id: ReplicaId) -> Option<AwayFor> {
        let bytes = self.kept.get(&id).copied().unwrap_or(0);
        let ticks = self.away.get(&id).copied().unwrap_or(0);
        let epochs = self.log.branches.epochs();
        let holds = self.surely_holds(id);
        let views = epochs.len() - epochs.partition_point(|(_, first)| *first <= holds);
        let views = views as u64;
        if bytes > self.settings.absent_bytes {
            Some(AwayFor::Bytes(bytes))
        } else if ticks > self.settings.absent_ticks {
            Some(AwayFor::Ticks(ticks))
        } else {
            (views > self.settings.absent_views).then_some(AwayFor::Views(views))
        }
    }

    /// Whether this side may go on without a replica, and drop what that one lacks.
    fn may_remove(&self, id: ReplicaId) -> bool {
        let (State::Leading(leading), Some(known)) = (&self.state, self.log.configuration()) else {
            return false;
        };
        let view = &leading.members;
        let after = known.without_absent(id, 0, true);
        match known.mode {
            _ if known.member(id).is_none() || view.contains(&id) => false,
            Mode::Available => known.may_drop(view) && after.may_drop(view),
            Mode::Consistent => {
                known.is_half(view.iter().copied()) && after.is_majority(view.iter().copied())
            }
        }
    }

    /// What the removal of a replica is, as it stands with it now.
    pub(super) fn leave(&self, id: ReplicaId, destroyed: bool, returns: bool) -> Change {
        let by_majority = self
            .log
            .configuration()
            .is_none_or(|known| known.mode == Mode::Consistent);
        let absent = !destroyed && (returns || !by_majority);
        let holds = absent.then(|| self.surely_holds(id));
        Change::Leave { id, holds, returns }
    }

    /// Up to where the log may be dropped for the sake of removed replicas that may come back with a history of their own.
    pub(super) fn owed_from(&self, members: &[ReplicaId]) -> Index {
        let Some(known) = self.log.configuration() else {
            return 0;
        };
        if self.decide(members) {
            return Index::MAX;
        }
        let absent = known.absent.iter();
        let owed = absent.filter(|absent| !self.drained.contains(&absent.store));
        owed.map(|absent| absent.holds).min().unwrap_or(Index::MAX)
    }

    /// Whether a view of these members may drop what a removed replica lacks: no other history can decide that as well.
    pub(super) fn decide(&self, members: &[ReplicaId]) -> bool {
        self.log.configuration().is_some_and(|known| {
            known.mode == Mode::Consistent
                || known.may_drop(members)
                || self.is_broken(super::Mutation::DropsWithoutMajority)
        })
    }

    /// This replica was removed because it was away for long, and has nothing left that the others lack: its disk gets
    /// another name. So it is a new one, which they add again.
    pub(super) fn renew(&mut self) {
        let (State::Following(following), Some(known)) = (&self.state, self.log.configuration())
        else {
            return;
        };
        let me = self.identity.store;
        let removed = known.returns(me);
        let last = self.log.last().index;
        let start = self.log.branches.first_of(following.epoch);
        let settled = following.started
            && following.verified == Some(last)
            && self.log.durable == last
            && start.is_some_and(|start| self.commit >= start)
            && self.log.pending.is_empty();
        if !removed || !settled || self.orphans > 0 || self.wants_snapshot.is_some() {
            return;
        }
        let Some(life) = self.life else { return };
        let store = StoreUuid(Uuid::from_u128(
            u128::from(self.random) << 64 | u128::from(life),
        ));
        self.note(Note::Renewed);
        self.log.rename(store);
        self.identity.store = store;
        self.in_view = None;
    }
}
