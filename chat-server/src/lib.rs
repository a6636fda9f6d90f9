//! The chat service: the accounts and messages of `chat-core`, replicated by `chat-replication`, behind the public API of
//! `chat-client`.
//!
//! A write goes from its service through the leader's log to the state machine of every replica, and is answered when it
//! is durable on all replicas of the view. A read is answered by whichever replica is asked. The services turn what
//! travels into commands, with time, ids and hashes that are minted here, since nothing deeper has a clock.
//!
//! [`Server`] is one running replica of a cluster that a [`config::ClusterConfig`] describes; [`Cluster`] is several of them
//! in one process; [`cli`] is the program.
//!
//! The modules are layers, from `cli` down to `config`: each names only those below it.

mod app;
pub mod cli;
mod clock;
pub mod config;
mod edge;
mod engine;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod live;
mod ops;
mod server;
pub mod store;

pub use edge::tls::TlsError;
pub use edge::{Exposure, ListenError};
pub use server::{
    Cluster, ClusterBuilder, ClusterError, ServeError, Server, ServerBuilder, ServerConfig, serve,
};
pub use store::folder::FolderError;
