//! Looking at a log whose owner is not known beforehand.

use std::io;
use std::path::Path;

use super::folder::DiskFolder;
use super::manifest::Manifest;
use super::trouble::Trouble;
use super::{DiskStore, LOG_FOLDER, MANIFEST_FILES, old_format};
use crate::store::{Identity, StoreError};

impl DiskStore {
    /// Opens the log that is in a data folder, whosever it is. Like any opening it repairs what a crash left, so whoever
    /// only wants to look opens a copy.
    pub fn open_existing(folder: &Path) -> Result<DiskStore, StoreError> {
        match DiskStore::identity_in(folder)? {
            Some(Identity {
                cluster, replica, ..
            }) => DiskStore::open(folder, cluster, replica),
            None => Err(StoreError::Io {
                path: folder.join(LOG_FOLDER),
                reason: "there is none; is that the data folder of a replica?".to_owned(),
            }),
        }
    }

    /// Whether there is a log in a data folder, or what is left of one that can be told whose it is.
    pub fn is_in(folder: &Path) -> bool {
        let manifests = MANIFEST_FILES.map(|name| folder.join(LOG_FOLDER).join(name));
        manifests.iter().any(|path| path.exists()) || old_format(folder).is_some()
    }

    /// Whose log is in a data folder; `None` where there is no trace of one. Nothing is changed.
    ///
    /// # Errors
    ///
    /// There is one, and it cannot be told whose it is: among others where files are missing.
    pub fn identity_in(folder: &Path) -> Result<Option<Identity>, StoreError> {
        let path = folder.join(LOG_FOLDER);
        let identity = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(_) => Manifest::identity_in(&DiskFolder::at(path.clone())),
        };
        match identity.map_err(|trouble| trouble.of(&path))? {
            Some(identity) => Ok(Some(identity)),
            None => old_format(folder).map_or(Ok(None), |trouble: Trouble| Err(trouble.of(&path))),
        }
    }
}
