//! Looking at a log whose owner is not known beforehand.

use std::fs;
use std::io;
use std::path::Path;

use super::file::{DataFile, contain};
use super::{CACHE_BYTES, DiskStore, LOG_FILE, explain, read_identity};
use crate::store::{Identity, StoreError};

impl DiskStore {
    /// Opens the log that is in a data folder, whosever it is. Like any opening it repairs what a crash left, so whoever
    /// only wants to look opens a copy.
    pub fn open_existing(folder: &Path) -> Result<DiskStore, StoreError> {
        let Identity {
            cluster, replica, ..
        } = DiskStore::identity_in(folder)?;
        DiskStore::open(folder, cluster, replica)
    }

    fn identity_in(folder: &Path) -> Result<Identity, StoreError> {
        let path = folder.join(LOG_FILE);
        if let Err(error) = fs::metadata(&path) {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => {
                    "there is none; is that the data folder of a replica?".to_owned()
                }
                _ => error.to_string(),
            };
            return Err(StoreError::Io { path, reason });
        }
        // The file is there, so that nothing is created.
        let file = DataFile::open(&path, CACHE_BYTES, |_| Ok(()));
        let identity = file.and_then(|file| contain(|| read_identity(file.database())));
        match identity {
            Ok((_, identity)) => Ok(identity),
            Err(fault) => Err(explain(fault, &path)),
        }
    }
}
