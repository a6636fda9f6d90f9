//! Why the state cannot be used.

use std::path::{Path, PathBuf};

use chat_replication::disk_store::file::Fault;
use thiserror::Error;

/// The state's file failed, or cannot be trusted. A replica whose file is damaged makes itself another one; otherwise it
/// stops.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StateError {
    /// A read, a write or a flush failed.
    #[error("the state in {} cannot be read or written: {reason}; check the disk, then start the replica again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is damaged.
    #[error(
        "the state in {} is damaged: {reason}; start the replica, which sets that file aside and takes another state from its \
         log or from the replica that leads",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file belongs to another replica or cluster, or to a newer version.
    #[error("{} {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is, and what to do.
        reason: String,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process; stop that one first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The state goes over to another history, or is built up again, and is not yet as far as it was before.
    #[error("the state in {} is not yet as far as it was before: try again in a moment", path.display())]
    GoneBack {
        /// The file.
        path: PathBuf,
    },
    /// What was asked for is not in memory, and nobody may wait for the file. Never leaves this module.
    #[error("what was asked for is not in memory")]
    NotInMemory,
    /// An earlier operation failed.
    #[error("the state in {} is not served any more, since an earlier operation on it failed", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

impl StateError {
    pub(super) fn explain(fault: Fault, path: &Path) -> StateError {
        let path = path.to_owned();
        match fault {
            Fault::Io(reason) => StateError::Io { path, reason },
            Fault::Damaged(reason) => StateError::Damaged { path, reason },
            Fault::InUse => StateError::InUse { path },
        }
    }
}
