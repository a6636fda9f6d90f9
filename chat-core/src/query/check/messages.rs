//! Messages, conversations with their counts, and who waits for what.

use super::Census;
use crate::{
    manager::AccountManager,
    message::AccountStatus,
    rows::{
        Span,
        conversation::{ConversationKey, ConversationRow, EntryKey, Pair, RecentKey, Side},
        message::{BodyKey, MessageEntry, MessageKey, Place, UndeliveredKey},
        request::ForgetKey,
    },
    store::{KeyValue, Order},
};

/// What the messages of one conversation come to, for one side.
#[derive(Default)]
struct Counted {
    visible: u32,
    unread: u32,
}

impl<S: KeyValue> AccountManager<S> {
    /// An id leads to a text, the text back to the id, and both to their place in a conversation.
    pub(super) fn check_messages(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<MessageKey>(|key, entry| {
            let id = key.0;
            let forget = || self.rows.read(&ForgetKey(*id.as_uuid()));
            match entry {
                MessageEntry::Stored(place) => {
                    let body = self.rows.read(&BodyKey(place.sequence))?;
                    census.expect(body.is_some_and(|body| body.id == id), || {
                        format!("the text of message {id} is not there, or of another one")
                    });
                }
                MessageEntry::Deleted { place, .. } => {
                    census.expect(forget()?.is_some(), || {
                        format!("that message {id} is deleted is never forgotten")
                    });
                    if let Some(place) = place {
                        let body = self.rows.read(&BodyKey(place.sequence))?;
                        census.expect(body.is_none(), || {
                            format!("message {id} is deleted, and its text is there")
                        });
                    }
                }
                MessageEntry::Awaited(_) => census.expect(forget()?.is_some(), || {
                    format!("what was said of message {id} is never forgotten")
                }),
            }
            Ok(())
        })?;
        let next = self.meta.next_sequence;
        self.each::<BodyKey>(|key, body| {
            census.messages += 1;
            let (id, sequence) = (body.id, key.0);
            census.expect((1..next).contains(&sequence.number()), || {
                format!("message {id} has a sequence that was never given out")
            });
            let place = Place {
                sequence,
                sender: body.sender,
                recipient: body.recipient,
            };
            let entry = self.rows.read(&MessageKey(id))?;
            census.expect(entry == Some(MessageEntry::Stored(place)), || {
                format!("the id of message {id} does not lead to its text")
            });
            let pair = Pair::of(body.sender, body.recipient);
            let entry = self.rows.read(&EntryKey { pair, sequence })?;
            let fits = entry.is_some_and(|entry| entry.sender() == pair.side(body.sender));
            census.expect(fits, || {
                format!("message {id} is not in its conversation, or there as its recipient's")
            });
            Ok(())
        })
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
            let body = self.rows.read(&BodyKey(key.sequence))?;
            let fits = body.is_some_and(|body| Pair::of(body.sender, body.recipient) == key.pair);
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
                census.expect(self.rows.read(&row)?.is_some(), || {
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
        self.each::<UndeliveredKey>(|key, ()| {
            census.undelivered += 1;
            let entry = match self.rows.read(&BodyKey(key.sequence))? {
                Some(body) if body.recipient == key.recipient => {
                    let pair = Pair::of(body.sender, body.recipient);
                    let sequence = key.sequence;
                    let entry = self.rows.read(&EntryKey { pair, sequence })?;
                    entry.map(|entry| (entry, pair.side(body.recipient)))
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
