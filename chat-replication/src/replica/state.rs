//! What a replica is at the moment.

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::Candidate;
use super::progress::Progress;
use super::reads::PendingRead;
use crate::types::{Epoch, Index, Position, ReplicaId};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum State {
    /// Without a leader.
    Seeking,
    /// Gathers promises and the newest log.
    Candidate(Box<Candidate>),
    /// Has appended the start of its view.
    Leading(Box<Leading>),
    /// Has promised an epoch to somebody who is alive.
    Following(Following),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Leading {
    pub(super) epoch: Epoch,
    /// In id order, with this replica.
    pub(super) members: Vec<ReplicaId>,
    /// Where the view start stands.
    pub(super) start: Index,
    pub(super) forced: bool,
    /// It led before, and only changes its view.
    pub(super) led: bool,
    /// Since when the view start is durable on all members; until then nothing is acknowledged.
    pub(super) established_at: Option<u64>,
    /// When the view start was appended.
    pub(super) since: u64,
    /// All that it sends to: members, and learners of the configuration once heard of.
    pub(super) progress: BTreeMap<ReplicaId, Progress>,
    pub(super) next_heartbeat: u64,
    /// When the commit index last grew, or the first entry since was appended.
    pub(super) moved_at: u64,
    pub(super) handing_over: Option<HandingOver>,
    /// Not before then is leadership handed over.
    pub(super) next_hand_over: u64,
    /// Origins that were proposed again in this reign, and where they stand now.
    pub(super) reproposed: BTreeMap<Position, Index>,
    /// Somebody promised a higher epoch than this one.
    pub(super) outpromised: bool,
    /// Counts what the members are asked to confirm.
    pub(super) round: u64,
    pub(super) reads: Vec<PendingRead>,
    /// Removed replicas that know it, and have nothing left that was not committed.
    pub(super) retired: BTreeSet<ReplicaId>,
    /// An operator wants this one to lead.
    pub(super) transfer: Option<ReplicaId>,
}

impl Leading {
    pub(super) fn takes_proposals(&self) -> bool {
        self.established_at.is_some() && self.handing_over.is_none()
    }
}

/// Leadership is about to pass to the preferred replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct HandingOver {
    pub(super) to: ReplicaId,
    /// Until then a Prepare must have come.
    pub(super) until: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Following {
    pub(super) leader: ReplicaId,
    pub(super) epoch: Epoch,
    /// Whether the view has started, as far as is known.
    pub(super) started: bool,
    pub(super) members: Vec<ReplicaId>,
    /// It led before, and only changes its view.
    pub(super) led: bool,
    /// The last index that equals the leader's log, once known.
    pub(super) verified: Option<Index>,
    /// The tick of the leader's last message.
    pub(super) heard_at: u64,
    /// The tick of the newest message of this replica that the leader is known to have.
    pub(super) echoed_at: u64,
    /// The leader knows of this life of this replica: it named it after its promise, or echoed a message of this life.
    pub(super) known: bool,
    /// For how long the leader has been waiting, as it says.
    pub(super) stalled: u64,
    /// Every configured replica has the entries up to here, as the leader says.
    pub(super) compact_to: Index,
    /// Something was verified, or asked for again, since the last acknowledgement.
    pub(super) ack_due: bool,
    /// Up to where the leader's log is this replica's, where damaged entries behind that keep it from taking the rest.
    pub(super) parts_at: Option<Index>,
}
