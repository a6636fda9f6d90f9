//! Three replicas in this process, whatever they are made of.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chat_replication::disk_store::DiskStore;
use chat_replication::driver::{Options, Running, start};
use chat_replication::grpc::{GrpcSettings, GrpcTransport};
use chat_replication::handle::{Committed, Handle, ProposeError};
use chat_replication::memory_store::MemoryStore;
use chat_replication::memory_transport::MemoryNetwork;
use chat_replication::replica::{Seed, Settings};
use chat_replication::status::{Role, Status};
use chat_replication::store::Identity;
use chat_replication::types::{ClusterId, PeerId, ReplicaId, StoreUuid};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::kv::{Kv, State};

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(11));

/// No wait of a test is longer; only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(60);

/// What replicas are made of.
pub(crate) enum Made {
    /// redb and gRPC.
    Real(TempDir),
    /// Everything in memory; the stores forget with their replicas.
    Memory(MemoryNetwork),
}

type Response = Option<String>;

pub(crate) struct Up {
    pub(crate) handle: Handle<Response>,
    pub(crate) running: Running,
}

pub(crate) struct Cluster {
    made: Made,
    change: fn(&mut Settings),
    seeds: Vec<Seed>,
    pub(crate) checkpoints: Vec<Arc<Mutex<State>>>,
    pub(crate) replicas: Vec<Option<Up>>,
    pub(crate) casts: Arc<Mutex<Vec<(ReplicaId, Bytes)>>>,
}

/// As quick as the tests' machines allow.
pub(crate) fn options(seeds: Vec<Seed>) -> Options {
    Options {
        settings: Settings {
            rejoin: 20,
            hand_back: 20,
            ..Settings::default()
        },
        ..Options::new(seeds)
    }
}

pub(crate) fn seeds_at(addresses: &[String]) -> Vec<Seed> {
    (0..)
        .zip(addresses)
        .map(|(id, address)| Seed {
            id: ReplicaId(id),
            peer_address: address.clone(),
            client_address: format!("clients-of-{id}"),
        })
        .collect()
}

impl Cluster {
    pub(crate) fn start(made: Made) -> Cluster {
        Cluster::start_with(made, |_| {})
    }

    /// With other settings.
    pub(crate) fn start_with(made: Made, change: fn(&mut Settings)) -> Cluster {
        let addresses: Vec<String> = (0..3)
            .map(|_| {
                let free = GrpcTransport::bind("127.0.0.1:0").unwrap();
                free.local_addr().unwrap().to_string()
            })
            .collect();
        let mut cluster = Cluster {
            made,
            change,
            seeds: seeds_at(&addresses),
            checkpoints: (0..3).map(|_| Arc::default()).collect(),
            replicas: (0..3).map(|_| None).collect(),
            casts: Arc::default(),
        };
        for id in 0..3 {
            cluster.start_one(id);
        }
        cluster
    }

    pub(crate) fn start_one(&mut self, id: usize) {
        let me = ReplicaId(u32::try_from(id).unwrap());
        let machine = Kv::open(&self.checkpoints[id]);
        let mut options = options(self.seeds.clone());
        (self.change)(&mut options.settings);
        let casts = Arc::clone(&self.casts);
        let on_cast = move |from: PeerId, bytes| casts.lock().unwrap().push((from.replica, bytes));
        let started = match &self.made {
            Made::Memory(network) => {
                let store = MemoryStore::new(Identity {
                    cluster: CLUSTER,
                    replica: me,
                    store: StoreUuid(Uuid::from_u128(id as u128)),
                });
                let network = network.clone();
                let connect = move |inbox, me: Identity| {
                    Ok::<_, std::io::Error>(network.connect(me.peer_id(), inbox))
                };
                start(store, machine, options, connect, on_cast)
            }
            Made::Real(folder) => {
                let folder = folder.path().join(id.to_string());
                let store = DiskStore::open(&folder, CLUSTER, me).unwrap();
                let peers: Vec<_> = self
                    .seeds
                    .iter()
                    .map(|seed| (seed.id, seed.peer_address.clone()))
                    .collect();
                let connect = move |inbox, me: Identity| {
                    let listener = GrpcTransport::bind(&peers[id].1)?;
                    GrpcTransport::start(listener, me, GrpcSettings::default(), inbox, &peers)
                };
                start(store, machine, options, connect, on_cast)
            }
        };
        let (handle, running) = started.unwrap();
        self.replicas[id] = Some(Up { handle, running });
    }

    /// Where a replica on redb keeps its files.
    pub(crate) fn folder(&self, id: usize) -> PathBuf {
        match &self.made {
            Made::Real(folder) => folder.path().join(id.to_string()),
            Made::Memory(_) => panic!("there are no files"),
        }
    }

    /// The files of a replica that is down are lost.
    pub(crate) fn wipe(&self, id: usize) {
        std::fs::remove_dir_all(self.folder(id)).unwrap();
        *self.checkpoints[id].lock().unwrap() = State::default();
    }

    /// Ends a replica as a crash would.
    pub(crate) async fn kill(&mut self, id: usize) {
        let up = self.replicas[id].take().unwrap();
        up.running.halt().await.unwrap();
    }

    pub(crate) async fn stop(&mut self, id: usize) {
        let up = self.replicas[id].take().unwrap();
        up.running.stop().await.unwrap();
    }

    pub(crate) fn handles(&self) -> Vec<Handle<Response>> {
        let up = self.replicas.iter().flatten();
        up.map(|up| up.handle.clone()).collect()
    }

    pub(crate) fn status(&self, id: usize) -> Arc<Status> {
        self.replicas[id].as_ref().unwrap().handle.status()
    }

    /// Waits until the replicas that are up satisfy a condition.
    pub(crate) async fn wait(&self, what: &str, condition: impl Fn(&[Arc<Status>]) -> bool) {
        let statuses = || -> Vec<_> { self.handles().iter().map(Handle::status).collect() };
        let well = async {
            while !condition(&statuses()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(LIMIT, well).await.is_err() {
            panic!("{what}: {:#?}", statuses());
        }
    }

    pub(crate) async fn wait_until_well(&self) {
        self.wait_until_well_at(0).await;
    }

    /// Waits until all are in one view under the first of them, and have applied the same, up to an index at least.
    pub(crate) async fn wait_until_well_at(&self, index: u64) {
        self.wait("all in one view with the same state", |statuses| {
            let first = &statuses[0];
            let all: Vec<ReplicaId> = statuses
                .iter()
                .map(|status| status.identity.replica)
                .collect();
            first.role == Role::Leader
                && first.applied >= index
                && statuses.iter().all(|status| {
                    status.view == all
                        && status.serves()
                        && status.applied == first.last.index
                        && status.state_hash == first.state_hash
                        && status.orphans == 0
                })
        })
        .await;
    }
}

/// Proposes until it is done, wherever the leader is.
pub(crate) async fn propose(handles: &[Handle<Response>], command: Bytes) -> Committed<Response> {
    let trying = async {
        let mut at = 0;
        loop {
            let handle = &handles[at % handles.len()];
            let patience = Duration::from_secs(2);
            match timeout(patience, handle.propose(command.clone())).await {
                Ok(Ok(committed)) => return committed,
                Ok(Err(ProposeError::NotLeader { leader })) => {
                    let known = leader.and_then(|leader| {
                        let named =
                            |handle: &Handle<_>| handle.status().identity.replica == leader.id;
                        handles.iter().position(named)
                    });
                    at = known.unwrap_or(at + 1);
                }
                Ok(Err(ProposeError::Unknown | ProposeError::Overloaded)) => {}
                Ok(Err(ProposeError::Stopped)) | Err(_) => at += 1,
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, trying).await.expect("somebody leads")
}
