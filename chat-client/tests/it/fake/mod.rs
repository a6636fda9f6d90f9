//! A set of replicas over real sockets. They share one state, as a replicated log would give them, and fail as scripted.

mod events;
mod services;
mod store;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chat_client::api::account_service_server::AccountServiceServer;
use chat_client::api::auth_service_server::AuthServiceServer;
use chat_client::api::cluster_service_server::ClusterServiceServer;
use chat_client::api::event_service_server::EventServiceServer;
use chat_client::api::message_service_server::MessageServiceServer;
use chat_client::{Builder, Client, ERROR_DOMAIN, Reason};
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub(crate) use store::Store;

/// What a replica does with its next call.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// What it should.
    Answer,
    /// Takes the call and never answers.
    Hang,
    /// Commits, then is killed before it answers.
    CommitAndDie,
    /// Commits and never answers.
    CommitAndHang,
    /// Is killed before it commits.
    Die,
    /// Refuses with this status.
    Refuse(Status),
}

/// What a replica does with its next subscription.
#[derive(Clone, Debug)]
pub(crate) enum StreamStep {
    /// What it should, for ever.
    Serve,
    /// Says that the resume token is unknown, then goes on as it should.
    Reset,
    /// Each event twice.
    Twice,
    /// Ends the stream after so many events.
    EndAfter(usize),
    /// Says that it goes away after so many events, and leaves the stream open.
    DrainAfter(usize),
    /// Breaks the connection after so many events.
    DieAfter(usize),
    /// Says nothing any more after so many events, not even heartbeats.
    SilentAfter(usize),
    /// Refuses with this status.
    Refuse(Status),
}

/// A call as a replica met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) replica: usize,
    pub(crate) method: &'static str,
    /// Empty for reads; for a subscription, its resume token.
    pub(crate) request_id: String,
    pub(crate) no_proxy: bool,
    pub(crate) authorized: bool,
}

pub(crate) struct Cluster {
    replicas: Vec<Replica>,
    shared: Arc<Shared>,
}

/// What survives each replica.
pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    /// Grows with each event.
    pub(crate) changed: watch::Sender<u64>,
    log: Mutex<Vec<Met>>,
    addresses: Vec<SocketAddr>,
    leader: Mutex<Option<usize>>,
}

struct Replica {
    id: usize,
    scripts: Arc<Scripts>,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Scripts {
    calls: Mutex<VecDeque<Step>>,
    streams: Mutex<VecDeque<StreamStep>>,
    kill: Mutex<Option<watch::Sender<()>>>,
}

/// What each service of a replica works on.
#[derive(Clone)]
struct Node {
    id: usize,
    shared: Arc<Shared>,
    scripts: Arc<Scripts>,
}

impl Cluster {
    pub(crate) fn start(count: usize) -> Self {
        // All ports first, so that a dead replica's port is not given to another one.
        let listeners: Vec<_> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            changed: watch::channel(0).0,
            log: Mutex::default(),
            addresses: listeners.iter().map(|l| l.local_addr().unwrap()).collect(),
            leader: Mutex::new(Some(0)),
        });
        let mut replicas = Vec::new();
        for (id, listener) in listeners.into_iter().enumerate() {
            let mut replica = Replica {
                id,
                scripts: Arc::default(),
                running: None,
            };
            replica.start(listener, &shared);
            replicas.push(replica);
        }
        Self { replicas, shared }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.shared
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// A client with deadlines short enough for tests.
    pub(crate) fn builder(&self) -> Builder {
        Client::builder()
            .endpoints(self.addresses())
            .attempt_deadline(Duration::from_millis(300))
            .total_deadline(Duration::from_secs(10))
    }

    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// A client with a registered, logged-in user.
    pub(crate) async fn user(&self, name: &str) -> Client {
        let client = self.client().await;
        client.register(name, "password").await.unwrap();
        client.login(name, "password").await.unwrap();
        self.forget();
        client
    }

    pub(crate) fn script(&self, replica: usize, steps: impl IntoIterator<Item = Step>) {
        self.replicas[replica]
            .scripts
            .calls
            .lock()
            .unwrap()
            .extend(steps);
    }

    /// From now on the replica does what it should.
    pub(crate) fn script_clear(&self, replica: usize) {
        let scripts = &self.replicas[replica].scripts;
        scripts.calls.lock().unwrap().clear();
        scripts.streams.lock().unwrap().clear();
    }

    pub(crate) fn script_streams(
        &self,
        replica: usize,
        steps: impl IntoIterator<Item = StreamStep>,
    ) {
        self.replicas[replica]
            .scripts
            .streams
            .lock()
            .unwrap()
            .extend(steps);
    }

    #[cfg(feature = "cli")]
    pub(crate) fn leader(&self, replica: Option<usize>) {
        *self.shared.leader.lock().unwrap() = replica;
    }

    /// Kills a replica: its connections break, and its port refuses.
    pub(crate) fn kill(&mut self, replica: usize) {
        self.replicas[replica].kill();
    }

    /// Waits until a replica that was to die has.
    pub(crate) fn buried(&mut self, replica: usize) {
        if let Some(thread) = self.replicas[replica].running.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn restart(&mut self, replica: usize) {
        self.kill(replica);
        let listener = std::iter::repeat_with(|| TcpListener::bind(self.shared.addresses[replica]))
            .find_map(Result::ok)
            .unwrap();
        self.replicas[replica].start(listener, &self.shared);
    }

    pub(crate) fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap()
    }

    /// The calls met so far, in their order.
    pub(crate) fn met(&self) -> Vec<Met> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Which replicas met the calls of a method, in their order.
    pub(crate) fn met_by(&self, method: &str) -> Vec<usize> {
        self.met()
            .iter()
            .filter(|m| m.method == method)
            .map(|m| m.replica)
            .collect()
    }

    /// The request ids of a method's calls, without repetitions.
    pub(crate) fn ids_of(&self, method: &str) -> Vec<String> {
        let mut ids: Vec<_> = self
            .met()
            .into_iter()
            .filter(|m| m.method == method)
            .map(|m| m.request_id)
            .collect();
        ids.dedup();
        ids
    }

    pub(crate) fn forget(&self) {
        self.shared.log.lock().unwrap().clear();
    }

    /// Stores a message as if another client had sent it.
    pub(crate) fn post(&self, from: &str, to: &str, body: &str) {
        self.store().post(from, to, body);
        self.shared.changed.send_modify(|v| *v += 1);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for replica in &mut self.replicas {
            replica.kill();
        }
    }
}

impl Replica {
    fn start(&mut self, listener: TcpListener, shared: &Arc<Shared>) {
        let (kill, mut killed) = watch::channel(());
        *self.scripts.kill.lock().unwrap() = Some(kill);
        let node = Node {
            id: self.id,
            shared: Arc::clone(shared),
            scripts: Arc::clone(&self.scripts),
        };
        listener.set_nonblocking(true).unwrap();
        self.running = Some(std::thread::spawn(move || {
            // A runtime of its own: when it goes, all its connections go at once, as those of a killed process.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = tonic::transport::Server::builder()
                    .add_service(AuthServiceServer::new(node.clone()))
                    .add_service(AccountServiceServer::new(node.clone()))
                    .add_service(MessageServiceServer::new(node.clone()))
                    .add_service(EventServiceServer::new(node.clone()))
                    .add_service(ClusterServiceServer::new(node))
                    .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
                tokio::select! {
                    result = server => result.unwrap(),
                    _ = killed.changed() => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(5));
        }));
    }

    fn kill(&mut self) {
        self.scripts.die();
        if let Some(thread) = self.running.take() {
            thread.join().unwrap();
        }
    }
}

impl Scripts {
    fn die(&self) {
        // Dropping the sender is the signal.
        self.kill.lock().unwrap().take();
    }
}

impl Shared {
    fn leader_of(&self) -> Option<chat_client::api::Leader> {
        let leader = (*self.leader.lock().unwrap())?;
        Some(chat_client::api::Leader {
            replica_id: leader as u32,
            client_address: self.addresses[leader].to_string(),
            epoch: 1 + leader as u64,
        })
    }
}

/// A status as the service makes them.
pub(crate) fn refusal(code: Code, reason: Reason) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(
        reason.as_str(),
        ERROR_DOMAIN,
        std::collections::HashMap::new(),
    );
    Status::with_error_details(code, format!("scripted {reason}"), details)
}

pub(crate) fn no_leader() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(
        Reason::NoLeader.as_str(),
        ERROR_DOMAIN,
        std::collections::HashMap::new(),
    );
    details.set_retry_info(Some(Duration::from_millis(5)));
    Status::with_error_details(Code::Unavailable, "no leader is known", details)
}

pub(crate) fn not_leader(cluster: &Cluster, leader: usize, epoch: u64) -> Status {
    let metadata = [
        ("leader_id", leader.to_string()),
        ("leader_address", cluster.addresses()[leader].clone()),
        ("epoch", epoch.to_string()),
    ];
    let mut details = ErrorDetails::new();
    details.set_error_info(
        Reason::NotLeader.as_str(),
        ERROR_DOMAIN,
        metadata.map(|(k, v)| (k.to_owned(), v)),
    );
    Status::with_error_details(Code::FailedPrecondition, "another replica leads", details)
}
