//! Taking clients' connections: a bounded number, each secured within a deadline, none in the way of another.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::prompt::Prompt;
use super::unencrypted;
use crate::app::throttle::{Connection, Peer, network};
use crate::config::Limits;
use crate::edge::tls::Tls;

/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after the system could not give another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections refused between two warnings of it.
const REFUSED_PER_WARNING: u64 = 1000;

/// The connections that clients make, secured if there are certificates.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    limits: watch::Receiver<Limits>,
) -> mpsc::Receiver<Incoming> {
    let (secured, incoming) = mpsc::channel(16);
    let entrance = Entrance {
        limits,
        taken: Arc::default(),
    };
    tokio::spawn(accept(listener, tls, entrance, secured));
    incoming
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    entrance: Entrance,
    secured: mpsc::Sender<Incoming>,
) {
    let mut refused: u64 = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = secured.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(
                    "no connection can be taken: {error}; raise the limit of open files (LimitNOFILE=)"
                );
                sleep(PAUSE).await;
                continue;
            }
        };
        // Who finds no room is told so by the end of the connection, and goes to another replica.
        let Some(place) = entrance.enter(address) else {
            if refused.is_multiple_of(REFUSED_PER_WARNING) {
                warn!(
                    "a connection from {} was closed at once: max_connections or connections_per_address is reached",
                    address.ip()
                );
            }
            refused += 1;
            continue;
        };
        let (tls, secured) = (tls.clone(), secured.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, secure(tls, stream, place)).await {
                // The server has gone when nobody takes it.
                Ok(Ok(incoming)) => _ = secured.send(incoming).await,
                Ok(Err(error)) => debug!(%address, %error, "a connection was not secured"),
                Err(_) => debug!(%address, "a connection was not secured in time"),
            }
        });
    }
}

async fn secure(tls: Option<Arc<Tls>>, stream: TcpStream, place: Place) -> io::Result<Incoming> {
    stream.set_nodelay(true)?;
    let address = place.address;
    let (stream, replica): (Box<dyn Stream>, _) = match tls {
        Some(_) if unencrypted::speaks_http(&stream).await? => {
            unencrypted::refuse(stream).await?;
            return Err(io::Error::other("it is not encrypted"));
        }
        Some(tls) => {
            let (stream, replica) = tls.accept_client(stream).await?;
            (Box::new(stream), replica)
        }
        None => (Box::new(stream), None),
    };
    Ok(Incoming {
        stream: Prompt::new(stream),
        connection: Connection {
            peer: Peer { address, replica },
            held: Arc::default(),
        },
        _place: place,
    })
}

/// Counts connections.
#[derive(Clone, Debug)]
struct Entrance {
    /// They change while the replica runs; who is in stays in.
    limits: watch::Receiver<Limits>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only looked up, so that its order never shows.
    by_address: HashMap<IpAddr, usize>,
}

impl Entrance {
    fn enter(&self, address: SocketAddr) -> Option<Place> {
        let address = network(address.ip());
        let Limits {
            max_connections,
            connections_per_address,
            ..
        } = *self.limits.borrow();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.all >= max_connections || here >= connections_per_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        Some(Place {
            address,
            taken: Arc::clone(&self.taken),
        })
    }
}

/// What a client holds of the room.
struct Place {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that may be served.
pub(crate) struct Incoming {
    stream: Prompt<Box<dyn Stream>>,
    connection: Connection,
    _place: Place,
}

impl Incoming {
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_and_a_network_is_one_address() {
        let (change, limits) = watch::channel(Limits {
            max_connections: 3,
            connections_per_address: 2,
            ..Limits::default()
        });
        let entrance = Entrance {
            limits,
            taken: Arc::default(),
        };
        let enter =
            |address: &str| entrance.enter(SocketAddr::new(address.parse().expect(address), 1));
        let first = enter("2001:db8::1").expect("room");
        let _second = enter("2001:db8::ffff:2").expect("room");
        assert!(enter("2001:db8::3").is_none());
        let _third = enter("::ffff:192.0.2.1").expect("room");
        assert!(enter("192.0.2.2").is_none());
        drop(first);
        let _fourth = enter("192.0.2.1").expect("room again");
        assert!(enter("192.0.2.1").is_none());

        change.send_modify(|limits| limits.max_connections = 4);
        let _fifth = enter("192.0.2.3").expect("more room");
        assert!(enter("192.0.2.4").is_none());
    }
}
