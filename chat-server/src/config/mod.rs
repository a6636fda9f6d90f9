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
mod layers;
mod print;
mod raw;
mod template;
mod tls;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use chat_client::Endpoint;
use chat_core::password::Params;
use chat_core::{Body, Command, SessionPolicy};
use chat_replication::types::{ClusterId, Mode, ReplicaId};

pub use self::error::ConfigError;
pub use self::layers::{Overrides, Source};
pub use self::template::{Layout, Place, secured, template};
pub use self::tls::{TlsConfig, TlsFiles};

/// A cluster as its file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterConfig {
    /// Names the cluster.
    pub id: ClusterId,
    /// What a view of a new cluster needs; [`Mode::Available`] by default. A cluster that has begun keeps its own.
    pub mode: Mode,
    /// When peers are suspected, and how long is waited for them.
    pub timing: Timing,
    /// What clients may ask for.
    pub limits: Limits,
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
    /// one replica, what it misses moves to an archive. 200,000 by default.
    pub cap: u64,
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

/// Limits of what clients may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest message, in bytes; 64 KiB by default.
    pub body_bytes: usize,
    /// What becomes of an account's other sessions when one is opened; up to 100 at once by default.
    pub sessions: SessionPolicy,
    /// How long a session lasts; 30 days by default.
    pub session_lifetime: Duration,
    /// How many passwords are hashed at once; by default one less than the machine has cores.
    pub hash_workers: usize,
    /// What a password's hash costs.
    pub hash_cost: Params,
    /// How many connections clients may have with one replica; 10,000 by default.
    pub max_connections: usize,
    /// How many of them from one address, an IPv6 network of 64 bits counting as one; 2,000 by default.
    pub connections_per_address: usize,
    /// How many calls may be under way on one connection; 256 by default.
    pub calls_per_connection: u32,
    /// How long the headers of a call may be, in bytes; 16 KiB by default.
    pub header_bytes: u32,
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

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: Body::DEFAULT_LIMIT,
            sessions: SessionPolicy::Several {
                most: NonZeroU16::new(100).unwrap_or(NonZeroU16::MIN),
            },
            session_lifetime: Command::REQUEST_WINDOW,
            hash_workers: default_hash_workers(),
            hash_cost: Params::default(),
            max_connections: 10_000,
            connections_per_address: 2_000,
            calls_per_connection: 256,
            header_bytes: 16 << 10,
        }
    }
}

/// Hashing takes a whole core, and one is left to the log.
fn default_hash_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    cores.saturating_sub(1).max(1)
}
