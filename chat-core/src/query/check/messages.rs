//! Messages, conversations with their counts, and who waits for what.

use super::Census;
use crate::{
    manager::AccountManager,
    message::AccountStatus,
    rows::{
        Span,
        conversation::{ConversationKey, ConversationRow, EntryKey, Pair, RecentKey, Side},
        message::{MessageEntry, MessageKey, Place, Stored, UndeliveredKey},
        request::ForgetKey,
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
        let entry = self.rows.read(&EntryKey { pair, sequence })?;
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
            let mut last = None;
            loop {
                let mut span = Span::prefix::<EntryKey>(|key| pair.write(key));
                if let Some(last) = &last {
                    span = span.after(last);
                }
                let entries = self.rows.list::<EntryKey>(&span, Order::Ascending, PIECE)?;
                for (key, entry) in &entries {
                    for (side, counted) in pair.sides().iter().zip(&mut counted) {
                        counted.visible += u32::from(!entry.is_deleted_by(*side));
                        counted.unread +=
                            u32::from(row.is_unread(&pair, *entry, key.sequence, *side));
                    }
                }
                match entries.last() {
                    Some((key, _)) if entries.len() == PIECE => last = Some(*key),
                    _ => break,
                }
            }
            for (side, counted) in pair.sides().iter().zip(counted) {
                self.check_side(census, pair, &row, *side, counted)?;
            }
            let is_seen = pair.sides().iter().any(|side| row.side(*side).visible > 0);
            census.expect(is_seen, || format!("nobody sees the conversation {pair:?}"));
            Ok(())
        })?;
        self.each::<EntryKey>(|key, entry| {
            let conversation = self.rows.read(&ConversationKey(key.pair))?;
            census.expect(conversation.is_some(), || {
                format!(
                    "message {} is in a conversation that is not there",
                    key.sequence.number()
                )
            });
            let message = self.rows.read(&MessageKey(entry.id()))?;
            let fits = matches!(
                message,
                Some(MessageEntry::Stored(Stored { place, .. }))
                    if place.sequence == key.sequence
                        && Pair::of(place.sender, place.recipient) == key.pair
            );
            census.expect(fits, || {
                format!(
                    "message {} of a conversation has no text, or is of another one",
                    key.sequence.number()
                )
            });
            let recipient = match key.pair.is_with_oneself() {
                true => Side::Low,
                false => entry.sender().other(),
            };
            let account = key.pair.account(recipient);
            let waits = !entry.is_delivered() && !entry.is_deleted_by(recipient);
            let is_active = self.status_of(account)? == Some(AccountStatus::Active);
            if waits && is_active {
                let row = UndeliveredKey {
                    recipient: account,
                    sequence: key.sequence,
                };
                census.expect(self.rows.read(&row)? == Some(entry.id()), || {
                    format!(
                        "message {} is not delivered, and not in an inbox",
                        key.sequence.number()
                    )
                });
            }
            Ok(())
        })
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
        self.each::<UndeliveredKey>(|key, id| {
            census.undelivered += 1;
            let entry = match self.rows.read(&MessageKey(id))? {
                Some(MessageEntry::Stored(Stored { place, .. }))
                    if place.recipient == key.recipient && place.sequence == key.sequence =>
                {
                    let pair = Pair::of(place.sender, place.recipient);
                    let sequence = key.sequence;
                    let entry = self.rows.read(&EntryKey { pair, sequence })?;
                    entry.map(|entry| (entry, pair.side(place.recipient)))
                }
                _ => None,
            };
            let waits = entry
                .is_some_and(|(entry, side)| !entry.is_delivered() && !entry.is_deleted_by(side));
            census.expect(waits, || {
                format!(
                    "message {} is in an inbox and does not belong there",
                    key.sequence.number()
                )
            });
            Ok(())
        })
    }
}

/// So many rows of a conversation are looked at in one go.
const PIECE: usize = 1_000;
