//! Which messages were yielded, so that none is yielded twice.

use std::collections::{BTreeSet, VecDeque};

use crate::ids::MessageId;

/// Messages that are not known to be confirmed come again after a reset, all of them. A reader that confirms nothing is
/// remembered this far back.
const MOST_OPEN: usize = 65_536;

/// Messages that are confirmed come again only when a confirmation was lost with a history, which is recent then.
const MOST_CLOSED: usize = 4_096;

/// What is known of a message that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Not yielded yet.
    First,
    /// Yielded, and not known to be confirmed.
    Open,
    /// Yielded and confirmed, and yet it comes again.
    Closed,
}

/// The messages yielded, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Seen {
    open: Recent,
    closed: Recent,
}

#[derive(Debug, Default)]
struct Recent {
    ids: BTreeSet<MessageId>,
    /// Oldest first. May name ids that were removed since.
    order: VecDeque<MessageId>,
}

impl Seen {
    /// Notes a message that arrives, and tells whether it is new.
    pub(super) fn sight(&mut self, id: MessageId) -> Sighting {
        if self.open.ids.contains(&id) {
            return Sighting::Open;
        }
        if self.closed.ids.contains(&id) {
            return Sighting::Closed;
        }
        self.open.insert(id, MOST_OPEN);
        Sighting::First
    }

    /// Notes that messages were confirmed.
    pub(super) fn close(&mut self, ids: &[MessageId]) {
        for &id in ids {
            self.open.remove(id);
            self.closed.insert(id, MOST_CLOSED);
        }
    }
}

impl Recent {
    fn insert(&mut self, id: MessageId, most: usize) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        while self.ids.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, id: MessageId) {
        self.ids.remove(&id);
        // Confirmations come in the order of the messages, so that the front is what to drop.
        while self
            .order
            .front()
            .is_some_and(|oldest| !self.ids.contains(oldest))
        {
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(n: usize) -> MessageId {
        Uuid::from_u128(n as u128).into()
    }

    #[test]
    fn a_message_is_new_once_and_known_before_and_after_its_confirmation() {
        let mut seen = Seen::default();
        assert_eq!(seen.sight(id(1)), Sighting::First);
        assert_eq!(seen.sight(id(1)), Sighting::Open);
        seen.close(&[id(1)]);
        assert_eq!(seen.sight(id(1)), Sighting::Closed);
        assert_eq!(seen.sight(id(2)), Sighting::First);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut seen = Seen::default();
        for n in 0..MOST_OPEN + 10 {
            seen.sight(id(n));
        }
        assert_eq!(seen.open.ids.len(), MOST_OPEN);
        assert_eq!(seen.sight(id(10)), Sighting::Open);
        assert_eq!(seen.sight(id(9)), Sighting::First);
        let all: Vec<_> = (0..MOST_OPEN + 10).map(id).collect();
        seen.close(&all);
        assert_eq!((seen.open.ids.len(), seen.open.order.len()), (0, 0));
        assert_eq!(
            (seen.closed.ids.len(), seen.closed.order.len()),
            (MOST_CLOSED, MOST_CLOSED)
        );
    }
}
