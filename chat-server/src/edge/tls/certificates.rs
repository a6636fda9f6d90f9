//! The folder from which a cluster's machines are given what they need: the authority and its key, and each replica's
//! certificate and key.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chat_replication::types::{ClusterId, ReplicaId};
use time::Duration;

use super::authority::{Authority, AuthorityError, Issued};
use super::error::TlsError;
use crate::config::ReplicaConfig;

/// How long a certificate lasts unless somebody says otherwise.
pub(crate) const DAYS: u32 = 365;

/// A folder with the certificates and keys of one cluster, under the names that [`crate::config::secured`] gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folder<'a>(pub(crate) &'a Path);

impl Folder<'_> {
    /// The authority's certificate, which clients are given.
    pub(crate) const CA: &'static str = "ca.pem";
    /// The authority's key, which nobody is given.
    pub(crate) const CA_KEY: &'static str = "ca-key.pem";
    const CERT: &'static str = "cert.pem";
    const KEY: &'static str = "key.pem";

    /// What belongs to one replica.
    pub(crate) fn name(replica: ReplicaId) -> PathBuf {
        PathBuf::from(format!("replica-{replica}"))
    }

    /// Makes the authority of a new cluster, and the folder if need be.
    pub(crate) fn establish(self, cluster: ClusterId) -> Result<Authority, TlsError> {
        let (authority, kept) = Authority::establish(cluster).map_err(|e| self.unmade(&e))?;
        fs::create_dir_all(self.0).map_err(|error| unwritten(self.0, &error))?;
        write_secret(&self.0.join(Folder::CA_KEY), &kept.key)?;
        write_public(&self.0.join(Folder::CA), &kept.certificate)?;
        Ok(authority)
    }

    /// The authority that was established here before.
    pub(crate) fn authority(self) -> Result<Authority, TlsError> {
        let read = |name: &str| {
            let path = self.0.join(name);
            fs::read_to_string(&path).map_err(|error| {
                TlsError::new(
                    &path,
                    format!("{error}; go where `chat-server init` was run, which has the authority's key"),
                )
            })
        };
        let kept = Issued {
            certificate: read(Folder::CA)?,
            key: read(Folder::CA_KEY)?,
        };
        Authority::from_pem(&kept).map_err(|e| self.unmade(&e))
    }

    /// Makes a replica's certificate and key, in place of those that there may be.
    pub(crate) fn issue(
        self,
        authority: &Authority,
        cluster: ClusterId,
        replica: &ReplicaConfig,
        days: u32,
    ) -> Result<(), TlsError> {
        // The machine's own people may use its own name for it.
        let hosts: BTreeSet<&str> = [
            replica.client_address.host(),
            replica.peer_address.host(),
            "localhost",
            "127.0.0.1",
            "::1",
        ]
        .into();
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let issued = authority
            .issue(cluster, replica.id, &hosts, Duration::days(days.into()))
            .map_err(|e| self.unmade(&e))?;
        let own = self.0.join(Folder::name(replica.id));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&own)
            .map_err(|error| unwritten(&own, &error))?;
        write_secret(&own.join(Folder::KEY), &issued.key)?;
        write_public(&own.join(Folder::CERT), &issued.certificate)
    }

    fn unmade(self, error: &AuthorityError) -> TlsError {
        TlsError::new(self.0, error.to_string())
    }
}

/// Writes a file that everybody may read: all of it or nothing, in the place of what was there.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), TlsError> {
    write(path, text, 0o644).map_err(|error| unwritten(path, &error))
}

/// The same, but nobody else may read it, from its first byte on.
fn write_secret(path: &Path, text: &str) -> Result<(), TlsError> {
    write(path, text, 0o600).map_err(|error| unwritten(path, &error))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn unwritten(path: &Path, error: &io::Error) -> TlsError {
    TlsError::new(path, format!("cannot be written: {error}"))
}
