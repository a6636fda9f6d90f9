//! Running one replica, from its files to its last word.

mod accept;
mod error;
mod listen;
mod prompt;
mod settings;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_replication::driver::{Running, start};
use chat_replication::grpc::{GrpcSettings, GrpcTransport, Security, Unsecured};
use chat_replication::handle::Handle;
use chat_replication::redb_store::RedbStore;
use chat_replication::types::ReplicaId;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tonic::transport::Server;
use tracing::{info, warn};

use self::accept::Room;
pub use self::error::ServeError;
pub use self::listen::Exposure;
pub(crate) use self::prompt::Prompt;
use crate::admin::{self, Orders};
use crate::api::Services;
use crate::config::{ClusterConfig, Limits, ReplicaConfig};
use crate::hashing::Hashing;
use crate::hub::Hub;
use crate::node::Node;
use crate::presence::{self, Presence};
use crate::proxy::Proxy;
use crate::state::{ChatStateMachine, Response, StateReader, StateSettings};
use crate::tls::{self, PeerSecurity, Tls};
use crate::words::{Subject, Told};
use crate::{housekeeping, leadership};

/// What runs: one replica of a cluster.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// Which of its replicas.
    pub replica: ReplicaId,
    /// Who may reach it.
    pub exposure: Exposure,
}

/// Words between peers' applications that wait to be heard; what comes on top is told again.
const PEERS_WORDS: usize = 1024;
/// How long calls under way may take once the replica is to stop.
const DRAIN: Duration = Duration::from_secs(1);
/// How long connections may then take to close.
const FAREWELL: Duration = Duration::from_secs(1);
/// A connection without a sign of life for this long is closed, and its subscribers are no longer online.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest HTTP/2 frame, the smallest that must be allowed.
const FRAME: u32 = 16 << 10;
/// A call that is neither answered nor a stream by then has a caller who does not send it whole.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Runs one replica until `shutdown` resolves, then stops it cleanly: subscribers are sent elsewhere, calls under way are
/// answered, and the state is written down.
///
/// # Errors
///
/// Why the replica could not start, or why it had to stop on its own.
pub async fn serve(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let replica =
        config
            .cluster
            .replica(config.replica)
            .ok_or_else(|| ServeError::UnknownReplica {
                id: config.replica,
                known: config
                    .cluster
                    .replicas
                    .iter()
                    .map(|replica| replica.id.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
    let secured = match &config.cluster.tls {
        Some(files) => {
            let tls = Tls::load(files.files(replica.id), config.cluster.id, replica.id)?;
            Some(Arc::new(tls))
        }
        None => None,
    };
    let access = listen::access(&config, secured.as_deref());
    // Ports first: whoever has them may have the files as well, and a port says more plainly who that is.
    let clients = listen::bind("clients", "client_listen", &replica.client_listen, access).await?;
    let peers = listen::bind("peers", "peer_listen", &replica.peer_listen, access).await?;
    tokio::spawn(listen::warn_unresolvable(
        config.cluster.clone(),
        replica.id,
    ));
    let Files {
        store,
        machine,
        hub,
        state,
    } = open_files(&config.cluster, replica).await?;

    let (presences, of_presence) = mpsc::channel::<Told>(PEERS_WORDS);
    let (orders, of_orders) = mpsc::channel::<Told>(PEERS_WORDS);
    let seeds = config
        .cluster
        .replicas
        .iter()
        .map(|one| (one.id, one.peer_address.to_string()))
        .collect::<Vec<_>>();
    let options = settings::options(&config.cluster);
    let security: Arc<dyn Security> = match &secured {
        Some(tls) => Arc::new(PeerSecurity(Arc::clone(tls))),
        None => Arc::new(Unsecured),
    };
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
                    None => Ok(()),
                };
            },
        )
    });
    let (handle, running) = started.await.map_err(ServeError::panicked)??;

    let (drain, draining) = watch::channel(false);
    let orders = Orders::new(handle.clone());
    tokio::spawn(Arc::clone(&orders).run(of_orders));
    tokio::spawn(admin::warn_of_differences(
        config.cluster.clone(),
        config.replica,
        handle.status_changes(),
    ));
    let administration = admin::serve(&replica.data_dir, handle.clone(), orders, drain.subscribe());
    let proxy = Proxy::new(secured.clone());
    let watching = secured.clone().map(|tls| tokio::spawn(tls::watch(tls)));
    let node = node(&config, handle, state, hub, proxy, draining, of_presence);
    info!(
        "replica {} of cluster {} listens for clients on {} and for peers on {}; its data is in {}",
        replica.id,
        config.cluster.id,
        replica.client_listen,
        replica.peer_listen,
        replica.data_dir.display()
    );
    let under_way = Arc::clone(&node.under_way);
    let limits = config.cluster.limits;
    let serving = serve_clients(
        clients,
        secured,
        limits,
        Services::new(node),
        drain.subscribe(),
    );
    let outcome = until_stopped(&running, shutdown).await;
    drain.send_replace(true);
    if let Some(administration) = administration {
        // It takes its socket away, which must be over before another process can have the folder.
        let _ = administration.await;
    }
    let stopped = match outcome {
        Ok(()) => {
            // Who waits for an answer gets it; then the others take over at once, however long clients hold on to their
            // connections.
            let _ = timeout(DRAIN, none_under_way(&under_way)).await;
            running.stop().await.map_err(ServeError::Replica)
        }
        Err(error) => Err(error),
    };
    finish(serving).await;
    if let Some(watching) = watching {
        watching.abort();
    }
    if stopped.is_ok() {
        info!("stopped");
    }
    stopped
}

/// What of a replica lies on the disk, and who listens to it.
struct Files {
    store: RedbStore,
    machine: ChatStateMachine,
    hub: Arc<Hub>,
    state: StateReader,
}

async fn open_files(cluster: &ClusterConfig, replica: &ReplicaConfig) -> Result<Files, ServeError> {
    let (id, cluster, folder) = (replica.id, cluster.id, replica.data_dir.clone());
    let opened = spawn_blocking(move || -> Result<Files, ServeError> {
        let store = RedbStore::open(&folder, cluster, id)?;
        let hub: Arc<std::sync::OnceLock<Arc<Hub>>> = Arc::default();
        let publish = {
            let hub = Arc::clone(&hub);
            Box::new(move |batch| {
                if let Some(hub) = hub.get() {
                    hub.publish(batch);
                }
            })
        };
        let machine =
            ChatStateMachine::open(&folder, cluster, id, StateSettings::default(), publish)?;
        let state = machine.reader();
        let hub = Arc::clone(hub.get_or_init(|| Arc::new(Hub::new(state.applied()))));
        Ok(Files {
            store,
            machine,
            hub,
            state,
        })
    });
    opened.await.map_err(ServeError::panicked)?
}

fn node(
    config: &ServerConfig,
    handle: Handle<Response>,
    state: StateReader,
    hub: Arc<Hub>,
    proxy: Proxy,
    draining: watch::Receiver<bool>,
    told: mpsc::Receiver<Told>,
) -> Arc<Node> {
    let presence = Arc::new(Presence::default());
    tokio::spawn(presence::run(Arc::clone(&presence), handle.clone(), told));
    let limits = config.cluster.limits;
    let node = Arc::new(Node {
        cluster: config.cluster.id,
        me: config.replica,
        leadership: leadership::follow(&handle, Arc::clone(&presence)),
        handle,
        state,
        hub,
        presence,
        hashing: Hashing::new(limits.hash_workers, limits.hash_cost),
        proxy,
        limits,
        draining,
        under_way: Arc::default(),
    });
    tokio::spawn(housekeeping::run(Arc::clone(&node)));
    node
}

type Serving = JoinHandle<Result<(), tonic::transport::Error>>;

fn serve_clients(
    listener: tokio::net::TcpListener,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    services: Services,
    mut draining: watch::Receiver<bool>,
) -> Serving {
    let room = Room {
        connections: limits.max_connections,
        per_address: limits.connections_per_address,
    };
    let incoming = accept::incoming(listener, tls, room);
    let stop = async move {
        // Gone or true, it is over.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    let serving = Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(limits.calls_per_connection)
        .http2_max_header_list_size(limits.header_bytes)
        .max_frame_size(FRAME)
        .timeout(LONGEST_CALL)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_routes(services.routes())
        .serve_with_incoming_shutdown(incoming, stop);
    tokio::spawn(serving)
}

/// Waits until the replica is to stop (`Ok`), or has stopped on its own.
async fn until_stopped(
    running: &Running,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    tokio::select! {
        () = shutdown => {
            info!("stopping");
            Ok(())
        }
        ended = running.ended() => Err(match ended {
            Ok(()) => ServeError::Ended,
            Err(error) => ServeError::Replica(error),
        }),
    }
}

async fn none_under_way(under_way: &AtomicUsize) {
    while under_way.load(Ordering::Relaxed) > 0 {
        sleep(Duration::from_millis(2)).await;
    }
}

/// Gives connections a moment to close, so that subscribers hear where they stand.
async fn finish(mut serving: Serving) {
    match timeout(FAREWELL, &mut serving).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => warn!(%error, "the listener for clients ended"),
        Ok(Err(error)) => warn!(%error, "the listener for clients ended"),
        Err(_) => serving.abort(),
    }
}
