//! A whole cluster in one process: for programs that bring their chat along, and for tests.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use chat_client::{Builder, Client, TlsSettings};
use chat_replication::status::Status;
use chat_replication::types::{ClusterId, Mode, ReplicaId};
use tempfile::TempDir;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::config::{ClusterConfig, ConfigError, Layout, Place, secured, template};
use crate::edge::Exposure;
use crate::edge::tls::{DAYS, Folder, TlsError};
use crate::server::{ServeError, Server, ServerConfig};

/// Name of the cluster file within the cluster's folder.
const FILE: &str = "cluster.toml";
/// How long a new cluster may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// Replicas of one cluster, all in this process, on loopback addresses. Each is what `chat-server run` runs, with files and
/// sockets of its own.
///
/// Dropped, all of them end at once, as a crash would end them.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    /// Whom clients trust, if connections are encrypted.
    authority: Option<TlsSettings>,
    running: BTreeMap<ReplicaId, Server>,
    /// Last, so that nobody has files open in it when it goes.
    _temporary: Option<TempDir>,
}

/// A cluster that is to start.
#[derive(Clone, Debug, Default)]
pub struct ClusterBuilder {
    layout: Layout,
    connections: Connections,
    folder: Option<PathBuf>,
    settings: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Connections {
    #[default]
    Plain,
    Encrypted,
}

/// A cluster, or a replica of it, could not be started or stopped. The message says what to do.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// There is no room for so many replicas.
    #[error("{0}")]
    Layout(String),
    /// The folder cannot be used.
    #[error("the folder {path} cannot be used: {problem}; choose one that can be written to")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        problem: io::Error,
    },
    /// No ports on the loopback address.
    #[error("no free port: {0}; close connections, or raise the limit of open files")]
    Port(io::Error),
    /// The cluster file has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A replica failed.
    #[error("replica {replica}: {problem}")]
    Replica {
        /// Which.
        replica: ReplicaId,
        /// How.
        problem: ServeError,
    },
    /// No replica began to lead.
    #[error("no replica leads after {PATIENCE:?}; replica {replica}: {waiting_for}")]
    NoLeader {
        /// One of them.
        replica: ReplicaId,
        /// What it waits for.
        waiting_for: String,
    },
    /// It runs already.
    #[error("replica {0} runs already")]
    Running(ReplicaId),
}

impl Cluster {
    /// A cluster of three replicas in a temporary folder, unless it is told otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// What the replicas are configured with.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Where clients reach the replicas, whether they run or not; in id order, each HOST:PORT, with `https://` in front
    /// where connections are encrypted.
    pub fn endpoints(&self) -> Vec<String> {
        let replicas = self.config.replicas.iter();
        let addresses = replicas.map(|replica| replica.client_address.clone());
        match self.config.tls {
            None => addresses.map(|address| address.to_string()).collect(),
            Some(_) => addresses
                .map(|address| address.encrypted().to_string())
                .collect(),
        }
    }

    /// A client that knows all replicas, and trusts the cluster's authority where connections are encrypted.
    pub fn client(&self) -> Builder {
        let builder = Client::builder().endpoints(self.endpoints());
        match &self.authority {
            None => builder,
            Some(authority) => builder.tls(authority.clone()),
        }
    }

    /// The replicas that run, in id order.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.running.values()
    }

    /// A replica that runs.
    pub fn replica(&self, id: ReplicaId) -> Option<&Server> {
        self.running.get(&id)
    }

    /// Who leads, in the eyes of those who run; `None` where they do not agree.
    pub fn leader(&self) -> Option<ReplicaId> {
        let mut leaders = self.running().map(|server| server.status().leader);
        let first = leaders.next()??;
        leaders.all(|other| other == Some(first)).then_some(first)
    }

    /// Waits until all replicas that run are in one view.
    ///
    /// # Errors
    ///
    /// They are not after 30 seconds.
    pub async fn settled(&self) -> Result<(), ClusterError> {
        let waiting = async {
            while !self.is_settled() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_ok() {
            return Ok(());
        }
        let statuses = self.running().map(|server| server.status());
        let status = statuses.max_by_key(|status| !status.waiting_for.is_empty());
        Err(ClusterError::NoLeader {
            replica: status
                .as_ref()
                .map_or(ReplicaId(0), |status| status.identity.replica),
            waiting_for: status.map_or(String::new(), |status| status.waiting_for.clone()),
        })
    }

    fn is_settled(&self) -> bool {
        let in_one_view = |status: &Status| {
            status.serves() && self.running.keys().all(|id| status.view.contains(id))
        };
        self.leader().is_some() && self.running().all(|server| in_one_view(&server.status()))
    }

    /// Starts a replica that does not run.
    ///
    /// # Errors
    ///
    /// Why it cannot start.
    pub async fn start(&mut self, id: ReplicaId) -> Result<(), ClusterError> {
        self.start_with(id, None).await
    }

    async fn start_with(
        &mut self,
        id: ReplicaId,
        listeners: Option<(TcpListener, TcpListener)>,
    ) -> Result<(), ClusterError> {
        if self.running.contains_key(&id) {
            return Err(ClusterError::Running(id));
        }
        let mut builder = Server::builder(ServerConfig {
            cluster: self.config.clone(),
            replica: id,
            exposure: Exposure::Loopback,
        });
        if let Some((clients, peers)) = listeners {
            builder = builder.client_listener(clients).peer_listener(peers);
        }
        let started = builder.start().await;
        let server = started.map_err(|problem| ClusterError::Replica {
            replica: id,
            problem,
        })?;
        self.running.insert(id, server);
        Ok(())
    }

    /// Stops a replica as [`Server::shutdown`] does. One that does not run stays as it is.
    ///
    /// # Errors
    ///
    /// Its disk failed.
    pub async fn stop(&mut self, id: ReplicaId) -> Result<(), ClusterError> {
        match self.running.remove(&id) {
            Some(server) => server
                .shutdown()
                .await
                .map_err(|problem| ClusterError::Replica {
                    replica: id,
                    problem,
                }),
            None => Ok(()),
        }
    }

    /// Ends a replica as a crash would. One that does not run stays as it is.
    pub async fn kill(&mut self, id: ReplicaId) {
        if let Some(server) = self.running.remove(&id) {
            server.kill().await;
        }
    }

    /// Stops all replicas, the leader last: so that leadership does not change hands for nothing.
    ///
    /// # Errors
    ///
    /// The first that a replica had; the others are stopped nevertheless.
    pub async fn shutdown(mut self) -> Result<(), ClusterError> {
        let leader = self.leader();
        let mut ids: Vec<_> = self.running.keys().copied().collect();
        ids.sort_by_key(|id| leader == Some(*id));
        let mut first = Ok(());
        for id in ids {
            let stopped = self.stop(id).await;
            first = first.and(stopped);
        }
        first
    }
}

impl ClusterBuilder {
    /// How many replicas a new cluster has.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> ClusterBuilder {
        self.layout.replicas = replicas;
        self
    }

    /// What a view of a new cluster needs.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> ClusterBuilder {
        self.layout.mode = mode;
        self
    }

    /// Encrypts the connections of a new cluster, with an authority and certificates of its own, as `chat-server init` makes
    /// them. They last a year; `chat-server init --renew` makes new ones.
    #[must_use]
    pub fn encrypted(mut self) -> ClusterBuilder {
        self.connections = Connections::Encrypted;
        self
    }

    /// Keeps the cluster file and the data here. What is there already is used again, on the same ports.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> ClusterBuilder {
        self.folder = Some(folder.into());
        self
    }

    /// Tables for the file of a new cluster, such as `[limits]` with what goes into it.
    #[must_use]
    pub fn settings(mut self, toml: impl Into<String>) -> ClusterBuilder {
        self.settings = Some(toml.into());
        self
    }

    /// Starts all replicas, and waits until they are in one view.
    ///
    /// # Errors
    ///
    /// Why that is not possible.
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        let temporary = match self.folder {
            Some(_) => None,
            None => Some(TempDir::with_prefix("chat-cluster-").map_err(|problem| {
                ClusterError::Folder {
                    path: std::env::temp_dir(),
                    problem,
                }
            })?),
        };
        let folder = match (&self.folder, &temporary) {
            (Some(folder), _) => folder.as_path(),
            (None, Some(temporary)) => temporary.path(),
            (None, None) => Path::new("."),
        };
        let file = folder.join(FILE);
        let (config, listeners) = match file.exists() {
            true => (ClusterConfig::load(&file)?, BTreeMap::new()),
            false => self.create(folder, &file)?,
        };
        let authority = authority(&config)?;
        let mut cluster = Cluster {
            config,
            authority,
            running: BTreeMap::new(),
            _temporary: temporary,
        };
        let mut listeners = listeners;
        let ids: Vec<_> = cluster.config.replicas.iter().map(|one| one.id).collect();
        for id in ids {
            cluster.start_with(id, listeners.remove(&id)).await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Writes the file of a new cluster, for ports that are held already.
    fn create(&self, folder: &Path, file: &Path) -> Result<(ClusterConfig, Held), ClusterError> {
        let unusable = |problem| ClusterError::Folder {
            path: folder.to_owned(),
            problem,
        };
        if let Some(problem) = self.layout.problem() {
            return Err(ClusterError::Layout(problem));
        }
        let id = ClusterId(Uuid::new_v4());
        let mut text = match self.connections {
            Connections::Plain => template(id, self.layout),
            Connections::Encrypted => {
                let here = |id| Place {
                    id,
                    host: "127.0.0.1".to_owned(),
                };
                let places: Vec<_> = (0..self.layout.replicas).map(here).collect();
                secured(id, self.layout.mode, self.layout.base_port, &places)
            }
        };
        let mut held = BTreeMap::new();
        for id in 0..self.layout.replicas {
            let (clients, client_port) = any_port()?;
            let (peers, peer_port) = any_port()?;
            let client = u32::from(self.layout.base_port) + id;
            for (key, planned, port) in [
                ("client_listen", client, client_port),
                ("peer_listen", client + Layout::PEER_PORT_OFFSET, peer_port),
            ] {
                text = text.replace(
                    &format!("{key} = \"127.0.0.1:{planned}\"\n"),
                    &format!("{key} = \"127.0.0.1:{port}\"\n"),
                );
            }
            // A program that wants them asks the replicas themselves.
            let metrics = client + 2 * Layout::PEER_PORT_OFFSET;
            text = text.replace(&format!("metrics_listen = \"127.0.0.1:{metrics}\"\n"), "");
            held.insert(ReplicaId(id), (clients, peers));
        }
        if let Some(settings) = &self.settings {
            text = format!("{text}\n{settings}\n");
        }
        let config = ClusterConfig::parse(&text, file)?;
        fs::create_dir_all(folder).map_err(unusable)?;
        if self.connections == Connections::Encrypted {
            let certificates = Folder(folder);
            let authority = certificates.establish(config.id)?;
            for replica in &config.replicas {
                certificates.issue(&authority, config.id, replica, DAYS)?;
            }
        }
        fs::write(file, text).map_err(unusable)?;
        Ok((config, held))
    }
}

/// Whom clients of a cluster with this configuration trust.
fn authority(config: &ClusterConfig) -> Result<Option<TlsSettings>, TlsError> {
    let (Some(tls), Some(first)) = (&config.tls, config.replicas.first()) else {
        return Ok(None);
    };
    let file = tls.files(first.id).ca;
    let pem = fs::read(&file)
        .map_err(|error| TlsError::new(&file, format!("cannot be read: {error}")))?;
    TlsSettings::new()
        .ca_pem(&pem)
        .map(Some)
        .map_err(|error| TlsError::new(&file, error.to_string()))
}

/// Listeners for clients and for peers.
type Held = BTreeMap<ReplicaId, (TcpListener, TcpListener)>;

fn any_port() -> Result<(TcpListener, u16), ClusterError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(ClusterError::Port)?;
    let port = listener.local_addr().map_err(ClusterError::Port)?.port();
    Ok((listener, port))
}
