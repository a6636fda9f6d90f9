//! From applied commands to those who listen.
//!
//! Events are kept for a while, by account, so that a stream that broke goes on right behind the last event seen, at any
//! replica: an event is named by the log entry that made it happen, which is the same everywhere.

mod kept;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chat_core::{AccountId, Event};
use chat_replication::types::Position;
use tokio::sync::{mpsc, oneshot, watch};

use self::kept::Kept;
use crate::live::place::ResumePoint;
use crate::store::state::{AppliedBatch, Continuity};

/// An event, and its place.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) point: ResumePoint,
    pub(crate) event: Event,
}

/// Routes events to subscribers.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    applied: watch::Sender<Position>,
}

struct Inner {
    kept: Kept,
    /// Only looked up by account, so that its order never shows.
    subscribers: HashMap<AccountId, Vec<Subscriber>>,
    /// Everything up to here was told.
    last: ResumePoint,
    history: History,
    next_id: u64,
}

/// Which history the hub tells of: another one begins wherever entries are skipped or the state goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct History(u64);

struct Subscriber {
    id: u64,
    queue: mpsc::Sender<Arc<Told>>,
    /// Dropped with the subscriber, which its stream notices.
    _connected: oneshot::Sender<()>,
}

/// A place among the subscribers of an account. Dropped, it is free again.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    account: AccountId,
    id: u64,
    /// Kept events behind the resume point; `None` where there is none, or it is too old.
    pub(crate) missed: Option<Vec<Arc<Told>>>,
    pub(crate) live: mpsc::Receiver<Arc<Told>>,
    /// Resolves once the reader was too slow, or events were skipped.
    pub(crate) disconnected: oneshot::Receiver<()>,
}

impl Hub {
    /// A hub for a state that has been applied up to `applied`.
    pub(crate) fn new(applied: Position) -> Hub {
        let last = ResumePoint::behind(applied);
        Hub {
            inner: Mutex::new(Inner {
                kept: Kept::new(last),
                subscribers: HashMap::new(),
                last,
                history: History::default(),
                next_id: 0,
            }),
            applied: watch::channel(applied).0,
        }
    }

    /// Tells subscribers what a batch of commands did. Does not block.
    pub(crate) fn publish(&self, batch: AppliedBatch) {
        {
            let mut inner = self.inner();
            if batch.continuity == Continuity::Skipped {
                inner.begin_anew(ResumePoint::behind(batch.applied));
            }
            let mut point = ResumePoint::default();
            for (position, event) in batch.events {
                let number = if position == point.position {
                    point.number + 1
                } else {
                    1
                };
                point = ResumePoint { position, number };
                if point > inner.last {
                    inner.tell(Arc::new(Told { point, event }));
                }
            }
            inner.last = inner.last.max(ResumePoint::behind(batch.applied));
        }
        self.applied.send_replace(batch.applied);
    }

    /// The last entry whose effects were published.
    pub(crate) fn applied(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    /// Which history is told of now.
    pub(crate) fn history(&self) -> History {
        self.inner().history
    }

    /// Adds a subscriber, whose events begin with what happens next. Of those that it does not read, `most` wait; who lags
    /// further is disconnected.
    pub(crate) fn subscribe(self: &Arc<Self>, account: AccountId, most: usize) -> Subscription {
        self.add(&mut self.inner(), account, most)
    }

    /// Adds a subscriber, whose events go on right behind `from`, a point of this history: each event once, none left out.
    ///
    /// `None` where another history is told of by now, or events up to `from` are yet to be told. The state shows an entry
    /// before its events are told; whoever began in between would be told them again.
    pub(crate) fn resume(
        self: &Arc<Self>,
        account: AccountId,
        (from, history): (ResumePoint, History),
        most: usize,
    ) -> Option<Subscription> {
        let mut inner = self.inner();
        if inner.history != history || from > inner.last {
            return None;
        }
        let missed = inner.kept.behind(account, from);
        let mut subscription = self.add(&mut inner, account, most);
        subscription.missed = missed;
        Some(subscription)
    }

    fn add(self: &Arc<Self>, inner: &mut Inner, account: AccountId, most: usize) -> Subscription {
        let (queue, live) = mpsc::channel(most);
        let (connected, disconnected) = oneshot::channel();
        let id = inner.next_id;
        inner.next_id += 1;
        inner
            .subscribers
            .entry(account)
            .or_default()
            .push(Subscriber {
                id,
                queue,
                _connected: connected,
            });
        Subscription {
            hub: Arc::clone(self),
            account,
            id,
            missed: None,
            live,
            disconnected,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Nobody was told what happened before this point: streams end, and those who resume from before it learn that they
    /// have missed something.
    fn begin_anew(&mut self, from: ResumePoint) {
        self.kept = Kept::new(from);
        self.subscribers.clear();
        self.last = from;
        self.history.0 += 1;
    }

    fn tell(&mut self, told: Arc<Told>) {
        let account = told.event.account;
        self.kept.push(Arc::clone(&told));
        if let Some(subscribers) = self.subscribers.get_mut(&account) {
            subscribers.retain(|subscriber| subscriber.queue.try_send(Arc::clone(&told)).is_ok());
            if subscribers.is_empty() {
                self.subscribers.remove(&account);
            }
        }
    }
}

impl Subscription {
    /// Everything up to here was told to this subscriber, or waits in its queue. `None` once it is disconnected: what was
    /// told since has passed it by.
    pub(crate) fn last(&self) -> Option<ResumePoint> {
        let inner = self.hub.inner();
        let subscribers = inner.subscribers.get(&self.account)?;
        let is_connected = subscribers.iter().any(|one| one.id == self.id);
        is_connected.then_some(inner.last)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.hub.inner();
        if let Some(subscribers) = inner.subscribers.get_mut(&self.account) {
            subscribers.retain(|subscriber| subscriber.id != self.id);
            if subscribers.is_empty() {
                inner.subscribers.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests;
