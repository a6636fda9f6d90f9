//! Which files hold certificates and keys.

use std::path::{Path, PathBuf};

use chat_replication::types::ReplicaId;
use toml::Spanned;

use super::error::Lines;
use super::{ConfigError, raw};

/// Stands for a replica's number in the names of its files, since all replicas share one cluster file.
const NUMBER: &str = "{id}";

/// Where each replica has its certificate and key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    folder: PathBuf,
    ca: String,
    cert: String,
    key: String,
}

/// The files of one replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate of the cluster's authority.
    pub ca: PathBuf,
    /// The replica's certificate, and those between it and the authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl TlsConfig {
    /// The files of one replica.
    pub fn files(&self, replica: ReplicaId) -> TlsFiles {
        let of_replica = |name: &str| {
            let name = name.replace(NUMBER, &replica.to_string());
            self.folder.join(name)
        };
        TlsFiles {
            ca: of_replica(&self.ca),
            cert: of_replica(&self.cert),
            key: of_replica(&self.key),
        }
    }
}

pub(super) fn check(
    lines: &Lines<'_>,
    raw: &Option<raw::Tls>,
    path: &Path,
) -> Result<Option<TlsConfig>, ConfigError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let name = |key: &str, name: &Spanned<String>| match name.get_ref().trim() {
        "" => Err(lines.mistake(
            Some(name.span()),
            format!("{key} is empty; name a file, with {NUMBER} for the replica's number"),
        )),
        given => Ok(given.to_owned()),
    };
    Ok(Some(TlsConfig {
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        ca: name("ca", &raw.ca)?,
        cert: name("cert", &raw.cert)?,
        key: name("key", &raw.key)?,
    }))
}
