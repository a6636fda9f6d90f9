//! Messages that wait to be delivered.

use serde::{Deserialize, Serialize};

use super::{
    KeyReader, KeyWriter, RowKey, Span, account::AccountNumber, chunk::Chunk, series::Series,
};
use crate::{message::Sequence, values::id::MessageId};

/// By recipient; there while something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InboxKey(pub(crate) AccountNumber);

impl RowKey for InboxKey {
    const TABLE: u8 = 0x0a;
    type Value = InboxRow;

    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        AccountNumber::read(key).map(Self)
    }
}

/// What waits for an account: messages that are neither delivered nor deleted by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InboxRow {
    /// How many messages wait.
    pub(crate) waiting: u64,
    /// The newest of them.
    pub(crate) newest: Chunk<MessageId>,
}

impl InboxRow {
    /// So many messages wait no longer.
    pub(crate) fn count_out(&mut self, count: usize) {
        self.waiting = self
            .waiting
            .checked_sub(count as u64)
            .expect("what waits is counted");
    }
}

/// The messages that wait for an account, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inbox(pub(crate) AccountNumber);

impl Series for Inbox {
    type Record = MessageId;
    type Key = WaitingKey;

    fn key(&self, first: Sequence) -> WaitingKey {
        WaitingKey {
            recipient: self.0,
            first,
        }
    }

    fn span(&self) -> Span {
        Span::prefix::<WaitingKey>(|key| self.0.write(key))
    }
}

/// By recipient and sequence: what waits for long, see [`Series::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaitingKey {
    pub(crate) recipient: AccountNumber,
    pub(crate) first: Sequence,
}

impl RowKey for WaitingKey {
    const TABLE: u8 = 0x0b;
    type Value = Chunk<MessageId>;

    fn write(&self, key: &mut KeyWriter) {
        self.recipient.write(key);
        key.long(self.first.number());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            recipient: AccountNumber::read(key)?,
            first: key.long().map(Sequence::new)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::rows::testing;

    proptest! {
        #[test]
        fn rows_round_trip_in_order(one: (u32, u64, u128), other: (u32, u64, u128)) {
            let inboxes = [one, other].map(|(recipient, ..)| InboxKey(AccountNumber::new(recipient)));
            testing::check_key(&inboxes[0]);
            testing::check_order(&inboxes[0], &inboxes[1]);
            let waiting = [one, other].map(|(recipient, first, _)| WaitingKey {
                recipient: AccountNumber::new(recipient),
                first: Sequence::new(first),
            });
            testing::check_key(&waiting[0]);
            testing::check_order(&waiting[0], &waiting[1]);
            let mut newest = Chunk::default();
            newest.push(Sequence::new(one.1), MessageId::from_uuid(Uuid::from_u128(one.2)));
            testing::check_value::<WaitingKey>(&newest);
            testing::check_value::<InboxKey>(&InboxRow { waiting: other.1, newest });
        }
    }
}
