//! What the thread of a driver is told by others.

use std::sync::mpsc;

use bytes::Bytes;

use super::apply::Finished;
use super::orders::{Order, OrderAnswer, ReadAnswer};
use super::proposals::Answer;
use super::running::ReplicaError;
use super::snapshot::Read;
use crate::message::Message;
use crate::transport::Inbox;
use crate::types::{Position, ReplicaId};

/// One thing that happened.
pub(crate) enum Input<R> {
    Received {
        from: ReplicaId,
        message: Message,
    },
    Connected(ReplicaId),
    Refused(ReplicaId),
    Propose {
        command: Bytes,
        answer: Answer<R>,
    },
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
    Finished(Box<Finished>),
    /// A checkpoint of the state machine has become durable.
    Checkpoint(Position),
    SnapshotRead(Box<Read>),
    /// The state machine has failed.
    Failed(ReplicaError),
    /// End, once what waits is answered.
    Stop,
    /// End at once.
    Halt,
}

/// Where a transport delivers. What comes once the driver has ended is dropped, as on a network.
pub(super) struct DriverInbox<R>(pub(super) mpsc::Sender<Input<R>>);

impl<R: Send + 'static> Inbox for DriverInbox<R> {
    fn received(&self, from: ReplicaId, message: Message) {
        let _ = self.0.send(Input::Received { from, message });
    }

    fn connected(&self, peer: ReplicaId) {
        let _ = self.0.send(Input::Connected(peer));
    }

    fn refused(&self, peer: ReplicaId) {
        let _ = self.0.send(Input::Refused(peer));
    }
}
