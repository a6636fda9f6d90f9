//! Making a connection to a peer.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::security::{Connection, Security};
use crate::types::ReplicaId;

/// Time for a name to be resolved, and for a connection to be made.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after which one more attempt is made beside those that have not been answered: the system itself asks again after a
/// second only, and so long the peer would be away that was cut off until just now.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A connection on which something waits to be confirmed is asked for a sign of life so often, and given up without one for
/// so long: the system would repeat what was lost ever more rarely, and for seconds go on doing so after a cut that lasted
/// as long.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(500);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// HTTP/2 windows: enough for the largest batches to be under way without waiting for the receiver's word.
pub(super) const STREAM_WINDOW: u32 = 8 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum DialError {
    /// The machine is there, and nothing listens.
    Refused,
    /// The address means nothing, or nothing at present.
    Unresolvable(String),
    /// No answer, or no way there: it may be the network.
    Silent(String),
    /// Somebody answers who is not the peer, or does not take this replica for one of the cluster.
    Untrusted(String),
}

/// A TCP connection to HOST:PORT, which is resolved each time.
pub(super) async fn tcp(address: &str) -> Result<TcpStream, DialError> {
    let resolved = timeout(RESOLVE_TIMEOUT, lookup_host(address)).await;
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(DialError::Unresolvable(error.to_string())),
        Err(_) => {
            return Err(DialError::Unresolvable(
                "the name service does not answer".to_owned(),
            ));
        }
    };
    let mut failure = None;
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if is_refusal(&error) => {
                failure.get_or_insert(DialError::Refused);
            }
            // One address that may be reachable outweighs the others that refuse.
            Ok(Err(error)) => failure = Some(DialError::Silent(error.to_string())),
            Err(_) => failure = Some(DialError::Silent("no answer".to_owned())),
        }
    }
    Err(failure.unwrap_or_else(|| DialError::Unresolvable("the name has no address".to_owned())))
}

/// The first of some attempts that is answered.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut again = interval(ASK_AGAIN);
    loop {
        tokio::select! {
            _ = again.tick() => {
                attempts.spawn(TcpStream::connect(address));
            }
            Some(answered) = attempts.join_next() => return answered.map_err(io::Error::other)?,
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// A gRPC channel over a connection that is there already. It does not reconnect.
pub(super) async fn channel(
    security: &dyn Security,
    peer: ReplicaId,
    address: &str,
    stream: TcpStream,
) -> Result<Channel, DialError> {
    let silent = |error: &dyn std::error::Error| DialError::Silent(error.to_string());
    stream.set_nodelay(true).map_err(|error| silent(&error))?;
    let connection = match timeout(CONNECT_TIMEOUT, security.connect(peer, address, stream)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(DialError::Untrusted(error.to_string()));
        }
        Ok(Err(error)) => return Err(silent(&error)),
        Err(_) => return Err(DialError::Silent("no answer".to_owned())),
    };
    let endpoint = Endpoint::from_static("http://peer.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let connecting = endpoint.connect_with_connector(Once(Some(connection)));
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(silent(&error)),
        Err(_) => Err(DialError::Silent("no answer".to_owned())),
    }
}

/// A connector that gives out one connection.
struct Once(Option<Box<dyn Connection>>);

impl Service<Uri> for Once {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Box<dyn Connection>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(
            self.0
                .take()
                .map(TokioIo::new)
                .ok_or_else(|| io::ErrorKind::ConnectionReset.into()),
        )
    }
}
