//! Who leads, for those who wait for it.
//!
//! A replica's status changes with every write. What calls wait for changes rarely, so it is told apart here once, and
//! ten thousand subscribers are not woken for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_client::api;
use chat_replication::handle::{Handle, LeaderHint};
use chat_replication::status::{Role, Status};
use chat_replication::types::{Epoch, Index, ReplicaId};
use tokio::sync::watch;

/// What a call needs to know of the replica's place in the cluster.
#[derive(Debug)]
pub(crate) struct Leadership {
    role: Role,
    leader: Option<LeaderHint>,
    /// All replicas, as clients are told of them.
    replicas: Vec<api::Replica>,
    waiting_for: String,
    epoch: Epoch,
    /// Where the view began. Until the state shows that, what was acknowledged before may be missing here.
    view_start: Index,
    /// Its state is lost: whoever asks is to ask another replica.
    state_lost: bool,
    /// The state has shown that.
    caught_up: AtomicBool,
}

/// Where a write goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    /// This replica leads.
    Here,
    /// Another one does.
    There(LeaderHint),
    /// Nobody does, as far as is known; why, in words.
    Nowhere(String),
}

impl Leadership {
    fn of(status: &Status) -> Leadership {
        let leader = status.leader.map(|id| LeaderHint {
            id,
            epoch: status.epoch,
            client_address: status
                .configuration
                .member(id)
                .map(|member| member.client_address.clone())
                .unwrap_or_default(),
        });
        Leadership {
            role: status.role,
            leader,
            replicas: status
                .configuration
                .members
                .iter()
                .map(|member| api::Replica {
                    replica_id: member.id.0,
                    client_address: member.client_address.clone(),
                })
                .collect(),
            waiting_for: status.waiting_for.clone(),
            epoch: status.epoch,
            view_start: status.view_start,
            state_lost: status.state_lost,
            caught_up: AtomicBool::new(false),
        }
    }

    /// Whether nothing has changed but how far the log is.
    fn is_still(&self, other: &Leadership) -> bool {
        (self.role, &self.leader, &self.replicas, &self.waiting_for)
            == (
                other.role,
                &other.leader,
                &other.replicas,
                &other.waiting_for,
            )
            && (self.epoch, self.view_start) == (other.epoch, other.view_start)
            && self.state_lost == other.state_lost
    }

    /// Whether this is what a status says.
    pub(crate) fn is_of(&self, status: &Status) -> bool {
        (self.role, self.epoch, self.view_start) == (status.role, status.epoch, status.view_start)
    }

    /// Whether that has been applied here, as far as anybody has looked. While this replica leads, it stays so.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.leads() && self.caught_up.load(Ordering::Relaxed)
    }

    pub(crate) fn note_caught_up(&self) {
        self.caught_up.store(true, Ordering::Relaxed);
    }

    /// Whether there is no state here to answer from.
    pub(crate) fn has_lost_state(&self) -> bool {
        self.state_lost
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    pub(crate) fn destination(&self) -> Destination {
        match (self.role, &self.leader) {
            (Role::Leader, _) => Destination::Here,
            (Role::Follower | Role::Learner, Some(leader)) if !leader.client_address.is_empty() => {
                Destination::There(leader.clone())
            }
            _ => Destination::Nowhere(self.waiting_for.clone()),
        }
    }

    /// All replicas, as clients are told of them; none before the cluster has begun.
    pub(crate) fn replicas(&self) -> &[api::Replica] {
        &self.replicas
    }

    /// The leader as clients are told of it.
    pub(crate) fn on_the_wire(&self) -> Option<api::Leader> {
        self.leader.as_ref().map(|leader| api::Leader {
            replica_id: leader.id.0,
            client_address: leader.client_address.clone(),
            epoch: leader.epoch.number,
        })
    }
}

/// Follows the replica's status until it ends, and tells of each peer that is gone or was removed.
pub(crate) fn follow<R: Send + 'static>(
    handle: &Handle<R>,
    forget: impl Fn(ReplicaId) + Send + 'static,
) -> watch::Receiver<Arc<Leadership>> {
    let mut status = handle.status_changes();
    let (sender, receiver) = watch::channel(Arc::new(Leadership::of(&handle.status())));
    tokio::spawn(async move {
        let mut gone: Vec<ReplicaId> = Vec::new();
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().clone();
            let leadership = Leadership::of(&now);
            sender.send_if_modified(|known| {
                let differs = !known.is_still(&leadership);
                if differs {
                    *known = Arc::new(leadership);
                }
                differs
            });
            let unreachable: Vec<_> = now
                .peers
                .iter()
                .filter(|peer| !peer.reachable || now.configuration.member(peer.id).is_none())
                .map(|peer| peer.id)
                .collect();
            for peer in unreachable.iter().filter(|peer| !gone.contains(peer)) {
                forget(*peer);
            }
            gone = unreachable;
        }
    });
    receiver
}
