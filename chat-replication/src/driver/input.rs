//! What the thread of a driver is told by others.

use bytes::Bytes;

use super::orders::{Order, OrderAnswer, ReadAnswer};
use super::proposals::Answer;
use super::queue::Sender;
use super::running::ReplicaError;
use super::snapshot::Read;
use crate::message::Message;
use crate::transport::Inbox;
use crate::types::{PeerId, ReplicaId};

/// A command, and who waits for its answer.
pub(crate) struct Proposal<R> {
    pub(crate) command: Bytes,
    pub(crate) answer: Answer<R>,
}

/// One thing that happened.
pub(crate) enum Input {
    Received {
        from: PeerId,
        message: Message,
    },
    Connected(ReplicaId),
    Refused(ReplicaId),
    Read {
        answer: ReadAnswer,
    },
    Order {
        order: Order,
        answer: OrderAnswer,
    },
    Cast {
        to: ReplicaId,
        message: Bytes,
    },
    /// Something that is waited for lies in a [`Pile`](super::Pile).
    Look,
    SnapshotRead(Box<Read>),
    /// The state machine has failed.
    Failed(ReplicaError),
    /// End, once what waits is answered.
    Stop,
    /// End at once.
    Halt,
}

/// Where a transport delivers. What comes once the driver has ended is dropped, as on a network.
pub(super) struct DriverInbox(pub(super) Sender<Input>);

impl Inbox for DriverInbox {
    fn received(&self, from: PeerId, message: Message) {
        let _ = self.0.send(Input::Received { from, message });
    }

    fn connected(&self, peer: ReplicaId) {
        let _ = self.0.send(Input::Connected(peer));
    }

    fn refused(&self, peer: ReplicaId) {
        let _ = self.0.send(Input::Refused(peer));
    }
}
