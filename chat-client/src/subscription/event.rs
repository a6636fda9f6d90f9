//! What a subscription yields.

use crate::api;
use crate::api::subscribe_response::Event as Wire;
use crate::cluster::Leader;
use crate::error::Error;
use crate::ids::MessageId;
use crate::types::{Account, Message, parse_id, required};

/// Something that happened to the account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The stream is live: at the start, and after each move to another replica.
    Connected {
        /// The replica that serves it.
        replica_id: u32,
        /// The leader, if there is one.
        leader: Option<Leader>,
    },
    /// The stream could not be resumed exactly: it goes on with all messages that are not confirmed yet. None is missing and
    /// none comes twice, but other events may be missing; histories show what they told.
    Reset,
    /// Somebody sent the account a message.
    MessageReceived(Message),
    /// The account itself sent a message, perhaps from another device.
    MessageSent(Message),
    /// The recipient's client has confirmed messages that the account sent.
    MessagesDelivered {
        /// Which.
        messages: Vec<MessageId>,
        /// Whom they were for.
        recipient: Account,
    },
    /// Messages were read.
    MessagesRead {
        /// Which.
        messages: Vec<MessageId>,
        /// By whom; may be the account itself, on another device.
        reader: Account,
    },
    /// Messages were deleted.
    MessagesDeleted {
        /// Which.
        messages: Vec<MessageId>,
        /// The other party of the conversation.
        peer: Account,
    },
    /// A word from the service.
    Notice(String),
    /// The session was ended. The last event.
    SessionClosed {
        /// Why, in words.
        reason: String,
    },
    /// Another replica leads.
    LeaderChanged(Leader),
    /// The other party of a conversation deleted its account.
    PeerDeleted(Account),
}

/// What a response means to the one who follows the stream.
#[derive(Debug)]
pub(super) enum Received {
    /// Something for the reader.
    Event(Event),
    /// A sign of life, or something that a later version of the service says.
    Nothing,
    /// The replica goes away.
    Draining,
    /// These are the replicas from now on.
    Membership(Vec<api::Replica>),
}

impl TryFrom<Option<Wire>> for Received {
    type Error = Error;

    fn try_from(wire: Option<Wire>) -> Result<Self, Error> {
        let event = match wire {
            None | Some(Wire::Heartbeat(_)) => return Ok(Received::Nothing),
            Some(Wire::Draining(_)) => return Ok(Received::Draining),
            Some(Wire::Ready(ready)) => Event::Connected {
                replica_id: ready.replica_id,
                leader: ready.leader.map(Into::into),
            },
            Some(Wire::Reset(_)) => Event::Reset,
            Some(Wire::MessageReceived(e)) => Event::MessageReceived(message(e.message)?),
            Some(Wire::MessageSent(e)) => Event::MessageSent(message(e.message)?),
            Some(Wire::MessagesDelivered(e)) => Event::MessagesDelivered {
                messages: ids(&e.message_ids)?,
                recipient: account("recipient", e.recipient)?,
            },
            Some(Wire::MessagesRead(e)) => Event::MessagesRead {
                messages: ids(&e.message_ids)?,
                reader: account("reader", e.reader)?,
            },
            Some(Wire::MessagesDeleted(e)) => Event::MessagesDeleted {
                messages: ids(&e.message_ids)?,
                peer: account("peer", e.peer)?,
            },
            Some(Wire::Notice(e)) => Event::Notice(e.text),
            Some(Wire::SessionClosed(e)) => Event::SessionClosed { reason: e.reason },
            Some(Wire::LeaderChanged(e)) => match e.leader {
                Some(leader) => Event::LeaderChanged(leader.into()),
                None => return Ok(Received::Nothing),
            },
            Some(Wire::MembershipChanged(e)) => return Ok(Received::Membership(e.replicas)),
            Some(Wire::PeerDeleted(e)) => Event::PeerDeleted(account("peer", e.peer)?),
        };
        Ok(Received::Event(event))
    }
}

fn message(wire: Option<api::Message>) -> Result<Message, Error> {
    required("message", wire)?.try_into()
}

fn account(field: &str, wire: Option<api::Account>) -> Result<Account, Error> {
    required(field, wire)?.try_into()
}

fn ids(wire: &[String]) -> Result<Vec<MessageId>, Error> {
    wire.iter().map(|id| parse_id(id)).collect()
}
