//! What the interactive session knows while it lasts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::MessageId;
use crate::types::Message;

/// How many messages can be named by their number.
const MOST_NUMBERED: usize = 10_000;

/// How many of its own messages the session recognises when they come back as events.
const MOST_OWN: usize = 1_000;

/// Shared by the task that acts and the one that listens.
#[derive(Debug, Default)]
pub(super) struct State {
    numbers: Numbers,
    own: Own,
}

/// Short numbers for messages, given in the order in which they are shown.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    by_number: BTreeMap<u64, MessageId>,
    by_id: BTreeMap<MessageId, u64>,
}

/// Messages that the session sent itself and that need not be shown again.
#[derive(Debug, Default)]
struct Own {
    known: BTreeSet<MessageId>,
    order: VecDeque<MessageId>,
    /// While messages are under way, their events may come before their answers.
    under_way: usize,
    held: Vec<Message>,
}

impl State {
    /// The number of a message, given now if it has none.
    pub(super) fn number(&mut self, id: MessageId) -> u64 {
        let numbers = &mut self.numbers;
        if let Some(number) = numbers.by_id.get(&id) {
            return *number;
        }
        numbers.last += 1;
        numbers.by_number.insert(numbers.last, id);
        numbers.by_id.insert(id, numbers.last);
        if numbers.by_number.len() > MOST_NUMBERED
            && let Some((_, oldest)) = numbers.by_number.pop_first()
        {
            numbers.by_id.remove(&oldest);
        }
        numbers.last
    }

    /// The message behind a number or an id.
    pub(super) fn message(&self, word: &str) -> Option<MessageId> {
        match word.parse::<u64>() {
            Ok(number) => self.numbers.by_number.get(&number).copied(),
            Err(_) => word.parse().ok(),
        }
    }

    /// A message leaves, or waits to leave.
    pub(super) fn sending(&mut self) {
        self.own.under_way += 1;
    }

    /// The message has left, or will not. Returns what other devices sent in the meantime, once nothing is under way.
    pub(super) fn sent(&mut self, id: Option<MessageId>) -> Vec<Message> {
        let own = &mut self.own;
        if let Some(id) = id {
            own.known.insert(id);
            own.order.push_back(id);
            if own.order.len() > MOST_OWN
                && let Some(oldest) = own.order.pop_front()
            {
                own.known.remove(&oldest);
            }
        }
        own.under_way = own.under_way.saturating_sub(1);
        if own.under_way > 0 {
            return Vec::new();
        }
        let held = std::mem::take(&mut own.held);
        held.into_iter()
            .filter(|m| !own.known.contains(&m.id))
            .collect()
    }

    /// The account has sent a message. Returned where another device did.
    pub(super) fn seen_sent(&mut self, message: Message) -> Option<Message> {
        if self.own.known.contains(&message.id) {
            return None;
        }
        if self.own.under_way > 0 {
            self.own.held.push(message);
            return None;
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::timestamp::Timestamp;
    use crate::types::Account;

    fn message(id: u128) -> Message {
        let account = Account {
            id: Uuid::from_u128(0).into(),
            name: "alice".into(),
            online: true,
            created: Timestamp::from_unix_ms(0),
            deleted: false,
        };
        Message {
            id: Uuid::from_u128(id).into(),
            sequence: 0,
            sender: account.clone(),
            recipient: account,
            body: String::new(),
            sent: Timestamp::from_unix_ms(0),
            delivered: false,
            read: false,
        }
    }

    #[test]
    fn own_messages_are_not_shown_again_and_those_of_other_devices_are() {
        let mut state = State::default();
        state.sending();
        assert_eq!(
            state.seen_sent(message(1)),
            None,
            "not known yet whose it is"
        );
        assert_eq!(state.seen_sent(message(2)), None);
        assert_eq!(state.sent(Some(message(1).id)), [message(2)]);
        assert_eq!(
            state.seen_sent(message(1)),
            None,
            "the event came after the answer"
        );
        assert_eq!(state.seen_sent(message(3)), Some(message(3)));
    }

    #[test]
    fn messages_are_named_by_number_or_id() {
        let mut state = State::default();
        let id = message(7).id;
        assert_eq!(
            (
                state.number(id),
                state.number(message(8).id),
                state.number(id)
            ),
            (1, 2, 1)
        );
        assert_eq!(state.message("1"), Some(id));
        assert_eq!(state.message(&id.to_string()), Some(id));
        assert_eq!(state.message("3"), None);
        assert_eq!(state.message("bob"), None);
    }
}
