//! The state of a cluster, as one of its replicas sees it.

use std::fmt;

use crate::api;

/// The replica that leads, and under which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Which replica.
    pub replica_id: u32,
    /// Where clients reach it.
    pub client_address: String,
    /// Grows with every leader.
    pub epoch: u64,
}

/// A cluster as one replica sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The identity of the cluster.
    pub cluster_id: String,
    /// The replica that answers.
    pub replica_id: u32,
    /// The leader; none while there is none.
    pub leader: Option<Leader>,
    /// The epoch of the view.
    pub epoch: u64,
    /// Every configured replica.
    pub replicas: Vec<ReplicaStatus>,
    /// What the replica waits for, in words; empty when it serves.
    pub waiting_for: String,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many messages there are.
    pub messages: u64,
    /// What a view needs.
    pub mode: Mode,
    /// Whether the present view was started without replicas that the rules wait for.
    pub forced: bool,
}

/// What a view needs. Displayed in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// One replica is enough. Histories that a partition makes are merged.
    Available,
    /// More than half of the replicas. With fewer the cluster stops.
    Consistent,
    /// The cluster has not begun, or this version of the client does not know its mode.
    #[default]
    Unknown,
}

/// One replica as another one, or itself, sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which replica.
    pub replica_id: u32,
    /// Where clients reach it.
    pub client_address: String,
    /// Where the other replicas reach it.
    pub peer_address: String,
    /// What it does.
    pub role: Role,
    /// Whether it is a member of the view: what is acknowledged is durable on it.
    pub in_view: bool,
    /// Highest durable log index known of it.
    pub durable_index: u64,
    /// Highest log index that it knows to be committed.
    pub commit_index: u64,
    /// Highest log index that its state reflects.
    pub applied_index: u64,
    /// Entries that the leader has and it does not.
    pub lag: u64,
    /// Hexadecimal hash of its state at `applied_index`.
    pub state_hash: String,
    /// Acknowledged commands of a lost history that wait to be merged.
    pub orphans: u64,
}

/// What a replica does. Displayed in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Looks for a leader, or waits for others.
    Seeking,
    /// Starts a view.
    Candidate,
    /// Leads the view.
    Leader,
    /// Follows in the view.
    Follower,
    /// Catches up.
    Learner,
    /// Is not heard of by the replica that answers.
    Unreachable,
    /// Something that this version of the client does not know.
    Unknown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Seeking => "seeking",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Learner => "learner",
            Role::Unreachable => "unreachable",
            Role::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Available => "available",
            Mode::Consistent => "consistent",
            Mode::Unknown => "unknown",
        })
    }
}

impl From<api::Leader> for Leader {
    fn from(wire: api::Leader) -> Self {
        Self {
            replica_id: wire.replica_id,
            client_address: wire.client_address,
            epoch: wire.epoch,
        }
    }
}

impl From<api::GetClusterStatusResponse> for ClusterStatus {
    fn from(wire: api::GetClusterStatusResponse) -> Self {
        Self {
            mode: match wire.mode() {
                api::ClusterMode::Available => Mode::Available,
                api::ClusterMode::Consistent => Mode::Consistent,
                api::ClusterMode::Unspecified => Mode::Unknown,
            },
            forced: wire.forced,
            cluster_id: wire.cluster_id,
            replica_id: wire.replica_id,
            leader: wire.leader.map(Into::into),
            epoch: wire.epoch,
            replicas: wire.replicas.into_iter().map(Into::into).collect(),
            waiting_for: wire.waiting_for,
            accounts: wire.accounts,
            messages: wire.messages,
        }
    }
}

impl From<api::ReplicaStatus> for ReplicaStatus {
    fn from(wire: api::ReplicaStatus) -> Self {
        Self {
            role: wire.role().into(),
            replica_id: wire.replica_id,
            client_address: wire.client_address,
            peer_address: wire.peer_address,
            in_view: wire.in_view,
            durable_index: wire.durable_index,
            commit_index: wire.commit_index,
            applied_index: wire.applied_index,
            lag: wire.lag,
            state_hash: wire.state_hash,
            orphans: wire.orphans,
        }
    }
}

impl From<api::ReplicaRole> for Role {
    fn from(wire: api::ReplicaRole) -> Self {
        match wire {
            api::ReplicaRole::Seeking => Role::Seeking,
            api::ReplicaRole::Candidate => Role::Candidate,
            api::ReplicaRole::Leader => Role::Leader,
            api::ReplicaRole::Follower => Role::Follower,
            api::ReplicaRole::Learner => Role::Learner,
            api::ReplicaRole::Unreachable => Role::Unreachable,
            api::ReplicaRole::Unspecified => Role::Unknown,
        }
    }
}
