//! The listening side: who calls is verified before anything is delivered.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};
use tracing::{debug, info};
use uuid::Uuid;

use super::once::Once;
use super::proto::exchange_request::Frame;
use super::proto::peer_service_server::PeerService;
use super::proto::{ExchangeRequest, ExchangeResponse, Hello};
use super::queue::Queue;
use super::security::{ConnectionInfo, Identified};
use super::{NEWEST_VERSION, OLDEST_VERSION, wire};
use crate::store::Identity;
use crate::transport::Inbox;
use crate::types::{PeerId, ReplicaId, StoreUuid};

/// Time for a caller to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The configured peers, shared by the two sides of the transport.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: Mutex<BTreeMap<ReplicaId, Peer>>,
}

#[derive(Debug)]
pub(super) struct Peer {
    /// Wakes the outbound link.
    pub(super) nudge: Arc<Notify>,
    pub(super) queue: Arc<Queue>,
    /// The call that the peer's messages come through, and its number.
    inbound: Option<(u64, AbortHandle)>,
    calls: u64,
}

impl Peer {
    pub(super) fn new(nudge: Arc<Notify>, queue: Arc<Queue>) -> Peer {
        Peer {
            nudge,
            queue,
            inbound: None,
            calls: 0,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((_, call)) = self.inbound.take() {
            call.abort();
        }
    }
}

impl Peers {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the peer ended by itself: it may be gone.
    fn ended(&self, from: ReplicaId, call: u64) {
        if let Some(peer) = self.lock().get_mut(&from)
            && peer
                .inbound
                .as_ref()
                .is_some_and(|(current, _)| *current == call)
        {
            peer.inbound = None;
            peer.nudge.notify_one();
        }
    }
}

/// The service that peers call.
#[derive(Debug)]
pub(super) struct PeerServer<I: ?Sized> {
    pub(super) me: Identity,
    pub(super) peers: Arc<Peers>,
    pub(super) log: Arc<Once>,
    pub(super) inbox: Arc<I>,
}

#[async_trait]
impl<I: Inbox + ?Sized> PeerService for PeerServer<I> {
    type ExchangeStream = ReceiverStream<Result<ExchangeResponse, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let connection = request.extensions().get::<ConnectionInfo>().copied();
        let mut incoming = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let proven = connection.map_or(Identified::Unproven, |connection| connection.caller);
        let (from, version) = self.verify(first, proven).inspect_err(|refusal| {
            let from = connection.map_or_else(String::new, |connection| {
                format!(" from {}", connection.address.ip())
            });
            self.log.warn(format!(
                "a call{from} on the peers' port was refused: {}",
                refusal.message()
            ));
        })?;
        let (responses, outgoing) = mpsc::channel(1);
        let welcome = ExchangeResponse {
            version,
            replica_id: self.me.replica.0,
            store_uuid: self.me.store.0.as_bytes().to_vec().into(),
        };
        // There is room for one, and nobody has put anything there.
        let _ = responses.try_send(Ok(welcome));
        self.admit(from, incoming, responses)?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl<I: Inbox + ?Sized> PeerServer<I> {
    /// Who calls, and in which version of the protocol; or why not.
    fn verify(
        &self,
        first: Option<ExchangeRequest>,
        proven: Identified,
    ) -> Result<(PeerId, u32), Status> {
        let Some(Frame::Hello(hello)) = first.and_then(|request| request.frame) else {
            return Err(Status::invalid_argument("a call begins with a hello"));
        };
        let version = agreed_version(&hello, OLDEST_VERSION..=NEWEST_VERSION)?;
        if hello.cluster_id != self.me.cluster.0.as_bytes()[..] {
            return Err(Status::permission_denied(format!(
                "this is a replica of cluster {}, and the caller is of another; check the peers' addresses, and that both \
                 replicas read the same cluster file",
                self.me.cluster
            )));
        }
        if hello.to_replica_id != self.me.replica.0 {
            return Err(Status::permission_denied(format!(
                "this is replica {}, and the caller wants replica {}; check the peers' addresses",
                self.me.replica, hello.to_replica_id
            )));
        }
        let from = ReplicaId(hello.from_replica_id);
        let Ok(store) = Uuid::from_slice(&hello.from_store_uuid) else {
            return Err(Status::invalid_argument(
                "the caller does not say which disk it has",
            ));
        };
        if !proven.allows(from) {
            return Err(Status::permission_denied(format!(
                "the caller says that it is replica {from}, and its certificate is of another; give each replica its own"
            )));
        }
        if from == self.me.replica || !self.peers.lock().contains_key(&from) {
            return Err(Status::permission_denied(format!(
                "replica {from} is not a peer in the configuration of replica {}",
                self.me.replica
            )));
        }
        let from = PeerId {
            replica: from,
            store: StoreUuid(store),
        };
        Ok((from, version))
    }

    /// Delivers what the peer says from now on, in the place of any earlier call of the same peer.
    fn admit(
        &self,
        from: PeerId,
        mut incoming: Streaming<ExchangeRequest>,
        responses: mpsc::Sender<Result<ExchangeResponse, Status>>,
    ) -> Result<(), Status> {
        let mut peers = self.peers.lock();
        let Some(peer) = peers.get_mut(&from.replica) else {
            return Err(Status::permission_denied("the peer was just removed"));
        };
        peer.calls += 1;
        let call = peer.calls;
        let (inbox, log, shared) = (
            Arc::clone(&self.inbox),
            Arc::clone(&self.log),
            Arc::clone(&self.peers),
        );
        let task = tokio::spawn(async move {
            loop {
                match incoming.message().await {
                    Ok(Some(request)) => deliver(&*inbox, &log, from, request),
                    Ok(None) => break,
                    Err(status) => {
                        debug!(%from, %status, "a peer's call broke");
                        break;
                    }
                }
            }
            shared.ended(from.replica, call);
            // Until here the open stream of responses tells the peer that this side lives.
            drop(responses);
        });
        if let Some((_, earlier)) = peer.inbound.replace((call, task.abort_handle())) {
            earlier.abort();
        }
        info!(%from, "a peer connected");
        if !peer.queue.is_open() {
            peer.nudge.notify_one();
        }
        Ok(())
    }
}

fn deliver<I: Inbox + ?Sized>(inbox: &I, log: &Once, from: PeerId, request: ExchangeRequest) {
    match request.frame {
        Some(Frame::Message(message)) => match wire::unpack(message) {
            Ok(message) => inbox.received(from, message),
            Err(error) => log.warn(format!("a message from replica {from} is ignored: {error}")),
        },
        Some(Frame::Hello(_)) | None => log.warn(format!(
            "a frame from replica {from} of an unknown kind is ignored"
        )),
    }
}

/// The newest version that both sides speak.
fn agreed_version(hello: &Hello, mine: RangeInclusive<u32>) -> Result<u32, Status> {
    let version = hello.newest_version.min(*mine.end());
    if version >= hello.oldest_version && mine.contains(&version) {
        return Ok(version);
    }
    Err(Status::failed_precondition(format!(
        "this replica speaks versions {} to {} of the protocol, the caller {} to {}; bring the older one up to date",
        mine.start(),
        mine.end(),
        hello.oldest_version,
        hello.newest_version
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        for (caller, mine, agreed) in [
            (1..=1, 1..=1, Some(1)),
            (1..=3, 1..=2, Some(2)),
            (1..=2, 2..=5, Some(2)),
            (3..=4, 1..=2, None),
            (1..=2, 3..=4, None),
        ] {
            let hello = Hello {
                oldest_version: *caller.start(),
                newest_version: *caller.end(),
                ..Hello::default()
            };
            assert_eq!(agreed_version(&hello, mine).ok(), agreed, "{caller:?}");
        }
    }
}
