//! A copy of a data folder to look at. Opening a file repairs what a crash left in it, which is the business of the replica
//! alone.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use chat_replication::disk_store::LOG_FOLDER;
use tempfile::TempDir;

use super::InspectError;
use crate::store::folder;

/// What of a data folder is copied beside the segments of the log: the files themselves, not their locks.
const ENDING: &str = "redb";

/// A copy that goes when it is dropped.
pub(super) struct FolderCopy {
    folder: TempDir,
}

impl FolderCopy {
    /// Copies the files of a replica that does not run.
    pub(super) fn of(folder: &Path) -> Result<FolderCopy, InspectError> {
        let unreadable = |error: io::Error| InspectError::Unreadable {
            path: folder.to_owned(),
            reason: error.to_string(),
        };
        folder::check(folder)?;
        let mut files: Vec<PathBuf> = Vec::new();
        let mut locks = Vec::new();
        let segments = folder.join(LOG_FOLDER);
        if segments.is_dir() {
            for entry in fs::read_dir(&segments).map_err(unreadable)? {
                files.push(entry.map_err(unreadable)?.path());
            }
        }
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => files.push(path),
                Some("lock") => locks.push(path),
                _ => {}
            }
        }
        // Held until everything is copied. A copied folder may have none, and belong to nobody.
        let mut held = Vec::new();
        for path in locks {
            let lock = File::open(&path).map_err(unreadable)?;
            match lock.try_lock() {
                Ok(()) => held.push(lock),
                Err(TryLockError::WouldBlock) => {
                    return Err(InspectError::InUse {
                        path: folder.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(unreadable(error)),
            }
        }
        let copy = FolderCopy::empty()?;
        let no_copy = |path: &Path, error: io::Error| InspectError::NoCopy {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let copied = copy.path().join(LOG_FOLDER);
        fs::create_dir(&copied).map_err(|error| no_copy(&segments, error))?;
        files.sort();
        for path in files {
            let Ok(inside) = path.strip_prefix(folder) else {
                continue;
            };
            fs::copy(&path, copy.path().join(inside)).map_err(|error| no_copy(&path, error))?;
        }
        Ok(copy)
    }

    /// An empty folder of the same kind.
    pub(super) fn empty() -> Result<FolderCopy, InspectError> {
        match TempDir::with_prefix("chat-server-") {
            Ok(folder) => Ok(FolderCopy { folder }),
            Err(error) => Err(InspectError::NoCopy {
                path: std::env::temp_dir(),
                reason: error.to_string(),
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}
