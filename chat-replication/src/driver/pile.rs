//! What others leave for the driver without waking it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Things for the driver, in the order that they came.
///
/// The driver looks here whenever it turns, which it does at least once in a tick. Each input that wakes it costs it a
/// turn and two changes of thread, and mostly for nothing: a command that comes while a batch is on its way goes with the
/// next one, and who waits for an answer gets it from the state machine's thread. So it is woken only by what it has
/// asked for before it went to sleep, by what is urgent, and by a load that is too heavy to lie here.
pub(crate) struct Pile<T>(Arc<Mutex<Unread<T>>>);

struct Unread<T> {
    things: Vec<T>,
    /// Of these things together.
    weight: usize,
    /// A load that wakes.
    heavy: usize,
    /// The driver sleeps, and waits for the next one.
    awaited: bool,
    /// Nobody looks here any more.
    closed: bool,
}

/// Whether the driver has to be told that there is something.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    Now,
    WithTheNextTurn,
}

/// The driver has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closed;

impl<T> Clone for Pile<T> {
    fn clone(&self) -> Pile<T> {
        Pile(Arc::clone(&self.0))
    }
}

impl<T> Pile<T> {
    /// An empty one; a load of more than `heavy` wakes the driver.
    pub(super) fn new(heavy: usize) -> Pile<T> {
        Pile(Arc::new(Mutex::new(Unread {
            things: Vec::new(),
            weight: 0,
            heavy,
            awaited: false,
            closed: false,
        })))
    }

    /// Adds something behind what is there. Where nobody looks any more it is dropped.
    pub(crate) fn add(&self, thing: T, weight: usize) -> Result<Wake, Closed> {
        let mut unread = self.unread();
        if unread.closed {
            return Err(Closed);
        }
        unread.things.push(thing);
        let was_heavy = unread.weight > unread.heavy;
        unread.weight = unread.weight.saturating_add(weight);
        let is_heavy = unread.weight > unread.heavy;
        Ok(
            match std::mem::take(&mut unread.awaited) || (is_heavy && !was_heavy) {
                true => Wake::Now,
                false => Wake::WithTheNextTurn,
            },
        )
    }

    /// All there is. What comes next wakes nobody.
    pub(super) fn take(&self) -> Vec<T> {
        let mut unread = self.unread();
        unread.awaited = false;
        unread.take()
    }

    /// The same for a driver that waits for these things and is about to sleep: where there are none, the next one wakes it.
    pub(super) fn take_or_await(&self) -> Vec<T> {
        let mut unread = self.unread();
        unread.awaited = unread.things.is_empty();
        unread.take()
    }

    /// Drops what is there, and whatever comes.
    pub(super) fn close(&self) {
        let things = {
            let mut unread = self.unread();
            unread.closed = true;
            unread.take()
        };
        // Whoever hears of it may come here at once.
        drop(things);
    }

    fn unread(&self) -> MutexGuard<'_, Unread<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Unread<T> {
    fn take(&mut self) -> Vec<T> {
        self.weight = 0;
        std::mem::take(&mut self.things)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_waits_is_woken_and_nothing_is_lost() {
        let pile = Pile::new(10);
        assert_eq!(pile.add(1, 0), Ok(Wake::WithTheNextTurn));
        // What is there already is not waited for.
        assert_eq!(pile.take_or_await(), [1]);
        assert_eq!(pile.add(2, 0), Ok(Wake::WithTheNextTurn));
        assert_eq!(pile.take(), [2]);
        assert!(pile.take_or_await().is_empty());
        assert_eq!(pile.add(3, 0), Ok(Wake::Now));
        // Word is on its way.
        assert_eq!(pile.add(4, 0), Ok(Wake::WithTheNextTurn));
        assert_eq!(pile.take(), [3, 4]);
        assert_eq!(pile.add(5, 0), Ok(Wake::WithTheNextTurn));
    }

    #[test]
    fn a_heavy_load_wakes_once() {
        let pile = Pile::new(10);
        assert_eq!(pile.add(1, 10), Ok(Wake::WithTheNextTurn));
        assert_eq!(pile.add(2, 1), Ok(Wake::Now));
        assert_eq!(pile.add(3, 100), Ok(Wake::WithTheNextTurn));
        assert_eq!(pile.take(), [1, 2, 3]);
        assert_eq!(pile.add(4, 10), Ok(Wake::WithTheNextTurn));
    }

    #[test]
    fn nothing_lies_where_nobody_looks() {
        let pile = Pile::new(10);
        let thing = Arc::new(());
        assert!(pile.add(Arc::clone(&thing), 0).is_ok());
        pile.close();
        assert_eq!(pile.add(Arc::clone(&thing), 0), Err(Closed));
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
