//! Encrypted connections: whom a replica trusts, and how it shows who it is.
//!
//! A cluster has a certificate authority of its own, and each replica a certificate with the cluster's id and its own
//! number in it. Replicas show theirs to each other, on the peers' port as on the clients'; clients show none.

mod authority;
mod certificates;
mod error;
mod material;
mod name;
mod peers;
mod verifier;
mod watch;

use std::sync::Arc;
use std::{fmt, io};

use arc_swap::ArcSwap;
use chat_replication::types::{ClusterId, ReplicaId};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub(crate) use self::certificates::{DAYS, Folder, write_public};
pub use self::error::TlsError;
use self::material::{Material, problem};
use self::name::{Name, describe};
pub(crate) use self::peers::PeerSecurity;
pub(crate) use self::watch::watch;
use crate::config::TlsFiles;

/// A certificate's end is told of so long before, in seconds.
pub(crate) const NOTICE: i64 = 30 * 24 * 3600;

/// One replica's certificates and keys, as they are at the moment.
pub(crate) struct Tls {
    files: TlsFiles,
    cluster: ClusterId,
    me: ReplicaId,
    current: ArcSwap<Material>,
}

impl Tls {
    /// Reads the files, and makes sure that they fit together and are this replica's.
    pub(crate) fn load(
        files: TlsFiles,
        cluster: ClusterId,
        me: ReplicaId,
    ) -> Result<Tls, TlsError> {
        let current = ArcSwap::from_pointee(Material::load(&files, cluster, me)?);
        Ok(Tls {
            files,
            cluster,
            me,
            current,
        })
    }

    /// Reads the files again, for connections from now on. What there was stays in use if they are no good.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let material = Material::load(&self.files, self.cluster, self.me)?;
        self.current.store(Arc::new(material));
        Ok(())
    }

    /// When this replica's certificate ends, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> i64 {
        self.current.load().expires_at
    }

    /// Takes a client's connection. Names the replica, if it is one that passes a call on.
    pub(crate) async fn accept_client(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Option<ReplicaId>)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().for_clients));
        let stream = acceptor.accept(stream).await.map_err(in_words)?;
        let caller = match stream.get_ref().1.peer_certificates() {
            Some(certificates) => Some(self.replica(certificates)?),
            None => None,
        };
        Ok((stream, caller))
    }

    /// Takes a replica's connection.
    pub(crate) async fn accept_peer(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, ReplicaId)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().for_peers));
        let stream = acceptor.accept(stream).await.map_err(in_words)?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let caller = self.replica(certificates)?;
        Ok((stream, caller))
    }

    /// Secures a connection to a replica, and makes sure that it is the one.
    pub(crate) async fn connect(
        &self,
        to: ReplicaId,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.current.load().outgoing));
        // The replica is known by its certificate; this name only goes along with the greeting.
        let name = ServerName::try_from("replica").map_err(io::Error::other)?;
        let stream = connector.connect(name, stream).await.map_err(in_words)?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let answering = self.replica(certificates)?;
        if answering != to {
            return Err(refusal(format!(
                "replica {answering} answers there; check the addresses of both"
            )));
        }
        Ok(stream)
    }

    /// The replica of this cluster that a certificate is for, which was found to be signed by the authority.
    fn replica(&self, certificates: &[CertificateDer<'_>]) -> io::Result<ReplicaId> {
        let name = certificates
            .first()
            .and_then(describe)
            .and_then(|it| it.name);
        match name {
            Some(Name { cluster, replica }) if cluster == self.cluster => Ok(replica),
            Some(Name { cluster, .. }) => Err(refusal(format!(
                "the certificate is of cluster {cluster}, and this is cluster {}; check the addresses",
                self.cluster
            ))),
            None => Err(refusal("the certificate is for no replica".to_owned())),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn refusal(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// The same kind of error, in words for an operator.
fn in_words(error: io::Error) -> io::Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => refusal(problem(tls)),
        None => error,
    }
}

#[cfg(test)]
mod tests;
