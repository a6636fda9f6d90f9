//! Messages on their way to one peer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio_stream::Stream;

use super::proto::{ExchangeRequest, PeerMessage, exchange_request};
use super::wire;

/// How much may wait for one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// A bounded queue between the driver, which never waits, and a connection, which may be slow or gone. While there is no
/// connection everything is dropped: the protocol repeats what matters, and what is old by then helps nobody.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Counts connections; an older one gets nothing more.
    connection: u64,
    open: bool,
    waiting: VecDeque<PeerMessage>,
    bytes: usize,
    /// Of the connection, when it has sent everything.
    waker: Option<Waker>,
    /// When a message was last taken, or came to an empty queue.
    progress: Instant,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        let state = State {
            connection: 0,
            open: false,
            waiting: VecDeque::new(),
            bytes: 0,
            waker: None,
            progress: Instant::now(),
        };
        Queue {
            limits,
            state: Mutex::new(state),
        }
    }

    /// Queues a message, unless there is no room or no connection.
    pub(super) fn push(&self, message: PeerMessage) {
        let size = wire::size(&message);
        let mut state = self.state();
        let full =
            state.bytes + size > self.limits.bytes || state.waiting.len() >= self.limits.messages;
        // A message that is alone too large for the queue may still go through it alone.
        if !state.open || (full && !state.waiting.is_empty()) {
            return;
        }
        if state.waiting.is_empty() {
            state.progress = Instant::now();
        }
        state.bytes += size;
        state.waiting.push_back(message);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The requests of a new connection: `hello`, then what is queued. Queueing begins with [`Queue::open`].
    pub(super) fn connect(self: &Arc<Queue>, hello: ExchangeRequest) -> Requests {
        let mut state = self.state();
        state.clear();
        state.connection += 1;
        Requests {
            queue: Arc::clone(self),
            connection: state.connection,
            hello: Some(hello),
        }
    }

    /// From now on messages are queued.
    pub(super) fn open(&self) {
        self.state().open = true;
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Drops what is queued, ends the connection's requests, and queues nothing more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.connection += 1;
        state.clear();
    }

    /// Whether something has been waiting for so long without a message being taken.
    pub(super) fn stalled(&self, limit: Duration) -> bool {
        let state = self.state();
        !state.waiting.is_empty() && state.progress.elapsed() > limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        self.open = false;
        self.waiting.clear();
        self.bytes = 0;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What one connection sends.
#[derive(Debug)]
pub(super) struct Requests {
    queue: Arc<Queue>,
    connection: u64,
    hello: Option<ExchangeRequest>,
}

impl Stream for Requests {
    type Item = ExchangeRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<ExchangeRequest>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(hello));
        }
        let mut state = self.queue.state();
        if state.connection != self.connection {
            return Poll::Ready(None);
        }
        let Some(message) = state.waiting.pop_front() else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.bytes -= wire::size(&message);
        state.progress = Instant::now();
        Poll::Ready(Some(ExchangeRequest {
            frame: Some(exchange_request::Frame::Message(message)),
        }))
    }
}
