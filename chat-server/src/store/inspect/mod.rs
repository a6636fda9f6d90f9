//! Looking at the files of a replica that does not run: its log as text, and whether everything in them fits together.
//!
//! Nothing is ever written to the folder that is looked at.

mod copy;
mod describe;
mod log;
mod verify;

use std::path::PathBuf;

use chat_replication::store::StoreError;
use chat_replication::types::Position;
use thiserror::Error;

pub use self::describe::Bodies;
pub use self::log::{LogRange, show_log};
pub use self::verify::{Replay, verify, verify_backup};
pub(crate) use self::verify::{counts, date};
use crate::store::backup::BackupError;
use crate::store::folder::FolderError;
use crate::store::state::StateError;

/// Why files cannot be looked at, or what does not fit in them. The message says what to do.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The replica runs.
    #[error("{} is in use by a running replica; stop it first, or copy the folder while it is stopped", path.display())]
    InUse {
        /// The data folder.
        path: PathBuf,
    },
    /// The folder cannot be read.
    #[error("{} cannot be read: {reason}; name a backup or the data folder of a replica, as a user who may read it", path.display())]
    Unreadable {
        /// The data folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no room for a copy.
    #[error("{} cannot be copied to a temporary folder: {reason}; make room, or set TMPDIR to a folder with more of it", path.display())]
    NoCopy {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The data folder is not for this version.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The backup is not one, or not whole.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state is missing, or older than where the log begins.
    #[error(
        "{problem}, and the log does not reach back: the replica cannot make its state from it. Start it beside another replica \
         that has one, and it takes that in by itself; if no other replica has one, put the file back, or restore a backup"
    )]
    NoState {
        /// What is there.
        problem: String,
    },
    /// Entries of the log are damaged, and the rest of it is not.
    #[error(
        "the entries {entries} of the log in {} are damaged. Start the replica beside the others, from which it takes them by \
         itself; if none of those holds them, restore a backup",
        path.display()
    )]
    DamagedEntries {
        /// The data folder.
        path: PathBuf,
        /// Which.
        entries: String,
    },
    /// The log ends before what the state shows.
    #[error(
        "the log ends at {log}, and the state shows what stood at {state}: entries that may have been acknowledged are missing. \
         Move the data folder away, keep it, and start the replica with an empty one, which takes everything from the other \
         replicas; if none of those is whole, restore a backup"
    )]
    LogBehind {
        /// The log's last entry.
        log: Position,
        /// What the state shows.
        state: Position,
    },
    /// What is there does not fit together.
    #[error(
        "{problem}; move the data folder away, keep it, and start the replica with an empty one, which takes everything from \
         the other replicas; if none of those is whole, restore a backup"
    )]
    Mismatch {
        /// What does not fit.
        problem: String,
    },
}
