//! The choice of the next replica: pure bookkeeping, without network or clock.

use std::collections::BTreeSet;

use crate::endpoint::Endpoint;
use crate::events::{Replica, Resent};

/// The index of a replica in the pool; stays valid for the pool's life.
pub(crate) type ReplicaIndex = usize;

/// A cluster has a handful of replicas. More addresses than this are not learned from anybody.
const MOST_LEARNED: usize = 32;

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Any replica serves it; the current one is asked first.
    Read,
    /// Any replica passes it on; the leader is asked first, which spares a hop.
    Write,
    /// A write that is somebody's message. That it was sent again is told.
    Message,
    /// A stream that stays open: no deadline travels with it.
    Stream,
}

/// Whether word of a leader was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderNews {
    Changed,
    Known,
}

/// A replica was lost, and another one serves in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) from: Replica,
    pub(crate) to: Replica,
    pub(crate) resent: Resent,
}

/// All replicas that are known.
#[derive(Debug)]
pub(crate) struct Pool {
    members: Vec<Member>,
    /// The replica that serves reads and streams until it is lost.
    current: ReplicaIndex,
    leader: Option<ReplicaIndex>,
    /// The epoch of the last leader heard of, lost or not.
    leader_epoch: u64,
}

#[derive(Debug)]
struct Member {
    replica: Replica,
    origin: Origin,
    /// Set when it was refused, reset or silent, until it answers again.
    loss: Option<Loss>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Named by the user.
    Configured,
    /// Named by another replica.
    Learned,
    /// Learned, and found to be one that was known already under another address.
    Duplicate,
}

/// A loss, and how much of it was told.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    told: Option<Resent>,
}

impl Pool {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        let mut pool = Self {
            members: Vec::new(),
            current: 0,
            leader: None,
            leader_epoch: 0,
        };
        for endpoint in endpoints {
            if pool.index_of(&endpoint).is_none() {
                pool.push(Replica { endpoint, id: None }, Origin::Configured);
            }
        }
        assert!(
            !pool.members.is_empty(),
            "the builder refuses an empty list of addresses"
        );
        pool
    }

    /// The addresses in use, those of the user first.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let used = self
            .members
            .iter()
            .filter(|m| m.origin != Origin::Duplicate);
        used.map(|m| m.replica.endpoint.clone()).collect()
    }

    pub(crate) fn endpoint(&self, index: ReplicaIndex) -> &Endpoint {
        &self.members[index].replica.endpoint
    }

    pub(crate) fn index_of(&self, endpoint: &Endpoint) -> Option<ReplicaIndex> {
        self.members
            .iter()
            .position(|m| m.replica.endpoint == *endpoint)
    }

    /// The replica to ask next, or none when all have been tried.
    ///
    /// Those that were lost come last: they may be back, but another one is the better bet.
    pub(crate) fn next(
        &self,
        purpose: Purpose,
        tried: &BTreeSet<ReplicaIndex>,
    ) -> Option<ReplicaIndex> {
        let preferred = match purpose {
            Purpose::Write | Purpose::Message => self.leader,
            Purpose::Read | Purpose::Stream => None,
        };
        let count = self.members.len();
        let ring = (0..count).map(|step| (self.current + step) % count);
        let mut order: Vec<_> = preferred.into_iter().chain(ring).collect();
        // Stable, so that the order of preference holds among the present and among the lost.
        order.sort_by_key(|&i| self.members[i].loss.is_some());
        order
            .into_iter()
            .find(|i| !tried.contains(i) && self.members[*i].origin != Origin::Duplicate)
    }

    /// The replica refused the connection, reset it, or was silent beyond the deadline.
    pub(crate) fn lost(&mut self, index: ReplicaIndex) {
        self.members[index].loss.get_or_insert_default();
        if self.leader == Some(index) {
            self.leader = None;
        }
    }

    /// The replica answered a call that had met the loss of `lost` before. Returns the switches to tell.
    pub(crate) fn answered(
        &mut self,
        index: ReplicaIndex,
        lost: &BTreeSet<ReplicaIndex>,
        tried: &BTreeSet<ReplicaIndex>,
        resent: Resent,
    ) -> Vec<Switch> {
        self.members[index].loss = None;
        let current_failed = tried.contains(&self.current) || lost.contains(&self.current);
        if current_failed || self.members[self.current].loss.is_some() {
            self.current = index;
        }
        let to = self.members[index].replica.clone();
        let mut switches = Vec::new();
        for &from in lost {
            let member = &mut self.members[from];
            // Many calls meet the same loss. It is told once, and once more if a message was sent again only then.
            if let Some(loss) = &mut member.loss
                && loss.told < Some(resent)
            {
                loss.told = Some(resent);
                switches.push(Switch {
                    from: member.replica.clone(),
                    to: to.clone(),
                    resent,
                });
            }
        }
        switches
    }

    /// A replica told its id.
    pub(crate) fn identify(&mut self, index: ReplicaIndex, id: u32) {
        self.members[index].replica.id = Some(id);
        for (i, member) in self.members.iter_mut().enumerate() {
            if i != index && member.origin == Origin::Learned && member.replica.id == Some(id) {
                member.origin = Origin::Duplicate;
                if self.current == i {
                    self.current = index;
                }
                if self.leader == Some(i) {
                    self.leader = Some(index);
                }
            }
        }
    }

    /// A replica told the id and the address of another.
    pub(crate) fn learn(&mut self, id: u32, address: Endpoint) -> Option<ReplicaIndex> {
        if let Some(known) = self.index_of(&address) {
            if self.members[known].origin == Origin::Duplicate {
                return self.by_id(id);
            }
            self.members[known].replica.id = Some(id);
            return Some(known);
        }
        if let Some(known) = self.by_id(id) {
            return Some(known);
        }
        let learned = self
            .members
            .iter()
            .filter(|m| m.origin != Origin::Configured)
            .count();
        (learned < MOST_LEARNED).then(|| {
            self.push(
                Replica {
                    endpoint: address,
                    id: Some(id),
                },
                Origin::Learned,
            )
        })
    }

    /// The cluster says where a replica is reached. One that was lost where it was known may have moved there.
    pub(crate) fn meet(&mut self, id: u32, address: Endpoint) {
        let moved = self
            .by_id(id)
            .filter(|&known| self.members[known].loss.is_some());
        if let Some(known) = moved
            && self.index_of(&address).is_none()
        {
            let member = &mut self.members[known];
            member.replica.id = None;
            if member.origin == Origin::Learned {
                member.origin = Origin::Duplicate;
            }
        }
        self.learn(id, address);
    }

    /// Somebody said that this replica leads under this epoch. Old news, and praise of a leader that was lost under this
    /// very epoch, change nothing.
    pub(crate) fn leader_is(
        &mut self,
        id: u32,
        address: Option<Endpoint>,
        epoch: u64,
    ) -> LeaderNews {
        if epoch < self.leader_epoch {
            return LeaderNews::Known;
        }
        let known = match address {
            Some(address) => self.learn(id, address),
            None => self.by_id(id),
        };
        let Some(index) = known else {
            return LeaderNews::Known;
        };
        if self.leader == Some(index) {
            self.leader_epoch = epoch;
            return LeaderNews::Known;
        }
        if self.members[index].loss.is_some() {
            if epoch == self.leader_epoch {
                return LeaderNews::Known;
            }
            self.members[index].loss = None;
        }
        self.leader = Some(index);
        self.leader_epoch = epoch;
        LeaderNews::Changed
    }

    fn by_id(&self, id: u32) -> Option<ReplicaIndex> {
        let known = |m: &Member| m.replica.id == Some(id) && m.origin != Origin::Duplicate;
        self.members.iter().position(known)
    }

    fn push(&mut self, replica: Replica, origin: Origin) -> ReplicaIndex {
        self.members.push(Member {
            replica,
            origin,
            loss: None,
        });
        self.members.len() - 1
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
