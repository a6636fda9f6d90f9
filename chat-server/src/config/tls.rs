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
    /// Files of these names within the folder. In a name, `{id}` stands for the replica's number.
    pub fn new(
        folder: impl Into<PathBuf>,
        ca: impl Into<String>,
        cert: impl Into<String>,
        key: impl Into<String>,
    ) -> TlsConfig {
        TlsConfig {
            folder: folder.into(),
            ca: ca.into(),
            cert: cert.into(),
            key: key.into(),
        }
    }

    /// The files of one replica.
    pub fn files(&self, replica: ReplicaId) -> TlsFiles {
        let number = replica.to_string();
        self.each(|name| self.folder.join(name.replace(NUMBER, &number)))
    }

    /// The files' names, for whichever replica.
    pub(super) fn names(&self) -> TlsFiles {
        self.each(|name| self.folder.join(name))
    }

    fn each(&self, file: impl Fn(&str) -> PathBuf) -> TlsFiles {
        TlsFiles {
            ca: file(&self.ca),
            cert: file(&self.cert),
            key: file(&self.key),
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
    Ok(Some(TlsConfig::new(
        path.parent().unwrap_or(Path::new("")),
        name("ca", &raw.ca)?,
        name("cert", &raw.cert)?,
        name("key", &raw.key)?,
    )))
}
