//! What the application holds of a running replica.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use crate::driver::{Answer, Awake, Input, Order, Pile, Proposal, Room, Sender, Wake};
use crate::replica::{ForceRefusal, MAX_ADDRESS, MAX_MEMBERS, MembershipChange};
use crate::status::Status;
use crate::types::{Epoch, Position, ReplicaId};

/// A running replica, as its application sees it. Cheap to clone.
pub struct Handle<R> {
    inputs: Sender<Input>,
    proposals: Pile<Proposal<R>>,
    status: watch::Receiver<Arc<Status>>,
    progress: watch::Receiver<Arc<Status>>,
    room: Arc<Room>,
    awake: Awake,
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Handle {
            inputs: self.inputs.clone(),
            proposals: self.proposals.clone(),
            status: self.status.clone(),
            progress: self.progress.clone(),
            room: Arc::clone(&self.room),
            awake: self.awake.clone(),
        }
    }
}

/// A command that is durable on every member of the view and applied here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed<R> {
    /// Where it stands.
    pub position: Position,
    /// On how many replicas it is known to be durable: the members of the view that it was committed in.
    pub durable_on: u32,
    /// How many replicas the cluster has.
    pub replicas: u32,
    /// What the state machine answered.
    pub response: R,
}

/// The leader to turn to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeaderHint {
    /// The replica.
    pub id: ReplicaId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Where clients reach it.
    pub client_address: String,
}

/// Why a proposal has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ProposeError {
    /// This replica does not lead. Nothing was done: go to the leader, or wait until there is one.
    #[error("this replica is not the leader")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<LeaderHint>,
    },
    /// Too much is waiting already. Nothing was done: try again a little later.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The leadership changed while the command was on its way: it may or may not take effect. Propose it again under
    /// the same id.
    #[error("the leadership changed before the outcome was known")]
    Unknown,
    /// The replica has stopped. The command may or may not take effect.
    #[error("the replica has stopped")]
    Stopped,
}

/// Why an operator's order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OrderError {
    /// This replica does not lead: go to the leader, or wait until there is one.
    #[error("this replica is not the leader")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<LeaderHint>,
    },
    /// Another change is under way.
    #[error("another change of membership is under way; try again once it is done")]
    Busy,
    /// There is no such replica.
    #[error("there is no such replica")]
    Unknown,
    /// A replica of that id is there already.
    #[error("a replica of that id is there already, at another address; remove it first")]
    Taken,
    /// A leader cannot remove itself.
    #[error("the leader cannot be removed; transfer leadership first")]
    Leads,
    /// The last replica cannot be removed.
    #[error("the last replica cannot be removed")]
    Last,
    /// A cluster has no place for it.
    #[error(
        "a cluster has at most {MAX_MEMBERS} replicas, and their addresses at most {MAX_ADDRESS} bytes; remove a replica, or \
         choose a shorter address"
    )]
    Beyond,
    /// The replica to be added was not reached.
    #[error("the replica to be added cannot be reached; start it, then try again")]
    Unreachable,
    /// Too few of the other replicas are there.
    #[error("too few of the other replicas can be reached; start or replace them first")]
    TooFew,
    /// The replica that is to lead is not in the view.
    #[error("that replica is not in the view")]
    NotInView,
    /// No view is forced.
    #[error("no view is forced: {0}")]
    NotForced(ForceRefusal),
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

impl<R> Handle<R> {
    pub(crate) fn new(
        inputs: Sender<Input>,
        proposals: Pile<Proposal<R>>,
        status: watch::Receiver<Arc<Status>>,
        progress: watch::Receiver<Arc<Status>>,
        room: Arc<Room>,
        awake: Awake,
    ) -> Self {
        Handle {
            inputs,
            proposals,
            status,
            progress,
            room,
            awake,
        }
    }

    /// Has a command replicated, and answers once it is durable on every member of the view and applied here.
    ///
    /// Dropping the future does not take the command back.
    pub async fn propose(&self, command: Bytes) -> Result<Committed<R>, ProposeError> {
        let place = self
            .room
            .enter(command.len())
            .ok_or(ProposeError::Overloaded)?;
        let (sender, answered) = oneshot::channel();
        let answer = Answer::new(sender, Some(place));
        let size = command.len();
        let added = self.proposals.add(Proposal { command, answer }, size);
        if added.map_err(|_| ProposeError::Stopped)? == Wake::Now {
            self.inputs
                .send(Input::Look)
                .map_err(|_| ProposeError::Stopped)?;
        }
        answered.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Answers once the state shows everything that was acknowledged before the call, on any replica: whoever reads it
    /// then reads linearizably, in a cluster whose mode does not allow forks. Only the leader can tell.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.inputs
            .send(Input::Read { answer })
            .map_err(|_| ProposeError::Stopped)?;
        answered.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Adds or removes a replica, and answers once that is durable on every member of the view. A replica that is added
    /// catches up first, however long that takes.
    pub async fn change_members(&self, change: MembershipChange) -> Result<(), OrderError> {
        self.order(Order::Change(change)).await
    }

    /// Hands leadership to another member of the view, which keeps it for a while even if it is not the preferred one.
    /// Answers once it is begun; the status tells when it is done.
    pub async fn transfer_leadership(&self, to: ReplicaId) -> Result<(), OrderError> {
        self.order(Order::Transfer(to)).await
    }

    /// Lets the next view start with whoever is there, whatever the rules wait for. What only the missing have may be lost
    /// to those who go on, or become part of another history; the view start says that it was forced. Answers once a view has
    /// started, or why none did; an order that is not carried out within ten silences is taken back.
    pub async fn force_view(&self) -> Result<(), OrderError> {
        self.order(Order::ForceView).await
    }

    async fn order(&self, order: Order) -> Result<(), OrderError> {
        let (answer, answered) = oneshot::channel();
        self.inputs
            .send(Input::Order { order, answer })
            .map_err(|_| OrderError::Stopped)?;
        answered.await.unwrap_or(Err(OrderError::Stopped))
    }

    /// Sends a message of the application's own to a peer's [`StateMachine`](crate::state_machine::StateMachine) host;
    /// best effort, neither durable nor ordered with commands. One of more than [`MAX_CAST`](crate::replica::MAX_CAST) bytes is
    /// dropped, here as by whom it is for.
    pub fn cast(&self, to: ReplicaId, message: Bytes) {
        // A stopped replica has nobody to talk to; its owner learns that from `propose` and the status.
        let _ = self.inputs.send(Input::Cast { to, message });
    }

    /// Whether the replica has looked at its peers within [`suspect`](crate::replica::Settings::suspect). One that has not,
    /// as its process was paused, may have been left behind, and its status does not say so yet.
    pub fn is_awake(&self) -> bool {
        self.awake.is_awake()
    }

    /// Where the replica and its peers stand. Changes show at once, mere progress with the next tick.
    pub fn status(&self) -> Arc<Status> {
        self.progress.borrow().clone()
    }

    /// Reports each change of the status: mere progress ten times a second, anything else at once. Changes in quick
    /// succession are seen as one.
    pub fn status_changes(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// The same, but for progress with each tick: for those who wait until a replica has come so far.
    pub fn progress(&self) -> watch::Receiver<Arc<Status>> {
        self.progress.clone()
    }
}
