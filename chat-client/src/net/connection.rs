//! An HTTP/2 connection, and the task that carries it.
//!
//! Its calls are carried in the same task. What they share is behind h2's lock: where each caller talked with it by itself,
//! a batch of answers had callers on one core wait for the connection on another, answer by answer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::unconstrained;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};

use super::again::Again;
use super::exchange::{BoxError, Exchange, Outgoing, Reply, exchange};

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

/// With so many calls under way, one who asks is likely to be the first of those who were answered together: the others come
/// to ask before the connection writes.
const BUSY: usize = 16;

/// A handle to a connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Calls(mpsc::UnboundedSender<Exchange>);

impl Calls {
    /// Whether the connection is closed, or about to be.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends a request and waits for the head of its answer. Dropped, it takes the request back.
    pub(super) async fn call(&self, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing::new(request).await?;
        self.0
            .send(Exchange { outgoing, answer })
            .map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was closed a moment ago",
    )
}

/// Begins a connection, which lasts until all handles to it and their calls are gone, the other side closes it, or is
/// silent.
pub(super) async fn begin<S>(stream: S) -> Result<Calls, h2::Error>
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
    let (calls, asked) = mpsc::unbounded_channel();
    tokio::spawn(carry(connection, sender, asked, pings));
    Ok(Calls(calls))
}

/// Carries a connection and its calls until it ends.
async fn carry<S>(
    mut connection: Connection<S, Bytes>,
    sender: SendRequest<Bytes>,
    mut asked: mpsc::UnboundedReceiver<Exchange>,
    pings: PingPong,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut calls = FuturesUnordered::new();
    let mut sender = Some(sender);
    let mut giving_way = None;
    let carried = poll_fn(|context| {
        let others_first = calls.len() >= BUSY && !asked.is_empty() && {
            let giving_way = giving_way.get_or_insert_with(|| Box::pin(yield_now()));
            giving_way.as_mut().poll(context).is_pending()
        };
        if !others_first {
            giving_way = None;
            while let (Some(open), Poll::Ready(next)) = (&sender, asked.poll_recv(context)) {
                match next {
                    Some(call) => calls.push(exchange(open.clone(), call)),
                    // Nobody can call any more, and the connection ends behind the last call.
                    None => sender = None,
                }
            }
        }
        // First what they ask is taken along, and then they are told what has come.
        while let Poll::Ready(Some(())) = calls.poll_next_unpin(context) {}
        let ended = Pin::new(&mut connection).poll(context).map(|_| ());
        while let Poll::Ready(Some(())) = calls.poll_next_unpin(context) {}
        if sender.as_ref().is_some_and(is_closed) {
            asked.close();
        }
        ended
    });
    tokio::select! {
        biased;
        // Many calls are one task: what tokio allows a task would be used up in the middle of a batch of answers.
        () = unconstrained(Again::new(carried)) => {}
        () = silence(pings) => {}
    }
    // All calls are told how it ended.
    drop(connection);
    asked.close();
    while let (Some(sender), Some(call)) = (&sender, asked.recv().await) {
        calls.push(exchange(sender.clone(), call));
    }
    while calls.next().await.is_some() {}
}

fn is_closed(sender: &SendRequest<Bytes>) -> bool {
    // A clone never waits for a call of its own.
    let ready = sender
        .clone()
        .poll_ready(&mut Context::from_waker(Waker::noop()));
    matches!(ready, Poll::Ready(Err(_)))
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
