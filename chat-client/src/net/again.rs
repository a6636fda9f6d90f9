//! A future that wakes itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// After so many times in a row it lets others go on.
const TIMES: usize = 4;

/// A future that is polled again at once where it was woken while it was polled.
///
/// A task that wakes itself goes back into the scheduler's queue, which wakes another thread to look whether there is
/// work for it: for one call alone that costs more than all the rest of it here.
pub(super) struct Again<F> {
    future: Pin<Box<F>>,
    turn: Arc<Turn>,
    waker: Waker,
}

impl<F> Again<F> {
    pub(super) fn new(future: F) -> Again<F> {
        let turn = Arc::new(Turn::default());
        Again {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&turn)),
            turn,
        }
    }
}

impl<F: Future> Future for Again<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.turn.task.register(context.waker());
        for _ in 0..TIMES {
            this.turn.state.swap(RUNS, Ordering::AcqRel);
            let polled = this
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&this.waker));
            if polled.is_ready() || this.turn.rests() {
                return polled;
            }
        }
        this.turn.state.store(RESTS, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[derive(Default)]
struct Turn {
    task: AtomicWaker,
    state: AtomicU8,
}

const RESTS: u8 = 0;
const RUNS: u8 = 1;
/// It runs, and has been woken since.
const WOKEN: u8 = 2;

impl Turn {
    /// It has come to rest, unless it was woken while it ran.
    fn rests(&self) -> bool {
        self.state
            .compare_exchange(RUNS, RESTS, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == RESTS {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a future is polled that wakes itself so many times, and whether it is over; and how often its task is woken.
    fn polled(times: usize) -> (usize, bool, usize) {
        let (mut polls, woken) = (0, Arc::new(Woken::default()));
        let mut future = Again::new(poll_fn(|context| {
            polls += 1;
            if polls > times {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        let waker = Waker::from(Arc::clone(&woken));
        let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
        drop(future);
        (polls, polled.is_ready(), woken.0.load(Ordering::Relaxed))
    }

    #[test]
    fn who_wakes_itself_is_polled_again_and_its_task_is_left_alone() {
        assert_eq!(polled(0), (1, true, 0));
        assert_eq!(polled(TIMES - 1), (TIMES, true, 0));
    }

    #[test]
    fn who_always_wakes_itself_lets_others_go_on_and_is_not_forgotten() {
        assert_eq!(polled(usize::MAX), (TIMES, false, 1));
    }

    #[test]
    fn at_rest_it_is_woken_by_others_once() {
        let woken = Arc::new(Woken::default());
        let times = || woken.0.load(Ordering::Relaxed);
        let mut future = Again::new(std::future::pending::<()>());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        for poll in 1..3 {
            assert!(Pin::new(&mut future).poll(&mut context).is_pending());
            assert_eq!(times(), poll - 1);
            let turn = Arc::clone(&future.turn);
            turn.wake_by_ref();
            turn.wake_by_ref();
            assert_eq!(times(), poll);
        }
    }
}
