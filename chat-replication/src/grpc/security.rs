//! What keeps strangers out of the connections between replicas.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

use crate::types::ReplicaId;

/// Secures the connections between replicas, such as by TLS. The transport speaks gRPC over whatever this gives it.
///
/// An error of kind [`io::ErrorKind::InvalidData`] says that the other side is not who it should be, or does not take
/// this side for who it is; the operator is told of it. Any other error is taken for a disturbance of the network.
pub trait Security: Send + Sync + Debug + 'static {
    /// Secures a connection that was made to `peer` at `address`, and makes sure that the peer answers there.
    fn connect<'a>(
        &'a self,
        peer: ReplicaId,
        address: &'a str,
        stream: TcpStream,
    ) -> Securing<'a, Box<dyn Connection>>;

    /// Secures a connection that somebody made to this replica.
    fn accept(&self, stream: TcpStream) -> Securing<'_, Accepted>;
}

/// A connection in the making.
pub type Securing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Bytes in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// A connection that was taken, and what is known of the one who made it.
pub struct Accepted {
    /// The connection.
    pub connection: Box<dyn Connection>,
    /// Who made it.
    pub caller: Identified,
}

/// What a connection itself tells of the one who made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identified {
    /// Nothing: the caller is believed what it says.
    Unproven,
    /// It has proven to be this replica of the cluster, and may not call itself another.
    Replica(ReplicaId),
}

impl Identified {
    /// Whether somebody who is known so far may speak for `replica`.
    pub(super) fn allows(self, replica: ReplicaId) -> bool {
        match self {
            Identified::Unproven => true,
            Identified::Replica(proven) => proven == replica,
        }
    }
}

/// Connections as they are, for replicas that only trusted processes can reach.
#[derive(Clone, Copy, Debug)]
pub struct Unsecured;

impl Security for Unsecured {
    fn connect<'a>(
        &'a self,
        _: ReplicaId,
        _: &'a str,
        stream: TcpStream,
    ) -> Securing<'a, Box<dyn Connection>> {
        Box::pin(async move { Ok(Box::new(stream) as Box<dyn Connection>) })
    }

    fn accept(&self, stream: TcpStream) -> Securing<'_, Accepted> {
        Box::pin(async move {
            Ok(Accepted {
                connection: Box::new(stream),
                caller: Identified::Unproven,
            })
        })
    }
}

/// A connection as tonic's server takes it.
pub(super) struct Incoming {
    pub(super) accepted: Accepted,
    pub(super) info: ConnectionInfo,
}

/// What a call tells of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionInfo {
    pub(super) address: std::net::SocketAddr,
    pub(super) caller: Identified,
}

impl Connected for Incoming {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.connection).poll_read(context, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.accepted.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.accepted.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.accepted.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.accepted.connection).poll_shutdown(context)
    }
}
