//! One client's connection, and its calls with it in one task.
//!
//! As tonic's own server runs them, each call is a task: what it waits for wakes it, it hands its answer over and wakes
//! the connection, which writes it. Here the connection's task is woken, carries its calls on and writes what they have to
//! say at once.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::CatchUnwind;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt, StreamExt};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tracing::debug;

use super::accept::Incoming;
use super::gate::Door;
use crate::config::Limits;

/// A connection without a sign of life for this long is closed, and its subscribers are no longer online.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a connection may send before it is read, which is memory that anybody can take.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest HTTP/2 frame, the smallest that must be allowed.
const FRAME: u32 = 16 << 10;
/// Between two turns of the connection, its calls are carried on. After so many it lets others go on.
const TURNS: usize = 4;
/// Calls that wake each other are carried on so often before what they have to say is written.
const ROUNDS: usize = 256;

/// Serves a connection until it is closed; once `stop` is true, until its calls are answered.
pub(crate) async fn serve(
    io: Incoming,
    door: Door,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let begun = Begun::default();
    let mut connection = Box::pin(
        http2::Builder::new(begun.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(limits.calls_per_connection)
            .max_header_list_size(limits.header_bytes)
            .max_frame_size(FRAME)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(io), door),
    );
    let connection = async move {
        let stopped = async {
            // Gone or true, it is over.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        tokio::select! {
            biased;
            ended = &mut connection => return ended,
            () = stopped => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    if let Err(error) = Together::new(connection, begun).await {
        debug!(%error, "a connection ended");
    }
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Calls that have begun since the connection was looked at last.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<Call>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, call: F) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(Box::pin(call));
    }
}

impl Begun {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection and its calls, polled together.
struct Together<C> {
    connection: Pin<Box<C>>,
    /// A call that panics ends alone.
    calls: FuturesUnordered<CatchUnwind<AssertUnwindSafe<Call>>>,
    begun: Begun,
    turn: Arc<Turn>,
    /// Wakes the connection.
    to_connection: Waker,
    /// Wakes the calls.
    to_calls: Waker,
}

impl<C: Future> Together<C> {
    fn new(connection: C, begun: Begun) -> Together<C> {
        let turn = Turn::new();
        Together {
            connection: Box::pin(connection),
            calls: FuturesUnordered::new(),
            begun,
            to_connection: Waker::from(Arc::clone(&turn)),
            to_calls: Waker::from(Arc::new(OfCalls(Arc::clone(&turn)))),
            turn,
        }
    }
}

impl<C> Together<C> {
    /// Carries the calls on as far as they go. They are many in one task: its share of time is measured by rounds, not by
    /// what tokio allows a task, which a batch of answers uses up long before its end.
    fn carry_on(&mut self) {
        let mut context = Context::from_waker(&self.to_calls);
        for _ in 0..ROUNDS {
            let begun = self.begun.take();
            let more = !begun.is_empty();
            let begun = begun.into_iter();
            self.calls
                .extend(begun.map(|call| AssertUnwindSafe(call).catch_unwind()));
            let calls = &mut self.calls;
            let mut next = unconstrained(poll_fn(|context| calls.poll_next_unpin(context)));
            while let Poll::Ready(Some(_)) = next.poll_unpin(&mut context) {}
            // It also stops where two of them have woken themselves, and those behind them are still to come.
            if !more && !self.turn.calls_again() {
                return;
            }
        }
        self.turn.due(CALLS);
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.turn.task.register(context.waker());
        for _ in 0..TURNS {
            let mut of_connection = Context::from_waker(&this.to_connection);
            if this.turn.begin() == Connections::Turn
                && let Poll::Ready(ended) = this.connection.as_mut().poll(&mut of_connection)
            {
                return Poll::Ready(ended);
            }
            this.carry_on();
            if this.turn.end() {
                return Poll::Pending;
            }
        }
        this.turn.put_off();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whose turn it is. Calls wake their connection from within its own task, which is no reason for the task to run again.
struct Turn {
    task: AtomicWaker,
    state: AtomicU8,
}

/// The task runs.
const RUNS: u8 = 1;
/// The connection has something to do.
const DUE: u8 = 2;
/// A call has something to do.
const CALLS: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Connections {
    Turn,
    Rest,
}

impl Turn {
    fn new() -> Arc<Turn> {
        Arc::new(Turn {
            task: AtomicWaker::new(),
            state: AtomicU8::new(DUE),
        })
    }

    /// The task runs, and lets the connection have its turn if that is due.
    fn begin(&self) -> Connections {
        match self.state.swap(RUNS, Ordering::AcqRel) & DUE {
            0 => Connections::Rest,
            _ => Connections::Turn,
        }
    }

    /// Whether a call has been woken since the calls were asked.
    fn calls_again(&self) -> bool {
        self.state.fetch_and(!CALLS, Ordering::AcqRel) & CALLS != 0
    }

    /// The connection or a call has something to do: the task is woken, unless it runs.
    fn due(&self, what: u8) {
        if self.state.fetch_or(what, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }

    /// The task rests, unless somebody has been woken since.
    fn end(&self) -> bool {
        let rested = self
            .state
            .compare_exchange(RUNS, 0, Ordering::AcqRel, Ordering::Acquire);
        rested.is_ok()
    }

    /// The task rests although somebody is due.
    fn put_off(&self) {
        self.state.store(DUE, Ordering::Release);
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due(DUE);
    }
}

/// Wakes the calls of a connection.
struct OfCalls(Arc<Turn>);

impl Wake for OfCalls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.due(CALLS);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_wakes_the_connection_from_within_wakes_no_task() {
        let (turn, woken) = (Turn::new(), Arc::new(Woken::default()));
        let times = || woken.0.load(Ordering::Relaxed);
        turn.task.register(&Waker::from(Arc::clone(&woken)));
        assert_eq!(turn.begin(), Connections::Turn);
        turn.wake_by_ref();
        assert!(!turn.end());
        assert_eq!(turn.begin(), Connections::Turn);
        assert!(turn.end());
        assert_eq!(times(), 0);
        // A call was woken, and nothing else.
        assert_eq!(turn.begin(), Connections::Rest);
        assert!(turn.end());
        turn.wake_by_ref();
        turn.wake_by_ref();
        assert_eq!(times(), 1);
        assert_eq!(turn.begin(), Connections::Turn);
        turn.wake_by_ref();
        turn.put_off();
        assert_eq!(turn.begin(), Connections::Turn);
    }

    /// Says something to itself so many times, as a call does whose answer is made in one place and sent in another.
    async fn murmur(times: usize) {
        for _ in 0..times {
            let mut said = false;
            poll_fn(|context| {
                if std::mem::replace(&mut said, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    #[tokio::test]
    async fn all_that_calls_have_to_say_is_written_at_once() {
        let begun = Begun::default();
        let (done, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(Woken::default()));
        for _ in 0..100 {
            let done = Arc::clone(&done);
            begun.execute(async move {
                murmur(3).await;
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut polls = 0;
        let connection = poll_fn(|_| {
            polls += 1;
            Poll::<()>::Pending
        });
        let mut together = Box::pin(Together::new(connection, begun));
        let waker = Waker::from(Arc::clone(&told));
        let polled = together.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert_eq!(done.load(Ordering::Relaxed), 100);
        drop(together);
        assert_eq!((polls, told.0.load(Ordering::Relaxed)), (1, 0));
    }

    #[tokio::test]
    async fn calls_that_never_rest_let_others_go_on_and_are_not_forgotten() {
        let begun = Begun::default();
        let (tell, told) = oneshot::channel();
        begun.execute(async move {
            murmur(10 * ROUNDS * TURNS).await;
            tell.send(()).expect("the connection listens");
        });
        begun.execute(murmur(usize::MAX));
        let mut together = Box::pin(Together::new(told, begun));
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            together.as_mut().poll(context)
        })
        .await
        .expect("it is told");
        assert!((5..50).contains(&polls), "{polls}");
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_no_other_with_it() {
        let begun = Begun::default();
        let (tell, told) = oneshot::channel();
        begun.execute(async { std::panic::resume_unwind(Box::new("one call only")) });
        begun.execute(async move { tell.send(7).expect("the connection listens") });
        assert_eq!(Together::new(told, begun).await, Ok(7));
    }
}
