//! Messages between replicas over gRPC: the only part of this crate that knows tonic.
//!
//! Each replica keeps one call open to every peer, and what it says goes through that one. The call begins with a hello
//! that names cluster, caller and callee; nobody who fails to do so is listened to. Its end is noticed at once, and the
//! attempt to connect again tells whether the peer's process is gone (refused) or only silent.
//!
//! The transport's tasks run on the runtime that it is made in, which is that of the replica's own thread: a message that
//! came is in the replica's hands, and one that it sends on its way, without a change of thread.

mod accept;
mod dial;
mod link;
mod once;
mod proto;
mod queue;
mod security;
mod server;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tonic::transport::Server;
use tracing::error;

use self::link::Link;
use self::once::Once;
use self::proto::peer_service_server::PeerServiceServer;
use self::queue::{Limits, Queue};
pub use self::security::{Accepted, Connection, Identified, Securing, Security, Unsecured};
use self::server::{Peer, PeerServer, Peers};
#[cfg(fuzzing)]
pub use self::wire::fuzz_message;
use crate::message::Message;
use crate::store::Identity;
use crate::transport::{Inbox, Transport};
use crate::types::{Member, ReplicaId, StoreUuid};

/// The versions of the protocol between peers that this code speaks.
const OLDEST_VERSION: u32 = 1;
const NEWEST_VERSION: u32 = 1;

/// Room for what gRPC and the envelope add to a message.
const ENVELOPE_BYTES: usize = 4096;

/// The headers of a call, which have nothing to say.
const HEADER_BYTES: u32 = 8192;
/// A caller without a sign of life for this long is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a transport may hold on to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrpcSettings {
    /// The largest message, in bytes; 16 MiB by default. Larger ones are neither sent nor taken.
    pub max_message_bytes: usize,
    /// Bytes that may wait for one peer; 32 MiB by default. What comes on top is dropped.
    pub queue_bytes: usize,
    /// Messages that may wait for one peer; 16,384 by default.
    pub queue_messages: usize,
}

impl Default for GrpcSettings {
    fn default() -> GrpcSettings {
        GrpcSettings {
            max_message_bytes: 16 << 20,
            queue_bytes: 32 << 20,
            queue_messages: 16_384,
        }
    }
}

/// The transport could not be started.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The address for peers cannot be listened on.
    #[error("cannot listen for peers on {address}: {reason}")]
    Listen {
        /// HOST:PORT.
        address: String,
        /// What the system said, and what to do.
        reason: String,
    },
    /// The system refused a thread or a socket.
    #[error("cannot start the connections to peers: {0}")]
    Start(#[from] io::Error),
}

/// A [`Transport`] over gRPC. Dropped, it neither sends nor delivers any more; its sockets close with the runtime.
pub struct GrpcTransport {
    me: Identity,
    settings: GrpcSettings,
    security: Arc<dyn Security>,
    local_address: SocketAddr,
    peers: Arc<Peers>,
    links: BTreeMap<ReplicaId, Outbound>,
    log: Arc<Once>,
    inbox: Arc<dyn Inbox>,
    runtime: Handle,
    serving: Option<AbortHandle>,
}

/// The near end of a link.
struct Outbound {
    address: watch::Sender<String>,
    queue: Arc<Queue>,
    task: AbortHandle,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.queue.close();
        self.task.abort();
    }
}

impl GrpcTransport {
    /// Listens on HOST:PORT, for [`GrpcTransport::start`]. Port 0 is any free one.
    pub fn bind(address: &str) -> Result<TcpListener, TransportError> {
        TcpListener::bind(address).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another process listens there; stop it or choose another peer_listen"
                        .to_owned()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have the address; choose another peer_listen".to_owned()
                }
                io::ErrorKind::InvalidInput => "it is not HOST:PORT".to_owned(),
                _ => error.to_string(),
            };
            TransportError::Listen {
                address: address.to_owned(),
                reason,
            }
        })
    }

    /// As [`GrpcTransport::start_secured`], over connections as they are.
    pub fn start(
        listener: TcpListener,
        me: Identity,
        settings: GrpcSettings,
        inbox: Arc<dyn Inbox>,
        seeds: &[(ReplicaId, String)],
    ) -> Result<GrpcTransport, TransportError> {
        let security = Arc::new(Unsecured);
        GrpcTransport::start_secured(listener, me, settings, security, inbox, seeds)
    }

    /// Serves peers on the listener and connects to those of `seeds`, each an id and HOST:PORT, until
    /// [`Transport::peers_changed`] says otherwise. An entry for this replica itself is skipped. What `security` refuses
    /// says nothing that counts.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start_secured(
        listener: TcpListener,
        me: Identity,
        settings: GrpcSettings,
        security: Arc<dyn Security>,
        inbox: Arc<dyn Inbox>,
        seeds: &[(ReplicaId, String)],
    ) -> Result<GrpcTransport, TransportError> {
        let local_address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let peers = Arc::new(Peers::default());
        let log = Arc::new(Once::default());
        let mut transport = GrpcTransport {
            me,
            settings,
            security,
            local_address,
            peers: Arc::clone(&peers),
            links: BTreeMap::new(),
            log: Arc::clone(&log),
            inbox: Arc::clone(&inbox),
            runtime: Handle::current(),
            serving: None,
        };
        // Peers are known before the first of them can call.
        transport.set_peers(seeds);
        let server = PeerServer {
            me,
            peers,
            log,
            inbox,
        };
        transport.serving = Some(transport.serve(listener, server)?);
        Ok(transport)
    }

    /// Where peers reach this transport.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    fn serve(
        &self,
        listener: TcpListener,
        server: PeerServer<dyn Inbox>,
    ) -> Result<AbortHandle, TransportError> {
        let incoming = accept::incoming(
            tokio::net::TcpListener::from_std(listener)?,
            Arc::clone(&self.security),
            Arc::clone(&self.log),
        );
        let service = PeerServiceServer::new(server)
            .max_decoding_message_size(self.settings.max_message_bytes + ENVELOPE_BYTES);
        let serving = Server::builder()
            .initial_stream_window_size(dial::STREAM_WINDOW)
            .initial_connection_window_size(dial::CONNECTION_WINDOW)
            .max_concurrent_streams(16)
            .http2_max_header_list_size(HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .add_service(service)
            .serve_with_incoming(incoming);
        let serving = self.runtime.spawn(async move {
            if let Err(error) = serving.await {
                error!(%error, "the listener for peers ended");
            }
        });
        Ok(serving.abort_handle())
    }

    fn set_peers(&mut self, peers: &[(ReplicaId, String)]) {
        let wanted: BTreeSet<ReplicaId> = peers.iter().map(|(id, _)| *id).collect();
        self.links.retain(|id, _| wanted.contains(id));
        self.peers.lock().retain(|id, _| wanted.contains(id));
        for (id, address) in peers {
            if *id == self.me.replica {
                continue;
            }
            match self.links.get(id) {
                Some(link) => {
                    link.address.send_if_modified(|known| {
                        let differs = known != address;
                        known.clone_from(address);
                        differs
                    });
                }
                None => self.add_peer(*id, address.clone()),
            }
        }
    }

    fn add_peer(&mut self, id: ReplicaId, address: String) {
        let limits = Limits {
            bytes: self.settings.queue_bytes,
            messages: self.settings.queue_messages,
        };
        let queue = Arc::new(Queue::new(limits));
        let nudge = Arc::new(Notify::new());
        let (address, receiver) = watch::channel(address);
        self.peers
            .lock()
            .insert(id, Peer::new(Arc::clone(&nudge), Arc::clone(&queue)));
        let link = Link {
            me: self.me,
            peer: id,
            address: receiver,
            nudge,
            queue: Arc::clone(&queue),
            security: Arc::clone(&self.security),
            max_message_bytes: self.settings.max_message_bytes + ENVELOPE_BYTES,
            log: Arc::clone(&self.log),
            inbox: Arc::clone(&self.inbox),
        };
        let task = self.runtime.spawn(link.run()).abort_handle();
        self.links.insert(
            id,
            Outbound {
                address,
                queue,
                task,
            },
        );
    }
}

impl Transport for GrpcTransport {
    fn send(&mut self, to: ReplicaId, message: Message) {
        let Some(link) = self.links.get(&to).filter(|link| link.queue.is_open()) else {
            return;
        };
        let packed = wire::pack(message);
        let size = wire::size(&packed);
        if size > self.settings.max_message_bytes {
            self.log.warn(format!(
                "a message to replica {to} is larger than {} bytes and is not sent; raise the limit on all replicas",
                self.settings.max_message_bytes
            ));
            return;
        }
        link.queue.push(packed);
    }

    fn peers_changed(&mut self, peers: &[Member]) {
        let peers: Vec<_> = peers
            .iter()
            .map(|peer| (peer.id, peer.peer_address.clone()))
            .collect();
        self.set_peers(&peers);
    }

    /// Who calls says in the hello which disk it has, so each call is made anew.
    fn renamed(&mut self, store: StoreUuid) {
        self.me.store = store;
        let links = std::mem::take(&mut self.links).into_iter();
        let peers: Vec<_> = links
            .map(|(id, link)| (id, link.address.borrow().clone()))
            .collect();
        self.peers.lock().clear();
        self.set_peers(&peers);
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        // Their calls end with them.
        self.peers.lock().clear();
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport")
            .field("me", &self.me)
            .field("local_address", &self.local_address)
            .field("peers", &self.links.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
