//! A log whose writes are measured.

use std::time::{Duration, Instant};

use crate::store::{Durable, Persist, Persisted, Store, StoreError};
use crate::types::{Entry, Index, Orphan, Position};

/// A [`Store`] that tells how long each write took, its flush included, whether or not it succeeded.
pub struct TimedStore<S> {
    store: S,
    wrote: Box<dyn FnMut(Duration) + Send>,
}

impl<S> TimedStore<S> {
    /// The same store. `wrote` is called after each write, on the thread that writes.
    pub fn new(store: S, wrote: impl FnMut(Duration) + Send + 'static) -> TimedStore<S> {
        TimedStore {
            store,
            wrote: Box::new(wrote),
        }
    }
}

impl<S: Store> Store for TimedStore<S> {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.store.load()
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        let begun = Instant::now();
        let persisted = self.store.persist(batch);
        (self.wrote)(begun.elapsed());
        persisted
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(from, through, max_bytes)
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.store.bytes_behind(index)
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        self.store.orphans(after, max_bytes)
    }
}
