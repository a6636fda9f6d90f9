//! What a replica says of itself and its peers.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::store::Identity;
use crate::types::{Configuration, Epoch, Index, Position, ReplicaId, StoreUuid};

/// What a replica does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Looking for a leader, or waiting for others.
    Seeking,
    /// Starting a view.
    Candidate,
    /// Leads a started view.
    Leader,
    /// Member of a started view.
    Follower,
    /// Follows a leader without being a member of its view yet.
    Learner,
}

/// A replica's view of itself and its peers at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whose status this is.
    pub identity: Identity,
    /// What it does.
    pub role: Role,
    /// The epoch that it leads or follows in, else the highest that it promised.
    pub epoch: Epoch,
    /// The leader that it follows, itself included.
    pub leader: Option<ReplicaId>,
    /// The members of the view that it follows in.
    pub view: Vec<ReplicaId>,
    /// Where the view that it leads, or is a member of, began; 0 while it is in none. Everything before is committed: a state
    /// that does not show it yet may lack what was acknowledged.
    pub view_start: Index,
    /// The newest durable configuration in its log.
    pub configuration: Configuration,
    /// Whether the newest view start in its log was forced: without replicas that the rules wait for.
    pub forced: bool,
    /// The newest epochs of its log, each with the index of its first entry, oldest first: tells one history from another.
    pub epochs: Arc<[(Epoch, Index)]>,
    /// The last entry of its log.
    pub last: Position,
    /// Entries up to this index are gone: whoever needs them takes a snapshot instead.
    pub compacted: Index,
    /// The last index that is durable here.
    pub durable: Index,
    /// The last committed index that it knows of.
    pub commit: Index,
    /// The last index whose effects its state shows.
    pub applied: Index,
    /// The state's hash at `applied`.
    pub state_hash: u128,
    /// Commands of a lost branch that wait to be committed again.
    pub orphans: u64,
    /// Its state is lost or was damaged, and it has not got another one yet: it answers nothing, though its log counts.
    pub state_lost: bool,
    /// From the first to the last entry of its log that is damaged: it asks the others for whole ones.
    pub damaged: Option<RangeInclusive<Index>>,
    /// What it waits for, in words; empty when it leads or follows.
    pub waiting_for: String,
    /// The peers, in id order.
    pub peers: Vec<PeerStatus>,
}

impl Status {
    /// Whether the replica answers requests: it leads or follows in a started view.
    pub fn serves(&self) -> bool {
        matches!(self.role, Role::Leader | Role::Follower)
    }

    /// Whether this position is of the log's history: it has that entry, or had none there yet in its newest epoch. Every
    /// log has the beginning; and what is below the oldest of its epochs was joined into it long ago.
    pub fn is_on_branch(&self, position: Position) -> bool {
        if position.index == 0 {
            return true;
        }
        let after = self
            .epochs
            .partition_point(|(_, first)| *first <= position.index);
        match after.checked_sub(1) {
            Some(at) => self.epochs[at].0 == position.epoch,
            None => !self.epochs.is_empty(),
        }
    }
}

/// What a replica knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// The peer.
    pub id: ReplicaId,
    /// Whether it has been heard of within the suspicion limit.
    pub reachable: bool,
    /// What is known to be durable there; known to the leader only.
    pub verified: Option<Index>,
    /// Its state machine's last index, as it said last; known to the leader only.
    pub applied: Index,
    /// Its state's hash at `applied`.
    pub state_hash: u128,
    /// Its orphans.
    pub orphans: u64,
    /// The disk that speaks in its name, where that one was removed.
    pub removed: Option<StoreUuid>,
}
