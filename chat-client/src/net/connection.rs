//! An HTTP/2 connection, and the task that carries it.
//!
//! Its calls are carried in the same task. What they share is behind h2's lock: where each caller talked with it by itself,
//! a batch of answers had callers on one core wait for the connection on another, answer by answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
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
use tonic::codegen::http::Response;

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
pub(super) struct Calls(Arc<Handle>);

struct Handle {
    asked: mpsc::UnboundedSender<Exchange>,
    /// Knows why the connection takes no calls any more.
    sender: SendRequest<Bytes>,
}

impl Calls {
    /// Whether the connection is closed, or about to be.
    pub(super) fn is_closed(&self) -> bool {
        self.0.asked.is_closed()
    }

    /// Waits for the head of an answer. Dropped, it takes the request back.
    pub(super) async fn call(&self, outgoing: Outgoing) -> Result<Response<Reply>, Unanswered> {
        let Handle { asked, sender } = &*self.0;
        let (answer, answered) = oneshot::channel();
        if let Err(refused) = asked.send(Exchange { outgoing, answer }) {
            return Err(not_sent(sender, refused.0.outgoing));
        }
        answered.await.unwrap_or_else(|_| {
            Err(Unanswered {
                why: closed().into(),
                unsent: None,
            })
        })
    }
}

/// Why a call has no answer.
pub(super) struct Unanswered {
    pub(super) why: BoxError,
    /// The request, where nothing of it was sent: another connection may take it.
    pub(super) unsent: Option<Box<Outgoing>>,
}

fn not_sent(sender: &SendRequest<Bytes>, outgoing: Outgoing) -> Unanswered {
    Unanswered {
        why: match refusal(sender) {
            Some(error) => error.into(),
            None => closed().into(),
        },
        unsent: Some(Box::new(outgoing)),
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection was closed a moment ago",
    )
}

/// Why a connection takes no calls any more, if it does not.
fn refusal(sender: &SendRequest<Bytes>) -> Option<h2::Error> {
    // A clone never waits for a call of its own.
    let ready = sender
        .clone()
        .poll_ready(&mut Context::from_waker(Waker::noop()));
    match ready {
        Poll::Ready(Err(why)) => Some(why),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    }
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
    tokio::spawn(carry(connection, sender.clone(), asked, pings));
    Ok(Calls(Arc::new(Handle {
        asked: calls,
        sender,
    })))
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
            while let (Some(open), Poll::Ready(next)) =
                (&sender, freely(context, |context| asked.poll_recv(context)))
            {
                match next {
                    Some(call) => calls.push(exchange(open.clone(), call)),
                    // Nobody can call any more, and the connection ends behind the last call.
                    None => sender = None,
                }
            }
        }
        // First what they ask is taken along, and then they are told what has come.
        while let Poll::Ready(Some(())) = freely(context, |context| calls.poll_next_unpin(context))
        {
        }
        let ended = Pin::new(&mut connection).poll(context).map(|_| ());
        if ended.is_ready() || sender.as_ref().is_some_and(|open| refusal(open).is_some()) {
            // Who is told may ask again at once, and is to find it closed.
            asked.close();
            while let (Some(open), Ok(call)) = (&sender, asked.try_recv()) {
                call.give_back(open);
            }
        }
        while let Poll::Ready(Some(())) = freely(context, |context| calls.poll_next_unpin(context))
        {
        }
        ended
    });
    tokio::select! {
        biased;
        () = Again::new(carried) => {}
        () = silence(pings) => {}
    }
    // All calls are told how it ended.
    asked.close();
    drop(connection);
    while let (Some(sender), Some(call)) = (&sender, asked.recv().await) {
        call.give_back(sender);
    }
    while calls.next().await.is_some() {}
}

/// Polls beyond what tokio allows a task, which would be used up in the middle of a batch of answers.
fn freely<T>(
    context: &mut Context<'_>,
    polled: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    pin!(unconstrained(poll_fn(polled))).poll(context)
}

impl Exchange {
    /// Tells that nothing was sent.
    fn give_back(self, sender: &SendRequest<Bytes>) {
        let _ = self.answer.send(Err(not_sent(sender, self.outgoing)));
    }
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
