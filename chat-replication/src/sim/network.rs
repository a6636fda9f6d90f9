//! Which messages arrive, and when.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::node::Time;
use crate::types::ReplicaId;

/// A direction between two replicas.
pub(super) type Link = (ReplicaId, ReplicaId);

/// Whether messages of a link arrive in the order in which they were sent, as over one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Kept,
    Lost,
}

/// Links that lose, repeat and delay.
#[derive(Debug)]
pub(super) struct Network {
    /// Nothing passes.
    cut: BTreeSet<Link>,
    /// So much slower, in microseconds.
    slow: BTreeMap<Link, Time>,
    /// Share of messages that are lost.
    pub(super) loss: f64,
    /// Share of messages that arrive twice.
    repeats: f64,
    order: Order,
    /// When the last message of a link arrives.
    last: BTreeMap<Link, Time>,
}

impl Network {
    pub(super) fn new(loss: f64, repeats: f64, order: Order) -> Network {
        Network {
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            loss,
            repeats,
            order,
            last: BTreeMap::new(),
        }
    }

    /// When a message that leaves at a time arrives; never, once or more often.
    pub(super) fn arrivals(
        &mut self,
        link: Link,
        left: Time,
        random: &mut ChaCha8Rng,
    ) -> Vec<Time> {
        let copies = match () {
            () if !self.passes(link) => 0,
            () if random.random_bool(self.loss) => 0,
            () if random.random_bool(self.repeats) => 2,
            () => 1,
        };
        (0..copies)
            .map(|_| {
                let arrival = left + self.delay(link, random);
                let last = self.last.entry(link).or_default();
                *last = arrival.max(*last + 1);
                match self.order {
                    Order::Kept => *last,
                    Order::Lost => arrival,
                }
            })
            .collect()
    }

    fn delay(&self, link: Link, random: &mut ChaCha8Rng) -> Time {
        let usual = match random.random_range(0..20) {
            0 => random.random_range(800..6000),
            _ => random.random_range(80..800),
        };
        let slow = self.slow.get(&link).copied().unwrap_or(0);
        usual
            + match slow {
                0 => 0,
                most => random.random_range(0..=most),
            }
    }

    pub(super) fn passes(&self, link: Link) -> bool {
        !self.cut.contains(&link)
    }

    /// Whether a connection can be made, which needs both directions.
    pub(super) fn connects(&self, (a, b): Link) -> bool {
        self.passes((a, b)) && self.passes((b, a))
    }

    pub(super) fn cut(&mut self, links: &[Link]) {
        self.cut.extend(links);
    }

    pub(super) fn mend(&mut self, links: &[Link]) {
        for link in links {
            self.cut.remove(link);
            self.slow.remove(link);
        }
    }

    pub(super) fn slow_down(&mut self, links: &[Link], most: Time) {
        self.slow.extend(links.iter().map(|link| (*link, most)));
    }

    /// Mends everything, and returns the links that were cut.
    pub(super) fn mend_all(&mut self) -> Vec<Link> {
        self.slow.clear();
        std::mem::take(&mut self.cut).into_iter().collect()
    }
}
