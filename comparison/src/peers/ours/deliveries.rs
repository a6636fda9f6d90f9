//! Recipients who are online, and when messages reach them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chat_client::{Client, Event, SubscribeOptions, Subscription};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::accounts::Pair;
use crate::closed_loop::Message;
use crate::latencies::{Latencies, micros};
use crate::outcome::Outcome;

/// How long the last deliveries are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What of a message has happened first.
enum First {
    Acknowledged(Instant),
    Arrived,
}

/// When messages arrived, as seen from their acknowledgement.
#[derive(Default)]
pub(super) struct Deliveries {
    half: Mutex<BTreeMap<u64, First>>,
    /// Arrivals behind the acknowledgement; 0 for those that came before it.
    after: Mutex<Vec<u32>>,
    /// How many came before it.
    before: Mutex<u64>,
}

impl Deliveries {
    pub(super) fn acknowledged(&self, id: u64) {
        match self.other_half(id, First::Acknowledged(Instant::now())) {
            Some(First::Arrived) => {
                *lock(&self.before) += 1;
                lock(&self.after).push(0);
            }
            // Acknowledged twice, or for the first time.
            Some(First::Acknowledged(_)) | None => {}
        }
    }

    fn arrived(&self, id: u64) {
        let now = Instant::now();
        if let Some(First::Acknowledged(then)) = self.other_half(id, First::Arrived) {
            lock(&self.after).push(micros(now.saturating_duration_since(then)));
        }
    }

    /// What happened to the message before, if anything; else it is written down.
    fn other_half(&self, id: u64, this: First) -> Option<First> {
        match lock(&self.half).entry(id) {
            Entry::Occupied(other) => Some(other.remove()),
            Entry::Vacant(place) => {
                place.insert(this);
                None
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everybody who is written to, listening.
pub(super) struct Audience {
    pub(super) deliveries: Arc<Deliveries>,
    listeners: JoinSet<()>,
}

/// What was delivered.
#[derive(Serialize)]
pub(super) struct Delivered {
    deliveries: usize,
    /// Acknowledged and never seen to arrive.
    not_delivered: usize,
    /// The share that arrived before the sender was told.
    arrived_before_ack: f64,
    /// From the acknowledgement to the arrival.
    after_ack: Latencies,
}

impl Audience {
    /// Subscribes the recipients, spread over all replicas.
    pub(super) async fn gather(targets: &[String], pairs: &[Pair]) -> Outcome<Audience> {
        let deliveries = Arc::new(Deliveries::default());
        let mut clients = Vec::new();
        for first in 0..targets.len() {
            let mut targets = targets.to_vec();
            targets.rotate_left(first);
            clients.push(Client::connect(targets).await?);
        }
        let mut listeners = JoinSet::new();
        for (pair, client) in pairs.iter().zip(clients.iter().cycle()) {
            let token = pair.recipient_token.clone();
            let token = token.ok_or("recipients have no sessions; make accounts of both sides")?;
            let recipient = client.with_session(Some(token));
            let events = recipient.subscribe(SubscribeOptions::default()).await?;
            listeners.spawn(listen(events, Arc::clone(&deliveries)));
        }
        Ok(Audience {
            deliveries,
            listeners,
        })
    }

    /// Waits for the last deliveries, and says what there was.
    pub(super) async fn finish(mut self) -> Delivered {
        let patience = Instant::now() + PATIENCE;
        while self.missing() > 0 && Instant::now() < patience {
            sleep(Duration::from_millis(20)).await;
        }
        self.listeners.abort_all();
        let not_delivered = self.missing();
        let after = std::mem::take(&mut *lock(&self.deliveries.after));
        let before = *lock(&self.deliveries.before);
        Delivered {
            deliveries: after.len(),
            not_delivered,
            arrived_before_ack: before as f64 / after.len().max(1) as f64,
            after_ack: Latencies::of(after),
        }
    }

    fn missing(&self) -> usize {
        let half = lock(&self.deliveries.half);
        let acknowledged = half
            .values()
            .filter(|first| matches!(first, First::Acknowledged(_)));
        acknowledged.count()
    }
}

async fn listen(mut events: Subscription, deliveries: Arc<Deliveries>) {
    while let Some(Ok(event)) = events.next().await {
        if let Event::MessageReceived(message) = event
            && let Some(id) = Message::id_of(&message.body)
        {
            deliveries.arrived(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_before_the_acknowledgement_counts_as_nothing() {
        let deliveries = Deliveries::default();
        deliveries.arrived(1);
        deliveries.acknowledged(1);
        deliveries.acknowledged(2);
        assert_eq!(
            (
                lock(&deliveries.after).as_slice(),
                *lock(&deliveries.before)
            ),
            (&[0][..], 1)
        );
        deliveries.arrived(2);
        assert_eq!(lock(&deliveries.after).len(), 2);
        assert_eq!(*lock(&deliveries.before), 1);
        assert!(lock(&deliveries.half).is_empty());
    }
}
