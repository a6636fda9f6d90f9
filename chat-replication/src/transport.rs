//! The network side of a replica: messages between peers, and evidence that one is gone.

use crate::message::Message;
use crate::types::{Member, PeerId, ReplicaId, StoreUuid};

/// Sends messages to peers. `send` never blocks and may lose; the protocol repeats what matters.
///
/// What arrives, and what is learnt about a peer's connection, goes to the [`Inbox`] that the transport was made with.
///
/// A transport is made and used within a tokio runtime that the replica's own thread turns between its steps. What it
/// spawns there costs no change of thread and must not block; it is all dropped with the runtime, right after the
/// transport.
pub trait Transport: Send {
    /// Queues a message for a peer, or drops it where the peer cannot be reached or its queue is full.
    fn send(&mut self, to: ReplicaId, message: Message);

    /// Tells where the peers are: all configured replicas but this one. Connections to others are closed.
    fn peers_changed(&mut self, peers: &[Member]);

    /// This replica's disk has another name from now on.
    fn renamed(&mut self, store: StoreUuid);
}

/// Where a transport delivers. Implementations are cheap to call and never block.
pub trait Inbox: Send + Sync + 'static {
    /// A message came from a peer that has shown to be this replica of this cluster, and says that it has this disk.
    fn received(&self, from: PeerId, message: Message);

    /// A connection to the peer is up, after it was not.
    fn connected(&self, peer: ReplicaId);

    /// The peer's machine is there but nothing listens: its process is gone. Reported when a connection was refused, or
    /// was reset and the reconnect failed, at once and again at each further attempt.
    fn refused(&self, peer: ReplicaId);
}
