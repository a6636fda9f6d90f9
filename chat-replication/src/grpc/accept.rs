//! Taking connections: a bounded number, each secured within a deadline, none in the way of another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::once::Once;
use super::security::{ConnectionInfo, Incoming, Security};

/// Time for a caller to show who it is.
const DEADLINE: Duration = Duration::from_secs(5);
/// Connections that may be in the making at once. Peers make one each.
const IN_THE_MAKING: usize = 64;
/// Pause after the system could not give another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections that callers have made, secured.
pub(super) fn incoming(
    listener: TcpListener,
    security: Arc<dyn Security>,
    log: Arc<Once>,
) -> ReceiverStream<io::Result<Incoming>> {
    let (secured, incoming) = mpsc::channel(1);
    tokio::spawn(accept(listener, security, log, secured));
    ReceiverStream::new(incoming)
}

async fn accept(
    listener: TcpListener,
    security: Arc<dyn Security>,
    log: Arc<Once>,
    secured: mpsc::Sender<io::Result<Incoming>>,
) {
    let places = Arc::new(Semaphore::new(IN_THE_MAKING));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "no connection could be taken");
                    sleep(PAUSE).await;
                    continue;
                }
            },
            () = secured.closed() => return,
        };
        let (security, log, secured) = (Arc::clone(&security), Arc::clone(&log), secured.clone());
        tokio::spawn(async move {
            match timeout(DEADLINE, secure(&*security, stream, address)).await {
                Ok(Ok(incoming)) => hand_over(secured, incoming, place).await,
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => log.warn(format!(
                    "a connection from {} to the peers' port was refused: {error}",
                    address.ip()
                )),
                Ok(Err(error)) => debug!(%address, %error, "a connection ended early"),
                Err(_) => log.warn(format!(
                    "a connection from {} to the peers' port did not say in time who it is, and was closed",
                    address.ip()
                )),
            }
        });
    }
}

async fn secure(
    security: &dyn Security,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<Incoming> {
    stream.set_nodelay(true)?;
    let accepted = security.accept(stream).await?;
    let caller = accepted.caller;
    Ok(Incoming {
        accepted,
        info: ConnectionInfo { address, caller },
    })
}

async fn hand_over(
    secured: mpsc::Sender<io::Result<Incoming>>,
    incoming: Incoming,
    place: OwnedSemaphorePermit,
) {
    // The server has gone with the transport.
    let _ = secured.send(Ok(incoming)).await;
    drop(place);
}
