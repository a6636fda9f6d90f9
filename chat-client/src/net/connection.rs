//! An HTTP/2 connection, and the task that carries it.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

/// A connection is asked for a sign of life this often, so that a replica that vanished without a word is noticed before
/// the next call.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// So many bytes may be under way to this side, for one call and for all, before they are asked for: with less a page of
/// history would wait for a round trip.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// What an answer may have in its head.
const HEADER_BYTES: u32 = 16 << 10;

/// Begins a connection, which lasts until all handles to it are gone, the other side closes it, or is silent.
pub(super) async fn begin<S>(stream: S) -> Result<SendRequest<Bytes>, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES)
        .enable_push(false)
        .handshake(stream)
        .await?;
    let pings = connection
        .ping_pong()
        .expect("nobody else has asked for them");
    tokio::spawn(async move {
        tokio::select! {
            biased;
            // Its calls are told how it ended.
            _ = connection => {}
            () = silence(pings) => {}
        }
    });
    Ok(sender)
}

/// Returns once the other side gives no sign of life.
async fn silence(mut pings: PingPong) {
    loop {
        sleep(KEEP_ALIVE_INTERVAL).await;
        match timeout(KEEP_ALIVE_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
