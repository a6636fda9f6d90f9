//! A running replica, for its owner.

use std::cmp::Reverse;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use chat_replication::driver::{Running, start};
use chat_replication::grpc::{GrpcSettings, GrpcTransport, Security, Unsecured};
use chat_replication::handle::Handle;
use chat_replication::status::{Role, Status};
use chat_replication::timed_store::TimedStore;
use chat_replication::types::ReplicaId;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    DRAIN, Files, Means, PEERS_WORDS, ServeError, ServerConfig, Serving, finish, node,
    none_under_way, open_files, settings,
};
use crate::app::proxy::Proxy;
use crate::config::{ClusterConfig, Limits, Registration, ReplicaConfig};
use crate::edge::gate::Gate;
use crate::edge::listen::Access;
use crate::edge::tls::{self, PeerSecurity, Tls};
use crate::edge::{self, listen};
use crate::engine::words::{Subject, Told};
use crate::engine::{self, Orders};
use crate::grpc::Services;
use crate::ops::admin;
use crate::ops::condition::Conditions;
use crate::ops::{self, Metrics, Page, Readiness, serve_page};
use crate::store::state::Response;

/// How long a leader that goes away waits for another one to take over.
const HAND_OVER: Duration = Duration::from_secs(3);

/// A running replica. The program `chat-server run` is nothing but one of these.
///
/// Dropped, it ends at once, as a crash would end it: what was acknowledged is on the disk.
pub struct Server {
    me: ReplicaId,
    client_address: SocketAddr,
    peer_address: SocketAddr,
    cluster: ClusterConfig,
    limits: watch::Sender<Limits>,
    registration: watch::Sender<Registration>,
    handle: Handle<Response>,
    running: Running,
    /// True once nobody new is to come.
    drain: watch::Sender<bool>,
    /// True once it is to go away.
    leave: watch::Sender<bool>,
    readiness: watch::Receiver<Readiness>,
    metrics_address: Option<SocketAddr>,
    page: Option<AbortOnDrop>,
    certificates: Option<Certificates>,
    under_way: Arc<AtomicUsize>,
    administration: Option<JoinHandle<()>>,
    serving: Serving,
}

/// What encrypts its connections, and is replaced while it runs.
struct Certificates {
    again: Arc<Notify>,
    _watching: AbortOnDrop,
}

/// A replica that is to start.
pub struct ServerBuilder {
    config: ServerConfig,
    clients: Option<TcpListener>,
    peers: Option<TcpListener>,
}

impl Server {
    /// A replica that is to start, with the program's defaults.
    pub fn builder(config: ServerConfig) -> ServerBuilder {
        ServerBuilder {
            config,
            clients: None,
            peers: None,
        }
    }

    /// Which replica of its cluster it is.
    pub fn id(&self) -> ReplicaId {
        self.me
    }

    /// Where it listens for clients.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where it listens for other replicas.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Where `/livez`, `/readyz` and `/metrics` are, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Waits until clients are to be sent here: it is in a view and has caught up. Never resolves once it goes away.
    pub async fn ready(&self) {
        let mut readiness = self.readiness.clone();
        let ready = readiness.wait_for(|now| *now == Readiness::Ready).await;
        if ready.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Where it and its peers stand.
    pub fn status(&self) -> Arc<Status> {
        self.handle.status()
    }

    /// Reports each change of the status. Changes in quick succession are seen as one.
    pub fn status_changes(&self) -> watch::Receiver<Arc<Status>> {
        self.handle.status_changes()
    }

    /// Takes over what of a new configuration can change while the replica runs: its limits and who may register, but
    /// for the cost of hashing and what open connections were told; and what the files of certificates and keys hold by now. Names what needs a restart.
    pub fn reload(&mut self, new: &ClusterConfig) -> Vec<&'static str> {
        let old = &self.cluster;
        let (of_old, of_new) = (old.replica(self.me), new.replica(self.me));
        let hashing = |limits: &Limits| (limits.hash_workers, limits.hash_cost);
        let calls = |limits: &Limits| {
            (
                limits.calls_per_connection,
                limits.header_bytes,
                limits.request_bytes,
            )
        };
        let waits: Vec<_> = [
            (
                "cluster",
                (old.id, old.incarnation, old.mode, old.timing, old.log)
                    != (new.id, new.incarnation, new.mode, new.timing, new.log),
            ),
            (
                "limits.hash_*",
                hashing(&old.limits) != hashing(&new.limits),
            ),
            (
                "limits.calls_per_connection, limits.header_bytes or limits.request_bytes",
                calls(&old.limits) != calls(&new.limits),
            ),
            ("tls", old.tls != new.tls),
            ("logging.format", old.logging.format != new.logging.format),
            ("replica", of_old != of_new),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
        self.limits.send_replace(new.limits);
        self.cluster.limits = new.limits;
        self.registration.send_replace(new.registration);
        self.cluster.registration = new.registration;
        if let Some(certificates) = &self.certificates {
            certificates.again.notify_one();
        }
        waits
    }

    /// Waits until it ends on its own, which it does where its disk fails, and says why. [`Server::close`] is then what is
    /// left to do.
    pub async fn ended(&self) -> ServeError {
        match self.running.ended().await {
            Ok(()) => ServeError::Ended,
            Err(error) => ServeError::Replica(error),
        }
    }

    /// Stops it so that clients notice as little as can be: hands leadership over, sends subscribers elsewhere, answers
    /// calls under way, and writes the state down. Takes a few seconds at most.
    ///
    /// # Errors
    ///
    /// The replica's disk failed before it was done. What was acknowledged is safe nevertheless.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        info!("stopping");
        self.leave.send_replace(true);
        hand_over(&self.handle).await;
        self.drain.send_replace(true);
        if let Some(administration) = self.administration {
            // It takes its socket away, which must be over before another process can have the folder.
            let _ = administration.await;
        }
        // Who waits for an answer gets it; then the others go on at once, however long clients hold on to their connections.
        let _ = timeout(DRAIN, none_under_way(&self.under_way)).await;
        let stopped = self.running.stop().await.map_err(ServeError::Replica);
        finish(self.serving).await;
        drop(self.page);
        if stopped.is_ok() {
            info!("stopped");
        }
        stopped
    }

    /// Closes what is left of a replica that has ended on its own.
    pub async fn close(self) {
        self.drain.send_replace(true);
        if let Some(administration) = self.administration {
            let _ = administration.await;
        }
        finish(self.serving).await;
    }

    /// Ends it at once, as a crash would. Its files are closed then.
    pub async fn kill(self) {
        self.serving.abort();
        // It was to end, and how does not matter.
        let _ = self.running.halt().await;
        self.drain.send_replace(true);
        if let Some(administration) = self.administration {
            let _ = administration.await;
        }
        let _ = self.serving.await;
    }
}

impl ServerBuilder {
    /// Takes this listener for clients instead of binding `client_listen`; it may have any port, and `client_address` must
    /// then say which.
    #[must_use]
    pub fn client_listener(mut self, listener: TcpListener) -> ServerBuilder {
        self.clients = Some(listener);
        self
    }

    /// Takes this listener for peers instead of binding `peer_listen`; it may have any port, and `peer_address` must then
    /// say which.
    #[must_use]
    pub fn peer_listener(mut self, listener: TcpListener) -> ServerBuilder {
        self.peers = Some(listener);
        self
    }

    /// Starts the replica. It listens and has read its files by then; whether it serves already depends on the others,
    /// which [`Server::status`] tells.
    ///
    /// # Errors
    ///
    /// Why it cannot start.
    pub async fn start(self) -> Result<Server, ServeError> {
        let ServerBuilder {
            config,
            clients,
            peers,
        } = self;
        let replica = replica(&config)?;
        let secured = match &config.cluster.tls {
            Some(tls) => {
                let files = tls.files(replica.id);
                Some(Arc::new(Tls::load(files, config.cluster.id, replica.id)?))
            }
            None => None,
        };
        let access = listen::access(config.exposure, secured.as_deref());
        // Ports first: whoever has them may have the files as well, and a port says more plainly who that is.
        let address = &replica.client_listen;
        let clients: tokio::net::TcpListener =
            listen::bind("clients", "client_listen", address, access, clients).await?;
        let address = &replica.peer_listen;
        let peers: TcpListener =
            listen::bind("peers", "peer_listen", address, access, peers).await?;
        let lost = |error: std::io::Error| ServeError::Panicked(error.to_string());
        let client_address = clients.local_addr().map_err(lost)?;
        let peer_address = peers.local_addr().map_err(lost)?;
        let (page_listener, metrics_address) = match &replica.metrics_listen {
            Some(address) => {
                let key = "metrics_listen";
                // It shows figures only, so that naming another address there is permission enough.
                let listener: tokio::net::TcpListener =
                    listen::bind("metrics", key, address, Access::Anywhere, None).await?;
                let address = listener.local_addr().map_err(lost)?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        let metrics = Metrics::new();
        tokio::spawn(listen::warn_unresolvable(
            config.cluster.clone(),
            replica.id,
        ));
        let Files {
            store,
            machine,
            hub,
            state,
        } = open_files(&config.cluster, replica, Arc::clone(&metrics)).await?;

        let (limits, live) = watch::channel(config.cluster.limits);
        let registration = watch::Sender::new(config.cluster.registration);
        let (presences, of_presence) = mpsc::channel::<Told>(PEERS_WORDS);
        let (orders, of_orders) = mpsc::channel::<Told>(PEERS_WORDS);
        let (conditions, of_conditions) = mpsc::channel::<Told>(PEERS_WORDS);
        let seeds = seeds(&config.cluster);
        let options = settings::options(&config.cluster);
        let security: Arc<dyn Security> = match &secured {
            Some(tls) => Arc::new(PeerSecurity(Arc::clone(tls))),
            None => Arc::new(Unsecured),
        };
        let log_write = metrics.log_write.clone();
        let store = TimedStore::new(store, move |took| log_write.observe(took.as_secs_f64()));
        let started = spawn_blocking(move || {
            start(
                store,
                machine,
                options,
                |inbox, me| {
                    let settings = GrpcSettings::default();
                    GrpcTransport::start_secured(peers, me, settings, security, inbox, &seeds)
                },
                move |from, sealed| {
                    // What does not fit is told again.
                    let _ = match Subject::open(sealed) {
                        Some((Subject::Presence, word)) => presences.try_send((from, word)),
                        Some((Subject::Orders, word)) => orders.try_send((from, word)),
                        Some((Subject::Condition, word)) => conditions.try_send((from, word)),
                        None => Ok(()),
                    };
                },
            )
        });
        let (handle, running) = started.await.map_err(ServeError::panicked)??;

        let (drain, draining) = watch::channel(false);
        let orders = Orders::new(handle.clone());
        tokio::spawn(Arc::clone(&orders).run(of_orders));
        tokio::spawn(engine::warn_of_differences(
            config.cluster.clone(),
            handle.status_changes(),
        ));
        tokio::spawn(ops::tell_of_waiting(handle.status_changes()));
        let conditions = Conditions::new(
            handle.clone(),
            replica.data_dir.clone(),
            config.cluster.clone(),
            Box::new({
                let secured = secured.clone();
                move || secured.as_ref().map(|tls| tls.expires_at())
            }),
            live.clone(),
            metrics.disk_low.clone(),
        );
        tokio::spawn(Arc::clone(&conditions).run(of_conditions));
        let means = Means {
            state: state.clone(),
            hub,
            proxy: Proxy::new(secured.clone()),
            metrics: Arc::clone(&metrics),
            limits: live.clone(),
            registration: registration.subscribe(),
            conditions: Arc::clone(&conditions),
            draining,
        };
        let node = node(&config, handle.clone(), means, of_presence).map_err(lost)?;
        let administration = admin::serve(&replica.data_dir, Arc::clone(&node), orders);
        let (leave, leaves) = watch::channel(false);
        let readiness = ops::follow(&handle, leaves);
        tokio::spawn(count_views(handle.status_changes(), Arc::clone(&metrics)));
        let page = page_listener.map(|listener| {
            let page = Page {
                handle: handle.clone(),
                state,
                metrics,
                readiness: readiness.clone(),
                conditions,
            };
            AbortOnDrop(serve_page(listener, page))
        });
        info!(
            "replica {} of cluster {} listens for clients on {} and for peers on {}; its data is in {}",
            replica.id,
            config.cluster.id,
            client_address,
            peer_address,
            replica.data_dir.display()
        );
        let under_way = Arc::clone(&node.under_way);
        let services = Services::new(Arc::clone(&node));
        let messages = services.messages();
        let routes = services
            .routes()
            .add_service(ops::health(readiness.clone()).await)
            .add_service(ops::reflection());
        let gate = Gate::new(messages, routes, node);
        let serving = edge::serve_clients(clients, secured.clone(), live, gate, drain.subscribe());
        Ok(Server {
            me: replica.id,
            client_address,
            peer_address,
            cluster: config.cluster.clone(),
            limits,
            registration,
            handle,
            running,
            drain,
            leave,
            readiness,
            metrics_address,
            page,
            certificates: secured.map(Certificates::watch),
            under_way,
            administration,
            serving,
        })
    }
}

impl Certificates {
    fn watch(tls: Arc<Tls>) -> Certificates {
        let again = Arc::new(Notify::new());
        let watching = tokio::spawn(tls::watch(tls, Arc::clone(&again)));
        Certificates {
            again,
            _watching: AbortOnDrop(watching),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("id", &self.me)
            .field("client_address", &self.client_address)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("replica", &self.config.replica)
            .finish_non_exhaustive()
    }
}

fn replica(config: &ServerConfig) -> Result<&ReplicaConfig, ServeError> {
    let found = config.cluster.replica(config.replica);
    found.ok_or_else(|| ServeError::UnknownReplica {
        id: config.replica,
        known: config
            .cluster
            .replicas
            .iter()
            .map(|replica| replica.id.to_string())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn seeds(cluster: &ClusterConfig) -> Vec<(ReplicaId, String)> {
    let replicas = cluster.replicas.iter();
    replicas
        .map(|one| (one.id, one.peer_address.to_string()))
        .collect()
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts the views that the replica comes to be in, until it ends.
async fn count_views(mut changes: watch::Receiver<Arc<Status>>, metrics: Arc<Metrics>) {
    let mut counted = None;
    loop {
        let status = Arc::clone(&changes.borrow_and_update());
        if status.serves() && counted != Some(status.epoch) {
            counted = Some(status.epoch);
            metrics.view_changes.inc();
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Lets the most advanced follower lead, so that nobody has to find out that this leader is gone.
async fn hand_over(handle: &Handle<Response>) {
    let status = handle.status();
    if status.role != Role::Leader {
        return;
    }
    let followers = status
        .peers
        .iter()
        .filter(|peer| peer.reachable && status.view.contains(&peer.id));
    let Some(next) = followers.max_by_key(|peer| (peer.verified, Reverse(peer.id))) else {
        return;
    };
    let mut changes = handle.status_changes();
    let handed = async {
        handle.transfer_leadership(next.id).await?;
        // The replica ending on its own is as good.
        let _ = changes
            .wait_for(|status| status.role != Role::Leader && status.leader.is_some())
            .await;
        Ok::<(), chat_replication::handle::OrderError>(())
    };
    match timeout(HAND_OVER, handed).await {
        Ok(Ok(())) => info!("replica {} takes over", next.id),
        Ok(Err(error)) => warn!("leadership is not handed over: {error}"),
        Err(_) => warn!(
            "replica {} has not taken over in time; the others choose a leader once this one is gone",
            next.id
        ),
    }
}
