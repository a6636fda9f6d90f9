//! Why a backup cannot be taken or used.

use std::io;
use std::path::{Path, PathBuf};

use chat_replication::store::StoreError;
use thiserror::Error;

use crate::store::state::StateError;

/// Why a backup cannot be taken or used. The message says what to do.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{} cannot be read or written: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not what it was written as.
    #[error("{} is damaged: {reason}; use another copy or an earlier backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file is whole, and not for this version, cluster or replica.
    #[error("{} {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// There is something already where the backup is to be restored.
    #[error("{} is not empty; a backup is restored into an empty folder only, so move away what is there", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The new log cannot be written.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The new state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl BackupError {
    pub(super) fn io(path: &Path, error: &io::Error) -> BackupError {
        BackupError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> BackupError {
        BackupError::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn foreign(path: &Path, reason: impl Into<String>) -> BackupError {
        BackupError::Foreign {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
