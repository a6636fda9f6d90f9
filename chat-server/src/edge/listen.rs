//! Listening, and not for more than was meant.

use std::io;

use chat_client::Endpoint;
use chat_replication::types::ReplicaId;
use socket2::SockRef;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::warn;

use crate::config::ClusterConfig;
use crate::edge::tls::Tls;

/// So many connections may wait to be taken, where the system allows it (`net.core.somaxconn`). After a failover all clients
/// of a replica come to another at once; beyond this the system ignores them until they try again, a second later.
const BACKLOG: i32 = 4096;

/// Who may reach a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Exposure {
    /// Processes of this machine: the listeners must be on loopback addresses.
    #[default]
    Loopback,
    /// Whoever can reach its addresses, over connections that are not encrypted.
    Insecure,
}

/// An address cannot be listened on. The message says what to do.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The system does not allow it, or the address is none.
    #[error("cannot listen for {whom} on {address}: {problem}")]
    Failed {
        /// Clients or peers.
        whom: &'static str,
        /// Where.
        address: Endpoint,
        /// What the system said, and what to do.
        problem: String,
    },
    /// Others could reach what is not encrypted.
    #[error(
        "{key} {address} can be reached from other machines, and connections are not encrypted; make certificates with \
         `chat-server init`, listen on a loopback address such as 127.0.0.1, or pass --insecure if the network can be \
         trusted"
    )]
    Exposed {
        /// The key in the cluster file.
        key: &'static str,
        /// Where.
        address: Endpoint,
    },
}

/// Where listeners may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Loopback,
    Anywhere,
}

/// Decides that, and says what is unusual about it.
pub(crate) fn access(exposure: Exposure, tls: Option<&Tls>) -> Access {
    match (exposure, tls) {
        (Exposure::Loopback, None) => Access::Loopback,
        (Exposure::Loopback, Some(_)) => Access::Anywhere,
        (Exposure::Insecure, Some(_)) => {
            warn!(
                "--insecure changes nothing: the cluster file has a [tls] table, and connections are encrypted"
            );
            Access::Anywhere
        }
        (Exposure::Insecure, None) => {
            warn!(
                "--insecure: connections are not encrypted, and whoever can reach the ports can read messages and \
                 passwords and take part as a replica; `chat-server init` makes certificates"
            );
            Access::Anywhere
        }
    }
}

/// A kind of listener that tonic and the peers' transport can both be made from.
pub(crate) trait Listener: Sized {
    fn from_tokio(listener: TcpListener) -> io::Result<Self>;
}

impl Listener for TcpListener {
    fn from_tokio(listener: TcpListener) -> io::Result<Self> {
        Ok(listener)
    }
}

impl Listener for std::net::TcpListener {
    fn from_tokio(listener: TcpListener) -> io::Result<Self> {
        listener.into_std()
    }
}

/// Binds the address, or takes the listener that there is already.
pub(crate) async fn bind<L: Listener>(
    whom: &'static str,
    key: &'static str,
    address: &Endpoint,
    access: Access,
    bound: Option<std::net::TcpListener>,
) -> Result<L, ListenError> {
    let failed = |problem: String| ListenError::Failed {
        whom,
        address: address.clone(),
        problem,
    };
    if let Some(listener) = bound {
        let taken = async {
            let local = listener.local_addr()?.ip();
            SockRef::from(&listener).listen(BACKLOG)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>((local, TcpListener::from_std(listener)?))
        };
        let (local, listener) = taken.await.map_err(|error| failed(error.to_string()))?;
        if access == Access::Loopback && !local.is_loopback() {
            let address = address.clone();
            return Err(ListenError::Exposed { key, address });
        }
        return L::from_tokio(listener).map_err(|error| failed(error.to_string()));
    }
    let resolved = address.resolve().await.map_err(|error| {
        failed(format!("{error}; correct {key} in the cluster file, or the name's entry in DNS or the hosts file"))
    })?;
    if access == Access::Loopback && resolved.iter().any(|address| !address.ip().is_loopback()) {
        return Err(ListenError::Exposed {
            key,
            address: address.clone(),
        });
    }
    let listening = TcpListener::bind(resolved.as_slice()).await;
    let listening = listening.and_then(|listener| {
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(listener)
    });
    let listener = listening.map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another process listens there; stop it, or choose another {key} in the cluster file")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine does not have that address; correct {key} in the cluster file")
            }
            io::ErrorKind::PermissionDenied => {
                format!("the system does not allow it; choose a {key} with a port above 1023")
            }
            _ => error.to_string(),
        })
    })?;
    L::from_tokio(listener).map_err(|error| failed(error.to_string()))
}

/// A peer whose name is unknown may become known later, so that is no reason not to start.
pub(crate) async fn warn_unresolvable(cluster: ClusterConfig, me: ReplicaId) {
    for replica in cluster.replicas.iter().filter(|replica| replica.id != me) {
        if let Err(error) = replica.peer_address.resolve().await {
            warn!(
                "{error}; replica {} cannot be reached until its peer_address is corrected in the cluster file, or its \
                 name is known",
                replica.id
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// More than std's listeners hold, and fewer than any system allows by default today.
    const CROWD: usize = 400;

    #[tokio::test]
    async fn a_crowd_may_come_before_the_first_is_taken() {
        for free in [true, false] {
            let bound = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let ours = bound.local_addr().expect("it has one").to_string();
            let ours = ours.parse().expect("an address");
            let bound = (!free).then_some(bound);
            let listening = bind("clients", "client_listen", &ours, Access::Loopback, bound);
            let listener: TcpListener = listening.await.expect("it listens");
            let address = listener.local_addr().expect("it has one");
            let mut crowd = Vec::new();
            for n in 0..CROWD {
                let coming = timeout(Duration::from_secs(20), TcpStream::connect(address)).await;
                let came = coming.unwrap_or_else(|_| panic!("{n} were let in"));
                crowd.push(came.expect("the system lets it in"));
            }
        }
    }
}
