//! Messages by id.

use serde::{Deserialize, Serialize};

use super::{KeyReader, KeyWriter, RowKey, account::AccountNumber};
use crate::{
    command::{DeleteScope, Digest},
    message::{Content, Sequence},
    values::{
        id::{AccountId, MessageId},
        time::Timestamp,
    },
};

/// By message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageKey(pub(crate) MessageId);

impl RowKey for MessageKey {
    const TABLE: u8 = 0x09;
    type Value = MessageEntry;

    fn write(&self, key: &mut KeyWriter) {
        key.uuid(self.0.as_uuid());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        key.uuid().map(MessageId::from_uuid).map(Self)
    }
}

/// What a message id stands for. This row is also what makes a retry of a send harmless.
///
/// Ids begin with the time, so that new messages stand behind the old ones, as good as appended. The text stands here and
/// not in a row of its own: whoever looks for one of them looks for the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MessageEntry {
    /// A message that at least one side can see.
    Stored(Stored),
    /// A message that is gone, with what a retry of its send is compared with and answered. One that was deleted before
    /// it came never had a place.
    Deleted {
        place: Option<Place>,
        digest: Digest,
        at: Timestamp,
    },
    /// A message that is not known here yet, and what was said of it all the same.
    Awaited(Vec<Mark>),
}

/// A message. Never written twice: what changes about it is in its conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) at: Timestamp,
    pub(crate) content: Content,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) sequence: Sequence,
    pub(crate) sender: AccountNumber,
    pub(crate) recipient: AccountNumber,
}

/// What one account said of a message that is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) by: AccountId,
    pub(crate) kind: MarkKind,
}

/// What can be said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MarkKind {
    Delivered,
    Read,
    Deleted(DeleteScope),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{command::digest_of_sent, rows::testing};

    #[test]
    fn values_round_trip() {
        let place = Place {
            sequence: Sequence::new(300),
            sender: AccountNumber::new(1),
            recipient: AccountNumber::new(2),
        };
        let by = AccountId::from_uuid(Uuid::from_u128(4));
        for entry in [
            MessageEntry::Deleted {
                place: Some(place),
                digest: digest_of_sent(by, "hello"),
                at: Timestamp::from_millis(5),
            },
            MessageEntry::Awaited(vec![
                Mark {
                    by,
                    kind: MarkKind::Read,
                },
                Mark {
                    by,
                    kind: MarkKind::Deleted(DeleteScope::ForMe),
                },
            ]),
        ] {
            testing::check_value::<MessageKey>(&entry);
        }
    }

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: u128, other: u128) {
            let ids = [one, other].map(|id| MessageKey(MessageId::from_uuid(Uuid::from_u128(id))));
            testing::check_key(&ids[0]);
            testing::check_order(&ids[0], &ids[1]);
        }

        #[test]
        fn messages_round_trip(sequence: u64, sender: u32, recipient: u32, at: u64, text: String) {
            testing::check_value::<MessageKey>(&MessageEntry::Stored(Stored {
                place: Place {
                    sequence: Sequence::new(sequence),
                    sender: AccountNumber::new(sender),
                    recipient: AccountNumber::new(recipient),
                },
                at: Timestamp::from_millis(at),
                content: Content::Text(text.into()),
            }));
        }
    }
}
