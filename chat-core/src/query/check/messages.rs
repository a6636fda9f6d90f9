//! Messages, conversations with their counts, and who waits for what.

use super::{Census, Looking};
use crate::{
    manager::AccountManager,
    message::{AccountStatus, Sequence},
    rows::{
        account::AccountNumber,
        chunk::{Chunk, Record},
        conversation::{
            ConversationKey, ConversationRow, EntriesKey, Entry, Pair, RecentKey, Side,
        },
        inbox::{Inbox, InboxKey, InboxRow, WaitingKey},
        message::{MessageEntry, MessageKey, Place, Stored},
        request::ForgetKey,
        series::{Between, Series},
    },
    store::{KeyValue, Order},
    values::id::MessageId,
};

/// What the messages of one conversation come to, for one side.
#[derive(Default)]
struct Counted {
    visible: u32,
    unread: u32,
}

impl<S: KeyValue> AccountManager<S> {
    /// A message stands in its conversation under its own id, and what is gone will be forgotten.
    pub(super) fn check_messages(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<MessageKey>(|MessageKey(id), entry| {
            let forget = || self.rows.read(&ForgetKey(*id.as_uuid()));
            match entry {
                MessageEntry::Stored(stored) => self.check_place(census, id, stored.place)?,
                MessageEntry::Deleted { .. } => census.expect(forget()?.is_some(), || {
                    format!("that message {id} is deleted is never forgotten")
                }),
                MessageEntry::Awaited(_) => census.expect(forget()?.is_some(), || {
                    format!("what was said of message {id} is never forgotten")
                }),
            }
            Ok(())
        })
    }

    fn check_place(
        &self,
        census: &mut Census,
        id: MessageId,
        place: Place,
    ) -> Result<(), S::Error> {
        census.messages += 1;
        let sequence = place.sequence;
        let next = self.meta.next_sequence;
        census.expect((1..next).contains(&sequence.number()), || {
            format!("message {id} has a sequence that was never given out")
        });
        let pair = Pair::of(place.sender, place.recipient);
        let entry = self.entry_of(pair, sequence)?;
        let fits = entry
            .is_some_and(|entry| entry.id() == id && entry.sender() == pair.side(place.sender));
        census.expect(fits, || {
            format!("message {id} is not in its conversation, or there as its recipient's")
        });
        Ok(())
    }

    /// What a conversation counts is what is in it.
    pub(super) fn check_conversations(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<ConversationKey>(|ConversationKey(pair), row| {
            census.conversations += 1;
            let mut counted = [Counted::default(), Counted::default()];
            self.each_of(&pair, &row.newest, |sequence, entry| {
                for (side, counted) in pair.sides().iter().zip(&mut counted) {
                    counted.visible += u32::from(!entry.is_deleted_by(*side));
                    counted.unread += u32::from(row.is_unread(&pair, entry, sequence, *side));
                }
                self.check_entry(census, pair, sequence, entry)
            })?;
            for (side, counted) in pair.sides().iter().zip(counted) {
                self.check_side(census, pair, &row, *side, counted)?;
            }
            let is_seen = pair.sides().iter().any(|side| row.side(*side).visible > 0);
            census.expect(is_seen, || format!("nobody sees the conversation {pair:?}"));
            Ok(())
        })?;
        self.each::<EntriesKey>(|key, chunk| {
            let conversation = self.rows.read(&ConversationKey(key.pair))?;
            let newest = conversation.map(|row| row.newest);
            census.expect(is_in_its_place(key.first, &chunk, newest.as_ref()), || {
                format!("{key:?} is a part of a history that is not where it should be")
            });
            Ok(())
        })
    }

    /// An entry stands for a message that is there, and waits in an inbox if it has to.
    fn check_entry(
        &self,
        census: &mut Census,
        pair: Pair,
        sequence: Sequence,
        entry: Entry,
    ) -> Result<(), S::Error> {
        let message = self.rows.read(&MessageKey(entry.id()))?;
        let fits = matches!(
            message,
            Some(MessageEntry::Stored(Stored { place, .. }))
                if place.sequence == sequence && Pair::of(place.sender, place.recipient) == pair
        );
        census.expect(fits, || {
            format!(
                "message {} of a conversation has no text, or is of another one",
                sequence.number()
            )
        });
        let recipient = match pair.is_with_oneself() {
            true => Side::Low,
            false => entry.sender().other(),
        };
        let account = pair.account(recipient);
        let waits = !entry.is_delivered() && !entry.is_deleted_by(recipient);
        let is_active = self.status_of(account)? == Some(AccountStatus::Active);
        if waits && is_active {
            let waiting = match self.rows.read(&InboxKey(account))? {
                Some(inbox) => self.rows.find(&Inbox(account), &inbox.newest, sequence)?,
                None => None,
            };
            census.expect(waiting == Some(entry.id()), || {
                format!(
                    "message {} is not delivered, and not in an inbox",
                    sequence.number()
                )
            });
        }
        Ok(())
    }

    /// What a conversation has of a message, if the conversation is there.
    fn entry_of(&self, pair: Pair, sequence: Sequence) -> Result<Option<Entry>, S::Error> {
        match self.rows.read(&ConversationKey(pair))? {
            Some(row) => self.rows.find(&pair, &row.newest, sequence),
            None => Ok(None),
        }
    }

    /// Shows every record of a series, until one makes `look` fail.
    fn each_of<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        mut look: impl FnMut(Sequence, Q::Record) -> Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        let mut looking = Looking::default();
        self.rows.walk(
            series,
            newest,
            Between::default(),
            Order::Ascending,
            |sequence, record| looking.goes_on(look(sequence, record)),
        )?;
        looking.ended()
    }

    fn check_side(
        &self,
        census: &mut Census,
        pair: Pair,
        row: &ConversationRow,
        side: Side,
        counted: Counted,
    ) -> Result<(), S::Error> {
        let kept = row.side(side);
        let account = pair.account(side);
        for (what, kept, counted) in [
            ("visible", kept.visible, counted.visible),
            ("unread", kept.unread, counted.unread),
        ] {
            census.expect(kept == counted, || {
                format!("{account:?} has {counted} {what} messages in {pair:?}, and the count says {kept}")
            });
        }
        let is_active = self.status_of(account)? == Some(AccountStatus::Active);
        census.expect(kept.rank.is_none() || kept.visible > 0, || {
            format!("{pair:?} is in the list of {account:?}, who sees nothing of it")
        });
        census.expect(
            kept.rank.is_some() || kept.visible == 0 || !is_active,
            || format!("{pair:?} is not in the list of {account:?}"),
        );
        if let Some(rank) = kept.rank {
            let peer = self.rows.read(&RecentKey { account, rank })?;
            census.expect(peer == Some(pair.peer(side)), || {
                format!("{pair:?} is not where it should be in the list of {account:?}")
            });
        }
        Ok(())
    }

    /// Lists of conversations and inboxes hold nothing that is not there.
    pub(super) fn check_lists(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<RecentKey>(|key, peer| {
            let pair = Pair::of(key.account, peer);
            let row = self.rows.read(&ConversationKey(pair))?;
            let fits =
                row.is_some_and(|row| row.side(pair.side(key.account)).rank == Some(key.rank));
            census.expect(fits, || {
                format!(
                    "{:?} lists {pair:?} at a place that it does not have",
                    key.account
                )
            });
            Ok(())
        })?;
        self.each::<InboxKey>(|InboxKey(recipient), row| {
            self.check_inbox(census, recipient, &row)
        })?;
        self.each::<WaitingKey>(|key, chunk| {
            let inbox = self.rows.read(&InboxKey(key.recipient))?;
            let newest = inbox.map(|row| row.newest);
            census.expect(is_in_its_place(key.first, &chunk, newest.as_ref()), || {
                format!("{key:?} is a part of an inbox that is not where it should be")
            });
            Ok(())
        })
    }

    fn check_inbox(
        &self,
        census: &mut Census,
        recipient: AccountNumber,
        row: &InboxRow,
    ) -> Result<(), S::Error> {
        let mut counted = 0;
        self.each_of(&Inbox(recipient), &row.newest, |sequence, id| {
            counted += 1;
            let entry = match self.rows.read(&MessageKey(id))? {
                Some(MessageEntry::Stored(Stored { place, .. }))
                    if place.recipient == recipient && place.sequence == sequence =>
                {
                    let pair = Pair::of(place.sender, place.recipient);
                    let entry = self.entry_of(pair, sequence)?;
                    entry.map(|entry| (entry, pair.side(recipient)))
                }
                _ => None,
            };
            let waits = entry
                .is_some_and(|(entry, side)| !entry.is_delivered() && !entry.is_deleted_by(side));
            census.expect(waits, || {
                format!(
                    "message {} is in an inbox and does not belong there",
                    sequence.number()
                )
            });
            Ok(())
        })?;
        census.undelivered += counted;
        census.expect(row.waiting == counted && counted > 0, || {
            format!(
                "{counted} messages wait for {recipient:?}, and the count says {}",
                row.waiting
            )
        });
        Ok(())
    }
}

/// Whether an older part of a series holds something, begins where its key says or behind that, and ends before the
/// newest part, which is in a row that is there.
fn is_in_its_place<T: Record>(key: Sequence, chunk: &Chunk<T>, newest: Option<&Chunk<T>>) -> bool {
    let last = chunk.iter().next_back().map(|(last, _)| last);
    let is_before = |newest: &Chunk<T>| match newest.first() {
        Some(first) => last < Some(first),
        None => true,
    };
    chunk.first() >= Some(key) && newest.is_some_and(is_before)
}
