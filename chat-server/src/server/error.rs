//! Why a replica could not start, or had to stop.

use chat_replication::driver::{ReplicaError, StartError};
use chat_replication::store::StoreError;
use chat_replication::types::ReplicaId;
use thiserror::Error;
use tokio::task::JoinError;

use crate::edge::ListenError;
use crate::edge::tls::TlsError;
use crate::store::folder::FolderError;
use crate::store::state::StateError;

/// A replica could not start, or had to stop. The message says what to do.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The cluster has no such replica.
    #[error("the cluster file has no replica {id}; it has {known}")]
    UnknownReplica {
        /// The replica asked for.
        id: ReplicaId,
        /// Those there are.
        known: String,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data folder is not for this version.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The log cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The replica could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The replica ended on its own.
    #[error("the replica has stopped: {0}")]
    Replica(ReplicaError),
    /// The replica ended without being told to.
    #[error(
        "the replica has stopped without a reason; this is a defect, please report it with the log"
    )]
    Ended,
    /// A defect.
    #[error("starting failed: {0}; this is a defect, please report it with the log")]
    Panicked(String),
}

impl ServeError {
    pub(super) fn panicked(error: JoinError) -> ServeError {
        ServeError::Panicked(error.to_string())
    }
}
