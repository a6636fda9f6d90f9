//! What the client does on its own, told to whoever wants to show it.

use std::fmt;

use tokio::sync::broadcast;

use crate::cluster::Leader;
use crate::endpoint::Endpoint;

/// One replica as the client knows it. Displayed as `replica 0`, or by its address while its id is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Which one it is, once it has told.
    pub id: Option<u32>,
}

/// Something that the client did or met without failing a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A replica was lost, and another one serves in its place.
    ReplicaSwitched {
        /// The one that was lost.
        from: Replica,
        /// The one in its place.
        to: Replica,
        /// What became of the call that met the loss.
        resent: Resent,
    },
    /// Another replica leads.
    LeaderChanged(Leader),
    /// No replica can serve at the moment. The call is still being tried.
    Waiting {
        /// What became of the last attempt at each address.
        attempts: Vec<(Endpoint, String)>,
    },
}

/// Whether a message was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resent {
    /// No message was under way.
    Nothing,
    /// A message that had been tried at the lost replica was sent again, under the same request id.
    Message,
}

/// The events of a client, from the moment it was asked for them. A reader that falls far behind misses the oldest.
#[derive(Debug)]
pub struct ClientEvents {
    receiver: broadcast::Receiver<ClientEvent>,
}

impl ClientEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<ClientEvent>) -> Self {
        Self { receiver }
    }

    /// The next event; none once every clone of the client is gone.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<ClientEvent> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "replica {id}"),
            None => write!(f, "the replica at {}", self.endpoint),
        }
    }
}
