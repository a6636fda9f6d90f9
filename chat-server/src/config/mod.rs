//! The cluster file: one TOML text that all replicas of a cluster share.
//!
//! ```toml
//! [cluster]
//! id = "0198c5a2-7c1e-4b3a-9d2f-0123456789ab"
//!
//! [[replica]]
//! id = 0
//! client_listen = "127.0.0.1:7400"
//! peer_listen = "127.0.0.1:7500"
//! data_dir = "replica-0"
//! ```
//!
//! It seeds the first start. Everything is checked before anything is opened, and each mistake is told with its line and
//! with what to do.

mod check;
mod duration;
mod error;
mod incarnation;
mod layers;
mod limits;
mod print;
mod raw;
mod template;
mod tls;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use chat_client::Endpoint;
use chat_replication::types::{ClusterId, Mode, ReplicaId};

pub use self::error::ConfigError;
pub(crate) use self::incarnation::{line, write_incarnation};
pub use self::layers::{Overrides, Source};
pub use self::limits::Limits;
pub use self::template::{Layout, Place, secured, template};
pub use self::tls::{TlsConfig, TlsFiles};

/// A cluster as its file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// Names the cluster.
    pub id: ClusterId,
    /// Which cluster of that name it is: `chat-server restore` draws a new one, so that no disk of before is taken in.
    /// Absent for a cluster that was never restored.
    pub incarnation: Option<ClusterId>,
    /// What a view of a new cluster needs; [`Mode::Available`] by default. A cluster that has begun keeps its own.
    pub mode: Mode,
    /// When peers are suspected, and how long is waited for them.
    pub timing: Timing,
    /// What clients may ask for.
    pub limits: Limits,
    /// Who makes accounts; anybody by default.
    pub registration: Registration,
    /// The certificates, if connections are encrypted.
    pub tls: Option<TlsConfig>,
    /// How long logs grow.
    pub log: LogLength,
    /// What the program says on standard error.
    pub logging: Logging,
    /// The replicas in id order; at least one.
    pub replicas: Vec<ReplicaConfig>,
}

/// Times of the protocol between replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between two signs of life of a leader; 50 ms by default.
    pub heartbeat_interval: Duration,
    /// Silence after which a peer is suspected to be dead; 1 s by default. A refused connection is evidence at once.
    pub suspect_after: Duration,
    /// How long a replica without a leader waits for members of the last view before it goes on without them; 10 s by
    /// default.
    pub recovery_grace: Duration,
}

/// How many entries the logs hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLength {
    /// Entries that are kept although every replica has them, so that one that was away for a moment need not take a
    /// snapshot; 10,000 by default.
    pub keep: u64,
    /// Entries beyond which a replica that is away is no longer waited for, where a view needs a majority; where it needs
    /// one replica, what it misses is kept however much it is. 200,000 by default.
    pub cap: u64,
    /// Bytes of the log that are kept for a replica that is away, 4 GiB by default. Past that, or past `absent_for`, the
    /// others remove it; when it is back it hands over what only it has, and is added again, both by itself. Less than what
    /// is free on the smallest of their disks: a replica that is away for an hour of 1,000 messages a second of 1 KiB
    /// misses 3.5 GiB.
    pub absent_bytes: u64,
    /// How long a replica may be away, counted while others serve; 7 days by default.
    pub absent_for: Duration,
}

/// What the program says on standard error while it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logging {
    /// What is logged, such as `debug`, or `info,h2=warn`; `info` by default.
    pub level: String,
    /// How it looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object per line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Pretty => "pretty",
            LogFormat::Json => "json",
        })
    }
}

/// Who makes accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Registration {
    /// Anybody who reaches the service, for themselves.
    #[default]
    Open,
    /// The operator, with `chat-server account create`.
    Closed,
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Registration::Open => "open",
            Registration::Closed => "closed",
        })
    }
}

/// One replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaConfig {
    /// Its number; the lowest is preferred as leader.
    pub id: ReplicaId,
    /// Where it listens for clients.
    pub client_listen: Endpoint,
    /// Where clients reach it.
    pub client_address: Endpoint,
    /// Where it listens for other replicas.
    pub peer_listen: Endpoint,
    /// Where other replicas reach it.
    pub peer_address: Endpoint,
    /// Where tools find `/livez`, `/readyz` and `/metrics`; nowhere by default.
    pub metrics_listen: Option<Endpoint>,
    /// Holds its files.
    pub data_dir: PathBuf,
}

impl ClusterConfig {
    /// Reads a cluster file. Relative data folders are taken from the file's own folder.
    ///
    /// # Errors
    ///
    /// The first mistake in the file.
    pub fn load(path: &Path) -> Result<ClusterConfig, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        ClusterConfig::parse(&text, path)
    }

    /// Reads a cluster file, with what the environment and the command line say instead. `me` is the replica that is to
    /// run, if one is.
    ///
    /// # Errors
    ///
    /// The first mistake in the file, or in what is over it.
    pub fn load_with(
        path: &Path,
        layers: &Overrides,
        me: Option<ReplicaId>,
    ) -> Result<ClusterConfig, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        layers.apply(&text, path, me)
    }

    /// Reads the text of a cluster file that lies, or is to lie, at `path`.
    ///
    /// # Errors
    ///
    /// The first mistake in the text.
    pub fn parse(text: &str, path: &Path) -> Result<ClusterConfig, ConfigError> {
        check::check(text, path)
    }

    /// The name in data folders and in greetings between replicas: another one after each restore, while `id` stays what
    /// certificates and clients know.
    pub fn log_id(&self) -> ClusterId {
        self.incarnation.unwrap_or(self.id)
    }

    /// The replica with this id.
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaConfig> {
        self.replicas.iter().find(|replica| replica.id == id)
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_interval: Duration::from_millis(50),
            suspect_after: Duration::from_secs(1),
            recovery_grace: Duration::from_secs(10),
        }
    }
}

impl Default for LogLength {
    fn default() -> LogLength {
        LogLength {
            keep: 10_000,
            cap: 200_000,
            absent_bytes: 4 << 30,
            absent_for: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Default for Logging {
    fn default() -> Logging {
        Logging {
            level: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}
