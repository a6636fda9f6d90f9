//! The chat service: the accounts and messages of `chat-core`, replicated by `chat-replication`, behind the public API of
//! `chat-client`.
//!
//! A write goes from its service through the leader's log to the state machine of every replica, and is answered when it
//! is durable on all replicas of the view. A read is answered by whichever replica is asked. The services turn what
//! travels into commands, with time, ids and hashes that are minted here, since nothing deeper has a clock.
//!
//! [`Server`] is one running replica of a cluster that a [`config::ClusterConfig`] describes; [`Cluster`] is several of them
//! in one process; [`cli`] is the program.

mod admin;
mod api;
pub mod backup;
mod call;
pub mod cli;
mod clock;
mod cluster;
pub mod compact;
mod condition;
pub mod config;
mod error;
mod folder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hashing;
mod housekeeping;
mod hub;
pub mod inspect;
mod leadership;
mod node;
mod operations;
mod presence;
mod proxy;
mod serve;
mod session;
pub mod state;
mod throttle;
mod tls;
mod wire;
mod words;

pub use cluster::{Cluster, ClusterBuilder, ClusterError};
pub use folder::FolderError;
pub use serve::{Exposure, ServeError, Server, ServerBuilder, ServerConfig, serve};
pub use tls::TlsError;
