//! A log whose writes are measured.

use std::sync::Arc;
use std::time::Instant;

use chat_replication::store::{Durable, Persist, Persisted, Store, StoreError};
use chat_replication::types::{Entry, Index, Orphan, Position};

use super::Metrics;

/// A store that tells how long each flush took.
pub(crate) struct Measured<S> {
    store: S,
    metrics: Arc<Metrics>,
}

impl<S> Measured<S> {
    pub(crate) fn new(store: S, metrics: Arc<Metrics>) -> Measured<S> {
        Measured { store, metrics }
    }
}

impl<S: Store> Store for Measured<S> {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.store.load()
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        let begun = Instant::now();
        let persisted = self.store.persist(batch);
        self.metrics
            .log_write
            .observe(begun.elapsed().as_secs_f64());
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

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        self.store.orphans(after, max_bytes)
    }
}
