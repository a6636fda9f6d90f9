//! One message as the timeline shows it.

use crate::ids::{MessageId, RequestId};
use crate::outbox::OutboxMessage;
use crate::timestamp::Timestamp;
use crate::types::{Durability, Message};

/// A message in a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its identity, once the service has given it one.
    pub id: Option<MessageId>,
    /// Who wrote it.
    pub side: Side,
    /// What it says, as it was sent.
    pub body: String,
    /// When the service received it; when it was written, while it waits.
    pub sent: Timestamp,
    /// How far it has come.
    pub state: LineState,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The user.
    Mine,
    /// The other party.
    Theirs,
}

/// How far a message has come. In the order in which it happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineState {
    /// Durable on this machine, and on its way.
    Pending,
    /// The service refuses it, for this reason.
    Refused(String),
    /// Durable in the cluster; on how many replicas, where this session has heard.
    Stored(Option<StoredOn>),
    /// The recipient's client has it.
    Delivered,
    /// The recipient has read it.
    Read,
}

/// On how many of the replicas a message was durable when its answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredOn {
    /// On how many.
    pub replicas: u32,
    /// Of how many.
    pub of: u32,
}

/// Where a line stands in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli::tui) enum Place {
    /// By its place in the order of all messages.
    Stored(u64),
    /// Below everything that is stored.
    Outgoing(RequestId),
}

impl Line {
    pub(super) fn of_message(message: &Message, side: Side) -> Self {
        Self {
            id: Some(message.id),
            side,
            body: message.body.clone(),
            sent: message.sent,
            state: LineState::of_message(message),
        }
    }

    pub(super) fn of_outbox(message: &OutboxMessage) -> Self {
        Self {
            id: None,
            side: Side::Mine,
            body: message.body.clone(),
            sent: message.written,
            state: LineState::Pending,
        }
    }

    /// States only go forward: an answer that was overtaken by an event does not turn back what the event told.
    pub(super) fn advance(&mut self, state: LineState) {
        if state > self.state {
            self.state = state;
        }
    }
}

impl LineState {
    fn of_message(message: &Message) -> Self {
        match (message.delivered, message.read) {
            (_, true) => LineState::Read,
            (true, false) => LineState::Delivered,
            (false, false) => LineState::Stored(None),
        }
    }
}

impl From<Durability> for StoredOn {
    fn from(durability: Durability) -> Self {
        Self {
            replicas: durability.durable_on,
            of: durability.replicas,
        }
    }
}
