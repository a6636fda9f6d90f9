//! Who the replicas are: one is added, removed, or comes back with another disk.
//!
//! The configuration lives in view starts. So each change is the start of a view, under the same rules as any other, and
//! one at a time.

use super::progress::Progress;
use super::state::State;
use super::{MAX_MEMBERS, Note, Replica, Seed, bounds};
use crate::types::{Configuration, Index, Member, Mode, ReplicaId, StoreUuid};

/// Names a change of membership between its [`Replica::change_members`] and its fate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChangeId(pub u64);

/// What an operator wants changed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MembershipChange {
    /// Adds a replica. It must run, with an empty data folder, and know of the others; it is counted on once it has caught
    /// up.
    Add(Seed),
    /// Removes a replica, whether it runs or not.
    Remove(ReplicaId),
    /// The same, and its disk is destroyed: nothing is kept for what it may come back with. Also of one that was removed
    /// before.
    RemoveDestroyed(ReplicaId),
}

/// Why a change of membership was not made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeRefusal {
    /// This replica does not lead, or no longer.
    NotLeader,
    /// Another change is under way.
    Busy,
    /// There is no such replica.
    Unknown,
    /// A replica of that id is there already, at another address.
    Taken,
    /// The leader cannot remove itself: transfer leadership first.
    Leads,
    /// The last replica cannot be removed.
    Last,
    /// The cluster has as many replicas as it may have, or an address is longer than any.
    Beyond,
    /// The replica to be added was not reached in time.
    Unreachable,
    /// The view that makes the change could not start in time.
    TooFew,
}

/// A change whose replica is known with its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Change {
    Join(Member),
    Leave {
        id: ReplicaId,
        /// Up to where it has the log for certain, if what it lacks is to be kept.
        holds: Option<Index>,
        /// It is added again when it is back.
        returns: bool,
    },
    /// A removed replica does not come back.
    Destroyed(ReplicaId),
}

impl Change {
    pub(super) fn applied_to(&self, configuration: &Configuration) -> Configuration {
        match self {
            Change::Join(member) => configuration.with(member.clone()),
            Change::Leave {
                id,
                holds: Some(holds),
                returns,
            } => configuration.without_absent(*id, *holds, *returns),
            Change::Leave {
                id, holds: None, ..
            } => configuration.without(*id),
            Change::Destroyed(id) => configuration.without_absence(|absent| absent.replica == *id),
        }
    }

    /// Whose promise it needs where one replica is enough for a view: that of all, for one more.
    pub(super) fn needs(&self, before: &Configuration) -> Vec<ReplicaId> {
        match self {
            Change::Join(member)
                if before.mode == Mode::Available && before.member(member.id).is_none() =>
            {
                before.members.iter().map(|member| member.id).collect()
            }
            Change::Join(_) | Change::Leave { .. } | Change::Destroyed(_) => Vec::new(),
        }
    }
}

/// What the leader is about to change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PendingChange {
    /// Who waits for it; nobody where the leader itself noticed a new disk.
    id: Option<ChangeId>,
    what: What,
    since: u64,
    /// Since when nothing is in its way here.
    ripe_since: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum What {
    /// A replica whose disk is known once it has answered.
    Join {
        seed: Seed,
        store: Option<StoreUuid>,
    },
    Leave {
        id: ReplicaId,
        destroyed: bool,
        returns: bool,
    },
    Destroyed(ReplicaId),
}

impl What {
    fn leave(id: ReplicaId, destroyed: bool) -> What {
        What::Leave {
            id,
            destroyed,
            returns: false,
        }
    }
}

impl Replica {
    /// Wants the membership changed. The fate of the change is in a later [`Ready`](super::Ready).
    pub fn change_members(&mut self, id: ChangeId, change: MembershipChange) {
        let Some(configuration) = self.log.configuration().filter(|_| self.leads().is_some())
        else {
            return self.ready.changes.push((id, Err(ChangeRefusal::NotLeader)));
        };
        let what = match change.clone() {
            MembershipChange::Add(seed) => match configuration.member(seed.id) {
                Some(member) if member.peer_address == seed.peer_address => Err(Ok(())),
                Some(_) => Err(Err(ChangeRefusal::Taken)),
                None if !bounds::fits(&seed) => Err(Err(ChangeRefusal::Beyond)),
                None if configuration.members.len() >= MAX_MEMBERS => {
                    Err(Err(ChangeRefusal::Beyond))
                }
                None => Ok(What::Join { seed, store: None }),
            },
            MembershipChange::RemoveDestroyed(id)
                if configuration.member(id).is_none()
                    && configuration
                        .absent
                        .iter()
                        .any(|absent| absent.replica == id) =>
            {
                Ok(What::Destroyed(id))
            }
            MembershipChange::Remove(id) | MembershipChange::RemoveDestroyed(id) => {
                match configuration.member(id) {
                    None if configuration.removed.iter().any(|member| member.id == id) => {
                        Err(Ok(()))
                    }
                    None => Err(Err(ChangeRefusal::Unknown)),
                    Some(_) if configuration.members.len() == 1 => Err(Err(ChangeRefusal::Last)),
                    Some(_) if id == self.me() => Err(Err(ChangeRefusal::Leads)),
                    Some(_) => {
                        let destroyed = matches!(change, MembershipChange::RemoveDestroyed(_));
                        Ok(What::leave(id, destroyed))
                    }
                }
            }
        };
        match what {
            // It is as it should be already, or cannot be.
            Err(fate) => self.ready.changes.push((id, fate)),
            Ok(_) if self.change.is_some() => {
                self.ready.changes.push((id, Err(ChangeRefusal::Busy)));
            }
            Ok(what) => {
                self.change = Some(PendingChange {
                    id: Some(id),
                    what,
                    since: self.now,
                    ripe_since: None,
                });
                self.meet_peers();
                self.check_view();
            }
        }
    }

    /// The replica that is to join, though it is not configured yet.
    pub(super) fn joining(&self) -> Option<ReplicaId> {
        match &self.change.as_ref()?.what {
            What::Join { seed, .. } => Some(seed.id),
            What::Leave { .. } | What::Destroyed(_) => None,
        }
    }

    /// The same with its addresses, for whoever connects to it.
    pub(super) fn joining_member(&self) -> Option<Member> {
        match &self.change.as_ref()?.what {
            What::Join { seed, store } => Some(Member {
                id: seed.id,
                store: store.unwrap_or_default(),
                peer_address: seed.peer_address.clone(),
                client_address: seed.client_address.clone(),
            }),
            What::Leave { .. } | What::Destroyed(_) => None,
        }
    }

    /// Whether this is the disk that is to join: the last that answers is. One that answered before is gone, and what it
    /// acknowledged with it.
    pub(super) fn is_joining(&mut self, id: ReplicaId, disk: StoreUuid) -> bool {
        let removed = self
            .log
            .configuration()
            .is_some_and(|known| known.has_removed(disk));
        let Some(PendingChange {
            what: What::Join { seed, store },
            ..
        }) = &mut self.change
        else {
            return false;
        };
        if seed.id != id || removed {
            return false;
        }
        if store.replace(disk) != Some(disk)
            && let State::Leading(leading) = &mut self.state
        {
            leading.progress.remove(&id);
        }
        true
    }

    /// A replica that is to join answers with another disk than at first: then it is this one that is to join.
    pub(super) fn join_with(&mut self, id: ReplicaId, disk: StoreUuid) {
        let known = self.log.configuration();
        if known.is_some_and(|known| known.has_removed(disk) || known.votes(id, disk)) {
            return;
        }
        if let Some(PendingChange {
            what: What::Join { seed, store },
            ..
        }) = &mut self.change
            && seed.id == id
        {
            *store = Some(disk);
        }
    }

    /// The change that the next view can make.
    pub(super) fn ripe_change(&self) -> Option<Change> {
        let State::Leading(leading) = &self.state else {
            return None;
        };
        match &self.change.as_ref()?.what {
            What::Leave {
                id,
                destroyed,
                returns,
            } => Some(self.leave(*id, *destroyed, *returns)),
            What::Destroyed(id) => Some(Change::Destroyed(*id)),
            What::Join { seed, store } => {
                (*store)?;
                let lagging = self.peers.get(&seed.id).is_none_or(|peer| peer.lagging);
                let ready = leading
                    .progress
                    .get(&seed.id)
                    .is_some_and(Progress::has_caught_up);
                let member = self.joining_member()?;
                (ready && !lagging && !self.suspects(seed.id)).then_some(Change::Join(member))
            }
        }
    }

    /// A configured replica answers with a disk that nobody knows: the one that had its vote is gone. It goes on as a
    /// learner, and its new disk takes the old one's place once it has caught up.
    pub(super) fn notice_new_disk(&mut self, id: ReplicaId, disk: StoreUuid) {
        let Some(configuration) = self.log.configuration() else {
            return;
        };
        // So does one that was away for long, once it has handed over what it had.
        let returns = configuration
            .absent
            .iter()
            .find(|absent| absent.replica == id && absent.returns)
            .and_then(|absent| {
                let removed = configuration.removed.iter();
                removed.rev().find(|member| member.store == absent.store)
            });
        let member = configuration.member(id).or(returns);
        let Some(member) = member.filter(|_| self.leads().is_some()) else {
            return;
        };
        if member.store == disk || configuration.has_removed(disk) {
            return;
        }
        let seed = Seed {
            id,
            peer_address: member.peer_address.clone(),
            client_address: member.client_address.clone(),
        };
        // One change at a time. But to be one more takes the promise of all that there are, this one included.
        let waits_for_all = configuration.mode == Mode::Available
            && configuration.member(id).is_some()
            && self
                .joining()
                .is_some_and(|id| configuration.member(id).is_none());
        if waits_for_all {
            self.end_change(Err(ChangeRefusal::TooFew));
        }
        if self.change.is_none() {
            self.note(Note::NewDisk { replica: id });
            let what = What::Join {
                seed,
                store: Some(disk),
            };
            self.change = Some(PendingChange {
                id: None,
                what,
                since: self.now,
                ripe_since: None,
            });
        }
        if let State::Leading(leading) = &mut self.state {
            leading.progress.remove(&id);
        }
        // What it acknowledged is lost to it, so the view goes on without it.
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.lagging = true;
        }
        self.check_view();
    }

    /// A replica was away for too long.
    pub(super) fn remove_by_itself(&mut self, id: ReplicaId) {
        self.change = Some(PendingChange {
            id: None,
            what: What::Leave {
                id,
                destroyed: false,
                returns: true,
            },
            since: self.now,
            ripe_since: None,
        });
        self.check_view();
    }

    /// Tells the fate of the change if the view that has just started makes it.
    pub(super) fn settle_change(&mut self) {
        let (Some(change), Some(configuration)) = (&self.change, self.log.configuration()) else {
            return;
        };
        let made = match &change.what {
            What::Leave { id, .. } => configuration.member(*id).is_none(),
            What::Destroyed(id) => configuration
                .absent
                .iter()
                .all(|absent| absent.replica != *id),
            What::Join { seed, store } => {
                store.is_some_and(|store| configuration.votes(seed.id, store))
            }
        };
        if made {
            self.end_change(Ok(()));
        }
    }

    pub(super) fn end_change(&mut self, fate: Result<(), ChangeRefusal>) {
        if let Some(change) = self.change.take() {
            self.ready.changes.extend(change.id.map(|id| (id, fate)));
            self.meet_peers();
        }
    }

    /// Gives up on a replica that is to join and is not there, and on a change that could be made and is not.
    pub(super) fn tick_change(&mut self) {
        let now = self.now;
        let ripe = self.ripe_change().is_some();
        let gone = self.joining().is_some_and(|id| self.suspects(id));
        let Some(change) = &mut self.change else {
            return;
        };
        change.ripe_since = ripe.then(|| change.ripe_since.unwrap_or(now));
        let patience = self.settings.change;
        let asked_for = change.id.is_some();
        if gone && (now - change.since > patience || !asked_for) {
            self.end_change(Err(ChangeRefusal::Unreachable));
        } else if change
            .ripe_since
            .is_some_and(|since| now - since > patience)
        {
            self.end_change(Err(ChangeRefusal::TooFew));
        }
    }
}
