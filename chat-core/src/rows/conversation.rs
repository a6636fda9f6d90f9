//! Conversations: what each side has read and deleted, how much is unread, and which was active last.

use serde::{Deserialize, Serialize};

use super::{
    KeyReader, KeyWriter, RowKey, Span,
    account::AccountNumber,
    chunk::{Chunk, Record},
    series::Series,
};
use crate::{message::Sequence, values::id::MessageId};

/// The two sides of a conversation, the lower number first, so that both find the same rows. For notes to oneself they
/// are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    low: AccountNumber,
    high: AccountNumber,
}

/// One side of a pair. The only side of a pair with oneself is the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Low,
    High,
}

impl Side {
    /// The other side of a pair of two.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

impl Pair {
    pub(crate) fn of(one: AccountNumber, other: AccountNumber) -> Self {
        Self {
            low: one.min(other),
            high: one.max(other),
        }
    }

    pub(crate) fn is_with_oneself(&self) -> bool {
        self.low == self.high
    }

    /// The side of one of the two.
    pub(crate) fn side(&self, account: AccountNumber) -> Side {
        if account == self.low {
            Side::Low
        } else {
            Side::High
        }
    }

    pub(crate) fn account(&self, side: Side) -> AccountNumber {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }

    /// Whom the account on this side talks with.
    pub(crate) fn peer(&self, side: Side) -> AccountNumber {
        match side {
            Side::Low => self.high,
            Side::High => self.low,
        }
    }

    /// The sides there are.
    pub(crate) fn sides(&self) -> &'static [Side] {
        if self.is_with_oneself() {
            &[Side::Low]
        } else {
            &[Side::Low, Side::High]
        }
    }

    pub(crate) fn write(&self, key: &mut KeyWriter) {
        self.low.write(key);
        self.high.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        let (low, high) = (AccountNumber::read(key)?, AccountNumber::read(key)?);
        (low <= high).then_some(Self { low, high })
    }
}

/// The history of a conversation.
impl Series for Pair {
    type Record = Entry;
    type Key = EntriesKey;

    fn key(&self, first: Sequence) -> EntriesKey {
        EntriesKey { pair: *self, first }
    }

    fn span(&self) -> Span {
        Span::prefix::<EntriesKey>(|key| self.write(key))
    }
}

/// By pair and sequence: a part of the history that is not the newest, see [`Series::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntriesKey {
    pub(crate) pair: Pair,
    pub(crate) first: Sequence,
}

impl RowKey for EntriesKey {
    const TABLE: u8 = 0x0c;
    type Value = Chunk<Entry>;

    fn write(&self, key: &mut KeyWriter) {
        self.pair.write(key);
        key.long(self.first.number());
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            pair: Pair::read(key)?,
            first: key.long().map(Sequence::new)?,
        })
    }
}

/// Which message it is, and what changes about it, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    marks: u8,
    id: MessageId,
}

impl Entry {
    const FROM_HIGH: u8 = 1;
    const DELIVERED: u8 = 2;
    const READ: u8 = 4;
    const DELETED_BY_LOW: u8 = 8;
    const DELETED_BY_HIGH: u8 = 16;

    /// A message that this side sent.
    pub(crate) fn from_side(sender: Side, id: MessageId) -> Self {
        let marks = match sender {
            Side::Low => 0,
            Side::High => Self::FROM_HIGH,
        };
        Self { marks, id }
    }

    pub(crate) fn id(self) -> MessageId {
        self.id
    }

    pub(crate) fn sender(self) -> Side {
        if self.marks & Self::FROM_HIGH == 0 {
            Side::Low
        } else {
            Side::High
        }
    }

    pub(crate) fn is_delivered(self) -> bool {
        self.marks & Self::DELIVERED != 0
    }

    /// Whether the message itself was marked; it is read as well when a whole stretch was, see
    /// [`ConversationSide::read_through`].
    pub(crate) fn is_marked_read(self) -> bool {
        self.marks & Self::READ != 0
    }

    pub(crate) fn is_deleted_by(self, side: Side) -> bool {
        self.marks & Self::deleted_by(side) != 0
    }

    #[must_use]
    pub(crate) fn delivered(self) -> Self {
        self.with(Self::DELIVERED)
    }

    #[must_use]
    pub(crate) fn read(self) -> Self {
        self.with(Self::READ | Self::DELIVERED)
    }

    #[must_use]
    pub(crate) fn deleted(self, side: Side) -> Self {
        self.with(Self::deleted_by(side))
    }

    fn with(self, marks: u8) -> Self {
        Self {
            marks: self.marks | marks,
            ..self
        }
    }

    fn deleted_by(side: Side) -> u8 {
        match side {
            Side::Low => Self::DELETED_BY_LOW,
            Side::High => Self::DELETED_BY_HIGH,
        }
    }
}

impl Record for Entry {
    const SIZE: usize = 1 + MessageId::SIZE;

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.push(self.marks);
        self.id.write(bytes);
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            marks: bytes[0],
            id: MessageId::read(&bytes[1..]),
        }
    }
}

/// By pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConversationKey(pub(crate) Pair);

impl RowKey for ConversationKey {
    const TABLE: u8 = 0x0d;
    type Value = ConversationRow;

    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Pair::read(key).map(Self)
    }
}

/// The counters of a conversation, one set per side, and its newest messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConversationRow {
    low: ConversationSide,
    high: ConversationSide,
    pub(crate) newest: Chunk<Entry>,
}

/// The counters of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConversationSide {
    /// How many messages from the other side are neither read nor deleted here.
    pub(crate) unread: u32,
    /// How many messages this side can see.
    pub(crate) visible: u32,
    /// Every message from the other side up to here counts as read.
    pub(crate) read_through: Sequence,
    /// Where the conversation stands in this side's list, see [`RecentKey`]; nowhere while nothing is visible.
    pub(crate) rank: Option<u64>,
}

impl ConversationSide {
    /// Takes a message out that this side has seen until now.
    pub(crate) fn count_out(&mut self, is_unread: bool) {
        self.visible = self
            .visible
            .checked_sub(1)
            .expect("what somebody sees is counted");
        self.count_read(u32::from(is_unread));
    }

    /// So many messages are unread no longer.
    pub(crate) fn count_read(&mut self, count: u32) {
        self.unread = self
            .unread
            .checked_sub(count)
            .expect("what is unread is counted");
    }
}

impl ConversationRow {
    pub(crate) fn side(&self, side: Side) -> &ConversationSide {
        match side {
            Side::Low => &self.low,
            Side::High => &self.high,
        }
    }

    pub(crate) fn side_mut(&mut self, side: Side) -> &mut ConversationSide {
        match side {
            Side::Low => &mut self.low,
            Side::High => &mut self.high,
        }
    }

    /// Whether the message is one from the other side that `reader` has neither read nor deleted. Notes to oneself are
    /// never unread.
    pub(crate) fn is_unread(
        &self,
        pair: &Pair,
        entry: Entry,
        sequence: Sequence,
        reader: Side,
    ) -> bool {
        !pair.is_with_oneself()
            && entry.sender() != reader
            && !entry.is_marked_read()
            && !entry.is_deleted_by(reader)
            && sequence > self.side(reader).read_through
    }
}

/// By account and rank, the greatest rank being the conversation that was active last.
///
/// The rank is the sequence of the message that put the conversation in front, not of its last message: while it stays
/// in front, further messages change nothing here, so that two people who chat cost their lists no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecentKey {
    pub(crate) account: AccountNumber,
    pub(crate) rank: u64,
}

impl RowKey for RecentKey {
    const TABLE: u8 = 0x0e;
    /// The other side.
    type Value = AccountNumber;

    fn write(&self, key: &mut KeyWriter) {
        self.account.write(key);
        key.long(self.rank);
    }

    fn read(key: &mut KeyReader<'_>) -> Option<Self> {
        Some(Self {
            account: AccountNumber::read(key)?,
            rank: key.long()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::rows::testing;

    #[test]
    fn an_entry_keeps_its_facts_apart() {
        for sender in [Side::Low, Side::High] {
            let id = MessageId::from_uuid(Uuid::from_u128(7));
            let entry = Entry::from_side(sender, id);
            assert_eq!(entry.sender(), sender);
            assert_eq!(entry.read().deleted(Side::High).id(), id);
            assert!(!entry.is_delivered() && !entry.is_marked_read());
            assert!(entry.delivered().is_delivered() && !entry.delivered().is_marked_read());
            assert!(
                entry.read().is_delivered() && entry.read().is_marked_read(),
                "what is read was delivered"
            );
            let deleted = entry.deleted(Side::Low);
            assert!(deleted.is_deleted_by(Side::Low) && !deleted.is_deleted_by(Side::High));
            assert_eq!(deleted.sender(), sender);
            let mut chunk = Chunk::default();
            chunk.push(Sequence::new(1), deleted.read());
            assert_eq!(chunk.get(Sequence::new(1)), Some(deleted.read()));
            testing::check_value::<EntriesKey>(&chunk);
        }
    }

    proptest! {
        #[test]
        fn keys_round_trip_in_order(one: (u32, u32, u64), other: (u32, u32, u64)) {
            let pair = |low, high| Pair::of(AccountNumber::new(low), AccountNumber::new(high));
            let pairs = [one, other].map(|(low, high, _)| ConversationKey(pair(low, high)));
            testing::check_key(&pairs[0]);
            testing::check_order(&pairs[0], &pairs[1]);
            let entries = [one, other].map(|(low, high, first)| pair(low, high).key(Sequence::new(first)));
            testing::check_key(&entries[0]);
            testing::check_order(&entries[0], &entries[1]);
            let recent = [one, other].map(|(account, _, rank)| RecentKey { account: AccountNumber::new(account), rank });
            testing::check_key(&recent[0]);
            testing::check_order(&recent[0], &recent[1]);
        }

        #[test]
        fn counters_round_trip(unread: u32, visible: u32, read_through: u64, rank: Option<u64>) {
            let mut row = ConversationRow::default();
            *row.side_mut(Side::High) =
                ConversationSide { unread, visible, read_through: Sequence::new(read_through), rank };
            row.newest.push(Sequence::new(read_through), Entry::from_side(Side::High, MessageId::from_uuid(Uuid::from_u128(9))));
            testing::check_value::<ConversationKey>(&row);
        }

        #[test]
        fn a_pair_is_the_same_from_both_sides(one: u32, other: u32) {
            let [one, other] = [one, other].map(AccountNumber::new);
            let pair = Pair::of(one, other);
            prop_assert_eq!(pair, Pair::of(other, one));
            prop_assert_eq!(pair.account(pair.side(one)), one);
            prop_assert_eq!(pair.account(pair.side(other)), other);
            if one != other {
                prop_assert_eq!(pair.side(one).other(), pair.side(other));
            }
        }
    }
}
