//! Running one replica, from its files to its last word.

mod cluster;
mod error;
mod replica;
mod settings;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_replication::disk_store::DiskStore;
use chat_replication::handle::Handle;
use chat_replication::store::StoreError;
use chat_replication::types::{ClusterId, ReplicaId};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::warn;

pub use self::cluster::{Cluster, ClusterBuilder, ClusterError};
pub use self::error::ServeError;
pub use self::replica::{Server, ServerBuilder};
use crate::app::Barriers;
use crate::app::hashing::Hashing;
use crate::app::housekeeping;
use crate::app::housekeeping::Replicas;
use crate::app::node::Node;
use crate::app::proxy::Proxy;
use crate::app::throttle::{Places, Room, Throttle};
use crate::config::{ClusterConfig, Limits, Registration, ReplicaConfig};
use crate::edge::Exposure;
use crate::engine::leadership;
use crate::engine::words::Told;
use crate::live::hub::Hub;
use crate::live::presence::{self, Presence};
use crate::ops::Metrics;
use crate::ops::condition::Conditions;
use crate::store::folder;
use crate::store::folder::FolderError;
use crate::store::state::{
    AppliedBatch, ChatStateMachine, Continuity, Response, StateReader, StateSettings,
};

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
/// Runs one replica until `shutdown` resolves, then stops it as [`Server::shutdown`] does.
///
/// # Errors
///
/// Why the replica could not start, or why it had to stop on its own.
pub async fn serve(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let server = Server::builder(config).start().await?;
    tokio::select! {
        () = shutdown => server.shutdown().await,
        ended = server.ended() => {
            server.close().await;
            Err(ended)
        }
    }
}

/// What of a replica lies on the disk, and who listens to it.
struct Files {
    store: DiskStore,
    machine: ChatStateMachine,
    hub: Arc<Hub>,
    state: StateReader,
}

async fn open_files(
    cluster: &ClusterConfig,
    replica: &ReplicaConfig,
    metrics: Arc<Metrics>,
) -> Result<Files, ServeError> {
    let (id, folder) = (replica.id, replica.data_dir.clone());
    let (cluster, incarnation) = (cluster.log_id(), cluster.incarnation);
    let opened = spawn_blocking(move || -> Result<Files, ServeError> {
        folder::prepare(&folder)?;
        let store = DiskStore::open(&folder, cluster, id)
            .map_err(|error| of_another_cluster(error, &folder, incarnation))?;
        let hub: Arc<std::sync::OnceLock<Arc<Hub>>> = Arc::default();
        let publish = {
            let hub = Arc::clone(&hub);
            Box::new(move |batch: AppliedBatch| {
                if batch.continuity == Continuity::Skipped {
                    metrics.states_skipped.inc();
                }
                if let Some(hub) = hub.get() {
                    hub.publish(batch);
                }
            })
        };
        let settings = StateSettings::default();
        let machine =
            ChatStateMachine::open_or_begin_anew(&folder, cluster, id, settings, publish)?;
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

/// Says what to do with a folder from before the cluster was restored.
fn of_another_cluster(
    error: StoreError,
    folder: &Path,
    incarnation: Option<ClusterId>,
) -> ServeError {
    match error {
        StoreError::OtherCluster { found, wanted, .. } => {
            let path = folder.to_owned();
            ServeError::Folder(match incarnation {
                Some(_) => FolderError::FromBefore {
                    path,
                    found,
                    wanted,
                },
                None => FolderError::OtherCluster {
                    path,
                    found,
                    wanted,
                },
            })
        }
        error => ServeError::Store(error),
    }
}

/// What the services are given besides the replica itself.
struct Means {
    state: StateReader,
    hub: Arc<Hub>,
    proxy: Proxy,
    metrics: Arc<Metrics>,
    limits: watch::Receiver<Limits>,
    registration: watch::Receiver<Registration>,
    conditions: Arc<Conditions>,
    draining: watch::Receiver<bool>,
}

fn node(
    config: &ServerConfig,
    handle: Handle<Response>,
    means: Means,
    told: mpsc::Receiver<Told>,
) -> io::Result<Arc<Node>> {
    let Means {
        state,
        hub,
        proxy,
        metrics,
        limits,
        registration,
        conditions,
        draining,
    } = means;
    let presence = Arc::new(Presence::default());
    tokio::spawn(presence::run(Arc::clone(&presence), handle.clone(), told));
    let begun_with = config.cluster.limits;
    let node = Arc::new(Node {
        cluster: config.cluster.id,
        me: config.replica,
        leadership: leadership::follow(&handle, {
            let presence = Arc::clone(&presence);
            move |peer| presence.forget(peer)
        }),
        handle,
        state,
        hub,
        presence,
        throttle: Throttle::new(limits.clone()),
        subscriptions: Places::default(),
        lists: Places::default(),
        room: Room::default(),
        conditions,
        hashing: Hashing::new(
            begun_with.hash_workers,
            begun_with.hash_cost,
            metrics.passwords_hashed.clone(),
        )?,
        proxy,
        barriers: Barriers::default(),
        limits,
        registration,
        metrics,
        draining,
        under_way: Arc::default(),
    });
    let replicas = match config.cluster.tls {
        Some(_) => Replicas::Proven,
        None => Replicas::Unproven,
    };
    tokio::spawn(housekeeping::run(Arc::clone(&node)));
    tokio::spawn(housekeeping::tidy(Arc::clone(&node), replicas));
    Ok(node)
}

type Serving = JoinHandle<()>;

async fn none_under_way(under_way: &AtomicUsize) {
    while under_way.load(Ordering::Relaxed) > 0 {
        sleep(Duration::from_millis(2)).await;
    }
}

/// Gives connections a moment to close, so that subscribers hear where they stand.
async fn finish(mut serving: Serving) {
    match timeout(FAREWELL, &mut serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "the listener for clients ended"),
        Err(_) => serving.abort(),
    }
}
