//! A queue to one thread or task that sleeps while it is empty.
//!
//! As a channel of the standard library, but that a thread is woken once for what it waits for: there it is woken with a
//! lock held that it takes next, so that on an idle machine each message puts it to sleep and wakes it a second time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A queue, empty.
pub(crate) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared(Mutex::new(State {
        things: VecDeque::new(),
        senders: 1,
        closed: false,
        asleep: None,
    })));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The near end.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The far end, for one thread or task.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// Nobody takes anything out any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closed;

/// Why nothing came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nothing {
    /// Not in time.
    Timeout,
    /// Nobody is left to send anything.
    Disconnected,
}

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    things: VecDeque<T>,
    senders: usize,
    closed: bool,
    /// Who waits for the next thing.
    asleep: Option<Waker>,
}

impl<T> Sender<T> {
    /// Adds something behind what is there. Never blocks for long.
    pub(crate) fn send(&self, thing: T) -> Result<(), Closed> {
        let asleep = {
            let mut state = self.0.state();
            if state.closed {
                return Err(Closed);
            }
            state.things.push_back(thing);
            state.asleep.take()
        };
        wake(asleep);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let asleep = {
            let mut state = self.0.state();
            state.senders -= 1;
            match state.senders {
                0 => state.asleep.take(),
                _ => None,
            }
        };
        wake(asleep);
    }
}

impl<T> Receiver<T> {
    /// The next thing, if there is one.
    pub(crate) fn try_recv(&self) -> Option<T> {
        self.0.state().things.pop_front()
    }

    /// The next thing, once it is there; `None` where nobody is left to send one. Dropping the future loses nothing.
    pub(crate) async fn recv(&self) -> Option<T> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The next thing, which may come within this time, for a thread that has nothing else to do.
    pub(crate) fn recv_timeout(&self, wait: Duration) -> Result<T, Nothing> {
        let until = Instant::now() + wait;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match self.poll(&mut context) {
                Poll::Ready(Some(thing)) => return Ok(thing),
                Poll::Ready(None) => return Err(Nothing::Disconnected),
                Poll::Pending => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.0.state().asleep = None;
                return Err(Nothing::Timeout);
            }
            // It may return for no reason, or for a word from before.
            thread::park_timeout(left);
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state();
        if let Some(thing) = state.things.pop_front() {
            state.asleep = None;
            return Poll::Ready(Some(thing));
        }
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        state.asleep = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let things = {
            let mut state = self.0.state();
            state.closed = true;
            std::mem::take(&mut state.things)
        };
        // Whoever hears of it may come here at once.
        drop(things);
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With no lock held, so that the thread does not find it taken.
fn wake(asleep: Option<Waker>) {
    if let Some(waker) = asleep {
        waker.wake();
    }
}

/// Ends a thread's sleep.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_many_send_comes_once_and_each_ones_in_order() {
        let (sender, receiver) = queue();
        let senders: Vec<_> = (0..4)
            .map(|who| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for number in 0..1000 {
                        sender.send((who, number)).expect("open");
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        loop {
            match receiver.recv_timeout(LONG) {
                Ok((who, number)) => {
                    assert_eq!(number, next[who]);
                    next[who] += 1;
                }
                Err(nothing) => {
                    assert_eq!(nothing, Nothing::Disconnected);
                    break;
                }
            }
        }
        assert_eq!(next, [1000; 4]);
        for sender in senders {
            sender.join().expect("sent all");
        }
    }

    #[test]
    fn an_empty_queue_is_waited_for_no_longer_than_asked() {
        let (sender, receiver) = queue::<u8>();
        assert_eq!(
            receiver.recv_timeout(Duration::from_millis(1)),
            Err(Nothing::Timeout)
        );
        sender.send(1).expect("open");
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));
        assert_eq!(receiver.try_recv(), None);
    }

    #[tokio::test]
    async fn a_task_is_woken_by_what_comes_and_by_the_end() {
        let (sender, receiver) = queue();
        let sending = thread::spawn(move || {
            for number in 0..1000 {
                thread::yield_now();
                sender.send(number).expect("open");
            }
        });
        for number in 0..1000 {
            assert_eq!(receiver.recv().await, Some(number));
        }
        assert_eq!(receiver.recv().await, None);
        sending.join().expect("sent all");
    }

    #[test]
    fn nothing_lies_where_nobody_looks() {
        let (sender, receiver) = queue();
        let thing = Arc::new(());
        sender.send(Arc::clone(&thing)).expect("open");
        drop(receiver);
        assert_eq!(sender.send(Arc::clone(&thing)), Err(Closed));
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
