//! Replicas that write down what their transport tells them.

use std::net::TcpListener;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::grpc::{GrpcSettings, GrpcTransport};
use crate::message::Message;
use crate::store::Identity;
use crate::transport::Inbox;
use crate::types::{ClusterId, PeerId, ReplicaId, StoreUuid};

pub(super) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(42));

#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::large_enum_variant, reason = "short-lived, in tests only")]
pub(super) enum Event {
    Received(ReplicaId, Message),
    Connected(ReplicaId),
    Refused(ReplicaId),
}

/// An inbox that keeps everything.
#[derive(Default)]
pub(super) struct Recorder {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl Recorder {
    pub(super) fn new() -> Arc<Recorder> {
        Arc::default()
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.changed.notify_all();
    }

    /// Waits until what was told satisfies a condition, and returns it.
    pub(super) fn wait(&self, what: &str, condition: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let events = self.events.lock().unwrap();
        let limit = Duration::from_secs(30);
        let (events, timeout) = self
            .changed
            .wait_timeout_while(events, limit, |events| !condition(events))
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{what}: {} events, the last {:?}",
            events.len(),
            events.last()
        );
        events.clone()
    }

    pub(super) fn wait_for(&self, event: &Event) {
        self.wait(&format!("{event:?}"), |events| events.contains(event));
    }

    pub(super) fn wait_received(&self, count: usize) -> Vec<(ReplicaId, Message)> {
        let events = self.wait("messages", |events| received(events).count() >= count);
        received(&events).collect()
    }

    pub(super) fn clear(&self) {
        self.events.lock().unwrap().clear();
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

fn received(events: &[Event]) -> impl Iterator<Item = (ReplicaId, Message)> {
    events.iter().filter_map(|event| match event {
        Event::Received(from, message) => Some((*from, message.clone())),
        _ => None,
    })
}

impl Inbox for Recorder {
    fn received(&self, from: PeerId, message: Message) {
        assert_eq!(
            from.store,
            identity(from.replica.0).store,
            "its disk is told"
        );
        self.push(Event::Received(from.replica, message));
    }

    fn connected(&self, peer: ReplicaId) {
        self.push(Event::Connected(peer));
    }

    fn refused(&self, peer: ReplicaId) {
        self.push(Event::Refused(peer));
    }
}

pub(super) fn identity(replica: u32) -> Identity {
    Identity {
        cluster: CLUSTER,
        replica: ReplicaId(replica),
        store: StoreUuid(Uuid::from_u128(u128::from(replica))),
    }
}

pub(super) fn listener() -> TcpListener {
    GrpcTransport::bind("127.0.0.1:0").unwrap()
}

pub(super) fn seed(replica: u32, listener: &TcpListener) -> (ReplicaId, String) {
    (
        ReplicaId(replica),
        listener.local_addr().unwrap().to_string(),
    )
}

/// A transport with a thread that turns it. Dropped, it is gone as with its process.
pub(super) struct Running {
    transport: Option<GrpcTransport>,
    runtime: Option<Runtime>,
}

impl Running {
    pub(super) fn start(
        identity: Identity,
        settings: GrpcSettings,
        listener: TcpListener,
        inbox: &Arc<Recorder>,
        seeds: &[(ReplicaId, String)],
    ) -> Running {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let context = runtime.enter();
        let inbox: Arc<dyn Inbox> = Arc::clone(inbox) as Arc<dyn Inbox>;
        let transport = GrpcTransport::start(listener, identity, settings, inbox, seeds).unwrap();
        drop(context);
        Running {
            transport: Some(transport),
            runtime: Some(runtime),
        }
    }
}

impl Deref for Running {
    type Target = GrpcTransport;

    fn deref(&self) -> &GrpcTransport {
        self.transport.as_ref().unwrap()
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut GrpcTransport {
        self.transport.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.transport.take());
        self.runtime.take().unwrap().shutdown_background();
    }
}

pub(super) fn start(
    replica: u32,
    listener: TcpListener,
    inbox: &Arc<Recorder>,
    seeds: &[(ReplicaId, String)],
) -> Running {
    Running::start(
        identity(replica),
        GrpcSettings::default(),
        listener,
        inbox,
        seeds,
    )
}

/// Replicas 0, 1, … that are all connected to each other.
pub(super) fn cluster(count: u32) -> Vec<(Running, Arc<Recorder>)> {
    let listeners: Vec<_> = (0..count).map(|_| listener()).collect();
    let seeds: Vec<_> = (0..)
        .zip(&listeners)
        .map(|(id, listener)| seed(id, listener))
        .collect();
    let replicas: Vec<_> = (0..)
        .zip(listeners)
        .map(|(id, listener)| {
            let inbox = Recorder::new();
            (start(id, listener, &inbox, &seeds), inbox)
        })
        .collect();
    for (me, (_, inbox)) in (0..).zip(&replicas) {
        for peer in (0..count).filter(|peer| *peer != me) {
            inbox.wait_for(&Event::Connected(ReplicaId(peer)));
        }
        inbox.clear();
    }
    replicas
}

pub(super) fn cast(text: impl Into<Vec<u8>>) -> Message {
    Message::Cast(Bytes::from(text.into()))
}
