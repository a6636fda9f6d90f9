//! Which replica a call goes to, and what happens when it does not answer.
//!
//! [`Pool`] decides and knows neither network nor clock; [`Net`] does.

mod again;
mod backoff;
mod call;
mod channel;
mod connection;
mod exchange;
mod pool;
mod secure;
mod verdict;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::api;
use crate::builder::Settings;
use crate::cluster::{ClusterStatus, Leader};
use crate::endpoint::Endpoint;
use crate::events::{ClientEvent, ClientEvents};

pub(crate) use backoff::Backoff;
pub(crate) use call::{Answer, Attempt};
pub(crate) use channel::Channel;
pub(crate) use pool::{Pool, Purpose, ReplicaIndex};
pub(crate) use verdict::{Verdict, judge};

/// How many events a slow observer may be behind before it misses some.
const EVENT_BUFFER: usize = 256;

/// The replicas, the connections to them, and what is known about them. Shared by all clones of a client.
pub(crate) struct Net {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    events: broadcast::Sender<ClientEvent>,
}

struct State {
    pool: Pool,
    /// By index of the pool; a connection comes into being at its first use.
    channels: Vec<Option<Channel>>,
}

impl Net {
    pub(crate) fn new(endpoints: Vec<Endpoint>, settings: Settings) -> Arc<Self> {
        let state = State {
            channels: Vec::new(),
            pool: Pool::new(endpoints),
        };
        Arc::new(Self {
            settings,
            state: Mutex::new(state),
            events: broadcast::channel(EVENT_BUFFER).0,
        })
    }

    pub(crate) fn events(&self) -> ClientEvents {
        ClientEvents::new(self.events.subscribe())
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.state().pool.endpoints()
    }

    pub(crate) fn index_of(&self, endpoint: &Endpoint) -> Option<ReplicaIndex> {
        self.state().pool.index_of(endpoint)
    }

    pub(crate) fn endpoint(&self, replica: ReplicaIndex) -> Endpoint {
        self.state().pool.endpoint(replica).clone()
    }

    /// The replica that a call would go to now.
    pub(crate) fn preferred(&self, purpose: Purpose) -> Option<ReplicaIndex> {
        self.state().pool.next(purpose, &BTreeSet::new())
    }

    /// A replica told its own id.
    pub(crate) fn identify(&self, replica: ReplicaIndex, id: u32) {
        self.state().pool.identify(replica, id);
    }

    /// Somebody told who leads.
    pub(crate) fn follow(&self, leader: &Leader) {
        let address = self.address(&leader.client_address);
        let changed = self
            .state()
            .pool
            .leader_is(leader.replica_id, address, leader.epoch);
        if changed == pool::LeaderNews::Changed {
            self.emit(ClientEvent::LeaderChanged(leader.clone()));
        }
    }

    /// A replica told about itself and the others.
    pub(crate) fn learn(&self, from: ReplicaIndex, status: &ClusterStatus) {
        self.identify(from, status.replica_id);
        let replicas = status.replicas.iter();
        self.meet(replicas.map(|replica| (replica.replica_id, replica.client_address.as_str())));
        if let Some(leader) = &status.leader {
            self.follow(leader);
        }
    }

    /// A replica told who the replicas are.
    pub(crate) fn adopt(&self, replicas: &[api::Replica]) {
        let replicas = replicas.iter();
        self.meet(replicas.map(|replica| (replica.replica_id, replica.client_address.as_str())));
    }

    fn meet<'a>(&self, replicas: impl Iterator<Item = (u32, &'a str)>) {
        let mut state = self.state();
        for (id, address) in replicas {
            if let Some(address) = self.address(address) {
                state.pool.meet(id, address);
            }
        }
    }

    /// An address that a replica told: it is talked with as its fellows are.
    fn address(&self, text: &str) -> Option<Endpoint> {
        let endpoint: Endpoint = text.parse().ok()?;
        Some(match self.settings.tls {
            Some(_) => endpoint.encrypted(),
            None => endpoint,
        })
    }

    /// A stream to this replica ended or fell silent.
    pub(crate) fn lost(&self, replica: ReplicaIndex) {
        self.state().pool.lost(replica);
    }

    pub(crate) fn emit(&self, event: ClientEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }

    fn channel(&self, replica: ReplicaIndex) -> Channel {
        let mut state = self.state();
        if state.channels.len() <= replica {
            state.channels.resize(replica + 1, None);
        }
        if let Some(channel) = &state.channels[replica] {
            return channel.clone();
        }
        let channel = Channel::new(state.pool.endpoint(replica), &self.settings);
        state.channels[replica] = Some(channel.clone());
        channel
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod channel_tests;
