//! Delivered and read: sets of messages that only grow.

use std::{collections::BTreeMap, sync::Arc};

use super::{AccountManager, Call, Fault, Party};
use crate::{
    command::Command,
    event::EventKind,
    message::Sequence,
    outcome::{Outcome, Progress},
    rejection::Rejection,
    rows::{
        Span,
        account::AccountNumber,
        conversation::{ConversationKey, Entry, EntryKey, Pair, Side},
        identity::{Identity, IdentityKey},
        message::{MarkKind, MessageEntry, MessageKey, Place, Stored, UndeliveredKey},
    },
    store::{KeyValue, Order},
    values::id::{AccountId, MessageId},
};

/// How many messages one [`ReadThrough`](crate::CommandBody::ReadThrough) looks at.
const READ_THROUGH_LIMIT: usize = 4_096;

/// Messages that were marked, by who sent them.
type BySender = BTreeMap<AccountNumber, Vec<MessageId>>;

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn mark_delivered(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.party_to_batch(account, messages)?;
        let marked = self.mark(call, &party, messages, MarkKind::Delivered)?;
        let count = count(&marked);
        for (sender, messages) in marked {
            if let Some(sender) = self.active_id(sender)? {
                call.emit(
                    sender,
                    EventKind::Delivered {
                        by: account,
                        messages: messages.into(),
                        at: call.at,
                    },
                );
            }
        }
        Ok(Outcome::MarkedDelivered { count })
    }

    pub(super) fn mark_read(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.party_to_batch(account, messages)?;
        let marked = self.mark(call, &party, messages, MarkKind::Read)?;
        let count = count(&marked);
        let all: Arc<[MessageId]> = marked.values().flatten().copied().collect();
        if !all.is_empty() {
            call.emit(
                account,
                EventKind::Read {
                    by: account,
                    messages: all,
                    at: call.at,
                },
            );
        }
        for (sender, messages) in marked {
            if let Some(sender) = self.active_id(sender)? {
                call.emit(
                    sender,
                    EventKind::Read {
                        by: account,
                        messages: messages.into(),
                        at: call.at,
                    },
                );
            }
        }
        Ok(Outcome::MarkedRead {
            count,
            progress: Progress::Done,
        })
    }

    pub(super) fn read_through(
        &mut self,
        call: &mut Call,
        account: AccountId,
        peer: AccountId,
        message: MessageId,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.active(account)?;
        let not_found = Fault::Rejected(Rejection::MessageNotFound { message });
        let pair = match self.rows.read(&IdentityKey(peer))? {
            _ if peer == AccountId::SYSTEM => Pair::of(party.number, AccountNumber::SYSTEM),
            Some(Identity::Known { number, .. }) => Pair::of(party.number, number),
            Some(Identity::Gone) | None => return Err(not_found),
        };
        let nothing = Outcome::MarkedRead {
            count: 0,
            progress: Progress::Done,
        };
        let target = match self.rows.read(&MessageKey(message))? {
            Some(
                MessageEntry::Stored(Stored { place, .. })
                | MessageEntry::Deleted {
                    place: Some(place), ..
                },
            ) => {
                if Pair::of(place.sender, place.recipient) != pair {
                    return Err(not_found);
                }
                place.sequence
            }
            Some(MessageEntry::Deleted { place: None, .. }) => return Ok(nothing),
            // Which messages stand before it is not known either: only this one can be remembered as read.
            Some(MessageEntry::Awaited(marks)) => {
                self.await_message(call, message, Some(marks), account, MarkKind::Read)?;
                return Ok(nothing);
            }
            None => {
                self.await_message(call, message, None, account, MarkKind::Read)?;
                return Ok(nothing);
            }
        };

        let side = pair.side(party.number);
        let Some(before) = self.rows.read(&ConversationKey(pair))? else {
            return Ok(nothing);
        };
        if pair.is_with_oneself() || target <= before.side(side).read_through {
            return Ok(nothing);
        }
        let (count, reached) = self.read_stretch(pair, side, target)?;
        let mut row = before;
        let counts = row.side_mut(side);
        counts.unread -= count;
        counts.read_through = reached;
        self.rows.replace(&ConversationKey(pair), &before, &row)?;
        if reached < target {
            return Ok(Outcome::MarkedRead {
                count,
                progress: Progress::More,
            });
        }
        for listener in [Some(account), self.active_id(pair.peer(side))?]
            .into_iter()
            .flatten()
        {
            call.emit(
                listener,
                EventKind::ReadThrough {
                    by: account,
                    peer,
                    message,
                    at: call.at,
                },
            );
        }
        Ok(Outcome::MarkedRead {
            count,
            progress: Progress::Done,
        })
    }

    /// Goes through a conversation from where `reader` has read to, up to `target`. Says how many messages were unread
    /// and how far it came. What is read needs no delivery any more.
    fn read_stretch(
        &mut self,
        pair: Pair,
        reader: Side,
        target: Sequence,
    ) -> Result<(u32, Sequence), S::Error> {
        let row = self.rows.require(&ConversationKey(pair))?;
        let from = row.side(reader).read_through;
        let span = Span::prefix::<EntryKey>(|key| pair.write(key))
            .after(&EntryKey {
                pair,
                sequence: from,
            })
            .up_to(&EntryKey {
                pair,
                sequence: target,
            });
        let entries = self
            .rows
            .list::<EntryKey>(&span, Order::Ascending, READ_THROUGH_LIMIT)?;
        let reached = match entries.last() {
            Some((last, _)) if entries.len() == READ_THROUGH_LIMIT => last.sequence,
            _ => target,
        };
        let mut count = 0;
        for (key, entry) in entries {
            count += u32::from(row.is_unread(&pair, entry, key.sequence, reader));
            if entry.sender() != reader && !entry.is_delivered() {
                self.take_from_inbox(&key, entry, reader)?;
                self.rows.replace(&key, &entry, &entry.read())?;
            }
        }
        Ok((count, reached))
    }

    fn party_to_batch(
        &mut self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Party, Fault<S::Error>> {
        check_batch(messages)?;
        self.correspondent(account)
    }

    /// Marks each message whose recipient is `party`, and says which of them were not marked before.
    fn mark(
        &mut self,
        call: &Call,
        party: &Party,
        messages: &[MessageId],
        kind: MarkKind,
    ) -> Result<BySender, S::Error> {
        let mut marked = BySender::new();
        for message in messages.iter().copied() {
            match self.rows.read(&MessageKey(message))? {
                Some(MessageEntry::Stored(Stored { place, .. }))
                    if place.recipient == party.number && place.sender != party.number =>
                {
                    if self.mark_one(place, kind)? {
                        marked.entry(place.sender).or_default().push(message);
                    }
                }
                // Somebody else's message, one's own, or one that is gone.
                Some(MessageEntry::Stored(_) | MessageEntry::Deleted { .. }) => {}
                Some(MessageEntry::Awaited(marks)) => {
                    self.await_message(call, message, Some(marks), party.id, kind)?;
                }
                None => self.await_message(call, message, None, party.id, kind)?,
            }
        }
        Ok(marked)
    }

    fn mark_one(&mut self, place: Place, kind: MarkKind) -> Result<bool, S::Error> {
        let pair = Pair::of(place.sender, place.recipient);
        let reader = pair.side(place.recipient);
        let key = EntryKey {
            pair,
            sequence: place.sequence,
        };
        let entry = self.rows.require(&key)?;
        let (marked, is_news) = match kind {
            MarkKind::Read => (
                entry.read(),
                self.count_read(pair, entry, place.sequence, reader)?,
            ),
            _ => (entry.delivered(), !entry.is_delivered()),
        };
        if !entry.is_delivered() {
            self.take_from_inbox(&key, entry, reader)?;
        }
        self.rows.replace(&key, &entry, &marked)?;
        Ok(is_news)
    }

    /// Counts a message as read that is about to be marked so. Says whether it was not read before.
    fn count_read(
        &mut self,
        pair: Pair,
        entry: Entry,
        sequence: Sequence,
        reader: Side,
    ) -> Result<bool, S::Error> {
        let before = self.rows.require(&ConversationKey(pair))?;
        if before.is_unread(&pair, entry, sequence, reader) {
            let mut row = before;
            row.side_mut(reader).unread -= 1;
            self.rows.replace(&ConversationKey(pair), &before, &row)?;
        }
        Ok(!entry.is_marked_read() && sequence > before.side(reader).read_through)
    }

    /// Removes a message that was not delivered from the inbox, where it is unless its recipient has deleted it.
    fn take_from_inbox(
        &mut self,
        key: &EntryKey,
        entry: Entry,
        recipient: Side,
    ) -> Result<(), S::Error> {
        if entry.is_deleted_by(recipient) {
            return Ok(());
        }
        let recipient = key.pair.account(recipient);
        self.rows.remove(
            &UndeliveredKey {
                recipient,
                sequence: key.sequence,
            },
            &entry.id(),
        )
    }
}

/// Refuses a batch that would take too long.
pub(super) fn check_batch<E>(messages: &[MessageId]) -> Result<(), Fault<E>> {
    match messages.len() {
        0..=Command::MAX_BATCH => Ok(()),
        count => Err(Fault::Rejected(Rejection::BatchTooLarge { count })),
    }
}

fn count(marked: &BySender) -> u32 {
    marked.values().map(|messages| messages.len() as u32).sum()
}
