//! Giving disk space back: the files of a replica that does not run, made as small as what they hold allows.
//!
//! A database file never shrinks much while its replica runs: what is deleted leaves room that later rows take. (The segments
//! of the log are removed whole, and need none of this; its manifest is written anew.) Each file is compacted in transactions
//! of its own, so that a process that is killed meanwhile loses nothing.

use std::fs;
use std::path::{Path, PathBuf};

use chat_replication::disk_store::{DiskStore, LOG_FOLDER, MANIFEST_FILES};
use chat_replication::store::StoreError;
use thiserror::Error;

use crate::store::folder::{self, FolderError};
use crate::store::state::{self, STATE_FILE, StateError};

/// How large a file was, and is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// The file.
    pub path: PathBuf,
    /// Its length before, in bytes.
    pub before: u64,
    /// Its length now, in bytes.
    pub after: u64,
}

/// Why files are not compacted. The message says what to do.
#[derive(Debug, Error)]
pub enum CompactError {
    /// The data folder is not for this version.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The log is in use, as that of a running replica is, or cannot be read or written.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The same of the state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Compacts the files of a replica that does not run. No replica can be started over them meanwhile.
///
/// # Errors
///
/// The replica runs, the folder is not that of a replica, or a file is damaged or cannot be written. Nothing is lost.
pub fn compact(folder: &Path) -> Result<Vec<Compacted>, CompactError> {
    folder::check(folder)?;
    let manifests = MANIFEST_FILES.map(|name| Path::new(LOG_FOLDER).join(name));
    let names = [PathBuf::from(STATE_FILE)].into_iter().chain(manifests);
    let paths: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    let before: Vec<Option<u64>> = paths.iter().map(|path| length(path)).collect();
    let mut log = DiskStore::open_existing(folder)?;
    let owner = log.identity();
    // The log stays locked as long as the state is written.
    state::compact(folder, owner.cluster, owner.replica)?;
    log.compact()?;
    // The last of it is written when they are closed.
    drop(log);
    let sizes = paths.into_iter().zip(before);
    Ok(sizes
        .filter_map(|(path, before)| {
            let after = length(&path).unwrap_or(0);
            let before = before?;
            Some(Compacted {
                path,
                before,
                after,
            })
        })
        .collect())
}

/// `None` where there is no such file.
fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}
