//! A network within one process, for tests and for clusters that live and die with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::Message;
use crate::transport::{Inbox, Transport};
use crate::types::{Member, PeerId, ReplicaId, StoreUuid};

/// A network that replicas of one process are connected to. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    inboxes: Arc<Mutex<BTreeMap<ReplicaId, Arc<dyn Inbox>>>>,
}

impl MemoryNetwork {
    /// A network without anybody.
    pub fn new() -> MemoryNetwork {
        MemoryNetwork::default()
    }

    /// Connects a replica until its transport is dropped. Everybody who is connected is told of it. A replica that is
    /// connected again replaces its earlier self.
    pub fn connect(&self, me: PeerId, inbox: Arc<dyn Inbox>) -> MemoryTransport {
        let mut inboxes = self.inboxes();
        inboxes.remove(&me.replica);
        for (peer, other) in inboxes.iter() {
            other.connected(me.replica);
            inbox.connected(*peer);
        }
        inboxes.insert(me.replica, Arc::clone(&inbox));
        drop(inboxes);
        MemoryTransport {
            network: self.clone(),
            me,
            inbox,
        }
    }

    fn inboxes(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Arc<dyn Inbox>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.inboxes().keys()).finish()
    }
}

/// One replica's end of a [`MemoryNetwork`]. What is sent arrives at once and in order; a peer that is not connected is
/// reported as refused.
pub struct MemoryTransport {
    network: MemoryNetwork,
    me: PeerId,
    inbox: Arc<dyn Inbox>,
}

impl Transport for MemoryTransport {
    fn send(&mut self, to: ReplicaId, message: Message) {
        match self.network.inboxes().get(&to) {
            Some(inbox) => inbox.received(self.me, message),
            None => self.inbox.refused(to),
        }
    }

    fn peers_changed(&mut self, _peers: &[Member]) {}

    fn renamed(&mut self, store: StoreUuid) {
        self.me.store = store;
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let mut inboxes = self.network.inboxes();
        let still_mine = inboxes
            .get(&self.me.replica)
            .is_some_and(|inbox| Arc::ptr_eq(inbox, &self.inbox));
        if still_mine {
            inboxes.remove(&self.me.replica);
            for other in inboxes.values() {
                other.refused(self.me.replica);
            }
        }
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("me", &self.me)
            .field("network", &self.network)
            .finish()
    }
}
